"""Words of a text as the phrases are written: without case, accents, punctuation and markup.

Characters of scripts without word separation are words of their own. An apostrophe joins: `can't`,
`can’t` and `cant` are one word.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from corpus.compiled import compiler

compiled = compiler(nogil=True)

_MARKUP: Final = re.compile(r"<[^<>]{0,200}>")
_LINES: Final = re.compile("[\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]")
# Marks parted from their letters by NFKD: Latin and Cyrillic, Hebrew, Arabic, kana, symbols.
_COMBINING: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a"
    "\u064b-\u065f\u0670\u06d6-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\ufe20-\ufe2f]+"
)
# Apostrophes, and characters without width: soft hyphen, joiners, byte order mark.
_JOINED: Final = re.compile("['`\u2019\u2018\u02bc\u00b4\u00ad\u200b\u200c\u200d\u2060\ufeff]+")
# Letters with strokes and dots kept in every normal form.
_LETTERS: Final = str.maketrans(
    {"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
)
# Marks of English typography: a text without others is ASCII, and needs no normal form.
_MARKS: Final = re.compile(
    "[\u00a0\u00a9\u00ab\u00ae\u00b7\u00bb\u2010-\u2015\u201c-\u201e\u2020-\u2027\u2030-\u205f]+"
)
# One word of the kernel. Bit 63 of a hash is free for the reader of a table.
FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
FNV_PRIME: Final = np.uint64(0x100000001B3)
WORD_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
NEWLINE: Final = 10


def normal(text: str) -> bytes:
    """The text in lower case without accents, as UTF-8. Line breaks stay."""
    if "&" in text:
        text = unescape(text)
    if "<" in text:
        text = _MARKUP.sub(" ", text)

    text = _JOINED.sub("", text).lower()
    if not text.isascii():
        text = _LINES.sub(" ", _MARKS.sub(" ", text))
    if not text.isascii():
        parts = _COMBINING.sub("", unicodedata.normalize("NFKD", text.translate(_LETTERS)))
        text = _LINES.sub(" ", unicodedata.normalize("NFC", parts))

    return text.encode("utf-8", "replace")


@inner
def next_word(data: Any, position: Any) -> Any:
    """(hash of the word at or after `position`, its end, line breaks before it). The hash is 0 at
    the end of the text.
    """
    size = data.size
    lines = 0
    while position < size:
        byte = data[position]
        if byte == NEWLINE:
            lines += 1
        elif (48 <= byte <= 57) or (97 <= byte <= 122) or byte >= 0xC2:
            width = _punctuation_width(data, position)
            if width == 0:
                break
            position += width - 1
        position += 1

    if position >= size:
        return np.uint64(0), position, lines

    value = FNV_OFFSET
    if _stands_alone(data, position):
        for _ in range(3):
            if position < size:
                value = (value ^ np.uint64(data[position])) * FNV_PRIME
                position += 1
        return value, position, lines

    while position < size:
        byte = data[position]
        if byte >= 0xC2:
            if _stands_alone(data, position) or _punctuation_width(data, position):
                break
        elif not (48 <= byte <= 57 or 97 <= byte <= 122 or byte >= 0x80):
            break
        value = (value ^ np.uint64(byte)) * FNV_PRIME
        position += 1

    return value, position, lines


@inner
def _punctuation_width(data: Any, position: Any) -> Any:
    """Bytes of the punctuation mark at `position`, or 0: Latin-1 signs, general and CJK marks."""
    if position + 1 >= data.size:
        return 0
    first, second = data[position], data[position + 1]
    if first == 0xC2:
        return 2
    if position + 2 >= data.size:
        return 0

    third = data[position + 2]
    if first == 0xE2 and second >= 0x80:  # U+2000 to U+2FFF
        return 3
    if first == 0xE3 and second == 0x80 and third < 0x84 + 0x3C:  # U+3000 to U+303F
        return 3
    if first == 0xEF and ((second == 0xBC and third <= 0x8F) or (second == 0xBD and third >= 0x9B)):
        return 3

    return 0


@inner
def _stands_alone(data: Any, position: Any) -> Any:
    """True for a character of kana, Han, Hangul, Thai, Lao, Khmer or Burmese: a word by itself."""
    first = data[position]
    if first < 0xE0 or position + 1 >= data.size:
        return False
    second = data[position + 1]
    if first == 0xE0:
        return 0xB8 <= second <= 0xBB
    return 0xE3 <= first <= 0xED


@compiled
def hashes(data: Any, out: Any) -> Any:
    """Writes the hash of each word of a phrase and returns their number."""
    count = 0
    position = 0
    while count < out.size:
        value, position, _ = next_word(data, position)
        if value == 0:
            break
        out[count] = value
        count += 1

    return count


def word_hashes(phrase: str) -> list[int]:
    """The hashes of a phrase's words."""
    out = np.empty(64, np.uint64)
    count = hashes(np.frombuffer(normal(phrase) + b" ", np.uint8), out)
    return [int(value) for value in out[:count]]
