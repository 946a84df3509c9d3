"""Agreement of extracted text with gold text, as the article-extraction-benchmark measures it.

Texts are cut into words (`\\w+`; each Chinese, Japanese or Korean sign is one), words into overlapping runs of four. Shared runs count with their
frequency. Precision and recall are averaged over pages; F1 is taken of the averages.
Source: scrapinghub/article-extraction-benchmark, README ("evaluation").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

# Chinese, Japanese and Korean do not part words by spaces: each of their signs is a word.
_SIGN: Final = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGN}]|[^\W{_SIGN}]+")


class Scores(NamedTuple):
    """F1, precision and recall over pages, each in 0..1."""

    f1: float
    precision: float
    recall: float


class PageScores(NamedTuple):
    """Precision or recall of one page; None if it has no denominator.

    Such a page is left out of the mean.
    """

    precision: float | None
    recall: float | None


def scores(pairs: Iterable[tuple[str, str]], n: int = 4) -> Scores:
    """Scores of (gold text, extracted text) pairs."""
    return average([page_scores(gold, extracted, n) for gold, extracted in pairs])


def page_scores(gold: str, extracted: str, n: int = 4) -> PageScores:
    """Scores of one page."""
    wanted, got = shingles(gold, n), shingles(extracted, n)
    shared = (wanted & got).total()
    return PageScores(
        shared / got.total() if got else None, shared / wanted.total() if wanted else None
    )


def average(pages: Sequence[PageScores]) -> Scores:
    """Average scores of pages."""
    precision = _mean([page.precision for page in pages if page.precision is not None])
    recall = _mean([page.recall for page in pages if page.recall is not None])
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Scores(f1, precision, recall)


class SnippetScores(NamedTuple):
    """Counts of wanted and foreign snippets, and of those found in the extracted texts."""

    wanted: int
    kept: int
    foreign: int
    slipped: int

    def __str__(self) -> str:
        kept, slipped = (
            n / max(1, of) for n, of in ((self.kept, self.wanted), (self.slipped, self.foreign))
        )
        return (
            f"{kept:.1%} of {self.wanted:,} snippets that belong in the text, "
            f"{slipped:.1%} of {self.foreign:,} that do not"
        )


def snippet_scores(pages: Iterable[tuple[Sequence[str], Sequence[str], str]]) -> SnippetScores:
    """Count snippets over triples of (wanted snippets, foreign snippets, extracted text).

    All white space is alike.
    """
    counts = Counter[str]()
    for wanted, foreign, extracted in pages:
        text = " ".join(extracted.split())
        counts["wanted"] += len(wanted)
        counts["foreign"] += len(foreign)
        counts["kept"] += sum(" ".join(each.split()) in text for each in wanted)
        counts["slipped"] += sum(" ".join(each.split()) in text for each in foreign)

    return SnippetScores(counts["wanted"], counts["kept"], counts["foreign"], counts["slipped"])


def shingles(text: str, n: int) -> Counter[tuple[str, ...]]:
    """The runs of `n` words of a text with their counts.

    A shorter text is one run; an empty text has none.
    """
    words = words_of(text)
    if not words:
        return Counter()

    return Counter(tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def words_of(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
