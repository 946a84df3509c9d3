"""Features of the blocks around a block."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import (
    FIRST_NEIGHBOUR,
    FIRST_WINDOW,
    NEIGHBOUR,
    NEIGHBOURS,
    NUM_NEIGHBOUR,
    OWN,
    WINDOWS,
)
from clean.learned.features.shares import share
from clean.learned.layout import (
    CAPITALS,
    CHARS,
    DEPTH,
    ELEMENT,
    ENDS,
    GROUP,
    LAST_CLASS,
    LINK_CHARS,
    TAG_OF,
    TITLE_WORDS,
    WORDS,
)

# Words of one block to count in a window: a giant does not speak for its street.
_MOST_WORDS: Final = 100.0
# Value of `near_share` for a neighbour in the same element.
_SAME_ELEMENT: Final = 100


@inner
def describe_windows(out: Any) -> None:
    """Fill the mean words outside links of the blocks around."""
    num = out.shape[0]
    running = np.zeros(num + 1, np.float64)
    for block in range(num):
        # Multiples of 1/1024: their sums are exact.
        free = np.float64(out[block, OWN.free_words])
        running[block + 1] = running[block] + min(free, _MOST_WORDS)

    column = FIRST_WINDOW
    for window in WINDOWS:
        for block in range(num):
            first = max(0, block - window)
            last = min(num, block + window + 1)
            out[block, column] = (running[last] - running[first]) / np.float64(last - first)
        column += 1


@inner
def describe_neighbours(counts: Any, place: Any, kinds: Any, out: Any) -> None:
    """Fill the columns of NEIGHBOUR, -1 beyond the ends of the page."""
    num = counts.shape[0]
    column = FIRST_NEIGHBOUR
    for offset in NEIGHBOURS:
        for block in range(num):
            other = block + offset
            row = out[block, column:]
            if 0 <= other < num:
                _describe_neighbour(counts, place, kinds, block, other, row)
            else:
                for index in range(NUM_NEIGHBOUR):
                    row[index] = -1
        column += NUM_NEIGHBOUR


@inner
def _describe_neighbour(
    counts: Any, place: Any, kinds: Any, block: Any, other: Any, row: Any
) -> None:
    own = counts[other]
    row[NEIGHBOUR.words] = own[WORDS]
    row[NEIGHBOUR.link_share] = share(own[LINK_CHARS], own[CHARS])
    row[NEIGHBOUR.stop_share] = share(own[GROUP], own[WORDS])
    row[NEIGHBOUR.ends] = own[ENDS]
    row[NEIGHBOUR.kind] = kinds[place[other, TAG_OF]]
    # The difference in depth, unless both are in one element.
    near = place[other, ELEMENT] == place[block, ELEMENT]
    deeper = place[other, DEPTH] - place[block, DEPTH]
    row[NEIGHBOUR.near_share] = _SAME_ELEMENT if near else deeper
    row[NEIGHBOUR.last_class] = own[LAST_CLASS]
    row[NEIGHBOUR.capital_share] = share(own[CAPITALS], own[WORDS])
    row[NEIGHBOUR.title_share] = share(own[TITLE_WORDS], own[WORDS])
