"""Chosen documents of a split, read as one sequence of tokens.

Token files hold all documents in the order of their ids. A selection keeps the places of the chosen
ones, 16 bytes for each run of neighbours, and joins their tokens end to end; every chosen token is
in it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from corpus.tables.manifest import fingerprint
from shards.stream.row_groups import PieceReader
from shards.stream.tokens import Document, TokenSplit


class Selection:
    """The ranges [begins[i], ends[i]) of a split, ascending and apart, end to end."""

    def __init__(self, split: TokenSplit, begins: np.ndarray, ends: np.ndarray, label: str) -> None:
        self.name = split.name
        self.digest = fingerprint(split.digest, label)
        self.run_tokens = split.run_tokens
        self.ahead = split.ahead
        self.end_of_text = split.end_of_text
        self._split = split
        self._begins = begins
        self._starts = np.concatenate([[0], np.cumsum(ends - begins)]).astype(np.int64)
        self.num_tokens = int(self._starts[-1])

    @property
    def misses(self) -> int:
        """As `TokenSplit.misses`."""
        return self._split.misses

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop) of the selection.

        Shape (stop - start,). Raises IndexError outside it.
        """
        if not 0 <= start <= stop <= self.num_tokens:
            raise IndexError(f"tokens [{start}, {stop}) of a selection of {self.num_tokens}")

        pieces = [self._split.slice(begin, end) for _, begin, end in self._ranges(start, stop)]
        return np.concatenate(pieces) if pieces else np.zeros(0, self._split.dtype)

    def read_blocks(
        self, starts: np.ndarray, length: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """As `TokenSplit.read_blocks`."""
        blocks = np.empty((len(starts), length), np.int64) if out is None else out
        for row in np.argsort(starts).tolist():
            start = int(starts[row])
            for at, begin, end in self._ranges(start, start + length):
                blocks[row, at - start : at - start + end - begin] = self._split.slice(begin, end)

        return blocks

    def read_pieces(
        self,
        starts: np.ndarray,
        lengths: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """As `TokenSplit.read_pieces`: documents are whole in a selection, so a piece is one in the split."""
        self._split.read_pieces(self.positions(starts), lengths, rows, places, out)

    def piece_reader(
        self, starts: np.ndarray, lengths: np.ndarray, targets: np.ndarray
    ) -> PieceReader | None:
        """As `Segments.piece_reader`."""
        return self._split.piece_reader(self.positions(starts), lengths, targets)

    def document_ends(self) -> np.ndarray:
        """As `TokenSplit.document_ends`, in positions of the selection."""
        return self.ends_inside(self._split.document_ends())

    def ends_inside(self, ends: np.ndarray) -> np.ndarray:
        """Those of the split's document ends in the selection, in its positions."""
        if not self.num_tokens:
            return np.zeros(0, np.int64)

        last = np.searchsorted(self._begins, ends, "left") - 1
        inside = (last >= 0) & (
            ends - self._begins[last] <= self._starts[last + 1] - self._starts[last]
        )
        chosen, ends = last[inside], ends[inside]

        return self._starts[chosen] + ends - self._begins[chosen]

    def prefetch(self, starts: np.ndarray, length: int) -> None:
        """As `TokenSplit.prefetch`, by where each block begins."""
        self._split.prefetch(self.positions(starts), 1)

    def positions(self, starts: np.ndarray) -> np.ndarray:
        """The places in the split of places in the selection. Shapes (n,) to (n,) int64."""
        index = np.searchsorted(self._starts, starts, "right") - 1
        found: np.ndarray = self._begins[index] + starts - self._starts[index]
        return found

    def documents(self, start: int, stop: int) -> list[Document]:
        """As `TokenSplit.documents`; positions are those of the selection."""
        return [
            Document(found.doc_id, found.batch, found.start - begin + at, found.stop - begin + at)
            for at, begin, end in self._ranges(start, stop)
            for found in self._split.documents(begin, end)
        ]

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(place in the selection, begin, end in the split) of the pieces of [start, stop)."""
        index = int(np.searchsorted(self._starts, start, "right")) - 1
        while start < stop:
            end = min(stop, int(self._starts[index + 1]))
            begin = int(self._begins[index]) + start - int(self._starts[index])
            yield start, begin, begin + end - start
            start = end
            index += 1


def select(
    split: TokenSplit, chosen: Iterable[tuple[np.ndarray, np.ndarray]], label: str
) -> Selection:
    """The chosen documents of `split`: a mask and the ends of the documents of each of its files."""
    begins, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    base = 0
    for file, (mask, file_ends) in zip(split.files, chosen, strict=True):
        edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
        limits = np.concatenate([[0], file_ends])
        begins.append(base + limits[np.flatnonzero(edges == 1)])
        ends.append(base + limits[np.flatnonzero(edges == -1)])
        base += file.num_tokens

    first, last = np.concatenate(begins), np.concatenate(ends)
    # Documents without text take no room.
    return Selection(split, first[first < last], last[first < last], label)
