"""A split with documents repeated in proportion to a column of `documents`, votes for example.

Each document comes value / median times an epoch, at least once and at most `MOST_COPIES` times; a
fraction is rounded by a hash of its id. The first round has every document, the second those with
two copies or more, and so on, so copies of a document are far apart and never neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from corpus.bulk import read_many
from corpus.errors import InputError
from corpus.snapshots.snapshot import TokenFile
from corpus.tables.manifest import fingerprint
from shards.split import fractions
from shards.stream.columns import DUPLICATES, check_column, numbers, read_columns, removed_counts
from shards.stream.row_groups import PieceReader
from shards.stream.selection import Selection, select
from shards.stream.tokens import Document, TokenSplit, read_spans

# A page with a thousand votes is no thousand times better, and would be learned by heart.
MOST_COPIES = 8
# Keeps the rounding apart from every other hash of `doc_id`.
ROUNDING_SEED = 20190215


class WeightedSplit:
    """Rounds of a split, end to end: the whole split first, then ever fewer of its documents."""

    def __init__(self, split: TokenSplit, rounds: Sequence[Selection], digest: str) -> None:
        self.name = split.name
        self.digest = digest
        self.run_tokens = split.run_tokens
        self.ahead = split.ahead
        self.end_of_text = split.end_of_text
        # Tokens of each round; the first round is the split itself.
        self.round_tokens = [split.num_tokens, *(each.num_tokens for each in rounds)]

        self._split = split
        self._rounds: list[TokenSplit | Selection] = [split, *rounds]
        self._starts = np.cumsum([0, *self.round_tokens])
        self.num_tokens = int(self._starts[-1])

    @property
    def misses(self) -> int:
        """As `TokenSplit.misses`."""
        return self._split.misses

    def slice(self, start: int, stop: int) -> np.ndarray:
        """As `TokenSplit.slice`."""
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens [{start}, {stop}) of a split of {self.num_tokens}")

        pieces = [tokens.slice(begin, end) for tokens, _, begin, end in self._parts(start, stop)]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.zeros(0, self._split.dtype)

    def read_blocks(
        self, starts: np.ndarray, length: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """As `TokenSplit.read_blocks`."""
        blocks = np.empty((len(starts), length), np.int64) if out is None else out
        first, last = self._find(starts), self._find(starts + length - 1)
        for number in np.unique(first).tolist():
            here = np.flatnonzero((first == number) & (last == number))
            if here.size:
                within = starts[here] - self._starts[number]
                blocks[here] = self._rounds[number].read_blocks(within, length)

        for row in np.flatnonzero(first != last).tolist():
            blocks[row] = self.slice(int(starts[row]), int(starts[row]) + length)
        return blocks

    def read_pieces(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """As `TokenSplit.read_pieces`: a document is in one round, and whole in it."""
        self._split.read_pieces(self._positions(starts), lengths, rows, places, out)

    def piece_reader(
        self, starts: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> PieceReader | None:
        """As `Segments.piece_reader`."""
        return self._split.piece_reader(self._positions(starts), lengths, targets)

    def document_ends(self) -> np.ndarray:
        """As `TokenSplit.document_ends`; each copy is a document."""
        # Read once: every round is a selection of the same split.
        ends = self._split.document_ends()
        found = [
            start + (each.ends_inside(ends) if isinstance(each, Selection) else ends)
            for start, each in zip(self._starts.tolist(), self._rounds, strict=False)
        ]
        return np.concatenate(found)

    def prefetch(self, starts: np.ndarray, length: int) -> None:
        """As `TokenSplit.prefetch`, by where each block begins."""
        self._split.prefetch(self._positions(starts), 1)

    def documents(self, start: int, stop: int) -> list[Document]:
        """As `TokenSplit.documents`; positions are those of the weighted split."""
        return [
            Document(found.doc_id, found.batch, found.start + base, found.stop + base)
            for tokens, base, begin, end in self._parts(start, stop)
            for found in tokens.documents(begin, end)
        ]

    def _positions(self, starts: np.ndarray) -> np.ndarray:
        """The places in the split of places in the rounds. Shapes (n,) to (n,) int64."""
        found = self._find(starts)
        within: np.ndarray = starts - self._starts[found]
        for number, tokens in enumerate(self._rounds):
            if isinstance(tokens, Selection):
                here = found == number
                within[here] = tokens.positions(within[here])
        return within

    def _find(self, positions: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._starts[1:], positions, "right")

    def _parts(
        self, start: int, stop: int
    ) -> Iterator[tuple[TokenSplit | Selection, int, int, int]]:
        """(round, its first position, begin, end in it) of the pieces of [start, stop)."""
        for base, tokens in zip(self._starts.tolist(), self._rounds, strict=False):
            begin, end = max(start - base, 0), min(stop - base, tokens.num_tokens)
            if begin < end:
                yield tokens, base, begin, end


def weigh(split: TokenSplit, column: str) -> WeightedSplit:
    """The split with its documents weighed by a numeric column of `documents`.

    Raises: InputError for another column, one without a value above 0, or rebuilt documents.
    """
    check_column(column, "sample_by")
    removed = removed_counts(split.store, split.files) if column == DUPLICATES else None
    found = read_many(
        split.store, split.files, lambda file: _read_values(split, file, column, removed)
    )

    everything = np.concatenate([values for _, values, _ in found] or [np.zeros(0)])
    known = everything[everything > 0]
    if not known.size:
        raise InputError(
            f"sample_by {column!r}: no document of the {split.name} split has a value above 0; "
            "choose another column or leave it out"
        )

    median = float(np.median(known))
    copies = [_copies(values / median, uniform) for _, values, uniform in found]
    ends = [file_ends for file_ends, _, _ in found]
    label = f"{column} {xxh3_128_hexdigest(np.concatenate(copies).tobytes())}"
    most = max(int(part.max(initial=1)) for part in copies)
    rounds = [
        select(split, zip([part > number for part in copies], ends, strict=True), label)
        for number in range(1, most)
    ]

    return WeightedSplit(split, rounds, fingerprint(split.digest, "sample_by", label))


def _read_values(
    split: TokenSplit, file: TokenFile, column: str, removed: pa.StructArray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """End, value and a uniform number of each document of a token file. Shapes (n,)."""
    doc_ids, ends = read_spans(split.store, file)
    found = read_columns(split.store, file, doc_ids, [column], removed)
    return (
        ends,
        np.nan_to_num(numbers(found[column])),
        fractions(doc_ids.to_pylist(), ROUNDING_SEED),
    )


def _copies(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The number of copies of each document in an epoch. Shapes (n,), (n,) to (n,) uint8."""
    wanted = np.clip(weights, 1, MOST_COPIES)
    return (np.floor(wanted) + (uniform < wanted % 1)).astype(np.uint8)
