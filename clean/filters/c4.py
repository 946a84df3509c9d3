"""C4's cleaning of lines and its rules for pages: Raffel et al. 2020 (arXiv 1910.10683), section
2.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from clean import detail
from clean.filters.profile import TERMINAL_PUNCTUATION, Profile
from clean.reasons import Reason
from corpus.config import Section

_POLICY = re.compile(
    r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies", re.I
)
_CITATION = re.compile(r"\[(?:\d{1,4}|edit|citation needed)\]")
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*(?=\s|$)")


class C4Config(Section):
    """C4's line cleaning and page rules."""

    terminal_punctuation: bool = True
    """Require lines to end in a terminal punctuation mark (section 2.2). The fineweb preset does
    not.
    """
    min_words_per_line: int = 3
    """Least words of a line. From the first version of the paper, and the code that made C4."""
    min_sentences: int = 5
    """Least sentences left on the page.

    The first version of the paper, and the code that made C4.
    """
    max_word_chars: int = 1000
    """Longest word of a line, characters. From the code that made C4."""


def kept_lines(text: str, config: C4Config, *, punctuation: bool) -> str:
    """The text without the lines removed by C4, and without Wikipedia's citation marks."""
    kept = []
    for raw in text.split("\n"):
        line = _CITATION.sub("", raw).strip()
        lowered = line.lower()
        if (
            len(line.split()) >= config.min_words_per_line
            and not (
                punctuation and (not line.endswith(TERMINAL_PUNCTUATION) or line.endswith("..."))
            )
            and max(map(len, line.split()), default=0) <= config.max_word_chars
            and "javascript" not in lowered
            and not _POLICY.search(line)
        ):
            kept.append(line)

    return "\n".join(kept)


def num_sentences(text: str) -> int:
    """Sentences, by their end marks; a last line without one counts as a sentence too."""
    ends = len(_SENTENCE_END.findall(text))
    rest = text.rstrip()
    return ends + (bool(rest) and not rest.endswith(TERMINAL_PUNCTUATION))


def lorem_ipsum(profile: Profile, config: C4Config) -> Reason | None:
    """Drops a page of placeholder text."""
    return Reason.C4_LOREM_IPSUM if "lorem ipsum" in profile.text.lower() else None


def curly_brace(profile: Profile, config: C4Config) -> Reason | None:
    """Drops programming code, by a sign absent from prose."""
    return Reason.C4_CURLY_BRACE if "{" in profile.text else None


def sentences(profile: Profile, config: C4Config) -> Reason | None:
    """Drops a page with too few sentences left."""
    return Reason.C4_SENTENCES if num_sentences(profile.text) < config.min_sentences else None


RULES = (lorem_ipsum, curly_brace, sentences)

# The value, threshold and setting behind each reason, for a text dropped for it.
DETAILS: Mapping[Reason, Callable[[Profile, C4Config], str]] = {
    Reason.C4_LOREM_IPSUM: lambda profile, config: detail.unsettable(
        "'lorem ipsum' in the text", "quality.preset"
    ),
    Reason.C4_CURLY_BRACE: lambda profile, config: detail.unsettable(
        f"{profile.text.count('{')} '{{' in the text", "quality.preset"
    ),
    Reason.C4_SENTENCES: lambda profile, config: detail.below(
        num_sentences(profile.text),
        config.min_sentences,
        "sentences",
        "quality.c4.min_sentences",
    ),
}
