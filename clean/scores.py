"""How well an extracted text agrees with the gold text: the article-extraction-benchmark's own measure.

Texts are cut into words (`\\w+`), words into overlapping runs of four. Shared runs count with their frequency.
Precision and recall are averaged over pages, and F1 is taken of the averages.
Source: scrapinghub/article-extraction-benchmark, README ("evaluation").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

_WORD = re.compile(r"\w+")


class Scores(NamedTuple):
    """F1, precision and recall over pages, each in 0..1."""

    f1: float
    precision: float
    recall: float


def scores(pairs: Iterable[tuple[str, str]], n: int = 4) -> Scores:
    """Scores of (gold text, extracted text) pairs."""
    precisions, recalls = [], []
    for gold, extracted in pairs:
        wanted, got = shingles(gold, n), shingles(extracted, n)
        shared = (wanted & got).total()
        if got:
            precisions.append(shared / got.total())
        if wanted:
            recalls.append(shared / wanted.total())
    precision, recall = _mean(precisions), _mean(recalls)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Scores(f1, precision, recall)


def shingles(text: str, n: int) -> Counter[tuple[str, ...]]:
    """The runs of `n` words of a text with their counts; a shorter text is one run, an empty one none."""
    words = _WORD.findall(text)
    if not words:
        return Counter()
    return Counter(tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
