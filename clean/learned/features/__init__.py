"""Features of a block for the trees, as a row of numbers named by `NAMES`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from clean.learned import markup
from clean.learned.blocks import PageBlocks
from clean.learned.compiled import compiled
from clean.learned.features.branches import describe_branches
from clean.learned.features.containers import describe_containers
from clean.learned.features.headings import describe_headings, describe_title
from clean.learned.features.neighbours import describe_neighbours, describe_windows
from clean.learned.features.outline import describe_outline
from clean.learned.features.own import describe_own
from clean.learned.features.page import (
    describe_articles,
    describe_marks,
    describe_page,
    describe_zones,
)
from clean.learned.features.registry import CAPS, FLOORS, KINDS, NAMES, NUM_FEATURES
from clean.learned.features.repeats import describe_repeats
from clean.learned.features.stated import describe_stated
from clean.learned.markup import HINTS, PAGE_MARKS

__all__ = ["NAMES", "NUM_FEATURES", "features"]

# Tags of the same kind as another.
_ALIKE = (
    ("th", "td"),
    ("h5", "h4"),
    ("h6", "h4"),
    ("strong", "span"),
    ("em", "span"),
    ("main", "article"),
)


def features(page: PageBlocks, extra: int = 0) -> np.ndarray:
    """The features of a page's blocks: (b, NUM_FEATURES + extra) float32, columns NAMES.

    The last `extra` columns are left for the caller to fill.
    """
    out = np.empty((page.counts.shape[0], NUM_FEATURES + extra), np.float32)
    if page.counts.shape[0]:
        _describe(
            page.counts,
            page.place,
            page.channels,
            page.hashes,
            page.parents,
            page.element_tags,
            page.num_bytes,
            _kinds(),
            _marks(page),
            out,
        )
        describe_stated(page, out)
        _bound(out, *_bounds())

    return out


@compiled
def _describe(
    counts: Any,
    place: Any,
    channels: Any,
    hashes: Any,
    parents: Any,
    element_tags: Any,
    num_bytes: Any,
    kinds: Any,
    marks: Any,
    out: Any,
) -> None:
    """Fill `out`, one subject after another. Later ones read columns of earlier ones."""
    describe_own(counts, place, num_bytes, kinds, out)
    above = describe_containers(counts, place, parents, out)
    describe_windows(out)
    describe_neighbours(counts, place, kinds, out)
    describe_headings(counts, place, out)
    title = describe_title(counts, place, out)
    describe_outline(counts, place, out)
    describe_branches(counts, place, parents, element_tags, above, title, out)
    describe_repeats(place, hashes, above, kinds, out)
    describe_articles(place, parents, element_tags, out)
    describe_page(counts, place, num_bytes, out)
    describe_zones(counts, channels, out)
    describe_marks(channels, marks, out)


@compiled
def _bound(out: Any, columns: Any, caps: Any, floors: Any, leasts: Any) -> None:
    """Bound the features growing or shrinking with the page."""
    for block in range(out.shape[0]):
        for index in range(columns.size):
            out[block, columns[index]] = min(out[block, columns[index]], caps[index])
        for index in range(floors.size):
            out[block, floors[index]] = max(out[block, floors[index]], leasts[index])


@cache
def _bounds() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Capped columns, (c,) int64, and their caps, (c,) float32; the same of floors."""
    columns, floors = (
        np.array([NAMES.index(name) for name in names], np.int64) for names in (CAPS, FLOORS)
    )
    caps, leasts = (np.array(list(each.values()), np.float32) for each in (CAPS, FLOORS))
    return columns, caps, floors, leasts


@cache
def _kinds() -> np.ndarray:
    """The kind of block of each tag, from 1; 0 for tags without one. (tags + 1,) int64."""
    kinds = np.zeros(len(markup.TAGS) + 1, np.int64)
    for number, name in enumerate(KINDS, 1):
        kinds[markup.TAG[name]] = number
    for name, like in _ALIKE:
        kinds[markup.TAG[name]] = kinds[markup.TAG[like]]
    return kinds


def _marks(page: PageBlocks) -> np.ndarray:
    """1 for each of PAGE_MARKS stated by the page about itself, (marks,) float32."""
    bits = int(page.marks[0]) | int(page.marks[1]) << 64
    return np.array([bits >> HINTS.index(name) & 1 for name in PAGE_MARKS], np.float32)
