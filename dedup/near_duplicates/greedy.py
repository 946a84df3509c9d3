"""Verified pairs to verdicts: the greedy choice of survivors, and the duplicate of each removed page.

The order is fixed: earlier batch first, then higher rank (`ranks`), then smaller doc_id. In that order a
page is dropped if and only if it meets, in a bucket, a kept page of sufficient similarity; its
verdict names the first such page. So there are no chains: a page near a dropped page only stays.
And since no page looks ahead, batches taken one by one give the same result as together.

Pages of equal content: only the first is compared. The others share its disposition, since their
shingle sets and buckets are the same (if it is kept, they duplicate it).

In large buckets not every pair was compared beforehand. There a page is compared, in its turn, with
the previous kept pages left out before: many near copies of one page cost one comparison each. A
first pass finds the pages that may need comparison, so only their sets are read; the second
compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.compiled_registry import example
from dedup.near_duplicates.savepoint import Savepoint
from dedup.near_duplicates.shingle_store import StoredSets, none_stored

KEPT = -1
# Pages that one call of the compiled loop settles. Before each call the kept pages before it are
# put into their buckets again, which takes some 20 ns a page and key.
CHUNK_PAGES = 1 << 15


@dataclass(frozen=True, slots=True)
class Edges:
    """Pairs of pages at or above the threshold; pages are numbered in the order.

    Arrays of one row per pair.
    """

    later: np.ndarray
    earlier: np.ndarray
    similarity: np.ndarray
    exact: np.ndarray
    """bool: equal content."""


@dataclass(frozen=True, slots=True)
class LargeBuckets:
    """Memberships in buckets with pairs left out of the edges. One row per membership."""

    bucket: np.ndarray
    page: np.ndarray
    leads: np.ndarray
    """bool: every later page of the bucket was compared with this one."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The disposition of every page, by number."""

    duplicate_of: np.ndarray
    """(pages,) int64; KEPT for pages that stay."""
    similarity: np.ndarray
    """(pages,) float64; nan for pages that stay."""
    exact: np.ndarray
    """(pages,) bool."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages numbered in the order. Arrays of one row per page."""

    batch: np.ndarray
    doc: np.ndarray
    numbers: list[np.ndarray]
    """For every group that was given, the numbers of its rows."""


def number_pages(groups: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Pages:
    """Number the distinct pages of all groups of rows (batch, rank, doc) in the order of survivors."""
    batch, rank, doc = (np.concatenate([group[column] for group in groups]) for column in range(3))
    order = np.lexsort((doc, -rank, batch))
    fresh = np.ones(order.size, bool)
    fresh[1:] = (batch[order][1:] != batch[order][:-1]) | (doc[order][1:] != doc[order][:-1])
    number = np.empty(order.size, np.int64)
    number[order] = np.cumsum(fresh) - 1
    bounds = np.cumsum([group[0].size for group in groups])[:-1]
    return Pages(batch[order][fresh], doc[order][fresh], np.split(number, bounds))


def follow_copies(choice: Selection, first: np.ndarray, copy: np.ndarray) -> Selection:
    """Give copies the disposition of the page with their content.

    Shapes (c,) numbers of pages.
    """
    duplicate_of, similarity, exact = (
        choice.duplicate_of.copy(),
        choice.similarity.copy(),
        choice.exact.copy(),
    )
    stays = choice.duplicate_of[first] == KEPT
    duplicate_of[copy] = np.where(stays, first, choice.duplicate_of[first])
    similarity[copy] = np.where(stays, 1.0, choice.similarity[first])
    exact[copy] = stays | choice.exact[first]

    return Selection(duplicate_of, similarity, exact)


def choose(num_pages: int, edges: Edges) -> Selection:
    """The greedy choice where all candidate pairs were verified.

    Pages of earlier batches are never `later`.
    """
    duplicate_of = np.full(num_pages, KEPT, np.int64)
    similarity = np.full(num_pages, np.nan)
    exact = np.zeros(num_pages, bool)
    order = np.lexsort((edges.earlier, edges.later))
    later, earlier = edges.later[order].tolist(), edges.earlier[order].tolist()
    settled = duplicate_of.tolist()

    # A page's edges come together, and after those of every page before it: `earlier` is settled when it is asked.
    for place, (page, before) in enumerate(zip(later, earlier, strict=True)):
        if settled[page] == KEPT and settled[before] == KEPT:
            settled[page] = before
            similarity[page] = edges.similarity[order[place]]
            exact[page] = edges.exact[order[place]]

    duplicate_of[:] = settled
    return Selection(duplicate_of, similarity, exact)


def open_pages(num_pages: int, num_old: int, edges: Edges, large: LargeBuckets) -> np.ndarray:
    """Pages that `choose_in_large` may compare: those undecided by the edges alone.

    Ascending. Pages kept only for lack of an answer are doubtful: nothing is dropped because of
    them, and pages they might drop are doubtful too. So this pass keeps too many pages, never too
    few.
    """
    return _walk(num_pages, num_old, edges, large, 0.0, None)[1]


def choose_in_large(
    num_pages: int,
    num_old: int,
    edges: Edges,
    large: LargeBuckets,
    threshold: float,
    sets: StoredSets,
    containment: float = 0.0,
    savepoint: Savepoint | None = None,
) -> Selection:
    """Make the greedy choice, comparing pairs of large buckets as they are needed.

    The first `num_old` pages stay. `sets` has those of the `open_pages`. With a savepoint, pages
    that a stopped run settled are not compared again.
    """
    return _walk(num_pages, num_old, edges, large, threshold, sets, containment, savepoint)[0]


def _walk(
    num_pages: int,
    num_old: int,
    edges: Edges,
    large: LargeBuckets,
    threshold: float,
    sets: StoredSets | None,
    containment: float = 0.0,
    savepoint: Savepoint | None = None,
) -> tuple[Selection, np.ndarray]:
    """Make one pass in the order: (choice, pages to compare). Without sets, nothing is compared."""
    from dedup import kernels

    by_later = np.lexsort((edges.earlier, edges.later))
    by_page = np.argsort(large.page, kind="stable")
    _, bucket, sizes = np.unique(large.bucket, return_inverse=True, return_counts=True)
    numbers = np.arange(num_pages + 1)
    given = sets if sets is not None else none_stored(num_pages)
    duplicate_of, edge = np.full(num_pages, KEPT, np.int64), np.full(num_pages, KEPT, np.int64)
    similarity, asked = np.zeros(num_pages), np.zeros(num_pages, bool)
    ones = np.empty(given.bitmap_bounds.size - 1, np.int64)
    kernels.count_ones(given.bitmaps, given.bitmap_bounds, ones)
    unchanging = (
        np.searchsorted(edges.later[by_later], numbers),
        edges.earlier[by_later],
        np.searchsorted(large.page[by_page], numbers),
        bucket[by_page],
        large.leads[by_page],
        np.cumsum([0, *sizes]),
        float(threshold),
        float(containment),
        sets is not None,
        given.slot,
        given.value_bounds,
        given.bitmap_bounds,
        given.values,
        given.bitmaps,
        ones,
        _num_common(given),
    )

    # Without sets a page may be asked for by a later one, so such a pass is not divided.
    chunk = CHUNK_PAGES if sets is not None else max(1, num_pages)
    first = savepoint.restore(duplicate_of, similarity, edge) if savepoint is not None else 0
    for page in range(first, num_pages, chunk):
        after = min(num_pages, page + chunk)
        kernels.walk(num_old, page, after, *unchanging, duplicate_of, similarity, edge, asked)
        if savepoint is not None and after < num_pages:
            savepoint.keep(after, duplicate_of, similarity, edge)

    decided = np.flatnonzero(edge != KEPT)
    similarity[decided] = edges.similarity[by_later[edge[decided]]]
    exact = np.zeros(num_pages, bool)
    exact[decided] = edges.exact[by_later[edge[decided]]]
    compared = np.flatnonzero((duplicate_of != KEPT) & (edge == KEPT))
    left, right = (given.content[given.slot[pages]] for pages in (compared, duplicate_of[compared]))
    exact[compared] = (left == right).all(axis=1)
    similarity[duplicate_of == KEPT] = np.nan

    return Selection(duplicate_of, similarity, exact), np.flatnonzero(asked)


def _num_common(sets: StoredSets) -> np.ndarray:
    """The number of values of every set that another set may have.

    On pages of one frame these are the frame's, which decides most pairs without looking at them.
    """
    from dedup import kernels

    wanted = min(kernels.MOST_FILTER_BITS, kernels.FILTER_BITS_PER_VALUE * sets.values.size)
    num_words = 1 << max(0, int(wanted - 1).bit_length() - 6)
    seen, again = np.zeros(num_words, np.uint64), np.zeros(num_words, np.uint64)
    common = np.zeros(sets.value_bounds.size - 1, np.int64)
    kernels.count_common(sets.values, sets.value_bounds, seen, again, common)

    return common


@example
def _choose_from_two_pages() -> None:
    none = np.zeros(0, np.int64)
    edges = Edges(none, none, np.zeros(0), np.zeros(0, bool))
    open_pages(2, 0, edges, LargeBuckets(np.zeros(2, np.int64), np.arange(2), np.zeros(2, bool)))
