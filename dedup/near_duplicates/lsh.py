"""Signatures to band keys to candidate pairs.

A signature of b x r positions is cut into b bands of r. Two pages are candidates if they agree in a
whole band: with Jaccard similarity J this has probability 1 - (1 - J**r)**b, the S-curve.
Candidates are found by sorting keys, not by a dictionary. A key is a 64-bit mix of the band's
number and all its r values (sums or 32-bit keys bring unrelated pages together: 3 % of pages at
100,000, measured).

A bucket is the pages of one key. In a small bucket every pair is compared. In a large one
(boilerplate by the million) each page is compared with the first few of the order; the rest is left
to `greedy`, which compares a page with kept pages only, so a family of near copies costs its size,
not its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corpus.config import Section
from dedup.words import mix

# Pages of a bucket up to which every pair is compared at once. Changes cost, never a verdict.
FULL_BUCKET = 24
# Of a larger bucket, how many first pages every other is compared with at once. Changes cost,
# never a verdict.
LEADERS = 4

_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_BAND_SALT = np.uint64(0x9E3779B97F4A7C15)
_CONTENT_SALT = np.uint64(0xA0761D6478BD642F)


# Of bands that are chosen by threshold.
MOST_PERMUTATIONS = 128
# The probability with which pages a little above the threshold shall meet, of such bands.
MEETS = 0.92
# How much above; at most half the way to 1.
MARGIN = 0.05


class LshConfig(Section):
    """Division of signatures into bands.

    Bands and rows set the similarity at which pages are likely to meet.
    """

    num_bands: int = 14
    """Bands (`b` elsewhere). Not set: chosen by the threshold; 14 x 8, as in FineWeb, for .75: pages of similarity .8 meet with
    probability .92."""
    rows_per_band: int = 8
    """Positions of a band (`r` elsewhere). Not set: chosen by the threshold."""

    def model_post_init(self, context: object) -> None:
        if self.num_bands < 1 or self.rows_per_band < 1 or self.num_perm > 4096:
            raise ValueError(
                f"{self.num_bands} bands of {self.rows_per_band} rows; allowed: at least 1 each and at most 4096 together"
            )

    @property
    def num_perm(self) -> int:
        """Permutations of a signature."""
        return self.num_bands * self.rows_per_band


@dataclass(frozen=True, slots=True)
class Members:
    """Pages in buckets, one row per page and key. All arrays have one row per membership."""

    key: np.ndarray
    """uint64."""
    batch: np.ndarray
    """int32: place of the page's batch in the order of batches."""
    rank: np.ndarray
    """int64; within a batch the higher rank comes first. 0 for pages of earlier batches."""
    doc: np.ndarray
    """S16 or any sortable: the page; ties of rank go to the smaller."""
    content: np.ndarray
    """S16: content hash, of which a bucket takes only the first page.

    Empty for pages of earlier batches.
    """


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of `Members` brought together by buckets."""

    pairs: np.ndarray
    """(p, 2) int64: (earlier, later) rows to be compared."""
    copies: np.ndarray
    """(c, 2) int64: (first, later) rows of equal content."""
    large: np.ndarray
    """(m,) int64: the rows of large buckets, whole buckets in order."""


def bands_for(threshold: float) -> LshConfig:
    """The steepest bands for a threshold, with at most MOST_PERMUTATIONS.

    Pages MARGIN above the threshold meet with probability MEETS. Range: threshold above 0, up to 1;
    a band of one row suffices for any.
    """
    # Near 1 the margin shrinks to half the space left: similarities end at 1.
    wanted = threshold + min(MARGIN, (1 - threshold) / 2)
    bands, rows = next(
        (bands, rows)
        for rows in range(MOST_PERMUTATIONS, 0, -1)
        for bands in range(1, MOST_PERMUTATIONS // rows + 1)
        if _meets(wanted, bands, rows) >= MEETS
    )
    return LshConfig(num_bands=bands, rows_per_band=rows)


def meet_probability(jaccard: float, config: LshConfig) -> float:
    """The S-curve: how probably two pages of this similarity share a band."""
    return _meets(jaccard, config.num_bands, config.rows_per_band)


def _meets(jaccard: float, bands: int, rows: int) -> float:
    return float(1.0 - (1.0 - jaccard**rows) ** bands)


def curve(config: LshConfig) -> str:
    """The S-curve in one line, for the log."""
    points = ", ".join(
        f"{j:.2f}: {meet_probability(j, config):.4f}"
        for j in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    )
    return f"{config.num_bands} bands of {config.rows_per_band}: pages of similarity J meet with probability {points}"


def band_keys(signatures: np.ndarray, config: LshConfig) -> np.ndarray:
    """The key of every band. Shapes: (pages, num_perm) uint32 to (pages, num_bands) uint64."""
    bands = signatures.reshape(signatures.shape[0], config.num_bands, config.rows_per_band)
    state = np.empty(bands.shape[:2], np.uint64)
    # Salted by band: equal rows in different bands must not share a bucket.
    state[:] = (np.arange(config.num_bands, dtype=np.uint64) + np.uint64(1)) * _BAND_SALT

    for row in range(config.rows_per_band):
        state ^= bands[:, :, row]
        state *= _MULTIPLIER
        state ^= state >> np.uint64(32)

    return mix(state)


def content_keys(content: np.ndarray) -> np.ndarray:
    """The key of pages with equal content.

    Shapes: (pages, 2) uint64 to (pages,) uint64.
    """
    return mix(content[:, 0] ^ mix(content[:, 1] ^ _CONTENT_SALT))


def candidates(members: Members, this_batch: int) -> Candidates:
    """Find all candidates in the buckets of `members`, except between pages of earlier batches.

    Any order of rows gives the same pages (rows are named by index). Every pair has one direction
    only, but may come from several buckets.
    """
    by_key = np.argsort(members.key)
    rows = by_key[
        _in_crowd(members.key[by_key])
    ]  # most keys have one page: only the others are put in order
    rank = -members.rank[rows]
    order = rows[np.lexsort((members.doc[rows], rank, members.batch[rows], members.key[rows]))]
    copies, order = _take_copies(members, order, this_batch)
    order = order[_in_crowd(members.key[order])]
    key = members.key[order]
    starts = (
        np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        if key.size
        else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.append(starts, key.size))
    new = members.batch[order] == this_batch
    has_new = np.add.reduceat(new, starts) > 0 if starts.size else np.zeros(0, bool)
    starts, sizes = starts[has_new], sizes[has_new]
    pairs = [np.zeros((0, 2), np.int64)]

    for size in np.unique(sizes):
        first = starts[sizes == size]
        earlier, later = _slots(int(size))
        pairs.append(
            np.stack([(first[:, None] + earlier).ravel(), (first[:, None] + later).ravel()], axis=1)
        )

    chosen = np.concatenate(pairs)
    chosen = chosen[new[chosen[:, 1]]]
    is_large = sizes > FULL_BUCKET
    large = [
        np.arange(start, start + size)
        for start, size in zip(starts[is_large], sizes[is_large], strict=True)
    ]

    return Candidates(
        order[chosen].reshape(-1, 2), copies, order[np.concatenate([np.zeros(0, np.int64), *large])]
    )


def _slots(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Compared places in a bucket of this size: (earlier, later)."""
    if size <= FULL_BUCKET:
        earlier, later = np.triu_indices(size, 1)
        return earlier, later
    grid = np.arange(size)
    pairs = [(np.full(size - lead - 1, lead), grid[lead + 1 :]) for lead in range(LEADERS)]
    return np.concatenate([each[0] for each in pairs]), np.concatenate([each[1] for each in pairs])


def _in_crowd(key: np.ndarray) -> np.ndarray:
    """Mask of sorted keys with repeats."""
    same = key[1:] == key[:-1]
    crowd = np.zeros(key.size, bool)
    crowd[1:] |= same
    crowd[:-1] |= same
    return crowd


def _take_copies(
    members: Members, order: np.ndarray, this_batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split off, bucket by bucket, this batch's pages with the content of an earlier one of it."""
    rows = order[members.batch[order] == this_batch]
    # Stable, so within equal (key, content) the order of pages stands.
    by_content = rows[np.lexsort((np.arange(rows.size), members.content[rows], members.key[rows]))]
    key, content = members.key[by_content], members.content[by_content]
    fresh = np.ones(by_content.size, bool)
    fresh[1:] = (key[1:] != key[:-1]) | (content[1:] != content[:-1])
    first = by_content[np.maximum.accumulate(np.where(fresh, np.arange(by_content.size), 0))]
    copies = np.stack([first[~fresh], by_content[~fresh]], axis=1).reshape(-1, 2)
    gone = np.zeros(members.key.size, bool)
    gone[copies[:, 1]] = True

    return copies, order[~gone[order]]
