"""Marks of links behind a heading are looked for only where one may be."""

from __future__ import annotations

from itertools import product

from clean.learned.render import _MARK_ENDS, _MARKS

PIECES = (
    *("a", " ", "\t", "\n", "#", "\u00b6", "\u00a7", "\U0001f517", "[edit]", "[ edit source ]"),
    *("]", "\u21a9", "\u21a9\ufe0e"),
)


def test_a_text_with_marks_ends_with_the_end_of_one() -> None:
    marked = 0
    for pieces in product(PIECES, repeat=4):
        stripped = "".join(pieces).strip("\n\r ")
        if _MARKS.search(stripped):
            marked += 1
            assert stripped[-1] in _MARK_ENDS
    assert marked > 1000
