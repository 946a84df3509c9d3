"""What the machine decides, decided in one place."""

from __future__ import annotations

import pytest
import torch

from corpus.errors import ConfigError
from train.config import RuntimeConfig
from train.machine.distributed import (
    World,
    choose_backend,
    choose_device,
    choose_dtype,
    choose_fused,
    join_world,
    micro_batch_size,
    num_threads,
)
from train.machine.peaks import known_peak, peak


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
def test_each_process_has_its_device(
    wanted: str, local_rank: int, gpus: int, expected: str
) -> None:
    assert choose_device(wanted, local_rank, cuda_devices=gpus) == torch.device(expected)


@pytest.mark.parametrize(
    ("wanted", "local_rank", "gpus"),
    [("cuda", 0, 0), ("auto", 2, 2), ("gpu", 0, 1), ("meta", 0, 0)],
)
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


def test_passes_are_short_on_a_cpu_unless_told_otherwise() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert [micro_batch_size(RuntimeConfig(), cpu, size) for size in (256, 1024, 4096)] == [8, 2, 1]
    assert micro_batch_size(RuntimeConfig(), gpu, 1024) == 8
    assert micro_batch_size(RuntimeConfig(micro_batch_size=5), cpu, 1024) == 5


def test_without_a_launcher_this_is_the_only_process() -> None:
    world = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
    assert (world.rank, world.size, world.is_main) == (0, 1, True)
    assert world.gather("x") == ["x"]


def test_an_error_of_the_main_rank_is_raised() -> None:
    def refuse() -> None:
        raise ConfigError("no")

    world = World(0, 1, 0, torch.device("cpu"), torch.float32)
    with pytest.raises(ConfigError, match="no"):
        world.main_does(refuse)
    assert world.main_does(lambda: 3) == 3


def test_gpus_exchange_through_nccl_and_fuse_the_optimizer() -> None:
    assert choose_backend(torch.device("cpu")) == "gloo"
    assert choose_backend(torch.device("cuda", 1)) == "cpu:gloo,cuda:nccl"
    assert [choose_fused(torch.device(name)) for name in ("cpu", "cuda", "xpu")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA H20", 148e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA RTX A1000 Laptop GPU", None),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA GB200", 2500e12),
        ("NVIDIA GeForce RTX 5090", 209.5e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("AMD Instinct MI300X", 1307.4e12),
        ("X", None),
    ],
)
def test_peaks_are_known_by_name(name: str, expected: float | None) -> None:
    assert known_peak(name) == expected


def test_an_unknown_peak_is_as_said_or_measured() -> None:
    cpu = torch.device("cpu")
    said = peak(cpu, torch.float32, RuntimeConfig(peak_tflops=2.5))
    assert (said.flops, said.source) == (2.5e12, "train.runtime.peak_tflops")
    measured = peak(cpu, torch.float32, RuntimeConfig())
    assert measured.source == "measured, float32"
    assert 1e8 < measured.flops < 1e14
