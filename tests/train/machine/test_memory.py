"""The micro-batch that is chosen by a GPU's memory."""

from __future__ import annotations

import pytest
import torch

from train.checkpoints.checkpoint import own_share
from train.config import PRESETS, ModelConfig, PresetName, RuntimeConfig
from train.machine.distributed import World
from train.machine.memory import LARGEST, USABLE_FRAC, fitting_micro_batch, step_bytes

GB = 10**9
NARROW = torch.bfloat16


def size(preset: PresetName, free_gb: float, dtype: torch.dtype = NARROW, shards: int = 1) -> int:
    shape = ModelConfig(preset=preset).shape(50257)
    return fitting_micro_batch(shape, int(free_gb * GB), dtype, RuntimeConfig(), shards)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("free_gb", [8, 16, 24, 48, 80, 139])
def test_a_step_fits_or_is_the_smallest(preset: PresetName, free_gb: float) -> None:
    shape = ModelConfig(preset=preset).shape(50257)
    chosen = size(preset, free_gb)
    fits = step_bytes(shape, chosen, NARROW, RuntimeConfig()) <= USABLE_FRAC * free_gb * GB
    assert fits or chosen == 1
    double = step_bytes(shape, 2 * chosen, NARROW, RuntimeConfig()) <= USABLE_FRAC * free_gb * GB
    assert chosen == LARGEST or not double


def test_more_memory_narrower_products_and_more_ranks_never_make_it_smaller() -> None:
    assert size("gpt2", 12) <= size("gpt2", 24) <= size("gpt2", 80) == LARGEST
    assert size("gpt2", 24, torch.float32) < size("gpt2", 24)
    assert size("gpt2-xl", 40) <= size("gpt2-xl", 40, shards=8)
    checkpointed = RuntimeConfig(activation_checkpointing=True)
    shape = ModelConfig(preset="gpt2-xl").shape(50257)
    assert fitting_micro_batch(shape, 80 * GB, NARROW, checkpointed) > size("gpt2-xl", 80)


def test_the_124m_model_is_trained_in_full_passes_on_a_data_centre_gpu() -> None:
    assert size("gpt2", 80) == 64
    assert size("gpt2", 24) >= 16
    assert size("gpt2", 16) >= 8


def test_the_estimate_counts_each_copy_of_a_weight_and_each_kept_input() -> None:
    """Weights, gradients and two moments of 4 bytes, products of 2 (Rajbhandari et al. 2020, 3.1)."""

    def estimate(layers: int, batch: int, shards: int, config: RuntimeConfig) -> int:
        model = ModelConfig(preset="gpt2", n_layer=layers)
        return step_bytes(model.shape(50257), batch, NARROW, config, shards)

    plain, checkpointed = RuntimeConfig(), RuntimeConfig(activation_checkpointing=True)
    a_layer = 12 * 768**2
    assert estimate(3, 0, 1, plain) - estimate(2, 0, 1, plain) == (4 * 4 + 2) * a_layer
    assert estimate(3, 0, 4, plain) - estimate(2, 0, 4, plain) == (4 + 2) * a_layer
    # Of each further layer a pass keeps its input alone, in float32.
    of_a_pass = [estimate(n, 1, 1, checkpointed) - estimate(n, 0, 1, checkpointed) for n in (2, 3)]
    assert of_a_pass[1] - of_a_pass[0] == 4 * 1024 * 768


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_ranks_share_out_the_copies_of_a_checkpoint(size: int) -> None:
    """Each tensor is copied by one rank, and no rank copies much more than its share."""
    generator = torch.Generator().manual_seed(size)
    sizes = torch.randint(1, 100, (40,), generator=generator).tolist()
    tensors = {f"t{number}": torch.zeros(count) for number, count in enumerate(sizes)}
    shares = [
        own_share(tensors, World(rank, size, rank, torch.device("cpu"), torch.float32))
        for rank in range(size)
    ]
    assert sorted(name for share in shares for name in share) == sorted(tensors)
    numbers = [sum(tensor.numel() for tensor in share.values()) for share in shares]
    assert max(numbers) - min(numbers) <= max(sizes)


@pytest.mark.parametrize("batch", [2, 4, 32, LARGEST])
def test_the_last_byte_decides(batch: int) -> None:
    """Three quarters of the free memory are exactly one step, and then one byte less."""
    shape = ModelConfig(preset="gpt2").shape(50304)
    needed = step_bytes(shape, batch, NARROW, RuntimeConfig())
    assert needed % 3 == 0, "or no whole number of free bytes has it as three quarters"
    free = needed // 3 * 4
    assert fitting_micro_batch(shape, free, NARROW, RuntimeConfig()) == batch
    assert fitting_micro_batch(shape, free - 1, NARROW, RuntimeConfig()) == batch // 2
    assert fitting_micro_batch(shape, 1, NARROW, RuntimeConfig()) == 1
