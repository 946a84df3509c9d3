"""What the machine decides, decided in one place."""

from __future__ import annotations

import pytest
import torch

from corpus.errors import ConfigError
from train.config import RuntimeConfig
from train.distributed import World, choose_device, choose_dtype, join_world, num_threads, peak_flops


@pytest.mark.parametrize(
    ("wanted", "local_rank", "gpus", "expected"),
    [
        ("auto", 0, 0, "cpu"),
        ("auto", 3, 8, "cuda:3"),
        ("cpu", 3, 8, "cpu"),
        ("cuda", 1, 2, "cuda:1"),
        ("cuda:1", 0, 2, "cuda:1"),
    ],
)
def test_each_process_has_its_device(wanted: str, local_rank: int, gpus: int, expected: str) -> None:
    assert choose_device(wanted, local_rank, cuda_devices=gpus) == torch.device(expected)


@pytest.mark.parametrize(("wanted", "local_rank", "gpus"), [("cuda", 0, 0), ("auto", 2, 2), ("gpu", 0, 1)])
def test_a_device_that_is_not_there_is_refused(wanted: str, local_rank: int, gpus: int) -> None:
    with pytest.raises(ConfigError, match="train.runtime.device = "):
        choose_device(wanted, local_rank, cuda_devices=gpus)


@pytest.mark.parametrize(
    ("wanted", "has_bf16", "expected"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("float32", True, torch.float32),
        ("bfloat16", False, torch.bfloat16),
    ],
)
def test_products_are_in_bfloat16_where_the_device_has_it(
    wanted: str, has_bf16: bool, expected: torch.dtype
) -> None:
    assert choose_dtype(wanted, has_bf16=has_bf16) == expected


def test_ranks_of_a_host_share_its_cores() -> None:
    assert num_threads(RuntimeConfig(num_threads=3), 2) == 3
    assert num_threads(RuntimeConfig(), 10_000) == 1


def test_without_a_launcher_this_is_the_only_process() -> None:
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    assert (world.rank, world.size, world.is_main) == (0, 1, True)
    assert world.gather("x") == ["x"]
    assert peak_flops(world.device) is None


def test_an_error_of_the_main_rank_is_raised() -> None:
    def refuse() -> None:
        raise ConfigError("no")

    world = World(0, 1, 0, torch.device("cpu"), torch.float32)
    with pytest.raises(ConfigError, match="no"):
        world.main_does(refuse)
    assert world.main_does(lambda: 3) == 3
