"""Ends of sentences near a place: how near they have to be, and what is an end at all."""

from __future__ import annotations

import pytest

from dedup.sentences import begin_before, end_after


@pytest.mark.parametrize(
    ("text", "at", "begin"),
    [
        ("a" * 99, 0, 0),
        ("a" * 99, 60, 0),
        ("a" * 99, 61, 61),
        # An end within the text keeps it from reaching to the beginning.
        ("A. " + "b" * 99, 20, 2),
        ("A. " + "b" * 99, 61, 2),
        ("A. " + "b" * 99, 62, 62),
        ("A. b. c", 5, 5),
        ("A. b. c", 4, 2),
        ("One. Two! Three? " + "b" * 99, 30, 16),
        ('He said "Go." ' + "b" * 99, 30, 13),
        ("One\n \nb" + "b" * 99, 30, 6),
        (". bbb", 5, 1),
        # The point of a number ends nothing, also where the place is behind it.
        ("A. bbb 3.14", 9, 2),
        ("\u4e00\u3002\u4e8c\u4e09", 4, 2),
    ],
)
def test_begin_before(text: str, at: int, begin: int) -> None:
    assert begin_before(text, at) == begin


@pytest.mark.parametrize(
    ("text", "at", "end"),
    [
        ("a" * 99, 39, 99),
        ("a" * 99, 38, 38),
        ("a" * 59 + ". " + "b" * 99, 0, 60),
        ("a" * 60 + ". " + "b" * 99, 0, 0),
        ("a" * 60 + ". " + "b" * 99, 1, 61),
        ("a" * 59 + ".5" + "b" * 99, 0, 0),
        ("a" * 58 + '." ' + "b" * 99, 0, 60),
        ("a" * 59 + '." ' + "b" * 99, 0, 0),
        ("a. b. c" + "b" * 99, 2, 2),
        ("a. b. c" + "b" * 99, 3, 5),
        ("pi is 3.14 here. " + "b" * 99, 8, 16),
        ("one two\n\n" + "b" * 99, 4, 9),
        # A place at the very beginning has nothing before it.
        (". a. " + "b" * 99, 0, 1),
        (". a. " + "b" * 99, 1, 1),
        ("\u4e00\u4e8c\u3002\u4e09" + "b" * 99, 0, 3),
    ],
)
def test_end_after(text: str, at: int, end: int) -> None:
    assert end_after(text, at) == end
