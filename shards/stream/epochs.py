"""The base of streams over one split: samples in epochs, shared by ranks, counted, fetched ahead."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from corpus.errors import InputError
from shards.stream.token_source import Tokens

# Samples looked through for row groups to fetch ahead.
LOOK_AHEAD = 1 << 11

# Row groups that stay together in a window. A sample or run of documents over an edge needs the row
# group behind it, which is usually in another window. So R neighbours cost up to R + 1 fetches: an
# epoch fetched 1.8 times the split's bytes one by one, 1.1 times eight at a time.
MOST_TOGETHER = 8
# Places of the split from which a large window comes at least.
LEAST_PLACES = 4
# Neighbours that a window keeps even if it then comes from fewer places: documents are in the order
# of a hash, so neighbours are unrelated.
LEAST_TOGETHER = 6
# Times the bytes of a split that an epoch may fetch without a warning.
MOST_FETCHED = 1.2


def row_groups_together(window: int) -> int:
    """Neighbouring row groups that a window takes as one, at least 1."""
    # Fewer than a run's worth fetch too much in any case, and mix better apart.
    if window < LEAST_PLACES:
        return 1
    if window < 2 * LEAST_TOGETHER:
        return window
    return max(LEAST_TOGETHER, min(MOST_TOGETHER, window // LEAST_PLACES))


def most_fetched(window: int) -> float:
    """The bytes that an epoch fetches at most, relative to the split's, from a cache of three windows.

    No order of samples does better: a window's neighbours have an edge, and a sample on it.
    """
    return 1 + 1 / row_groups_together(window) if window else 1.0


def least_window() -> int:
    """The smallest window with which an epoch fetches at most `MOST_FETCHED` times the split."""
    return next(window for window in itertools.count(1) if most_fetched(window) <= MOST_FETCHED)


def of_window(window: int, together: int) -> dict[str, int | str]:
    """The part of a stream's state about its windows.

    Those of single row groups had no second number in earlier versions.
    """
    return {"window": window, "together": together} if together > 1 else {"window": window}


def together_of(state: Mapping[str, Any]) -> int:
    """The neighbours that the windows of a state have."""
    together: int = state.get("together", 1)
    return together


def with_together(state: dict[str, int | str], together: int) -> dict[str, int | str]:
    """A stream's state as it would be with so many neighbours together."""
    others = {key: value for key, value in state.items() if key != "together"}
    return {**others, **of_window(int(state["window"]), together)}


def as_saved(ours: dict[str, int | str], state: Mapping[str, Any]) -> dict[str, int | str]:
    """A stream's state with the neighbours of a saved one, if its windows can have so many.

    Earlier versions kept fewer together, and a run that one of them began keeps its order.
    """
    found = together_of(state)
    is_number = isinstance(found, int) and not isinstance(found, bool)
    return with_together(ours, found) if is_number and 1 <= found <= int(ours["window"]) else ours


class EpochStream(ABC):
    """Samples in the order of (seed, epoch), for one rank of any world.

    Sample i of the global order is the same for every world size: rank r takes the r-th share of
    each global batch, and all ranks advance alike.
    """

    num_blocks: int
    """Samples of an epoch."""

    def __init__(self, split: Tokens, *, block_size: int, seed: int, window: int) -> None:
        if window < 0:
            raise InputError(f"window {window}: expected 0 (all) or a number of row groups")
        if block_size < 1:
            raise InputError(f"block_size {block_size}: expected at least 1")

        self.block_size, self.seed, self.window = block_size, seed, window
        self.together = row_groups_together(window)
        self.epoch = self.index = 0
        self._tokens = split
        self._looked = (-1, 0)

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """This rank's share of the next `global_batch` samples. Shape (global_batch // world_size, block_size + 1) int64.

        Raises: InputError when the world does not divide the batch, or `rank` is not one of it.
        """
        share = share_of(global_batch, rank, world_size)
        rows = self._next_rows(self.index + rank * share, share)
        self.advance(global_batch)
        self.prefetch(self.index)
        return rows

    def advance(self, num_samples: int) -> None:
        """Pass over samples without reading them."""
        self.seek(self.epoch, self.index + num_samples)

    def seek(self, epoch: int, index: int) -> None:
        """Continue with sample `index` of `epoch`; an index beyond its end is in a later epoch."""
        further, self.index = divmod(index, self.num_blocks)
        self.epoch = epoch + further

    def prefetch(self, index: int) -> None:
        """Fetch the row groups of the samples from `index` on in the background.

        Checks again only after one of them was used, or after an eighth of the distance: a check
        costs more than a batch.
        """
        misses, looked_at = self._looked
        fresh = misses == self._tokens.misses and 0 <= index - looked_at < LOOK_AHEAD // 8
        if self._tokens.ahead and not fresh:
            self._looked = self._tokens.misses, index
            self._tokens.prefetch(*self._needed(np.arange(index, index + LOOK_AHEAD)))

    @abstractmethod
    def _next_rows(self, first: int, count: int) -> np.ndarray:
        """Consecutive samples. Shape (count, block_size + 1) int64."""

    @abstractmethod
    def _needed(self, indices: np.ndarray) -> tuple[np.ndarray, int]:
        """The places of the samples' tokens, and how many from each, for `Tokens.prefetch`."""


def share_of(global_batch: int, rank: int, world_size: int) -> int:
    """Samples per rank.

    Raises InputError when the world does not divide the batch, or `rank` is not one of it.
    """
    if world_size < 1:
        raise InputError(f"world size {world_size}: expected the number of ranks, at least 1")
    if global_batch < 1 or global_batch % world_size:
        raise InputError(
            f"global batch {global_batch}: {world_size} ranks do not divide it; choose a "
            "multiple, so that every world size gives the same order"
        )
    if not 0 <= rank < world_size:
        raise InputError(f"rank {rank}: expected 0..{world_size - 1}")

    return global_batch // world_size
