"""Columns, registers and constants of the compiled pass, and the numbers of the tags it names.

numba takes constants only as plain module-level numbers, so there are no enums here.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from clean.learned import markup

# Elements nested deeper replace their parent.
MAX_DEPTH: Final = 256
# Text after this many blocks is left out. The longest of 2,685 real pages has 10,000.
MAX_BLOCKS: Final = 200_000
MAX_TITLE_WORDS: Final = 64
# The value of a channel that the block's own element opens. It is one less for every level above,
# and at least 1.
NEAREST: Final = 16
FIRST_TAG_CHANNEL: Final = len(markup.HINTS)

# Columns of `Blocks.counts`: counts of a block's text. The word groups (`markup.GROUPS`) follow.
(
    CHARS,
    WORDS,
    LINK_CHARS,
    LINKS,
    COMMAS,
    ENDS,
    UPPER,
    DIGITS,
    CAPITALS,
    NUMBERS,
    LONG_WORDS,
    SYMBOLS,
    BOLD_CHARS,
    IMAGES,
    FIELDS,
    TAGS_SEEN,
    BREAKS,
    TITLE_WORDS,
    FIRST_CLASS,
    LAST_CLASS,
    LINK_WORDS,
    ANCHORS,
    POSITION,
) = range(23)
GROUP: Final = POSITION + 1
NUM_COUNTS: Final = GROUP + markup.NUM_GROUPS

# Columns of `Blocks.place`: range in `Blocks.text`, and position in the page. An item, row or cell
# is the number of its element plus one, or 0 outside of any.
START, END, TAG_OF, OUTER_TAG, ELEMENT, DEPTH, HIDDEN, PRE, ITEM, ROW, CELL, IN_HEADING = range(12)
NUM_PLACE: Final = IN_HEADING + 1
# Values of HIDDEN: by a style or attribute, for screen readers alone, out of sight.
SHOWN, HIDDEN_BY_STYLE, HIDDEN_FROM_READERS, OFF_SCREEN = range(4)

# Columns of the stack of open elements. Each level inherits the values of the one below.
(
    OPEN_TAG,
    OPEN_ELEMENT,
    OPEN_HIDDEN,
    OPEN_PRE,
    OPEN_ITEM,
    OPEN_ROW,
    OPEN_CELL,
    OPEN_SKIP,
    OPEN_LINK,
    OPEN_BOLD,
    OPEN_BLOCK_TAG,
    OPEN_BLOCK_ELEMENT,
    OPEN_HEADING,
) = range(13)
NUM_OPEN: Final = OPEN_HEADING + 1

# Findings of `tokens.read_attributes`.
(
    FOUND_HIDES,
    FOUND_ADDRESS,
    FOUND_KEY,
    FOUND_CLOSED,
    FOUND_VALUE,
    FOUND_VALUE_END,
    FOUND_OPEN,
) = range(7)
NUM_FOUND: Final = FOUND_OPEN + 1

# Registers of the pass, shared by its parts.
(
    AT_LEVEL,
    AT_OUT,
    AT_BLOCKS,
    AT_SPACE,
    AT_BREAK,
    AT_OPEN,
    AT_NUM_ELEMENTS,
    AT_OUT_START,
    AT_IMAGES,
    AT_FIELDS,
    AT_TAGS,
    AT_TAG_START,
    AT_INDENT,
    AT_WORDLESS,
) = range(14)
NUM_AT: Final = AT_WORDLESS + 1
# A tab in `AT_INDENT`, where a space is 1.
TAB: Final = 1 << 16
# Value of `AT_SPACE` for a space only between two words.
SOFT_SPACE: Final = 2

TAG_P: Final = markup.TAG["p"]
TAG_LI: Final = markup.TAG["li"]
TAG_UL: Final = markup.TAG["ul"]
TAG_OL: Final = markup.TAG["ol"]
TAG_DIV: Final = markup.TAG["div"]
TAG_ADDRESS: Final = markup.TAG["address"]
TAG_DD: Final = markup.TAG["dd"]
TAG_DT: Final = markup.TAG["dt"]
TAG_TABLE: Final = markup.TAG["table"]
TAG_TR: Final = markup.TAG["tr"]
TAG_TD: Final = markup.TAG["td"]
TAG_TH: Final = markup.TAG["th"]
TAG_TBODY: Final = markup.TAG["tbody"]
TAG_THEAD: Final = markup.TAG["thead"]
TAG_TFOOT: Final = markup.TAG["tfoot"]
TAG_A: Final = markup.TAG["a"]
TAG_BUTTON: Final = markup.TAG["button"]
TAG_BR: Final = markup.TAG["br"]
TAG_IMG: Final = markup.TAG["img"]
TAG_PRE: Final = markup.TAG["pre"]
TAG_TITLE: Final = markup.TAG["title"]
TAG_HEAD: Final = markup.TAG["head"]
TAG_BODY: Final = markup.TAG["body"]
TAG_HTML: Final = markup.TAG["html"]
TAG_SVG: Final = markup.TAG["svg"]
TAG_DIALOG: Final = markup.TAG["dialog"]
TAG_NOSCRIPT: Final = markup.TAG["noscript"]
NOSCRIPT_NAME: Final = np.uint64(markup.packed("noscript"))
TAG_TIME: Final = markup.TAG["time"]
TAG_CITE: Final = markup.TAG["cite"]
TAG_META: Final = markup.TAG["meta"]
TAG_LINK: Final = markup.TAG["link"]
# Names of metadata that says what the page is.
SELF_KEYS: Final = np.array(
    [markup.packed(n) for n in ("og:type", "og:url", "generator", "canonical")], np.uint64
)

FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
FNV_PRIME: Final = np.uint64(0x100000001B3)
TEXT_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)

# Classes of characters, in the order of `markup.CLASSES`. Characters of the class "other" are left
# out: soft hyphens and zero-width spaces, which do not separate words.
OTHER, SPACE, LETTER, CAPITAL, DIGIT, STOP, COMMA, QUOTE, SYMBOL = range(9)
