"""FineWeb's own rules: Penedo et al. 2024 (arXiv 2406.17557), section 3.5."""

from __future__ import annotations

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
    """Largest share of characters in repeated lines (0.1 in the paper's text, 0.01 in its code and its ablation)."""
    max_newlines_per_word: float = 0.3
    """Most line ends per word (the code; not in the paper)."""


def line_punctuation(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Too few lines that end like sentences."""
    ended = sum(line.endswith(TERMINAL_PUNCTUATION) for line in profile.lines)
    return (
        Reason.FINEWEB_LINE_PUNCTUATION
        if frac(ended, len(profile.lines)) < config.min_line_punctuation_frac
        else None
    )


def short_lines(profile: Profile, config: FineWebConfig) -> Reason | None:
    """A page of list items and menu entries."""
    short = sum(len(line) <= config.short_line_chars for line in profile.lines)
    return (
        Reason.FINEWEB_SHORT_LINES
        if frac(short, len(profile.lines)) > config.max_short_lines_frac
        else None
    )


def repeated_lines(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Characters in lines that come again."""
    _, chars = repeats(profile.lines)
    whole = len(profile.text.replace("\n", ""))
    return (
        Reason.FINEWEB_REPEATED_LINES
        if frac(chars, whole) > config.max_dup_line_chars_frac
        else None
    )


def newlines(profile: Profile, config: FineWebConfig) -> Reason | None:
    """Too many line ends for the words."""
    return (
        Reason.FINEWEB_NEWLINES
        if frac(profile.text.count("\n"), len(profile.words)) > config.max_newlines_per_word
        else None
    )


RULES = (line_punctuation, short_lines, repeated_lines, newlines)
