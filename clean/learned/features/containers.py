"""Features of the containers of a block.

A container is an ancestor with more blocks than its only child: chains of wrappers count as one
level. The main container is the one with most words outside links in its paragraphs, plus those of
its children at half weight (the idea of Readability).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import (
    CONTAINER,
    FIRST_CONTAINER,
    LEVELS,
    MAIN,
    NUM_CONTAINER,
)
from clean.learned.features.shares import PARAGRAPH_WORDS, UNIT, free_words, share
from clean.learned.layout import CHARS, ELEMENT, LINK_CHARS

# Sums over the blocks of an element. The first five add up, the last is the first block.
_FREE, _LINK, _CHARS, _BLOCKS, _PARAGRAPHS, _FIRST = range(6)


@inner
def describe_containers(counts: Any, place: Any, parents: Any, out: Any) -> Any:
    """Fill the columns of CONTAINER and MAIN. Returns the next container above each element.

    Element 0 is the page here. All others are one higher than in `Blocks`.
    """
    sums = _sums(counts, place, parents)
    above = _above(sums, parents)
    _describe_levels(place, sums, above, counts, out)
    _describe_main(counts, place, sums, above, parents, out)
    return above


@inner
def _sums(counts: Any, place: Any, parents: Any) -> Any:
    """Sums over the blocks in each element and those within it, (e + 1, 6) int64."""
    num = parents.size + 1
    sums = np.zeros((num, 6), np.int64)
    for element in range(num):
        sums[element, _FIRST] = counts.shape[0]

    for block in range(counts.shape[0]):
        element = place[block, ELEMENT] + 1
        free = free_words(counts, block)
        sums[element, _FREE] += free
        sums[element, _LINK] += counts[block, LINK_CHARS]
        sums[element, _CHARS] += counts[block, CHARS]
        sums[element, _BLOCKS] += 1
        sums[element, _PARAGRAPHS] += free >= PARAGRAPH_WORDS * UNIT
        sums[element, _FIRST] = min(sums[element, _FIRST], block)

    # Elements are in the order of their start tags, so children come after their parents.
    for element in range(num - 1, 0, -1):
        parent = parents[element - 1] + 1
        for column in range(_FIRST):
            sums[parent, column] += sums[element, column]
        sums[parent, _FIRST] = min(sums[parent, _FIRST], sums[element, _FIRST])

    return sums


@inner
def _above(sums: Any, parents: Any) -> Any:
    """The nearest ancestor of each element with more blocks, (e + 1,) int64."""
    above = np.zeros(sums.shape[0], np.int64)
    for element in range(1, sums.shape[0]):
        parent = parents[element - 1] + 1
        more = sums[parent, _BLOCKS] > sums[element, _BLOCKS]
        above[element] = parent if more or parent == 0 else above[parent]
    return above


@inner
def _describe_levels(place: Any, sums: Any, above: Any, counts: Any, out: Any) -> None:
    for block in range(counts.shape[0]):
        element = np.int64(place[block, ELEMENT] + 1)
        for level in range(LEVELS):
            row = out[block, FIRST_CONTAINER + level * NUM_CONTAINER :]
            own = sums[element]
            row[CONTAINER.word_share] = share(own[_FREE], sums[0, _FREE])
            row[CONTAINER.link_share] = share(own[_LINK], own[_CHARS])
            row[CONTAINER.block_share] = share(own[_BLOCKS], sums[0, _BLOCKS])
            row[CONTAINER.words_per_block] = share(own[_FREE], own[_BLOCKS] * UNIT)
            row[CONTAINER.paragraph_share] = share(own[_PARAGRAPHS], own[_BLOCKS])
            row[CONTAINER.index_] = np.float32(block - own[_FIRST])
            element = above[element]


@inner
def _describe_main(counts: Any, place: Any, sums: Any, above: Any, parents: Any, out: Any) -> None:
    main = _main_container(counts, place, sums, above)
    inside = np.zeros(sums.shape[0], np.uint8)
    inside[main] = 1
    for element in range(main + 1, sums.shape[0]):
        inside[element] = inside[parents[element - 1] + 1]

    first = sums[main, _FIRST]
    last = first
    for block in range(counts.shape[0]):
        if inside[place[block, ELEMENT] + 1]:
            last = block

    for block in range(counts.shape[0]):
        out[block, MAIN.in_main] = inside[place[block, ELEMENT] + 1]
        out[block, MAIN.before_main] = max(0, first - block)
        out[block, MAIN.after_main] = max(0, block - last)
        out[block, MAIN.main_word_share] = share(sums[main, _FREE], sums[0, _FREE])
        out[block, MAIN.main_block_share] = share(sums[main, _BLOCKS], sums[0, _BLOCKS])


@inner
def _main_container(counts: Any, place: Any, sums: Any, above: Any) -> Any:
    """The element with the greatest weight of paragraphs, the earliest of equals."""
    weights = np.zeros(sums.shape[0], np.int64)
    for block in range(counts.shape[0]):
        free = free_words(counts, block)
        if free >= PARAGRAPH_WORDS * UNIT:
            container = above[place[block, ELEMENT] + 1]
            weights[container] += 2 * free
            if container > 0:
                weights[above[container]] += free

    main = 0
    for element in range(1, weights.size):
        if weights[element] > weights[main]:
            main = element

    return main
