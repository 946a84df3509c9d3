"""Gopher's rules of quality and of repetition: Rae et al. 2021 (arXiv 2112.11446), section A.1.1 and table A1."""

from __future__ import annotations

from pydantic import Field

from clean.filters.profile import Profile, frac, repeats
from clean.reasons import Reason
from corpus.config import Section

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BULLETS = ("-", "*", "\u2022", "\u2023", "\u25b6", "\u25e6", "\u25aa", "\u25cf", "\u2043")


class GopherConfig(Section):
    """Gopher's quality filter and its repetition filter."""

    min_words: int = 50
    """Least words of a document (A.1.1)."""
    max_words: int = 100_000
    """Most words of a document (A.1.1)."""
    min_mean_word_chars: float = 3
    """Least mean word length, characters (A.1.1)."""
    max_mean_word_chars: float = 10
    """Greatest mean word length, characters (A.1.1)."""
    max_symbols_per_word: float = 0.1
    """Most `#`, and most ellipses, per word (A.1.1)."""
    max_bullet_lines_frac: float = 0.9
    """Largest share of lines that begin with a bullet (A.1.1)."""
    max_ellipsis_lines_frac: float = 0.3
    """Largest share of lines that end with an ellipsis (A.1.1)."""
    min_alphabetic_words_frac: float = 0.8
    """Least share of words with a letter in them (A.1.1)."""
    min_stop_words: int = 2
    """Least number of different words among the, be, to, of, and, that, have, with (A.1.1)."""
    max_dup_lines_frac: float = 0.3
    """Largest share of lines that are repeats (table A1)."""
    max_dup_line_chars_frac: float = 0.2
    """Largest share of characters in repeated lines (table A1)."""
    max_dup_paragraphs_frac: float = 0.3
    """Largest share of paragraphs that are repeats (table A1)."""
    max_dup_paragraph_chars_frac: float = 0.2
    """Largest share of characters in repeated paragraphs (table A1)."""
    max_top_ngram_chars_frac: dict[int, float] = Field(default={2: 0.2, 3: 0.18, 4: 0.16})
    """n: largest share of characters in the most frequent n-gram of words (table A1)."""
    max_dup_ngram_chars_frac: dict[int, float] = Field(
        default={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}
    )
    """n: largest share of characters in repeated n-grams of words (table A1)."""


def words(profile: Profile, config: GopherConfig) -> Reason | None:
    """Too few or too many words."""
    within = config.min_words <= len(profile.words) <= config.max_words
    return None if within else Reason.GOPHER_WORDS


def word_length(profile: Profile, config: GopherConfig) -> Reason | None:
    """Words that are too short or too long on average."""
    mean = frac(sum(map(len, profile.words)), len(profile.words))
    within = config.min_mean_word_chars <= mean <= config.max_mean_word_chars
    return None if within else Reason.GOPHER_WORD_LENGTH


def symbols(profile: Profile, config: GopherConfig) -> Reason | None:
    """Too many hash signs, or too many ellipses, for the words."""
    text, most = profile.text, config.max_symbols_per_word * len(profile.words)
    num_ellipses = text.count("...") + text.count("\u2026")
    return Reason.GOPHER_SYMBOLS if text.count("#") > most or num_ellipses > most else None


def bullets(profile: Profile, config: GopherConfig) -> Reason | None:
    """A list rather than a text."""
    num_bullets = sum(line.startswith(_BULLETS) for line in profile.lines)
    return (
        Reason.GOPHER_BULLETS
        if frac(num_bullets, len(profile.lines)) > config.max_bullet_lines_frac
        else None
    )


def ellipses(profile: Profile, config: GopherConfig) -> Reason | None:
    """Lines that break off: teasers."""
    cut = sum(line.endswith(("...", "\u2026")) for line in profile.lines)
    return (
        Reason.GOPHER_ELLIPSES
        if frac(cut, len(profile.lines)) > config.max_ellipsis_lines_frac
        else None
    )


def alphabetic(profile: Profile, config: GopherConfig) -> Reason | None:
    """Too many words without a letter."""
    num_alphabetic = sum(any(map(str.isalpha, word)) for word in profile.words)
    return (
        Reason.GOPHER_ALPHABETIC
        if frac(num_alphabetic, len(profile.words)) < config.min_alphabetic_words_frac
        else None
    )


def stop_words(profile: Profile, config: GopherConfig) -> Reason | None:
    """Too few of the words that any English text has."""
    return (
        Reason.GOPHER_STOP_WORDS
        if len(STOP_WORDS.intersection(profile.words)) < config.min_stop_words
        else None
    )


def repeated_lines(profile: Profile, config: GopherConfig) -> Reason | None:
    """Lines that come again."""
    lines, chars = repeats(profile.lines)
    return (
        Reason.GOPHER_REPEATED_LINES
        if frac(lines, len(profile.lines)) > config.max_dup_lines_frac
        or frac(chars, len(profile.text)) > config.max_dup_line_chars_frac
        else None
    )


def repeated_paragraphs(profile: Profile, config: GopherConfig) -> Reason | None:
    """Paragraphs that come again."""
    paragraphs, chars = repeats(profile.paragraphs)
    return (
        Reason.GOPHER_REPEATED_PARAGRAPHS
        if frac(paragraphs, len(profile.paragraphs)) > config.max_dup_paragraphs_frac
        or frac(chars, len(profile.text)) > config.max_dup_paragraph_chars_frac
        else None
    )


def top_ngram(profile: Profile, config: GopherConfig) -> Reason | None:
    """One n-gram that makes up much of the text."""
    for n, most in config.max_top_ngram_chars_frac.items():
        if frac(profile.grams.top_chars(n), len(profile.text)) > most:
            return Reason.GOPHER_TOP_NGRAM
    return None


def repeated_ngrams(profile: Profile, config: GopherConfig) -> Reason | None:
    """Many n-grams that come again."""
    for n, most in sorted(config.max_dup_ngram_chars_frac.items()):
        limit = most * len(profile.text)
        bound = profile.grams.most_repeated_chars(n)
        if bound == 0:
            return None  # no longer n-gram comes again either
        if bound > limit and profile.grams.repeated_chars(n) > limit:
            return Reason.GOPHER_REPEATED_NGRAMS
    return None


RULES = (
    repeated_paragraphs,
    repeated_lines,
    top_ngram,
    repeated_ngrams,
    words,
    word_length,
    symbols,
    bullets,
    ellipses,
    alphabetic,
    stop_words,
)
"""Repetition, then quality."""
