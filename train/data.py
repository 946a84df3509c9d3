"""From the token stream of `shards.reader` to tensors on the device.

The stream is a memory map with a global sample order, read far faster than any model trains, so there are no loader
processes and nothing is prefetched: what was handed out was consumed, and the state of the stream is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from corpus.errors import ConfigError
from train.distributed import World


class Stream(Protocol):
    """What training needs of `shards.reader.BlockStream`."""

    num_blocks: int

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """This rank's (global_batch / world_size, block_size + 1) int64 rows; advances by global_batch samples."""

    def state_dict(self) -> dict[str, int | str]:
        """The position in the global order."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position."""

    def documents(self, index: int) -> Sequence[Any]:
        """The documents (each with a doc_id) in sample `index` of this epoch."""


def device_batch(rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and their targets, one position later. Shapes: rows (B, T + 1) int64; two of (B, T) int64."""
    tensor = torch.from_numpy(rows)
    if device.type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor[:, :-1], tensor[:, 1:]


def next_rows(stream: Stream, batch_size: int, world: World) -> tuple[np.ndarray, int]:
    """This rank's rows (n, T + 1) of the next `batch_size` samples, and how many of those lie before them.

    A world that does not divide the batch gets shares that differ by one row.
    """
    first = batch_size * world.rank // world.size
    if batch_size % world.size == 0:
        return stream.next_batch(batch_size, world.rank, world.size), first
    return stream.next_batch(batch_size)[first : batch_size * (world.rank + 1) // world.size], first


def num_micro_batches(batch_size: int, world_size: int, most: int) -> int:
    """Into how many forward passes of at most `most` rows a rank's share is cut: the same number on every rank.

    Where shares differ a pass may hold one row more, so that no rank has an empty one.
    Raises: ConfigError when there are more ranks than sequences.
    """
    if batch_size < world_size:
        raise ConfigError(
            f"train.batch_size = {batch_size}: less than the {world_size} processes; "
            f"start at most {batch_size}, or set train.batch_size={world_size}"
        )
    largest_share = -(-batch_size // world_size)
    return min(-(-largest_share // most), batch_size // world_size)


def shared_blocks(
    blocks: Iterable[np.ndarray], size: int, world: World
) -> Iterator[tuple[np.ndarray, bool]]:
    """This rank's part of 1-d `blocks` as (at most size, T + 1) arrays; only blocks of one length stand together.

    Every rank gets equally many arrays, so that all run in step. False beside an array that another rank has too and
    that must not be counted.
    """
    group: list[np.ndarray] = []
    for block in blocks:
        if group and (len(group) == size * world.size or len(group[0]) != len(block)):
            yield _part(group, world)
            group = []
        group.append(block)
    if group:
        yield _part(group, world)


def _part(group: list[np.ndarray], world: World) -> tuple[np.ndarray, bool]:
    mine = group[world.rank :: world.size]
    return (np.stack(mine), True) if mine else (np.stack(group[:1]), False)


class TokenDataset(IterableDataset):
    """The stream as a torch dataset, for training loops of one's own: yields (tokens, targets) of this rank for ever.

    Use it with `DataLoader(dataset, batch_size=None)`. `state_dict` is exact, since nothing is read ahead.
    """

    def __init__(
        self, stream: Stream, global_batch: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        self.stream = stream
        self.global_batch = global_batch
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of two (global_batch / world_size, block_size) int64 tensors.

        Raises: ConfigError inside loader processes, each of which would repeat the same samples.
        """
        if get_worker_info() is not None:
            raise ConfigError(
                "num_workers > 0: every loader process would yield the same samples; use num_workers=0"
            )
        while True:
            rows = self.stream.next_batch(self.global_batch, self.rank, self.world_size)
            yield device_batch(rows, torch.device("cpu"))

    def state_dict(self) -> dict[str, int | str]:
        """The position in the global order."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position, also one saved by another number of ranks."""
        self.stream.load_state_dict(state)
