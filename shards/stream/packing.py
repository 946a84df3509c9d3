"""Training rows of whole documents, packed by best fit, with an instant start and exact continuation.

The documents of a split are dealt into groups of `GROUP_DOCUMENTS`, by a keyed permutation of short
runs. The number of a group's rows depends on its lengths alone, so group and row follow from a
sample's index, for any number of ranks. Each epoch has its own order of the groups and of the rows
in them, and redistributes documents of equal length, so a document has other neighbours.

A row has `block_size` + 1 tokens. A longer document is cut into as few pieces as possible with an
overlap of one token; no other is cut. The rest of a row is end-of-text. Inside a row every document
but the last ends with end-of-text, so `packed_fields` finds the documents in the tokens alone.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from corpus.errors import InputError
from shards.stream.best_fit import best_fit
from shards.stream.blocks import check_state
from shards.stream.epochs import EpochStream, of_window, together_of
from shards.stream.order import Permutation
from shards.stream.row_groups import PieceReader
from shards.stream.token_source import Tokens
from shards.stream.tokens import Document

# Documents packed together: 5 ms a group, and 0.1 % of its rows stay empty on lengths of web
# pages.
GROUP_DOCUMENTS = 1 << 16
# Neighbours put into a group together: documents are in the order of a hash, so neighbours are
# unrelated.
RUN_DOCUMENTS = 64
KEPT_GROUPS = 3
# Samples whose pieces are looked up at once: a batch of 8 rows costs 20 us then, 150 us without.
CHUNK_SAMPLES = 1 << 12
# Label of a position without a prediction, as torch's cross entropy ignores it.
IGNORED = -100


class PackableTokens(Tokens, Protocol):
    """Tokens whose documents are known."""

    end_of_text: int

    def document_ends(self) -> np.ndarray: ...

    def read_pieces(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        out: np.ndarray,
    ) -> None: ...

    def piece_reader(
        self, starts: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> PieceReader | None: ...


@dataclass(frozen=True, slots=True)
class PackedFields:
    """Input of attention and loss for packed rows of T + 1 tokens."""

    labels: np.ndarray
    """Next token of the same document, else `IGNORED`. Shape (B, T) int64."""
    position_ids: np.ndarray
    """Position in its document, from 0. Shape (B, T) int64."""
    document_ids: np.ndarray
    """Number of the document in its row, from 0. Shape (B, T) int32."""
    cu_seqlens: np.ndarray
    """Where each document begins in the rows end to end, and their end.

    Shape (documents + 1,) int32.
    """
    max_seqlen: int
    """Tokens of the longest document."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The pieces of one group in one epoch, in the order of its rows."""

    starts: np.ndarray
    lengths: np.ndarray
    offsets: np.ndarray
    """First piece of each row. Shape (rows + 1,)."""


class PackedStream(EpochStream):
    """Rows of whole documents in the order of (seed, epoch), for one rank of any world.

    As `BlockStream`: sample i of the global order is the same for every world size, `state_dict`
    counts the samples given out. `window`: 0 deals from the whole split; any other number deals
    groups from that many row groups' worth of neighbouring documents, for a split larger than its
    cache.
    """

    def __init__(
        self,
        split: PackableTokens,
        *,
        block_size: int,
        seed: int,
        epoch: int = 0,
        index: int = 0,
        window: int = 0,
    ) -> None:
        super().__init__(split, block_size=block_size, seed=seed, window=window)
        self.split = split
        ends = split.document_ends()
        if not len(ends):
            raise InputError(f"the {split.name} split has no document to pack")

        self._starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        self._lengths = ends - self._starts
        self._groups: OrderedDict[tuple[int, int], _Group] = OrderedDict()
        self._fits: OrderedDict[int, tuple[np.ndarray, int]] = OrderedDict()
        self._chunk: tuple[np.ndarray, ...] = ()
        self._chunk_key = (-1, -1)
        self._read_listed: PieceReader | None = None
        self._deal()
        self.seek(epoch, index)

    @property
    def waste(self) -> float:
        """Fraction of the rows' places without a token."""
        rows = self.num_blocks * (self.block_size + 1)
        return 1 - self._num_tokens / rows

    def rows(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The samples at `indices`, counted from the start of this epoch.

        Shape (len(indices), block_size + 1) int64.
        """
        return self._read(len(indices), *self._pieces(np.asarray(indices, np.int64)), out=out)

    def documents(self, index: int) -> list[Document]:
        """The documents in sample `index`, counted from the start of this epoch."""
        _, starts, lengths, _ = self._pieces(np.array([index]))
        return [
            document
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
            for document in self.split.documents(start, start + length)
        ]

    def state_dict(self) -> dict[str, int | str]:
        """The consumed part: enough to continue this order in any process of any world."""
        return {
            "snapshot": self.split.digest,
            "split": self.split.name,
            "packing": "documents",
            "block_size": self.block_size,
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index,
            **of_window(self.window, self.together),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved; the seed is the state's.

        Raises: InputError when it was saved over another snapshot, split, block size, packing or
        window.
        """
        same = ("snapshot", "split", "packing", "block_size", "window")
        check_state(state, self.state_dict(), same)
        together = together_of(state)
        if (self.seed, self.together) != (state["seed"], together):
            self.seed, self.together = state["seed"], together
            self._groups.clear()
            self._fits.clear()
            self._chunk_key = (-1, -1)
            self._deal()

        self.seek(state["epoch"], state["index"])

    def _needed(self, indices: np.ndarray) -> tuple[np.ndarray, int]:
        return self._pieces(indices)[1], 1

    def _read(
        self,
        count: int,
        where: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        places: np.ndarray,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        rows = np.empty((count, self.block_size + 1), np.int64) if out is None else out
        self._fill(rows, _filled(count, where, lengths, places))
        self.split.read_pieces(starts, lengths, where, places, rows)
        return rows

    def _fill(self, rows: np.ndarray, filled: np.ndarray) -> None:
        """Write end-of-text behind the last piece of each row, where one leaves room."""
        for row, end in enumerate(filled.tolist()):
            if end <= self.block_size:
                rows[row, end:] = self.split.end_of_text

    def _next_rows(self, first: int, count: int) -> np.ndarray:
        """Rows of consecutive samples, from a kept chunk of their pieces."""
        number, begin = divmod(first, CHUNK_SAMPLES)
        if begin + count > CHUNK_SAMPLES or first + count > self.num_blocks:
            return self._read(count, *self._pieces(np.arange(first, first + count)))

        key = self.epoch, number
        if self._chunk_key != key:
            start = number * CHUNK_SAMPLES
            stop = min(start + CHUNK_SAMPLES, self.num_blocks)
            where, *rest = self._pieces(np.arange(start, stop))
            order = np.argsort(where, kind="stable")
            where, *rest = (each[order] for each in (where, *rest))
            bounds = np.searchsorted(where, np.arange(stop - start + 1))
            filled = _filled(stop - start, where, *rest[1:])
            self._chunk, self._chunk_key = (bounds, filled, where, *rest), key
            targets = where * (self.block_size + 1) + rest[2]
            self._read_listed = self.split.piece_reader(rest[0], rest[1], targets)

        # One by one: an expression over all of them costs as much as the copying.
        bounds, filled, where, starts, lengths, places = self._chunk
        one, end = bounds[begin], bounds[begin + count]
        rows = np.empty((count, self.block_size + 1), np.int64)
        self._fill(rows, filled[begin : begin + count])
        if self._read_listed is not None:
            base = begin * (self.block_size + 1)
            self._read_listed(int(one), int(end), base, rows.reshape(-1))
            return rows

        self.split.read_pieces(
            starts[one:end], lengths[one:end], where[one:end] - begin, places[one:end], rows
        )
        return rows

    def _deal(self) -> None:
        """Deal runs of documents into groups and count the rows of each."""
        num_documents = len(self._lengths)
        self._run, per_group = RUN_DOCUMENTS, GROUP_DOCUMENTS // RUN_DOCUMENTS
        if self.window:
            mean = max(1, int(self._lengths.mean()))
            self._run = max(1, self.split.run_tokens // mean) * self.together
            per_group = self.window // self.together

        num_runs = -(-num_documents // self._run)
        order = Permutation(num_runs, self.seed, 3)(np.arange(num_runs))
        self._dealt = [order[at : at + per_group] for at in range(0, num_runs, per_group)]

        counts = []
        self._num_tokens = 0

        for group in range(len(self._dealt)):
            _, lengths = self._group_pieces(group)
            counts.append(best_fit(np.sort(lengths)[::-1], self.block_size + 1)[1])
            self._num_tokens += int(lengths.sum())

        self._rows_of_group = np.array(counts, np.int64)
        # Rows of an epoch.
        self.num_blocks = int(self._rows_of_group.sum())

    def _group_pieces(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Start and length of every piece of a group's documents, long ones cut.

        Shapes (n,), (n,).
        """
        firsts = self._dealt[group] * self._run
        documents = (firsts[:, None] + np.arange(self._run)).ravel()
        documents = documents[documents < len(self._lengths)]
        starts, lengths = self._starts[documents], self._lengths[documents]

        # Pieces overlap by one token, so each token but a document's first is predicted once.
        pieces = np.maximum(1, -(-(lengths - 1) // self.block_size))
        if (pieces == 1).all():
            return starts, lengths

        which = np.repeat(np.arange(len(lengths)), pieces)
        number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begins = number * self.block_size

        return (
            starts[which] + begins,
            np.minimum(lengths[which] - begins, self.block_size + 1),
        )

    def _group(self, epoch: int, group: int) -> _Group:
        """A group as it is packed in an epoch."""
        key = epoch, group
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]

        starts, lengths = self._group_pieces(group)
        number = np.arange(len(lengths))
        shuffle = Permutation(len(lengths), self.seed, epoch, 4, group)(number)
        order = _sorted_by(self.block_size + 1 - lengths, shuffle)
        rows, num_rows = self._fit(group, lengths[order])
        rows = Permutation(num_rows, self.seed, epoch, 5, group)(rows)
        # Pieces of a row are in any order.
        by_row = _sorted_by(rows, shuffle[order])
        chosen = order[by_row]
        offsets = np.searchsorted(rows[by_row], np.arange(num_rows + 1))

        if len(self._groups) >= KEPT_GROUPS:
            self._groups.popitem(last=False)
        self._groups[key] = _Group(starts[chosen], lengths[chosen], offsets)

        return self._groups[key]

    def _fit(self, group: int, descending: np.ndarray) -> tuple[np.ndarray, int]:
        """`best_fit` of a group: of its lengths alone, so the same in every epoch."""
        if group not in self._fits:
            if len(self._fits) >= KEPT_GROUPS:
                self._fits.popitem(last=False)
            self._fits[group] = best_fit(descending, self.block_size + 1)

        return self._fits[group]

    def _pieces(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row of `indices`, start, length and place in its row of every piece of those samples."""
        found: list[tuple[np.ndarray, ...]] = []
        epochs, within = np.divmod(indices, self.num_blocks)
        for epoch in np.unique(epochs).tolist():
            order = self._order(self.epoch + epoch)
            ends = np.cumsum(self._rows_of_group[order])
            here = np.flatnonzero(epochs == epoch)
            turns = np.searchsorted(ends, within[here], "right")
            for turn in np.unique(turns).tolist():
                chosen = here[turns == turn]
                first = int(ends[turn] - self._rows_of_group[order[turn]])
                group = self._group(self.epoch + epoch, int(order[turn]))
                found.append(_rows_of(group, within[chosen] - first, chosen))

        where, starts, lengths, places = (np.concatenate(each) for each in zip(*found, strict=True))
        return where, starts, lengths, places

    def _order(self, epoch: int) -> np.ndarray:
        """The groups in their order in an epoch."""
        count = len(self._rows_of_group)
        return Permutation(count, self.seed, epoch, 6)(np.arange(count))


def packed_fields(rows: np.ndarray, end_of_text: int) -> PackedFields:
    """Labels, positions and documents of rows of `PackedStream`. `rows` has shape (B, T + 1)."""
    tokens = rows[:, :-1]
    is_end = tokens == end_of_text
    begins = np.ones(tokens.shape, bool)
    # What fills a row up counts as one document, not as one a token.
    fills = np.zeros(tokens.shape, bool)
    fills[:, 2:] = is_end[:, 2:] & is_end[:, :-2]
    begins[:, 1:] = is_end[:, :-1] & ~fills[:, 1:]

    columns = np.arange(tokens.shape[1])
    position_ids = columns - np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    flat = np.flatnonzero(begins)
    cu_seqlens = np.append(flat, tokens.size).astype(np.int32)

    return PackedFields(
        labels=np.where(is_end, IGNORED, rows[:, 1:]),
        position_ids=position_ids,
        document_ids=(np.cumsum(begins, axis=1) - 1).astype(np.int32),
        cu_seqlens=cu_seqlens,
        max_seqlen=int(np.diff(cu_seqlens).max(initial=0)),
    )


def _sorted_by(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The order by two numbers from 0 to 2**31, the second unique: a third of `lexsort`'s time."""
    return np.argsort(first << 32 | second)


def _filled(count: int, where: np.ndarray, lengths: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places of each row taken by its pieces. Shape (count,) int64."""
    filled = np.zeros(count, np.int64)
    # The last piece of a row is its furthest.
    np.maximum.at(filled, where, places + lengths)
    return filled


def _rows_of(
    group: _Group, rows: np.ndarray, where: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(row asked for, start, length, place) of the pieces of some rows of a group."""
    firsts, counts = group.offsets[rows], group.offsets[rows + 1] - group.offsets[rows]
    number = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    pieces = np.repeat(firsts, counts) + number
    lengths = group.lengths[pieces]
    before = np.cumsum(lengths) - lengths
    row_starts = before[np.cumsum(counts) - counts]

    return (
        np.repeat(where, counts),
        group.starts[pieces],
        lengths,
        before - np.repeat(row_starts, counts),
    )
