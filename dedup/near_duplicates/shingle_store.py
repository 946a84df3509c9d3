"""Shingle sets of many pages on disk, for comparing any two of them on demand.

Beside every set is a bitmap of its values' low bits. A value without its bit in the other bitmap is
certainly not shared, which rules out most pairs below the threshold at a fraction of a merge's
cost; the others are merged. So the answer is exact, and pages with a common frame but little common
text cost little each.
"""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from dedup.doc_ids import bytes_to_hashes
from dedup.document_rows import ShingleSets

# At least; 12 of 13 values that are not shared then show in the bitmaps.
BITS_PER_SHINGLE = 12
ABSENT = -1


@dataclass(frozen=True, slots=True)
class StoredSets:
    """The sets of some pages, by number of the page.

    Sets of `values` and `bitmaps` lie one after the other.
    """

    slot: np.ndarray
    """(pages,) int64: the place of the page's set.

    ABSENT for pages without one: they are similar to nothing.
    """
    value_bounds: np.ndarray
    """(sets + 1,) int64 into `values`."""
    bitmap_bounds: np.ndarray
    """(sets + 1,) int64 into `bitmaps`; sizes are powers of two."""
    content: np.ndarray
    """(sets, 2) uint64: hash of the normalised text."""
    values: np.ndarray
    """uint64: distinct shingles, ascending."""
    bitmaps: np.ndarray
    """uint64."""


class SetWriter:
    """Puts sets into two files and gives them back as `StoredSets`."""

    def __init__(self, num_pages: int, values: IO[bytes], bitmaps: IO[bytes]) -> None:
        self._slot = np.full(num_pages, ABSENT, np.int64)
        self._files = (values, bitmaps)
        self._sizes: tuple[list[int], list[int]] = ([], [])
        self._content: list[np.ndarray] = []

    def add(self, numbers: np.ndarray, found: ShingleSets) -> None:
        """Write the sets of the pages of these numbers; shape (pages,), in the order of `found`."""
        self._slot[numbers] = np.arange(numbers.size) + len(self._sizes[0])
        self._content.append(bytes_to_hashes(found.content))
        for row in range(numbers.size):
            values = found.sets.row(row)
            for which, data in enumerate((values, bitmap(values))):
                self._files[which].write(data.tobytes())
                self._sizes[which].append(data.size)

    def finish(self) -> StoredSets:
        """All of them, mapped into memory."""
        value_bounds, bitmap_bounds = (
            np.cumsum([0, *sizes], dtype=np.int64) for sizes in self._sizes
        )

        return StoredSets(
            slot=self._slot,
            value_bounds=value_bounds,
            bitmap_bounds=bitmap_bounds,
            content=np.concatenate([np.zeros((0, 2), np.uint64), *self._content]),
            values=_mapped(self._files[0], int(value_bounds[-1])),
            bitmaps=_mapped(self._files[1], int(bitmap_bounds[-1])),
        )


def bitmap(values: np.ndarray) -> np.ndarray:
    """The low bits of distinct values. Shapes (n,) uint64 to (power of two,) uint64."""
    size = 1 << max(0, int(BITS_PER_SHINGLE * values.size - 1).bit_length() - 6)
    flags = np.zeros(64 * size, np.uint8)
    flags[values & np.uint64(64 * size - 1)] = 1
    return np.packbits(flags, bitorder="little").view("<u8").astype(np.uint64)


def none_stored(num_pages: int) -> StoredSets:
    """No set of any page."""
    with TemporaryFile() as values, TemporaryFile() as bitmaps:
        return SetWriter(num_pages, values, bitmaps).finish()


def _mapped(file: IO[bytes], size: int) -> np.ndarray:
    """The file as a plain array: a slice of a memmap object costs ten times as much as one of its array."""
    file.flush()
    mapped = (
        np.asarray(np.memmap(file, np.uint64, "r", shape=(size,)))
        if size
        else np.zeros(0, np.uint64)
    )
    mapped.flags.writeable = False
    return mapped
