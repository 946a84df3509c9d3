"""Features of a block by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import FIRST_GROUP, FIRST_KIND, NUM_KINDS, OWN
from clean.learned.features.shares import UNIT, free_words, share
from clean.learned.layout import (
    ANCHORS,
    BOLD_CHARS,
    BREAKS,
    CAPITALS,
    CELL,
    CHARS,
    COMMAS,
    DEPTH,
    DIGITS,
    ENDS,
    FIELDS,
    FIRST_CLASS,
    GROUP,
    HIDDEN,
    HIDDEN_BY_STYLE,
    HIDDEN_FROM_READERS,
    IMAGES,
    IN_HEADING,
    ITEM,
    LAST_CLASS,
    LINK_CHARS,
    LINKS,
    LONG_WORDS,
    NUMBERS,
    OUTER_TAG,
    POSITION,
    PRE,
    ROW,
    SYMBOLS,
    TAG_OF,
    TAGS_SEEN,
    TITLE_WORDS,
    UPPER,
    WORDS,
)
from clean.learned.markup import NUM_GROUPS


@inner
def describe_own(counts: Any, place: Any, num_bytes: Any, kinds: Any, out: Any) -> None:
    """Fill the columns of OWN, of the groups of words, and of the kinds of block."""
    num = counts.shape[0]
    total_words = 0
    for block in range(num):
        total_words += counts[block, WORDS]

    words_before = 0

    for block in range(num):
        _describe_text(counts, block, out[block])
        _describe_place(place[block], out[block])
        row = out[block]
        row[OWN.place_share] = share(counts[block, POSITION], num_bytes)
        row[OWN.index_share] = share(block, num)
        row[OWN.words_before_share] = share(words_before, total_words)
        row[OWN.index_] = block
        row[OWN.left] = num - 1 - block
        words_before += counts[block, WORDS]

        for group in range(NUM_GROUPS):
            row[FIRST_GROUP + group] = share(counts[block, GROUP + group], counts[block, WORDS])
        _describe_kind(place[block], kinds, row)


@inner
def _describe_text(counts: Any, block: Any, row: Any) -> None:
    own = counts[block]
    words = own[WORDS]
    chars = own[CHARS]
    row[OWN.words] = words
    row[OWN.free_words] = share(free_words(counts, block), UNIT)
    row[OWN.chars_per_word] = share(chars, words)
    row[OWN.link_share] = share(own[LINK_CHARS], chars)
    row[OWN.links] = own[LINKS]
    row[OWN.anchors] = own[ANCHORS]
    # The first group of words is that of stop words.
    row[OWN.stop_share] = share(own[GROUP], words)
    row[OWN.ends] = own[ENDS]
    row[OWN.ends_per_word] = share(own[ENDS], words)
    row[OWN.commas_per_word] = share(own[COMMAS], words)
    row[OWN.upper_share] = share(own[UPPER], chars)
    row[OWN.digit_share] = share(own[DIGITS], chars)
    row[OWN.capital_share] = share(own[CAPITALS], words)
    row[OWN.number_share] = share(own[NUMBERS], words)
    row[OWN.long_share] = share(own[LONG_WORDS], words)
    row[OWN.symbol_share] = share(own[SYMBOLS], chars)
    row[OWN.bold_share] = share(own[BOLD_CHARS], chars)
    row[OWN.images] = own[IMAGES]
    row[OWN.fields] = own[FIELDS]
    row[OWN.tags] = own[TAGS_SEEN]
    row[OWN.tags_per_word] = share(own[TAGS_SEEN], words)
    row[OWN.breaks] = own[BREAKS]
    row[OWN.title_share] = share(own[TITLE_WORDS], words)
    row[OWN.title_words] = own[TITLE_WORDS]
    row[OWN.first_class] = own[FIRST_CLASS]
    row[OWN.last_class] = own[LAST_CLASS]


@inner
def _describe_place(where: Any, row: Any) -> None:
    row[OWN.depth] = where[DEPTH]
    row[OWN.hidden] = np.float32(where[HIDDEN] in (HIDDEN_BY_STYLE, HIDDEN_FROM_READERS))
    row[OWN.pre] = where[PRE]
    row[OWN.in_item] = np.float32(where[ITEM] > 0)
    row[OWN.in_row] = np.float32(where[ROW] > 0)
    row[OWN.in_cell] = np.float32(where[CELL] > 0)
    row[OWN.heading] = where[IN_HEADING]


@inner
def _describe_kind(where: Any, kinds: Any, row: Any) -> None:
    """One column per kind: of the block's element, and of the tag right around it."""
    for kind in range(NUM_KINDS):
        row[FIRST_KIND + kind] = 0
    block_kind = kinds[where[TAG_OF]]
    if block_kind > 0:
        row[FIRST_KIND + block_kind - 1] = 1
    outer_kind = kinds[where[OUTER_TAG]]
    if outer_kind > 0:
        row[FIRST_KIND + outer_kind - 1] = 1
