"""Gopher's rules of quality and of repetition: Rae et al. 2021 (arXiv 2112.11446), section A.1.1
and table A1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import Field

from clean import detail
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
    """Drop a text of too few or too many words."""
    within = config.min_words <= len(profile.words) <= config.max_words
    return None if within else Reason.GOPHER_WORDS


def mean_word_chars(profile: Profile) -> float:
    """The mean length of a word, characters."""
    return frac(sum(map(len, profile.words)), len(profile.words))


def word_length(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text whose words are too short or too long on average."""
    mean = mean_word_chars(profile)
    within = config.min_mean_word_chars <= mean <= config.max_mean_word_chars
    return None if within else Reason.GOPHER_WORD_LENGTH


def symbols_per_word(profile: Profile) -> float:
    """Hash signs, or ellipses if there are more of them, for each word."""
    text = profile.text
    most = max(text.count("#"), text.count("...") + text.count("\u2026"))
    return frac(most, len(profile.words))


def symbols(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text with too many hash signs, or too many ellipses, for its words."""
    text, most = profile.text, config.max_symbols_per_word * len(profile.words)
    num_ellipses = text.count("...") + text.count("\u2026")
    return Reason.GOPHER_SYMBOLS if text.count("#") > most or num_ellipses > most else None


def bullet_lines_frac(profile: Profile) -> float:
    """The share of lines beginning with a bullet."""
    return frac(sum(line.startswith(_BULLETS) for line in profile.lines), len(profile.lines))


def bullets(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text made of list items."""
    most = config.max_bullet_lines_frac
    return Reason.GOPHER_BULLETS if bullet_lines_frac(profile) > most else None


def ellipsis_lines_frac(profile: Profile) -> float:
    """The share of lines ending with an ellipsis."""
    cut = sum(line.endswith(("...", "\u2026")) for line in profile.lines)
    return frac(cut, len(profile.lines))


def ellipses(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drops a text whose lines break off, as teasers do."""
    most = config.max_ellipsis_lines_frac
    return Reason.GOPHER_ELLIPSES if ellipsis_lines_frac(profile) > most else None


def alphabetic_words_frac(profile: Profile) -> float:
    """The share of words with a letter in them."""
    num_alphabetic = sum(any(map(str.isalpha, word)) for word in profile.words)
    return frac(num_alphabetic, len(profile.words))


def alphabetic(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text with too many words without a letter."""
    least = config.min_alphabetic_words_frac
    return Reason.GOPHER_ALPHABETIC if alphabetic_words_frac(profile) < least else None


def num_stop_words(profile: Profile) -> int:
    """Different stop words in the text."""
    return len(STOP_WORDS.intersection(profile.words))


def stop_words(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text with too few of the commonest English words."""
    least = config.min_stop_words
    return Reason.GOPHER_STOP_WORDS if num_stop_words(profile) < least else None


def repeated_fracs(profile: Profile, items: Sequence[str]) -> tuple[float, float]:
    """The share of repeats among `items`, and the share of the text's characters in them."""
    num_repeats, chars = repeats(items)
    return frac(num_repeats, len(items)), frac(chars, len(profile.text))


def repeated_lines(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text with many repeated lines."""
    lines, chars = repeated_fracs(profile, profile.lines)
    over = lines > config.max_dup_lines_frac or chars > config.max_dup_line_chars_frac
    return Reason.GOPHER_REPEATED_LINES if over else None


def repeated_paragraphs(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text with many repeated paragraphs."""
    paragraphs, chars = repeated_fracs(profile, profile.paragraphs)
    over = (
        paragraphs > config.max_dup_paragraphs_frac or chars > config.max_dup_paragraph_chars_frac
    )
    return Reason.GOPHER_REPEATED_PARAGRAPHS if over else None


def too_frequent_ngram(profile: Profile, config: GopherConfig) -> tuple[int, float] | None:
    """The first n with a too frequent n-gram, and the share of this n-gram in the text."""
    for n, most in config.max_top_ngram_chars_frac.items():
        if (share := frac(profile.grams.top_chars(n), len(profile.text))) > most:
            return n, share
    return None


def top_ngram(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text largely made of one n-gram."""
    return Reason.GOPHER_TOP_NGRAM if too_frequent_ngram(profile, config) else None


def too_repeated_ngrams(profile: Profile, config: GopherConfig) -> tuple[int, float] | None:
    """The first n with repeated n-grams above their limit, and their share of the text."""
    for n, most in sorted(config.max_dup_ngram_chars_frac.items()):
        limit = most * len(profile.text)
        bound = profile.grams.most_repeated_chars(n)
        if bound == 0:
            return None  # no longer n-gram is repeated either
        if bound > limit and (chars := profile.grams.repeated_chars(n)) > limit:
            return n, frac(chars, len(profile.text))

    return None


def repeated_ngrams(profile: Profile, config: GopherConfig) -> Reason | None:
    """Drop a text with many repeated n-grams."""
    return Reason.GOPHER_REPEATED_NGRAMS if too_repeated_ngrams(profile, config) else None


# Repetition, then quality.
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


_KEY = "quality.gopher."


def _words_detail(profile: Profile, config: GopherConfig) -> str:
    keys = (f"{_KEY}min_words", f"{_KEY}max_words")
    return detail.outside(len(profile.words), config.min_words, config.max_words, "words", keys)


def _word_length_detail(profile: Profile, config: GopherConfig) -> str:
    keys = (f"{_KEY}min_mean_word_chars", f"{_KEY}max_mean_word_chars")
    least, most = config.min_mean_word_chars, config.max_mean_word_chars
    return detail.outside(mean_word_chars(profile), least, most, "characters a word", keys)


def _repeated_detail(
    profile: Profile, items: Sequence[str], of: str, limits: Mapping[str, float]
) -> str:
    """The first share above its limit: of items, else of their characters."""
    names = (f"of {of} repeated", f"of characters in repeated {of}")
    shares = zip(repeated_fracs(profile, items), names, limits.items(), strict=True)
    share, name, (key, most) = next(each for each in shares if each[0] > each[2][1])
    return detail.above(share, most, name, _KEY + key)


def _repeated_lines_detail(profile: Profile, config: GopherConfig) -> str:
    limits = {
        "max_dup_lines_frac": config.max_dup_lines_frac,
        "max_dup_line_chars_frac": config.max_dup_line_chars_frac,
    }
    return _repeated_detail(profile, profile.lines, "lines", limits)


def _repeated_paragraphs_detail(profile: Profile, config: GopherConfig) -> str:
    limits = {
        "max_dup_paragraphs_frac": config.max_dup_paragraphs_frac,
        "max_dup_paragraph_chars_frac": config.max_dup_paragraph_chars_frac,
    }
    return _repeated_detail(profile, profile.paragraphs, "paragraphs", limits)


def _top_ngram_detail(profile: Profile, config: GopherConfig) -> str:
    found = too_frequent_ngram(profile, config)
    assert found is not None
    n, share = found
    most = config.max_top_ngram_chars_frac[n]
    of = f"of characters in the most frequent sequence of {n} words"
    return detail.above(share, most, of, f"{_KEY}max_top_ngram_chars_frac")


def _repeated_ngrams_detail(profile: Profile, config: GopherConfig) -> str:
    found = too_repeated_ngrams(profile, config)
    assert found is not None
    n, share = found
    most = config.max_dup_ngram_chars_frac[n]
    of = f"of characters in repeated sequences of {n} words"
    return detail.above(share, most, of, f"{_KEY}max_dup_ngram_chars_frac")


# The value, threshold and setting behind each reason, for a text dropped for it.
DETAILS: Mapping[Reason, Callable[[Profile, GopherConfig], str]] = {
    Reason.GOPHER_WORDS: _words_detail,
    Reason.GOPHER_WORD_LENGTH: _word_length_detail,
    Reason.GOPHER_SYMBOLS: lambda profile, config: detail.above(
        symbols_per_word(profile),
        config.max_symbols_per_word,
        "hash signs or ellipses a word",
        f"{_KEY}max_symbols_per_word",
    ),
    Reason.GOPHER_BULLETS: lambda profile, config: detail.above(
        bullet_lines_frac(profile),
        config.max_bullet_lines_frac,
        "of lines begin with a bullet",
        f"{_KEY}max_bullet_lines_frac",
    ),
    Reason.GOPHER_ELLIPSES: lambda profile, config: detail.above(
        ellipsis_lines_frac(profile),
        config.max_ellipsis_lines_frac,
        "of lines end with an ellipsis",
        f"{_KEY}max_ellipsis_lines_frac",
    ),
    Reason.GOPHER_ALPHABETIC: lambda profile, config: detail.below(
        alphabetic_words_frac(profile),
        config.min_alphabetic_words_frac,
        "of words have a letter",
        f"{_KEY}min_alphabetic_words_frac",
    ),
    Reason.GOPHER_STOP_WORDS: lambda profile, config: detail.below(
        num_stop_words(profile),
        config.min_stop_words,
        "different stop words",
        f"{_KEY}min_stop_words",
    ),
    Reason.GOPHER_REPEATED_LINES: _repeated_lines_detail,
    Reason.GOPHER_REPEATED_PARAGRAPHS: _repeated_paragraphs_detail,
    Reason.GOPHER_TOP_NGRAM: _top_ngram_detail,
    Reason.GOPHER_REPEATED_NGRAMS: _repeated_ngrams_detail,
}
