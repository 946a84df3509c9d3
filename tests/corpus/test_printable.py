"""Strangers' text as people see it."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.markdown import markdown_table
from corpus.printable import printable, spreadsheet_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字 🎉", "plain é 漢字 🎉"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202egpj.exe\u2066\u200b\ufeff", "\\u202egpj.exe\\u2066\\u200b\\ufeff"),
        ("\u2028\u2029\u0085", "\\u2028\\u2029\\x85"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
        ("", ""),
    ],
)
def test_characters_that_act_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize(("length", "shown"), [(4, "xxxx"), (5, "xxxxx"), (6, "xxxx…")])
def test_long_texts_end_in_an_ellipsis(length: int, shown: str) -> None:
    assert printable("x" * length, max_chars=5) == shown
    assert printable("x" * length) == "x" * length


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_formulas_get_an_apostrophe(start: str) -> None:
    assert spreadsheet_cell(f"{start}1") == f"'{start}1"
    assert spreadsheet_cell(f"x{start}") == f"x{start}"


@given(st.text("a|\\<", max_size=8))
def test_a_cell_of_markdown_keeps_its_place(text: str) -> None:
    """GFM reads an escaped sign before it looks for the end of a cell."""
    row = markdown_table(("one", "two"), [(text, "last")]).splitlines()[2]
    outside = re.sub(r"\\[|\\]", "", row)
    assert outside.count("|") == 3
