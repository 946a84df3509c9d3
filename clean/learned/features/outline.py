"""Features of the heading above the nearest heading: the block's outline.

The cards of "More stories" have headings of their own. The heading above tells their kind.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import FIRST_OUTLINE_GROUP, OUTLINE
from clean.learned.features.shares import share
from clean.learned.layout import CHARS, GROUP, IN_HEADING, LINK_CHARS, TAG_OF, TITLE_WORDS, WORDS
from clean.learned.markup import NUM_GROUPS, TAG

_H1: Final = TAG["h1"]
_H6: Final = TAG["h6"]
_LOWEST: Final = 7


@inner
def describe_outline(counts: Any, place: Any, out: Any) -> None:
    """Fill the columns of OUTLINE and of its groups of words."""
    last = np.full(_LOWEST + 1, -1, np.int64)
    upper = np.int64(-1)
    for block in range(counts.shape[0]):
        _describe(counts, place, block, upper, out[block])
        if not place[block, IN_HEADING]:
            continue

        tag = place[block, TAG_OF]
        level = np.int64(tag - _H1 + 1) if _H1 <= tag <= _H6 else np.int64(_LOWEST)
        upper = np.int64(-1)
        for higher in range(1, level):
            upper = max(upper, last[higher])
        last[level] = block
        for lower in range(level + 1, _LOWEST + 1):
            last[lower] = -1


@inner
def _describe(counts: Any, place: Any, block: Any, heading: Any, row: Any) -> None:
    if heading < 0:
        row[OUTLINE.level] = 0
        row[OUTLINE.words] = 0
        row[OUTLINE.link_share] = 0
        row[OUTLINE.title_share] = 0
        for group in range(NUM_GROUPS):
            row[FIRST_OUTLINE_GROUP + group] = 0
        return

    own = counts[heading]
    tag = place[heading, TAG_OF]
    row[OUTLINE.level] = tag - _H1 + 1 if _H1 <= tag <= _H6 else _LOWEST
    row[OUTLINE.words] = own[WORDS]
    row[OUTLINE.link_share] = share(own[LINK_CHARS], own[CHARS])
    row[OUTLINE.title_share] = share(own[TITLE_WORDS], own[WORDS])
    for group in range(NUM_GROUPS):
        row[FIRST_OUTLINE_GROUP + group] = share(own[GROUP + group], own[WORDS])
