"""Features of the headings around a block, and of the page's title."""

from __future__ import annotations

from typing import Any, Final

from clean.learned.compiled import inner
from clean.learned.features.registry import (
    FAR,
    FIRST_HEADING_GROUP,
    HEADING,
    MAX_H1_DISTANCE,
    MAX_HEADING_DISTANCE,
    MAX_NEXT_HEADING_DISTANCE,
    MAX_TITLE_DISTANCE,
    TITLE,
)
from clean.learned.features.shares import share
from clean.learned.layout import CHARS, GROUP, IN_HEADING, LINK_CHARS, TAG_OF, TITLE_WORDS, WORDS
from clean.learned.markup import NUM_GROUPS, TAG

_H1: Final = TAG["h1"]
_H6: Final = TAG["h6"]
# Level of the heading around another block.
_NO_LEVEL: Final = 7
# Value of `after_title` and `after_h1` on a page without one.
_NONE: Final = -2


@inner
def _level(place: Any, block: Any) -> Any:
    """1 to 6 for h1 to h6."""
    tag = place[block, TAG_OF]
    return tag - _H1 + 1 if _H1 <= tag <= _H6 else _NO_LEVEL


@inner
def describe_headings(counts: Any, place: Any, out: Any) -> None:
    """Fill the columns of HEADING and of the heading's groups of words."""
    num = counts.shape[0]
    heading = -1
    for block in range(num):
        _describe_heading(counts, place, block, heading, out[block])
        if place[block, IN_HEADING]:
            heading = block

    heading = -1
    for block in range(num - 1, -1, -1):
        row = out[block]
        row[HEADING.next_level] = _level(place, heading) if heading >= 0 else 0
        row[HEADING.next_distance] = (
            min(heading - block, MAX_NEXT_HEADING_DISTANCE) if heading >= 0 else FAR
        )
        if place[block, IN_HEADING]:
            heading = block


@inner
def _describe_heading(counts: Any, place: Any, block: Any, heading: Any, row: Any) -> None:
    """The heading above a block; -1 for none."""
    if heading >= 0:
        own = counts[heading]
        row[HEADING.level] = _level(place, heading)
        row[HEADING.distance] = min(block - heading, MAX_HEADING_DISTANCE)
        row[HEADING.words] = own[WORDS]
        row[HEADING.link_share] = share(own[LINK_CHARS], own[CHARS])
        row[HEADING.title_share] = share(own[TITLE_WORDS], own[WORDS])
        for group in range(NUM_GROUPS):
            row[FIRST_HEADING_GROUP + group] = share(own[GROUP + group], own[WORDS])
        return

    row[HEADING.level] = 0
    row[HEADING.distance] = FAR
    row[HEADING.words] = 0
    row[HEADING.link_share] = 0
    row[HEADING.title_share] = 0
    for group in range(NUM_GROUPS):
        row[FIRST_HEADING_GROUP + group] = 0


@inner
def describe_title(counts: Any, place: Any, out: Any) -> Any:
    """Fill the columns of TITLE. Returns the block most like the page's title, or -1."""
    num = counts.shape[0]
    title = -1
    most_alike = 1
    h1 = -1

    for block in range(num):
        own = counts[block]
        likeness = 2 * own[TITLE_WORDS] - own[WORDS]
        if own[LINK_CHARS] * 2 < own[CHARS] and likeness > most_alike:
            title = block
            most_alike = likeness
        if h1 < 0 and place[block, IN_HEADING] and place[block, TAG_OF] == _H1:
            h1 = block

    for block in range(num):
        row = out[block]
        row[TITLE.after_title] = (block > title) - (block < title) if title >= 0 else _NONE
        row[TITLE.title_distance] = (
            max(-MAX_TITLE_DISTANCE, min(block - title, MAX_TITLE_DISTANCE)) if title >= 0 else -FAR
        )
        row[TITLE.after_h1] = (block > h1) - (block < h1) if h1 >= 0 else _NONE
        row[TITLE.h1_distance] = (
            max(-MAX_H1_DISTANCE, min(block - h1, MAX_H1_DISTANCE)) if h1 >= 0 else -FAR
        )
    return title
