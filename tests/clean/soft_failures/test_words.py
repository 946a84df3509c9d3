"""Words of phrases by a plain reading of the rule, for every character of the first plane."""

from __future__ import annotations

import numpy as np
import pytest

from clean.soft_failures.words import hashes, normal, word_hashes

MASK = (1 << 64) - 1


def fnv(word: str) -> int:
    """FNV-1a in 64 bits: draft-eastlake-fnv, with its offset and prime."""
    value = 14695981039346656037
    for byte in word.encode():
        value = ((value ^ byte) * 1099511628211) & MASK
    return value


def hashed(text: str) -> list[int]:
    out = np.zeros(64, np.uint64)
    count = hashes(np.frombuffer(text.encode() + b" ", np.uint8), out)
    return [int(value) for value in out[:count]]


def is_separator(code: int) -> bool:
    """All of ASCII but digits and small letters, Latin-1 signs, and marks of three more blocks."""
    if code < 0x80:
        return not (chr(code).isdigit() or chr(code).islower())
    return (
        code < 0xC0
        or 0x2000 <= code < 0x3040  # general punctuation, symbols, radicals and CJK marks
        or 0xFF00 <= code <= 0xFF0F  # wide marks of ASCII
        or 0xFF5B <= code <= 0xFF7F  # wide brackets, and the first narrow kana
    )


def stands_alone(code: int) -> bool:
    """Thai and Lao, and from kana over Han to Hangul: scripts without spaces."""
    return 0x0E00 <= code <= 0x0EFF or 0x3040 <= code <= 0xDFFF


def test_every_character_is_a_letter_a_word_or_a_separator() -> None:
    wrong = []
    for code in range(1, 0x10000):
        if 0xD800 <= code <= 0xDFFF:
            continue
        sign = chr(code)
        if is_separator(code):
            words = ["a", "b"]
        elif stands_alone(code):
            words = ["a", sign, "b"]
        else:
            words = [f"a{sign}b"]
        if hashed(f"a{sign}b") != [fnv(word) for word in words]:
            wrong.append(hex(code))

    assert wrong == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" .,", []),
        ("a", ["a"]),
        ("page 404", ["page", "404"]),
        ("az09:/", ["az09"]),
        ("\u5c71\u5ddd", ["\u5c71", "\u5ddd"]),
        ("\u3002\u5c71", ["\u5c71"]),
        ("\u00e9t\u00e9 \u00bfqu\u00e9?", ["\u00e9t\u00e9", "qu\u00e9"]),
        ("a\nb\n\nc", ["a", "b", "c"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert hashed(text) == [fnv(word) for word in words]


def test_a_phrase_is_read_as_normal_text() -> None:
    assert word_hashes("Can\u2019t &quot;Find&quot; P\u00c1GE") == [
        fnv(w) for w in ("cant", "find", "page")
    ]
    assert len(word_hashes("a " * 100)) == 64


@pytest.mark.parametrize(("length", "is_markup"), [(199, True), (200, True), (201, False)])
def test_markup_has_two_hundred_characters(length: int, is_markup: bool) -> None:
    assert (normal(f"a<{'b' * length}>c") == b"a c") is is_markup
