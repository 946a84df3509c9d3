"""Text repeated on a page.

Sites carry an article a second time for telephones, for readers without scripts, for print, or for
machines. A second copy differs from repetition within a text (refrains, quotations in a thread,
entries of a manual) by its place: its elements have other classes than those of the first.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.layout import (
    ELEMENT,
    FIRST_TAG_CHANNEL,
    HIDDEN,
    ROW,
    SHOWN,
    TAG_DD,
    TAG_LI,
    TAG_OF,
    TAG_TD,
    TAG_TH,
    WORDS,
)
from clean.learned.markup import CHANNEL_TAGS, HINTS
from clean.learned.tables import Row

# Shorter blocks may well be there twice for a reason.
COPY_WORDS: Final = 12
# A text repeated more often is part of a template, not of a second layout.
MAX_COPIES: Final = 4
# So many different blocks following each other a second time are a copy at any place.
RUN_BLOCKS: Final = 4
_LEVELS: Final = 8
_CLASS = re.compile(rb"class\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.I)
_NOSCRIPT: Final = FIRST_TAG_CHANNEL + CHANNEL_TAGS.index("noscript")
_QUOTES: Final = (FIRST_TAG_CHANNEL + CHANNEL_TAGS.index("blockquote"), HINTS.index("quote"))
_ENTRIES: Final = (TAG_DD, TAG_LI, TAG_TD, TAG_TH)


def without_copies(page: PageBlocks, keep: np.ndarray, rows: dict[int, Row]) -> np.ndarray:
    """`keep` without second copies of long blocks. The copy shown to all stays.

    Quotations and cells of data repeat other text for a reason.
    """
    long_enough = keep & (page.counts[:, WORDS] >= COPY_WORDS)
    places = np.flatnonzero(long_enough & ~_is_cited(page, rows))
    groups: dict[int, list[int]] = {}
    for block, key in zip(places.tolist(), page.hashes[places].tolist(), strict=True):
        groups.setdefault(key, []).append(block)
    if len(groups) == places.size:
        return keep

    keep = keep.copy()
    runs = _second_runs(page, places, groups)
    path = partial(_path, page, {})

    first_of: dict[int, int] = {}
    for blocks in groups.values():
        if 1 < len(blocks) <= MAX_COPIES:
            first = min(blocks, key=lambda block: (_is_aside(page, block), block))
            for block in blocks:
                if block != first and (
                    block in runs
                    or _is_aside(page, block)
                    or (page.place[block, TAG_OF] not in _ENTRIES and path(block) != path(first))
                ):
                    keep[block] = False
                    first_of[block] = first

    return _without_short_copies(page, keep, first_of)


def _without_short_copies(
    page: PageBlocks, keep: np.ndarray, first_of: dict[int, int]
) -> np.ndarray:
    """`keep` without the short blocks found both beside a copy and beside its first."""
    for block, first in first_of.items():
        for step in (-1, 1):
            copy, own = block + step, first + step
            while (
                min(copy, own) >= 0
                and max(copy, own) < keep.size
                and page.counts[copy, WORDS] < COPY_WORDS
                and page.hashes[copy] == page.hashes[own]
                and copy != first
            ):
                keep[copy] = False
                copy, own = copy + step, own + step

    return keep


def _is_cited(page: PageBlocks, rows: dict[int, Row]) -> np.ndarray:
    """True for blocks in a quotation or a row of data, (b,) bool."""
    cited = np.asarray((page.channels[:, _QUOTES] > 0).any(axis=1))
    if rows:
        cited |= np.isin(page.place[:, ROW], list(rows))
    return cited


def _second_runs(page: PageBlocks, places: np.ndarray, groups: dict[int, list[int]]) -> set[int]:
    """Blocks of runs of long blocks that follow each other as in an earlier run."""
    order = {block: number for number, block in enumerate(places.tolist())}
    found: set[int] = set()
    run: list[int] = []
    expected = -1

    for block in places.tolist():
        first = groups[int(page.hashes[block])][0]
        if first == block or order[first] != expected:
            if len(run) >= RUN_BLOCKS:
                found.update(run)
            run = []
        if first != block:
            run.append(block)
        expected = order[first] + 1

    return found | set(run) if len(run) >= RUN_BLOCKS else found


def _is_aside(page: PageBlocks, block: int) -> bool:
    """True for a copy hidden from some readers."""
    return bool(page.place[block, HIDDEN] != SHOWN or page.channels[block, _NOSCRIPT])


def _path(page: PageBlocks, known: dict[int, bytes], block: int) -> list[bytes]:
    """Tag and classes of the elements around a block."""
    path: list[bytes] = []
    element = int(page.place[block, ELEMENT])
    while element >= 0 and len(path) < _LEVELS:
        if element not in known:
            start = int(page.element_starts[element])
            end = page.source.find(b">", start, start + 2000)
            found = _CLASS.search(page.source[start:end]) if end > 0 else None
            classes = (found[1] or found[2] or found[3] or b"") if found else b""
            known[element] = bytes([page.element_tags[element]]) + classes
        path.append(known[element])
        element = int(page.parents[element])

    return path
