"""From the token stream of `shards.reader` to tensors on the device.

The stream is a memory map with a global sample order: a batch takes .05 % of a GPU's step. Therefore
nothing is prefetched and there are no loader processes: every batch handed out was used, and the
state of the stream is exact (docs/decisions, "Batches are read when they are needed").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from corpus.errors import ConfigError, InputError
from shards.reader import IGNORED, packed_fields
from train.machine.distributed import World


class Stream(Protocol):
    """The part of `shards.reader.BlockStream` used by training."""

    num_blocks: int

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """This rank's (global_batch / world_size, block_size + 1) int64 rows.

        Advances by global_batch samples.
        """

    def state_dict(self) -> dict[str, int | str]:
        """The position in the global order; in a worker, the one of its next batch."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position, also one saved by another number of ranks.

        Raises: InputError for a loader process's state outside of one, and for an invalid state.
        """

    def advance(self, num_samples: int) -> None:
        """Pass over samples without reading them."""

    def documents(self, index: int) -> Sequence[Any]:
        """The documents (each with a doc_id) in sample `index` of this epoch."""


def device_batch(
    rows: np.ndarray,
    device: torch.device,
    *,
    document_end: int | None = None,
    num_padding: int = 0,
) -> tuple[Tensor, Tensor]:
    """Tokens and their targets, one position later. Shapes: rows (B, T + 1) int64; two of (B, T) int64.

    With `document_end`, for rows of whole documents, the target after a document's end is
    `IGNORED`. `num_padding` rows without any target are appended.
    """
    tensor = on_device(padded_rows(rows, num_padding), device)
    tokens, targets = tensor[:, :-1], tensor[:, 1:]
    if document_end is not None:
        targets = targets.masked_fill(tokens == document_end, IGNORED)
    if num_padding:
        targets = targets.clone()
        targets[-num_padding:] = IGNORED
    return tokens, targets


def padded_rows(rows: np.ndarray, num_padding: int) -> np.ndarray:
    """`rows` with its first row repeated `num_padding` times behind."""
    if not num_padding:
        return rows
    return np.concatenate([rows, np.repeat(rows[:1], num_padding, axis=0)])


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device, or on the CPU the memory of `values` itself."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor
    # Only a copy from pinned memory overlaps with the device's work.
    return tensor.pin_memory().to(device, non_blocking=True)


def next_rows(stream: Stream, batch_size: int, world: World) -> tuple[np.ndarray, int]:
    """This rank's rows (n, T + 1) of the next `batch_size` samples, and the number before them.

    If the batch is not divisible by the world, shares differ by one row.
    """
    first = batch_size * world.rank // world.size
    if batch_size % world.size == 0:
        return stream.next_batch(batch_size, world.rank, world.size), first

    return stream.next_batch(batch_size)[first : batch_size * (world.rank + 1) // world.size], first


def num_micro_batches(batch_size: int, world_size: int, most: int) -> int:
    """The number of forward passes for a rank's share, at most `most` rows each; equal on all ranks.

    If shares differ, a pass may hold one row more, so that no rank has an empty one.

    Raises: ConfigError if there are more ranks than sequences.
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
    """Yield this rank's part of 1-d `blocks` as (at most size, T + 1) arrays of equal lengths.

    Every rank gets equally many arrays, so that all run in step. An array also given to another
    rank comes with False and must not be counted.
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
    """The stream as a torch dataset for other training loops: yields this rank's batches endlessly.

    Use it with `DataLoader(dataset, batch_size=None)` and any `num_workers`: worker w of W reads
    batches w, w + W, ..., and the loader restores their order. `state_dict` is exact in a
    `StatefulDataLoader` with the same number of workers, and without workers. With `end_of_text`,
    for a `PackedStream`, batches are dicts as taken by language models of Hugging Face.
    """

    def __init__(
        self,
        stream: Stream,
        global_batch: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        end_of_text: int | None = None,
    ) -> None:
        self.stream = stream
        self.global_batch = global_batch
        self.rank = rank
        self.world_size = world_size
        self.end_of_text = end_of_text
        self._is_worker_state = False

    def __iter__(self) -> Iterator[Any]:
        """Batches of two (global_batch / world_size, block_size) int64 tensors, or dicts of packed rows."""
        worker = get_worker_info()
        others = 0 if worker is None else worker.num_workers - 1
        # A worker's restored state already includes its offset; adding it again would skip batches.
        if worker is not None and not self._is_worker_state:
            self.stream.advance(worker.id * self.global_batch)

        while True:
            rows = self.stream.next_batch(self.global_batch, self.rank, self.world_size)
            self.stream.advance(others * self.global_batch)
            yield self._batch(rows)

    def state_dict(self) -> dict[str, int | str]:
        """The position in the global order; of a worker, that of its next batch."""
        state = self.stream.state_dict()
        worker = get_worker_info()
        return state if worker is None else {**state, "worker": worker.id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position, also one saved by another number of ranks.

        Raises: InputError for the state of a loader process outside of one, and for anything that
        is not a state.
        """
        worker = get_worker_info()
        self._is_worker_state = isinstance(state, Mapping) and "worker" in state
        if self._is_worker_state:
            if worker is None or worker.id != state["worker"]:
                raise InputError(
                    f"state of loader process {state['worker']}: expected to continue in it; "
                    "use a StatefulDataLoader with the same num_workers"
                )
            state = {key: value for key, value in state.items() if key != "worker"}

        self.stream.load_state_dict(state)

    def _batch(self, rows: np.ndarray) -> Any:
        if self.end_of_text is None:
            return device_batch(rows, torch.device("cpu"))

        fields = packed_fields(rows, self.end_of_text)
        return {
            "input_ids": torch.from_numpy(rows[:, :-1].copy()),
            "labels": torch.from_numpy(fields.labels),
            "position_ids": torch.from_numpy(fields.position_ids),
            "cu_seqlens": torch.from_numpy(fields.cu_seqlens),
            "max_seqlen": fields.max_seqlen,
        }
