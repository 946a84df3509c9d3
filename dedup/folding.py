"""Word characters: one table from code point to its effect under the word rule.

The rule, for a character c of the text: take the compatibility decomposition (NFKD) of its case
folding, and of this

- combining marks, invisible format characters (soft hyphen, joiners, variation selectors) and
  strokes that only stretch a word (tatweel) are ignored;
- letters, digits and vowel signs belong to a word; in scripts without spaces (Han, Kana, Thai,
  Khmer, Javanese and others) each is a word of its own;
- everything else ends a word, including the underscore, the apostrophe and the trademark sign.

The table works character by character, and reordering concerns only ignored marks, so the words of
a text are the same in all four Unicode forms. Case, punctuation, ligatures, widths and line breaks
do not matter either. Neither does the dot of the Turkish i, since capitals have it or not by
language.

The table is a file made once, from Unicode 18.0, since another Python must not give other bytes.
`tools/make_folding.py` made it. Another table is another rule of words, with its own name in
`dedup.shingles.normalizer`, since hashes of words are in the index.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

UNICODE_VERSION = "18.0.0"
FILE = f"folding-{UNICODE_VERSION}.zz"
NUM_CODE_POINTS = 0x110000
BREAK = 0
NOTHING = -1
# Added to a code point that is a word of its own.
ALONE = 1 << 24
# Marks an entry `EXPANSION | offset << 5 | length` into the expansions.
EXPANSION = 1 << 28


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
