"""Blocks at the same place of a repeated element, such as the posts of a thread, judged together.

A template prints each post of a thread, each answer and each comment with the same elements. A
post of one line looks like a label, one with a promotion looks like an advertisement, and on pages
unlike those learned from all posts are vague: a choice by block keeps every second one. The place
says what they are. Blocks with the same tags and classes above them, each within an element of its
own, are moved halfway to their mean probability.

Paragraphs of one article have one element around them, so nothing changes there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.compiled import compiled, inner
from clean.learned.layout import ELEMENT, FNV_OFFSET, FNV_PRIME, TAG_P, WORDS
from clean.learned.slots import SPREAD, empty_keys, slot_of_key

# Elements of a place: the block's own and those above it. Paragraphs are those of their parent.
LEVELS: Final = 4
# Elements that have a place in common, from which they are printed by a template.
MIN_ELEMENTS: Final = 4
# A longer block has no more weight than one of so many words.
MAX_WEIGHT: Final = 60
# A place with this share of its words kept is kept whole, as a table is.
WHOLE_PLACE_FRAC: Final = 0.8
UNIT: Final = 65536
# Bytes of a tag to search for its class.
MAX_TAG_BYTES: Final = 2000
_CLASS: Final = np.frombuffer(b"class", np.uint8)


def judged_by_place(
    page: PageBlocks, chance: np.ndarray, place: np.ndarray | None = None
) -> np.ndarray:
    """`chance`, (b,) in 0..1, with blocks at the same place of repeated elements closer together.

    `place` is from `places`, for callers that need it more than once.
    """
    place = places(page) if place is None else place
    units = np.rint(chance * UNIT).astype(np.int64)
    weight = np.minimum(page.counts[:, WORDS], MAX_WEIGHT).astype(np.int64)
    weights = _sums(place, weight)
    content = _sums(place, weight * units)

    has_place = (place < chance.size) & (weights[place] > 0)
    own = place[has_place]
    out = chance.copy()
    out[has_place] = (units[has_place] + content[own] // weights[own]) / (2 * UNIT)
    return out


def with_whole_places(
    page: PageBlocks, keep: np.ndarray, place: np.ndarray | None = None
) -> np.ndarray:
    """`keep` with all blocks of a place if nearly all of their words are kept."""
    place = places(page) if place is None else place
    words = page.counts[:, WORDS].astype(np.int64)
    kept = _sums(place, words * keep)
    whole = (kept > 0) & (kept >= WHOLE_PLACE_FRAC * _sums(place, words))
    return keep | (whole[place] & (place < keep.size))


def _sums(place: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of each place's values, (b + 1,) int64. The last is of blocks without a place."""
    sums = np.zeros(place.size + 1, np.int64)
    np.add.at(sums, place, values)
    return sums


def places(page: PageBlocks) -> np.ndarray:
    """The number of each block's place, (b,) int64; b for a block without a repeated one."""
    out = np.full(len(page.counts), len(page.counts), np.int64)
    source = np.frombuffer(page.source, np.uint8)
    _number_places(source, page.place, page.parents, page.element_tags, page.element_starts, out)
    return out


@compiled
def _number_places(source: Any, place: Any, parents: Any, tags: Any, starts: Any, out: Any) -> None:
    num = out.size
    keys = empty_keys(num)
    # Per place: elements, the parent of the last of them, and the first block.
    seen = np.zeros((keys.size, 3), np.int64)
    slot_of = np.full(num, -1, np.int64)
    signatures = np.zeros(parents.size, np.uint64)

    for block in range(num):
        element = np.int64(place[block, ELEMENT])
        while element >= 0 and tags[element] == TAG_P:
            element = np.int64(parents[element])
        if element < 0:
            continue

        slot = slot_of_key(keys, _place(source, parents, tags, starts, signatures, element))
        slot_of[block] = slot
        if seen[slot, 0] == 0:
            seen[slot, 2] = block
        parent = np.int64(parents[element]) + 2
        if seen[slot, 1] != parent:
            seen[slot, 0] += 1
            seen[slot, 1] = parent

    for block in range(num):
        slot = slot_of[block]
        if slot >= 0 and seen[slot, 0] >= MIN_ELEMENTS:
            out[block] = seen[slot, 2]


@inner
def _place(source: Any, parents: Any, tags: Any, starts: Any, signatures: Any, element: Any) -> Any:
    """Hash of the tags and classes of an element and of those above it. Never 0."""
    key = FNV_OFFSET
    for _ in range(LEVELS):
        own = np.uint64(0)
        if element >= 0:
            if signatures[element] == 0:
                signatures[element] = _signature(source, np.int64(starts[element]), tags[element])
            own = signatures[element]
            element = np.int64(parents[element])
        key = (key ^ own) * SPREAD
    return key | np.uint64(1)


@inner
def _signature(source: Any, start: Any, tag: Any) -> Any:
    """Hash of a tag and its class without digits, which number the posts. Never 0."""
    state = (FNV_OFFSET ^ np.uint64(tag)) * FNV_PRIME
    end = min(source.size, start + MAX_TAG_BYTES)
    position = start + 1
    while position < end and source[position] != 62:
        byte = source[position]
        if byte == 34 or byte == 39:
            position = _closing(source, position, end)
        elif byte <= 32 and _is_class(source, position + 1, end):
            position += 1 + _CLASS.size
            while position < end and (source[position] <= 32 or source[position] == 61):
                position += 1
            quote = source[position] if position < end else np.uint8(0)
            is_quoted = quote == 34 or quote == 39
            position += is_quoted
            while position < end:
                byte = source[position]
                if byte == quote if is_quoted else byte <= 32 or byte == 62:
                    break
                if not 48 <= byte <= 57:
                    state = (state ^ np.uint64(byte)) * FNV_PRIME
                position += 1
            break
        position += 1

    return state | np.uint64(1)


@inner
def _closing(source: Any, position: Any, end: Any) -> Any:
    """The closing quotation mark of the value beginning at `position`."""
    quote = source[position]
    position += 1
    while position < end and source[position] != quote:
        position += 1
    return position


@inner
def _is_class(source: Any, position: Any, end: Any) -> Any:
    """True if an attribute `class` begins at `position`."""
    if position + _CLASS.size >= end:
        return False
    for index in range(_CLASS.size):
        if source[position + index] | 32 != _CLASS[index]:
            return False
    after = source[position + _CLASS.size]
    return after <= 32 or after == 61
