"""A text and its counts for the quality rules: words, lines, paragraphs, repeats, n-grams.

Words are separated by white space. The n-grams of words are counted as arrays of codes: equal
n-grams have equal codes, and the code of an n-gram is made from its last word and the code of the
words before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np

TERMINAL_PUNCTUATION = (
    ".",
    "!",
    "?",
    '"',
    "\u201d",
    "'",
    "\u2019",
    "\u2026",
    "\u3002",
    "\uff01",
    "\uff1f",
)


class Profile:
    """A text and its counts, each computed once."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """The words, separated by white space."""
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, stripped."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @cached_property
    def paragraphs(self) -> list[str]:
        """The paragraphs, separated by blank lines, stripped."""
        return [part for raw in re.split(r"\n{2,}", self.text) if (part := raw.strip())]

    @cached_property
    def grams(self) -> WordGrams:
        """The n-grams of the words."""
        return WordGrams(self.words)


class WordGrams:
    """The n-grams of a sequence of words, n >= 1."""

    def __init__(self, words: Sequence[str]) -> None:
        ids: dict[str, int] = {}
        codes = np.fromiter(
            (ids.setdefault(word, len(ids)) for word in words), np.int64, len(words)
        )
        self._chars = np.fromiter(map(len, words), np.int64, len(words))
        self._num_words = len(ids)
        self._codes = [codes]

    def top_chars(self, n: int) -> int:
        """Characters in all occurrences of the most frequent n-gram, with the spaces between its
        words.

        Of equally frequent n-grams, the first counts.
        """
        codes = self._of(n)
        if not codes.size:
            return 0

        counts = np.bincount(codes)[codes]
        first = int(counts.argmax())
        return int(counts[first]) * (int(self._chars[first : first + n].sum()) + n - 1)

    def most_repeated_chars(self, n: int) -> int:
        """Characters of words in any repeat of an earlier n-gram. Never less than `repeated_chars`."""
        covered = np.zeros(self._chars.size + 1, np.int64)
        places = np.flatnonzero(self._repeats(n))
        np.add.at(covered, places, 1)
        np.add.at(covered, places + n, -1)
        return int(self._chars[np.cumsum(covered[:-1]) > 0].sum())

    def repeated_chars(self, n: int) -> int:
        """Characters of words in a repeat of an earlier n-gram, each word counted once.

        The text is read from left to right, and a repeat is skipped as a whole, as in Gopher's
        description.
        """
        if not self._repeats(n).any():
            return 0

        seen: set[int] = set()
        chars = index = 0
        codes = self._of(n).tolist()

        while index < len(codes):
            if codes[index] in seen:
                chars += int(self._chars[index : index + n].sum())
                index += n
            else:
                seen.add(codes[index])
                index += 1

        return chars

    def _of(self, n: int) -> np.ndarray:
        """The code of the n-gram at each place. Shape (max(0, words - n + 1),)."""
        words = self._codes[0]
        while len(self._codes) < n:
            shorter = self._codes[-1]
            pairs = shorter[:-1] * max(1, self._num_words) + words[len(self._codes) :]
            self._codes.append(np.unique(pairs, return_inverse=True)[1])
        return self._codes[n - 1]

    def _repeats(self, n: int) -> np.ndarray:
        """True for an n-gram with an earlier occurrence. Shape as `_of`."""
        codes = self._of(n)
        repeats = np.ones(codes.size, bool)
        repeats[np.unique(codes, return_index=True)[1]] = False
        return repeats


def repeats(items: Sequence[str]) -> tuple[int, int]:
    """The number of items repeating an earlier one, and their characters."""
    seen: set[str] = set()
    repeated = chars = 0
    for item in items:
        if item in seen:
            repeated += 1
            chars += len(item)
        else:
            seen.add(item)

    return repeated, chars


def frac(part: float, whole: float) -> float:
    """The share, 0 of nothing."""
    return part / whole if whole else 0.0
