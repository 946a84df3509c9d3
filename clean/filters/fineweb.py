"""FineWeb's own rules: Penedo et al. 2024 (arXiv 2406.17557), section 3.5."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clean import detail
from clean.filters.profile import TERMINAL_PUNCTUATION, Profile, frac, repeats
from clean.reasons import Reason
from corpus.config import Section


class FineWebConfig(Section):
    """FineWeb's own three rules (section 3.5)."""

    min_line_punctuation_frac: float = 0.12
    """Least share of lines that end in terminal punctuation."""
    max_short_lines_frac: float = 0.67
    """Largest share of short lines."""
    short_line_chars: int = 30
    """A line of at most so many characters is short."""
    max_dup_line_chars_frac: float = 0.01
    """Largest share of characters in repeated lines (0.1 in the paper's text, 0.01 in its code and
    its ablation).
    """
    max_newlines_per_word: float = 0.3
    """Most line ends per word (the code; not in the paper)."""


def line_punctuation_frac(profile: Profile) -> float:
    """The share of lines ending in terminal punctuation."""
    ended = sum(line.endswith(TERMINAL_PUNCTUATION) for line in profile.lines)
    return frac(ended, len(profile.lines))


def line_punctuation(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Drop a text with too few lines ending like sentences."""
    least = config.min_line_punctuation_frac
    return Reason.FINEWEB_LINE_PUNCTUATION if line_punctuation_frac(profile) < least else None


def short_lines_frac(profile: Profile, config: FineWebConfig) -> float:
    """The share of short lines."""
    short = sum(len(line) <= config.short_line_chars for line in profile.lines)
    return frac(short, len(profile.lines))


def short_lines(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Drop a page of list items and menu entries."""
    most = config.max_short_lines_frac
    return Reason.FINEWEB_SHORT_LINES if short_lines_frac(profile, config) > most else None


def repeated_line_chars_frac(profile: Profile) -> float:
    """The share of characters in repeated lines; line ends are not counted."""
    _, chars = repeats(profile.lines)
    return frac(chars, len(profile.text.replace("\n", "")))


def repeated_lines(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Drop a text with too many characters in repeated lines."""
    most = config.max_dup_line_chars_frac
    return Reason.FINEWEB_REPEATED_LINES if repeated_line_chars_frac(profile) > most else None


def newlines_per_word(profile: Profile) -> float:
    """Line ends for each word."""
    return frac(profile.text.count("\n"), len(profile.words))


def newlines(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Drop a text with too many line ends for its words."""
    most = config.max_newlines_per_word
    return Reason.FINEWEB_NEWLINES if newlines_per_word(profile) > most else None


RULES = (line_punctuation, short_lines, repeated_lines, newlines)

_KEY = "quality.fineweb."
# The value, threshold and setting behind each reason, for a text dropped for it.
DETAILS: Mapping[Reason, Callable[[Profile, FineWebConfig], str]] = {
    Reason.FINEWEB_LINE_PUNCTUATION: lambda profile, config: detail.below(
        line_punctuation_frac(profile),
        config.min_line_punctuation_frac,
        "of lines end in punctuation",
        f"{_KEY}min_line_punctuation_frac",
    ),
    Reason.FINEWEB_SHORT_LINES: lambda profile, config: detail.above(
        short_lines_frac(profile, config),
        config.max_short_lines_frac,
        "of lines are short",
        f"{_KEY}max_short_lines_frac",
    ),
    Reason.FINEWEB_REPEATED_LINES: lambda profile, config: detail.above(
        repeated_line_chars_frac(profile),
        config.max_dup_line_chars_frac,
        "of characters in repeated lines",
        f"{_KEY}max_dup_line_chars_frac",
    ),
    Reason.FINEWEB_NEWLINES: lambda profile, config: detail.above(
        newlines_per_word(profile),
        config.max_newlines_per_word,
        "line ends a word",
        f"{_KEY}max_newlines_per_word",
    ),
}
