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


def micro_batch_size(batch_size: int, world_size: int, most: int) -> int:
    """Rows per forward pass: the largest divisor of a rank's share that is at most `most`.

    Raises: ConfigError when the batch cannot be shared equally.
    """
    share, rest = divmod(batch_size, world_size)
    if rest:
        raise ConfigError(
            f"train.batch_size = {batch_size}: not a multiple of the {world_size} processes; "
            f"start a divisor of it, or set train.batch_size={world_size * max(1, share)}"
        )
    return next(size for size in range(min(most, share), 0, -1) if share % size == 0)


def equal_lengths(blocks: Iterable[np.ndarray], size: int, world: World) -> Iterator[np.ndarray]:
    """This rank's share of 1-d `blocks` as (at most size, T + 1) arrays; only blocks of one length stand together."""
    group: list[np.ndarray] = []
    for number, block in enumerate(blocks):
        if number % world.size != world.rank:
            continue
        if group and (len(group) == size or len(group[0]) != len(block)):
            yield np.stack(group)
            group = []
        group.append(block)
    if group:
        yield np.stack(group)


class TokenDataset(IterableDataset):
    """The stream as a torch dataset, for training loops of one's own: yields (tokens, targets) of this rank for ever.

    Use it with `DataLoader(dataset, batch_size=None)`. `state_dict` is exact, since nothing is read ahead.
    """

    def __init__(self, stream: Stream, global_batch: int, *, rank: int = 0, world_size: int = 1) -> None:
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
