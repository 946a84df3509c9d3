"""A stream of training blocks with an instant start anywhere and exact continuation, on any ranks.

Block i is the tokens [i * block_size, (i + 1) * block_size] of a split, so every token is predicted
once an epoch; the order of the blocks is a keyed permutation computed per index. The state of a
stream is therefore small: snapshot, seed, epoch, number of consumed blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from corpus.errors import InputError
from shards.stream.epochs import EpochStream, as_saved, of_window, together_of
from shards.stream.order import Permutation, WindowedPermutation
from shards.stream.token_source import Tokens
from shards.stream.tokens import Document

# Indices permuted at once: a call costs 0.1 ms for 8 and 2 ms for 8,192. A saving of time alone,
# no part of the state.
ORDER_CHUNK = 1 << 13
# The present one, the next one that is looked ahead into, and one more of each at the turn of an
# epoch.
KEPT_CHUNKS = 4
# Epochs and samples are below, so that they and a batch more are 64-bit numbers.
MOST_COUNT = 1 << 62


class Blocks(Protocol):
    """A stream of training blocks, of one split or a mixture, packed or not."""

    num_blocks: int

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray: ...

    def advance(self, num_samples: int) -> None: ...

    def state_dict(self) -> dict[str, int | str]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class BlockStream(EpochStream):
    """The blocks of a split in the order of (seed, epoch), for one rank of any world.

    Sample i of the global order is the same for every world size: rank r takes the r-th share of
    each global batch, and all ranks advance alike. `state_dict` counts batches returned by
    `next_batch`; prefetched ones do not count.

    `window`: 0 permutes all blocks of an epoch; any other number keeps to so many row groups' worth
    of tokens at a time (`WindowedPermutation`), for a split larger than its cache: a cache of three
    times the window suffices.
    """

    def __init__(
        self,
        split: Tokens,
        *,
        block_size: int,
        seed: int,
        epoch: int = 0,
        index: int = 0,
        window: int = 0,
    ) -> None:
        super().__init__(split, block_size=block_size, seed=seed, window=window)
        self.split = split
        # Blocks of an epoch. The tokens after the last whole block (fewer than block_size) rest.
        self.num_blocks = (split.num_tokens - 1) // block_size
        if self.num_blocks < 1:
            raise InputError(
                f"block_size {block_size}: the {split.name} split holds {split.num_tokens:,} "
                f"tokens and a block needs {block_size + 1:,}; choose a smaller block_size or a "
                "larger corpus"
            )

        self._chunks: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()
        self.seek(epoch, index)

    def rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The samples at `indices`, counted from the start of this epoch.

        Shape (len(indices), block_size + 1) int64.
        """
        starts = self.block_numbers(indices) * self.block_size
        return self.split.read_blocks(starts, self.block_size + 1, out)

    def block_numbers(self, indices: np.ndarray) -> np.ndarray:
        """The block of each sample.

        `indices` count from the start of this epoch and may run into later ones.
        """
        indices = np.asarray(indices, np.int64)
        if indices.size and indices[0] >= 0 and indices.max() < self.num_blocks:
            return self._order(self.epoch, indices)

        epochs, within = np.divmod(indices, self.num_blocks)
        blocks = np.empty_like(within)
        for offset in np.unique(epochs).tolist():
            here = epochs == offset
            blocks[here] = self._order(self.epoch + offset, within[here])

        return blocks

    def documents(self, index: int) -> list[Document]:
        """The documents in sample `index`, counted from the start of this epoch."""
        start = int(self.block_numbers(np.array([index]))[0]) * self.block_size
        return self.split.documents(start, start + self.block_size + 1)

    def state_dict(self) -> dict[str, int | str]:
        """The consumed part: enough to continue this order in any process of any world."""
        return {
            "snapshot": self.split.digest,
            "split": self.split.name,
            "block_size": self.block_size,
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index,
            **of_window(self.window, self.together),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved; the seed is the state's.

        Raises: InputError when it was saved over another snapshot, split, block size or window.
        """
        check_state(state, self.state_dict(), ("snapshot", "split", "block_size", "window"))
        together = together_of(state)
        if together != self.together:
            self._chunks.clear()
        self.together = together
        self.seed = state["seed"]
        self.seek(state["epoch"], state["index"])

    def _next_rows(self, first: int, count: int) -> np.ndarray:
        starts = self._neighbours(first, count) * self.block_size
        return self.split.read_blocks(starts, self.block_size + 1)

    def _needed(self, indices: np.ndarray) -> tuple[np.ndarray, int]:
        return self.block_numbers(indices) * self.block_size, self.block_size + 1

    def _neighbours(self, first: int, count: int) -> np.ndarray:
        """`block_numbers` of consecutive samples: a view if they are in one chunk."""
        number, start = divmod(first, ORDER_CHUNK)
        if start + count <= ORDER_CHUNK and first + count <= self.num_blocks:
            return self._chunk(self.epoch, number)[start : start + count]
        return self.block_numbers(np.arange(first, first + count))

    def _order(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        """Blocks of samples of one epoch, through the chunks computed last where they lie in one or two of them."""
        first, last = int(indices.min()) // ORDER_CHUNK, int(indices.max()) // ORDER_CHUNK
        if first == last:
            return self._chunk(epoch, first)[indices - first * ORDER_CHUNK]
        if last > first + 1:
            return self._permutation(epoch)(indices)

        both = np.concatenate([self._chunk(epoch, first), self._chunk(epoch, last)])
        return both[indices - first * ORDER_CHUNK]

    def _chunk(self, epoch: int, number: int) -> np.ndarray:
        key = (self.seed, epoch, number)
        if key not in self._chunks:
            start = number * ORDER_CHUNK
            stop = min(start + ORDER_CHUNK, self.num_blocks)
            if len(self._chunks) == KEPT_CHUNKS:
                self._chunks.popitem(last=False)
            self._chunks[key] = self._permutation(epoch)(np.arange(start, stop))

        return self._chunks[key]

    def _permutation(self, epoch: int) -> Permutation | WindowedPermutation:
        if not self.window:
            return Permutation(self.num_blocks, self.seed, epoch)
        run = max(1, self.split.run_tokens // self.block_size) * self.together
        window = self.window // self.together
        return WindowedPermutation(self.num_blocks, run, window, self.seed, epoch)


def sequential_blocks(split: Tokens, block_size: int) -> Iterator[np.ndarray]:
    """Every token of the split predicted exactly once, in order: for validation.

    Yields (n,) int64 with 2 <= n <= block_size + 1; block i begins with the last token of block i -
    1.
    """
    for start in range(0, split.num_tokens - 1, block_size):
        yield split.slice(start, min(start + block_size + 1, split.num_tokens)).astype(np.int64)


def document_numbers(blocks: np.ndarray, end_of_text: int) -> np.ndarray:
    """The document of each token within its row, for masks. Shapes (n, T) to (n, T) int32, from 0.

    An end-of-text belongs to the document before it. Text is never read as end-of-text, so the
    marks are exact.
    """
    ends = blocks == end_of_text
    numbers = np.zeros(blocks.shape, np.int32)
    np.cumsum(ends[:, :-1], axis=1, out=numbers[:, 1:])
    return numbers


def check_state(state: Any, ours: dict[str, int | str], keys: Sequence[str]) -> None:
    """Raise InputError for anything but a saved state, and for one of another stream by the facts named in `keys`."""
    if not isinstance(state, Mapping):
        raise InputError(
            f"stream state {state!r:.60}: expected the dict that state_dict gave; load that"
        )

    ours = as_saved(ours, state)
    if state.keys() != ours.keys():
        raise InputError(f"stream state with {sorted(map(str, state))}; expected {sorted(ours)}")

    for key, value in ours.items():
        if not _is_like(state[key], value, may_be_any=key == "seed"):
            expected = (
                "a text" if isinstance(value, str) else f"a whole number below {MOST_COUNT:,}"
            )
            raise InputError(
                f"stream state with {key} {state[key]!r:.60}: expected {expected}; load what "
                "state_dict gave"
            )

    for key in (*keys, *(["together"] if "together" in ours else [])):
        if state[key] != ours[key]:
            raise InputError(
                f"stream state of {key} {state[key]!r}, this stream has {ours[key]!r}: continuing "
                "would repeat or skip data; open what the run was started with"
            )


def _is_like(found: Any, ours: int | str, *, may_be_any: bool) -> bool:
    """True for a text in place of one, and for a count in place of one. A seed is any number."""
    if isinstance(ours, str):
        return isinstance(found, str)
    if not isinstance(found, int) or isinstance(found, bool):
        return False

    return may_be_any or 0 <= found < MOST_COUNT
