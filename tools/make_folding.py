"""Makes the table of word characters (`dedup/folding.py`) anew: `python -m tools.make_folding`.

Categories and decompositions are those of the package `unicodedata2`, case foldings those of Python,
and of the package `regex` for characters that this Python does not know. The file's name has the
version of Unicode. Another table is another rule: give it a name in `dedup.shingles.normalizer`.
"""

from __future__ import annotations

import argparse
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from dedup import folding
from dedup.folding import ALONE, BREAK, EXPANSION, NOTHING, NUM_CODE_POINTS, Folding

# Blocks of scripts that break lines between any two syllables: letters of the classes SA, AK, AS,
# ID and CJ of Unicode's Line_Break, Hangul aside, which has spaces.
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x1BC0, 0x1BFF),  # Batak
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # iteration marks
    (0x3021, 0x3035),  # Hangzhou numerals, repeat marks
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo, extended
    (0x31F0, 0x31FF),  # small Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA000, 0xA4CF),  # Yi
    (0xA980, 0xA9DF),  # Javanese
    (0xA9E0, 0xA9FF),  # Myanmar, extended
    (0xAA00, 0xAA5F),  # Cham
    (0xAA60, 0xAADF),  # Myanmar, extended, Tai Viet
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x11000, 0x1107F),  # Brahmi
    (0x11300, 0x113FF),  # Grantha, Tulu-Tigalari
    (0x11700, 0x1174F),  # Ahom
    (0x11900, 0x1195F),  # Dives Akuru
    (0x11EE0, 0x11F5F),  # Makasar, Kawi
    (0x16100, 0x1613F),  # Gurung Khema
    (0x17000, 0x18AFF),  # Tangut
    (0x18D00, 0x191FF),  # Tangut, further; Jurchen
    (0x1B000, 0x1B2FF),  # Kana, further; Nushu
)
# Signs that only stretch a word: tatweel with its kin, and lajanyalan of N'Ko.
STRETCHES = frozenset({0x0640, 0x07FA, 0x0883, 0x0884, 0x0885})
# Their decompositions are letters, which would join the word before.
TRADEMARKS = frozenset({0x2120, 0x2122, *range(0x1F16A, 0x1F16D)})
DOTLESS_I = 0x0131
IGNORABLE_MARKS = frozenset(
    [0x034F, 0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)
# Planes of Han: what is not assigned yet will be a character of it.
HAN_PLANES = range(0x20000, 0x3FFFE)


def main() -> None:
    """Write the file of the table."""
    argparse.ArgumentParser(prog="tools.make_folding", description=__doc__).parse_args()
    import unicodedata2

    path = Path("dedup") / f"folding-{unicodedata2.unidata_version}.zz"
    path.write_bytes(dump(build(unicodedata2)))
    print(f"{path}; set dedup.folding.UNICODE_VERSION and name the rule")


def build(unicode: Any) -> Folding:
    """The table by a module like Python's `unicodedata`."""
    codes = np.zeros(NUM_CODE_POINTS, np.int32)
    expansions: list[int] = []
    for point in range(NUM_CODE_POINTS):
        category = unicode.category(chr(point))
        if category == "Cn" and point in HAN_PLANES:
            codes[point] = point | ALONE
        if category in ("Cn", "Cs", "Co") or point in TRADEMARKS:
            continue

        folded = [code for code in _fold(unicode, chr(point)) if code != NOTHING]
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


def dump(table: Folding) -> bytes:
    """The file of a table: 1 for a character folding to itself, 2 for one doing so alone."""
    codes = table.codes.copy()
    points = np.arange(NUM_CODE_POINTS, dtype=np.int32)
    codes[table.codes == points] = 1
    codes[table.codes == (points | ALONE)] = 2
    codes[0] = folding.BREAK
    return zlib.compress(np.concatenate([codes, table.expansions]).astype("<i4").tobytes(), 9)


def _fold(unicode: Any, character: str) -> list[int]:
    text = character
    while (folded := _decomposed(unicode, _case_folded(_decomposed(unicode, text)))) != text:
        text = folded
    return [_code(unicode, each) for each in text]


def _decomposed(unicode: Any, text: str) -> str:
    return str(unicode.normalize("NFKD", text))


def _case_folded(text: str) -> str:
    import regex._regex as engine
    from regex import _regex_core

    return "".join(
        engine.fold_case(_regex_core.FULL_CASE_FOLDING, each)
        if unicodedata.category(each) == "Cn"
        else each.casefold()
        for each in text
    )


def _code(unicode: Any, character: str) -> int:
    point = ord(character)
    category = unicode.category(character)
    ignored = unicode.combining(character) or category in ("Cf", "Me")
    if ignored or point in IGNORABLE_MARKS or point in STRETCHES:
        return NOTHING
    if point == DOTLESS_I:
        return ord("i")
    if category[0] not in "LN" and category not in ("Mn", "Mc"):
        return BREAK
    return point | ALONE if _is_alone(point) else point


def _is_alone(point: int) -> bool:
    return point in HAN_PLANES or any(first <= point <= last for first, last in UNSPACED)


if __name__ == "__main__":
    main()
