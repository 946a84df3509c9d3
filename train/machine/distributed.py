"""Process group, rank, device and number type: every choice about the machine.

Launchers (`torchrun`, Ray Train) pass a process's rank by RANK, LOCAL_RANK, WORLD_SIZE and
MASTER_ADDR; without them this is the only process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from corpus.errors import ConfigError, WebtextError
from train.config import RuntimeConfig
from train.machine.network import gloo_interface

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among all: rank in [0, size), its device, the type of its matrix products."""

    rank: int
    size: int
    local_rank: int
    device: torch.device
    dtype: torch.dtype
    owns_group: bool = False
    """Whether this code made the process group (a launcher such as Ray Train may have)."""
    group: Any = None
    """The process group of this view of the world; None: the default one."""
    local_size: int = 1
    """Ranks on this machine."""
    background_group: Any = None
    """Another group over the same ranks, for work beside the training; None in a world of one."""

    @property
    def is_main(self) -> bool:
        """True on rank 0, the only one to write common files."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """The context of forward passes: lower precision where the device has it."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """`values` added up over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values, group=self.group)
        return values

    def from_main(self, values: Tensor) -> Tensor:
        """Rank 0's `values` (host memory, the same shape on all ranks), in place."""
        if self.size > 1:
            dist.broadcast(values, src=0, group=self.group)
        return values

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier(group=self.group)

    def in_background(self) -> World:
        """The same ranks through another group, so that waiting there does not delay training."""
        return replace(self, group=self.background_group)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def main_does(self, action: Callable[[], T]) -> T:
        """Run `action` on rank 0 and return its result on all ranks.

        Its error is raised everywhere too, so that no rank waits forever.
        """
        value, error = self.gather(_attempt(action) if self.is_main else None)[0]
        if error is not None:
            raise error

        result: T = value
        return result


def _attempt(action: Callable[[], T]) -> tuple[T | None, WebtextError | None]:
    """Run an action; return its result or our error."""
    try:
        return action(), None
    except WebtextError as error:
        return None, error


def join_world(
    config: RuntimeConfig, environ: Mapping[str, str] = os.environ, *, exact: bool = False
) -> World:
    """Join the process group the environment names (unless a launcher did), and choose device and types.

    `exact`: float32 products of a GPU keep all their bits, for figures that others compare.

    Raises: ConfigError when the device is not there.
    """
    size = int(environ.get("WORLD_SIZE", "1"))
    rank = int(environ.get("RANK", "0"))
    local_rank = int(environ.get("LOCAL_RANK", "0"))
    device = choose_device(config.device, local_rank, cuda_devices=torch.cuda.device_count())

    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("highest" if exact else "high")
    else:
        torch.set_num_threads(num_threads(config, int(environ.get("LOCAL_WORLD_SIZE", "1"))))

    timeout = timedelta(seconds=config.rank_timeout_s)
    owns_group = size > 1 and not dist.is_initialized()
    if owns_group:
        if (interface := gloo_interface(environ)) is not None:
            os.environ["GLOO_SOCKET_IFNAME"] = interface
        dist.init_process_group(choose_backend(device), timeout=timeout)
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    return World(
        rank,
        size,
        local_rank,
        device,
        choose_dtype(config.dtype, has_bf16=has_bf16),
        owns_group,
        local_size=int(environ.get("LOCAL_WORLD_SIZE", size)),
        background_group=dist.new_group(backend="gloo", timeout=timeout) if size > 1 else None,
    )


# Groups that were left, kept to the end of the process. DDP's reducer may outlive `leave_world`; if
# it then held a group's last reference, it would end the group with the interpreter's lock held,
# and wait for a thread of gloo that waits for the lock: a run that is done would never end.
_left: list[Any] = []


def leave_world(world: World) -> None:
    """Take down the process group of `join_world`."""
    if world.owns_group:
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()


def choose_device(wanted: str, local_rank: int, *, cuda_devices: int) -> torch.device:
    """The device of a process: `auto` is the GPU of its local rank if there is one, else the CPU.

    Raises: ConfigError for an invalid name or a missing GPU.
    """
    if wanted == "auto":
        wanted = "cuda" if cuda_devices else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(
            f"train.runtime.device = {wanted!r}: not a device; allowed: auto, cpu, cuda, cuda:N"
        ) from error

    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ConfigError(
            f"train.runtime.device = {wanted!r}: not supported; allowed: auto, cpu, cuda, cuda:N"
        )

    index = local_rank if device.index is None else device.index
    if index >= cuda_devices:
        raise ConfigError(
            f"train.runtime.device = {wanted!r}: GPU {index} of {cuda_devices}; "
            f"use cpu, or start at most {cuda_devices} processes here"
        )

    return torch.device("cuda", index)


def choose_backend(device: torch.device) -> str:
    """The backend between ranks: NCCL for GPU tensors, gloo for host memory."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def choose_fused(device: torch.device) -> bool:
    """True if torch has a fused AdamW for the device."""
    return device.type in ("cpu", "cuda")


def choose_dtype(wanted: str, *, has_bf16: bool) -> torch.dtype:
    """bfloat16 where the device computes in it.

    Float32 elsewhere (float16 would need loss scaling).
    """
    if wanted == "auto":
        return torch.bfloat16 if has_bf16 else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def dtype_name(world: World) -> str:
    """The type of the matrix products, as settings name it."""
    return str(world.dtype).removeprefix("torch.")


def micro_batch_size(config: RuntimeConfig, device: torch.device, block_size: int) -> int:
    """Sequences per forward pass: configured, else suited to a GPU, else short passes on a CPU.

    A stop waits for the end of a pass, and 2,048 tokens of GPT-2 small take two cores 15 s.
    """
    if config.micro_batch_size is not None:
        return config.micro_batch_size
    return 8 if device.type == "cuda" else max(1, 2_048 // block_size)


def num_threads(config: RuntimeConfig, local_world_size: int) -> int:
    """CPU threads of this process: its share of the cores it may use, at least 1."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return config.num_threads or max(1, cores // max(1, local_world_size))
