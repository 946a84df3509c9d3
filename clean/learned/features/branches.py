"""Features of a block's branches: distance to the headline, and number of similar ones beside.

A page often shows several articles: its own, the next one, and cards leading to others. The own
one is near the page's headline. A card is one of many elements of the same tag in one container.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import (
    BELONGING,
    BRANCH,
    FIRST_BRANCH,
    LEVELS,
    MAX_LEVELS,
    NUM_BRANCH,
)
from clean.learned.features.shares import free_words, share
from clean.learned.layout import CHARS, ELEMENT, IN_HEADING, LINK_CHARS, TAG_OF, WORDS
from clean.learned.markup import TAG
from clean.learned.slots import SPREAD, empty_keys, slot_of_key

_ARTICLE_TAG: Final = TAG["article"]
_H1: Final = TAG["h1"]


@inner
def describe_branches(
    counts: Any, place: Any, parents: Any, element_tags: Any, above: Any, title: Any, out: Any
) -> None:
    """Fill the columns of BELONGING and BRANCH. `above` is the next container of each element,
    `title` the block most like the page's title, or -1.
    """
    num = counts.shape[0]
    size = parents.size + 1
    h1 = -1
    for block in range(num):
        if h1 < 0 and place[block, IN_HEADING] and place[block, TAG_OF] == _H1:
            h1 = block

    with_title = _line(place, parents, title, size)
    with_h1 = _line(place, parents, h1, size)
    _describe_articles(counts, place, parents, element_tags, with_title, with_h1, out)

    for block in range(num):
        element = np.int64(place[block, ELEMENT] + 1)
        out[block, BELONGING.title_levels] = _levels(element, above, with_title, title)
        out[block, BELONGING.h1_levels] = _levels(element, above, with_h1, h1)

    _describe_twins(counts, place, parents, element_tags, above, out)


@inner
def _line(place: Any, parents: Any, block: Any, size: Any) -> Any:
    """1 for the elements around a block, (e + 1,) uint8."""
    line = np.zeros(size, np.uint8)
    if block >= 0:
        element = np.int64(place[block, ELEMENT])
        while element >= 0:
            line[element + 1] = 1
            element = np.int64(parents[element])
        line[0] = 1
    return line


@inner
def _levels(element: Any, above: Any, line: Any, block: Any) -> Any:
    """Containers from an element up to the one with the block of `line`."""
    if block < 0:
        return -1
    level = 0
    while not line[element] and level < MAX_LEVELS:
        element = above[element]
        level += 1
    return level


@inner
def _describe_articles(
    counts: Any,
    place: Any,
    parents: Any,
    element_tags: Any,
    with_title: Any,
    with_h1: Any,
    out: Any,
) -> None:
    """The outermost article of each block: its share of the words in all, and its headline."""
    size = parents.size + 1
    outer = np.zeros(size, np.int64)
    words = np.zeros(size, np.int64)
    linked = np.zeros(size, np.int64)
    total = np.int64(0)
    for element in range(1, size):
        outer[element] = outer[parents[element - 1] + 1]
        if outer[element] == 0 and element_tags[element - 1] == _ARTICLE_TAG:
            outer[element] = element

    for block in range(counts.shape[0]):
        own = outer[place[block, ELEMENT] + 1]
        if own:
            free = free_words(counts, block)
            words[own] += free
            total += free
            if place[block, IN_HEADING] and linked[own] == 0:
                linked[own] = 2 if 2 * counts[block, LINK_CHARS] > counts[block, CHARS] else 1

    most = np.int64(0)
    for element in range(1, size):
        most = max(most, words[element])

    for block in range(counts.shape[0]):
        own = outer[place[block, ELEMENT] + 1]
        row = out[block]
        row[BELONGING.article_share] = share(words[own], total) if own else -1
        row[BELONGING.article_to_most] = share(words[own], most) if own else -1
        row[BELONGING.article_headline] = linked[own] if own else -1
        row[BELONGING.article_title] = with_title[own] if own else -1
        row[BELONGING.article_h1] = with_h1[own] if own else -1


@inner
def _describe_twins(
    counts: Any, place: Any, parents: Any, element_tags: Any, above: Any, out: Any
) -> None:
    """Per level: the elements of the same tag beside the block's branch, and how its words compare
    to theirs.
    """
    size = parents.size + 1
    words = np.zeros(size, np.int64)
    for block in range(counts.shape[0]):
        words[place[block, ELEMENT] + 1] += counts[block, WORDS]
    for element in range(size - 1, 0, -1):
        words[parents[element - 1] + 1] += words[element]

    # The child of the next container around each element, on the path to that element.
    branch = np.zeros(size, np.int64)
    for element in range(1, size):
        parent = parents[element - 1] + 1
        branch[element] = element if above[element] == parent else branch[parent]

    keys = empty_keys(size)
    seen = np.zeros(keys.size, np.int64)
    sums = np.zeros(keys.size, np.int64)
    slot_of = np.zeros(size, np.int64)

    for element in range(1, size):
        if words[element] == 0 or branch[element] != element:
            continue
        key = np.uint64(above[element] * 256 + element_tags[element - 1] + 1) * SPREAD
        slot = slot_of_key(keys, key)
        seen[slot] += 1
        sums[slot] += words[element]
        slot_of[element] = slot

    for block in range(counts.shape[0]):
        container = np.int64(place[block, ELEMENT] + 1)
        column = FIRST_BRANCH
        for _ in range(LEVELS):
            own = branch[container]
            group = slot_of[own]
            out[block, column + BRANCH.twins] = seen[group] if own else 0
            out[block, column + BRANCH.to_twins] = (
                share(words[own] * seen[group], sums[group]) if own else 1
            )
            out[block, column + BRANCH.twin_words] = share(sums[group], seen[group]) if own else 0
            container = above[container]
            column += NUM_BRANCH
