"""Passages of records and tables at their borders."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corpus.evaluation_sets import records


@pytest.mark.parametrize(
    ("text", "long"),
    [
        ("one two three four five six seven", True),
        ("one two three four five six", False),
        ("\u4e00" * 14, True),
        ("\u4e00" * 13, False),
        ("\u4e00" * 13 + " b", False),
        ("\u0e01" * 7 + "\u4e00" * 7, True),
        ("", False),
    ],
)
def test_a_long_text_has_seven_words_or_fourteen_signs(text: str, long: bool) -> None:
    assert records.is_long(text, 7) is long


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ('{"x": "a", "y": ["b"]}', ["a", "b"]),
        (" ['a'] \n", ["a"]),
        # Numbers alone are a text, as is what only looks like a list.
        ("[1, 2]", ["[1, 2]"]),
        ("[a, b]", ["[a, b]"]),
        ("['a'}", ["['a'}"]),
        ("['a", ["['a"]),
        ("[]", ["[]"]),
        ("", [""]),
    ],
)
def test_lists_that_strings_spell(text: str, found: list[str]) -> None:
    assert list(records.strings_of(text)) == found


@pytest.mark.parametrize(("num_chars", "listed"), [(65_536, True), (65_537, False)])
def test_a_longer_string_is_a_text(num_chars: int, listed: bool) -> None:
    inner = "a" * (num_chars - 4)
    text = f'["{inner}"]'
    assert len(text) == num_chars
    assert list(records.strings_of(text)) == [inner if listed else text]
    assert list(records.strings_of(f" {text} ")) == [inner if listed else f" {text} "]


KNOWN = {"question", "answer", "q"}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("question,answer\na,b\n", [{"question": "a", "answer": "b"}]),
        (" Question ,other\na,b\n", [{"Question": "a", "other": "b"}]),
        # No header: two columns of one name, a name of one letter, a cell that is no name.
        ("answer,answer\na,b\n", [("answer", "answer"), ("a", "b")]),
        ("q,r\na,b\n", [("q", "r"), ("a", "b")]),
        ("question,3.5\na,b\n", [("question", "3.5"), ("a", "b")]),
        ("other,more\na,b\n", [("other", "more"), ("a", "b")]),
        # Row numbers: distinct, whole, with something behind.
        ("1,a\n2,b\n", [("a",), ("b",)]),
        ("1,a\n1,b\n", [("1", "a"), ("1", "b")]),
        ("1,a\nx,b\n", [("1", "a"), ("x", "b")]),
        ("1\n2\n", [("1",), ("2",)]),
        ("1\n2,b\n", [(), ("b",)]),
        # The first line tells the delimiter, by its last cell too.
        ("a;\nb;c\n", [("a", ""), ("b", "c")]),
        ("a;", [("a", "")]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_rows_of_a_table(text: str, rows: list[Any]) -> None:
    assert list(records.table_rows(text, ",", KNOWN)) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        # A lone mark of quotation: the lines fit together without any.
        ('a\t"b\nc\td\n', [("a", '"b'), ("c", "d")]),
        # Without tabs they would be one column: the quotation is one.
        ('"a\nb"\n', [("a\nb",)]),
        # Lines of two widths do not fit together.
        ('a\t"b\nc"\nd\te\n', [("a", "b\nc"), ("d", "e")]),
    ],
)
def test_quotation_in_a_table_by_tabs(text: str, rows: list[Any]) -> None:
    assert list(records.table_rows(text, "\t", KNOWN)) == rows


def test_nested_entries() -> None:
    record = json.loads('{"id": 1, "paragraphs": [{"question": "a", "qas": [{"answer": "b"}]}, [{"answer": "c"}]]}')  # fmt: skip
    chosen = ["question", "answer"]
    assert list(records.entries_of(record, chosen)) == [["a"], ["b"], ["c"]]
    assert list(records.entries_of(record, chosen, nested=False)) == [["a"], ["c"]]
    assert list(records.field_names(record)) == ["id", "paragraphs", "question", "qas", "answer", "answer"]  # fmt: skip
    assert list(records.entries_of({"Answer": "b", "QUESTION": ["a", "c"]}, chosen)) == [["a", "c", "b"]]  # fmt: skip
