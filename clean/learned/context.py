"""Features of the second model: the first model's probabilities for the blocks around.

A caption is content within an article and not beside it. A comment is content if the page is a
thread. Both can be seen from the first verdicts on the block's neighbours, containers, siblings and
page. Probabilities are rounded to 1/65536: their sums are exact and the same in any order.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.compiled import compiled, inner
from clean.learned.layout import ELEMENT, IN_HEADING, TAG_OF, WORDS
from clean.learned.slots import SPREAD, empty_keys, slot_of_key

UNIT: Final = 65536
# Cap of `page_words`, as in `features.CAPS`: a longer page looks like one of this length.
MAX_PAGE_WORDS: Final = 4759
OFFSETS: Final = (-4, -3, -2, -1, 1, 2, 3, 4)
REACHES: Final = (3, 10, 30)
LEVELS: Final = 5
NAMES: Final = (
    "chance",
    *(f"chance{offset:+d}" for offset in OFFSETS),
    *(f"mean_{side}{reach}" for reach in REACHES for side in ("before", "after")),
    *(f"container{level}_{name}" for level in range(LEVELS) for name in ("mean", "share")),
    "page_words",
    "page_mean",
    "share_before",
    "best",
    "rank",
    "heading_chance",
    "section_mean",
    "siblings_mean",
    "siblings_share",
    "since_content",
    "until_content",
)
NUM_CONTEXT: Final = len(NAMES)
_FIRST_MEAN: Final = 1 + len(OFFSETS)
_FIRST_CONTAINER: Final = _FIRST_MEAN + 2 * len(REACHES)
_FIRST_PAGE: Final = _FIRST_CONTAINER + 2 * LEVELS


def context(page: PageBlocks, chance: np.ndarray) -> np.ndarray:
    """The context of a page's blocks, (b, NUM_CONTEXT) float32, columns NAMES. `chance` is (b,) in
    0..1.
    """
    out = np.empty((chance.size, NUM_CONTEXT), np.float32)
    if chance.size:
        units = np.rint(chance * UNIT).astype(np.int64)
        _context(page.counts, page.place, page.parents, units, out)

    return out


@inner
def _mean(part: Any, whole: Any) -> Any:
    """Mean probability of `whole` words whose probabilities add up to `part` units."""
    return np.float64(part) / np.float64(whole * UNIT) if whole > 0 else -1.0


@compiled
def _context(counts: Any, place: Any, parents: Any, chance: Any, out: Any) -> None:
    num = chance.size
    words = np.zeros(num + 1, np.int64)  # running sums over the blocks before
    content = np.zeros(num + 1, np.int64)
    size = parents.size + 1
    element_words = np.zeros(size, np.int64)
    element_content = np.zeros(size, np.int64)
    element_blocks = np.zeros(size, np.int64)
    best = 0

    for block in range(num):
        own = np.int64(counts[block, WORDS])
        words[block + 1] = words[block] + own
        content[block + 1] = content[block] + own * chance[block]
        element = place[block, ELEMENT] + 1
        element_words[element] += own
        element_content[element] += own * chance[block]
        element_blocks[element] += 1
        best = max(best, chance[block])

    for element in range(size - 1, 0, -1):
        parent = parents[element - 1] + 1
        element_words[parent] += element_words[element]
        element_content[parent] += element_content[element]
        element_blocks[parent] += element_blocks[element]

    above = np.zeros(size, np.int64)
    for element in range(1, size):
        parent = parents[element - 1] + 1
        more = element_blocks[parent] > element_blocks[element]
        above[element] = parent if more or parent == 0 else above[parent]

    total = content[num]
    for block in range(num):
        row = out[block]
        row[0] = _mean(chance[block], 1)
        for index in range(len(OFFSETS)):
            other = block + OFFSETS[index]
            row[1 + index] = _mean(chance[other], 1) if 0 <= other < num else -1

        for index in range(len(REACHES)):
            first = max(0, block - REACHES[index])
            last = min(num, block + 1 + REACHES[index])
            row[_FIRST_MEAN + 2 * index] = _mean(
                content[block] - content[first], words[block] - words[first]
            )
            row[_FIRST_MEAN + 2 * index + 1] = _mean(
                content[last] - content[block + 1], words[last] - words[block + 1]
            )

        element = np.int64(place[block, ELEMENT] + 1)
        for level in range(LEVELS):
            # Without the block itself: its own probability is a feature already.
            own = np.int64(counts[block, WORDS])
            row[_FIRST_CONTAINER + 2 * level] = _mean(
                element_content[element] - own * chance[block], element_words[element] - own
            )
            row[_FIRST_CONTAINER + 2 * level + 1] = (
                np.float64(element_content[element]) / np.float64(total) if total > 0 else 0
            )
            element = above[element]

        row[_FIRST_PAGE] = min(np.float64(total) / UNIT, MAX_PAGE_WORDS)
        row[_FIRST_PAGE + 1] = _mean(total, words[num])
        row[_FIRST_PAGE + 2] = np.float64(content[block]) / np.float64(total) if total > 0 else 0
        row[_FIRST_PAGE + 3] = _mean(best, 1)
        row[_FIRST_PAGE + 4] = _mean(chance[block] - best, 1)

    _sections(place, chance, words, content, out)
    _siblings(counts, place, above, chance, total, out)
    _gaps(chance, out)


@inner
def _sections(place: Any, chance: Any, words: Any, content: Any, out: Any) -> None:
    """Probability of the heading above, and mean of the blocks between it and the next heading."""
    num = chance.size
    start = 0
    heading = -1

    while start < num:
        end = start
        while end < num and place[end, IN_HEADING]:
            heading = end
            end += 1
        body = end
        while end < num and not place[end, IN_HEADING]:
            end += 1
        mean = _mean(content[end] - content[body], words[end] - words[body])
        for block in range(start, end):
            out[block, _FIRST_PAGE + 5] = _mean(chance[heading], 1) if heading >= 0 else -1
            out[block, _FIRST_PAGE + 6] = mean
        start = end


@inner
def _siblings(counts: Any, place: Any, above: Any, chance: Any, total: Any, out: Any) -> None:
    """Mean of the blocks of one tag under the same container, and their share of the content."""
    num = chance.size
    keys = empty_keys(num)
    sums = np.zeros((keys.size, 2), np.int64)
    slot_of = np.zeros(num, np.int64)

    for block in range(num):
        container = above[above[place[block, ELEMENT] + 1]]
        slot = slot_of_key(keys, np.uint64(container * 256 + place[block, TAG_OF] + 1) * SPREAD)
        sums[slot, 0] += counts[block, WORDS]
        sums[slot, 1] += counts[block, WORDS] * chance[block]
        slot_of[block] = slot

    for block in range(num):
        own = sums[slot_of[block]]
        words = np.int64(counts[block, WORDS])
        out[block, _FIRST_PAGE + 7] = _mean(own[1] - words * chance[block], own[0] - words)
        out[block, _FIRST_PAGE + 8] = np.float64(own[1]) / np.float64(total) if total > 0 else 0


@inner
def _gaps(chance: Any, out: Any) -> None:
    """Blocks since the last, and until the next, block more likely content than not."""
    num = chance.size
    gap = 1000
    for block in range(num):
        out[block, _FIRST_PAGE + 9] = gap
        gap = 1 if 2 * chance[block] > UNIT else min(gap + 1, 1000)

    gap = 1000
    for block in range(num - 1, -1, -1):
        out[block, _FIRST_PAGE + 10] = gap
        gap = 1 if 2 * chance[block] > UNIT else min(gap + 1, 1000)
