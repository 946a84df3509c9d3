"""Word characters: one table from code point to its effect under the word rule.

The rule, for a character c of the text: take the compatibility decomposition (NFKD) of its case
folding, and of this

- combining marks and invisible format characters (soft hyphen, joiners, variation selectors) are
  ignored;
- letters, digits and vowel signs belong to a word; in scripts without spaces (Han, Kana, Thai, Lao,
  Khmer, Myanmar) each is a word of its own;
- everything else ends a word, including the underscore and the apostrophe.

The table works character by character, and reordering concerns only ignored marks, so the words of
a text are the same in all four Unicode forms. Case, punctuation, ligatures, widths and line breaks
do not matter either.

The table is a file made once, from Unicode 14.0, since another Python must not give other bytes.
`build` made it.
"""

from __future__ import annotations

import unicodedata
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

UNICODE_VERSION = "14.0.0"
FILE = f"folding-{UNICODE_VERSION}.zz"
NUM_CODE_POINTS = 0x110000
BREAK = 0
NOTHING = -1
# Added to a code point that is a word of its own.
ALONE = 1 << 24
# Marks an entry `EXPANSION | offset << 5 | length` into the expansions.
EXPANSION = 1 << 28

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # iteration marks
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # small Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Myanmar, extended
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, further planes
)
_IGNORABLE_MARKS = frozenset(
    [0x034F, 0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)


@dataclass(frozen=True, slots=True)
class Folding:
    """The table: codes (NUM_CODE_POINTS,) int32, expansions (k,) int32 of their codes."""

    codes: np.ndarray
    expansions: np.ndarray

    def of(self, code_point: int) -> list[int]:
        """The contribution of one character: BREAK, folded code points, and ALONE ones.

        Nothing for NOTHING.
        """
        code = int(self.codes[code_point])
        if code >= EXPANSION:
            offset, length = (code & ~EXPANSION) >> 5, code & 31
            return [int(each) for each in self.expansions[offset : offset + length]]

        return [] if code == NOTHING else [code]


@cache
def load() -> Folding:
    """The table of this project, from its file."""
    data = np.frombuffer(
        zlib.decompress(resources.files("dedup").joinpath(FILE).read_bytes()), "<i4"
    )
    codes = data[:NUM_CODE_POINTS].astype(np.int32)
    same = codes == 1
    codes[same] = np.flatnonzero(same)
    alone = codes == 2
    codes[alone] = np.flatnonzero(alone) | ALONE
    return Folding(codes, data[NUM_CODE_POINTS:].astype(np.int32))


def dump(folding: Folding) -> bytes:
    """The file of a table: 1 for a character folding to itself, 2 for one doing so alone."""
    codes = folding.codes.copy()
    points = np.arange(NUM_CODE_POINTS, dtype=np.int32)
    codes[folding.codes == points] = 1
    codes[folding.codes == (points | ALONE)] = 2
    codes[0] = BREAK
    return zlib.compress(np.concatenate([codes, folding.expansions]).astype("<i4").tobytes(), 9)


def build() -> Folding:
    """The table as this Python's `unicodedata` gives it."""
    codes = np.zeros(NUM_CODE_POINTS, np.int32)
    expansions: list[int] = []
    for point in range(NUM_CODE_POINTS):
        if unicodedata.category(chr(point)) in ("Cn", "Cs", "Co"):
            continue
        folded = [code for code in _fold(chr(point)) if code != NOTHING]
        if len(folded) == 1:
            codes[point] = folded[0]
        elif not folded:
            codes[point] = NOTHING
        elif all(code == BREAK for code in folded):
            codes[point] = BREAK
        else:
            codes[point] = EXPANSION | len(expansions) << 5 | len(folded)
            expansions.extend(folded)

    return Folding(codes, np.array(expansions, np.int32))


def _fold(character: str) -> list[int]:
    text = character
    while (
        folded := unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    ) != text:
        text = folded
    return [_code(each) for each in text]


def _code(character: str) -> int:
    point = ord(character)
    category = unicodedata.category(character)
    if unicodedata.combining(character) or category in ("Cf", "Me") or point in _IGNORABLE_MARKS:
        return NOTHING
    if not (character.isalnum() or category in ("Mn", "Mc")):
        return BREAK
    return point | ALONE if any(first <= point <= last for first, last in _UNSPACED) else point
