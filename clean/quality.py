"""Whether a text is worth training on: small rules, each with its paper, grouped into presets.

    webtext      a least length and nothing else: GPT-2 trusted the votes of Reddit's readers
    openwebtext  the length of OpenWebTextCorpus: about 128 GPT-2 tokens
    gopher       Rae et al. 2021 (arXiv 2112.11446), table A1 and section A.1.1: quality and repetition
    c4           Raffel et al. 2020 (arXiv 1910.10683), section 2.2: line cleaning, then page rules
    fineweb      Penedo et al. 2024 (arXiv 2406.17557): gopher, c4 without its punctuation rule, three rules of its own

Words are what stands between white space. A rule looks at a `Profile`, in which the shared counting is done once, and
gives the reason to drop, or None. C4 also edits: `c4_lines` takes lines out before the rules look.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import Field

from clean.reasons import Reason
from corpus.config import Section

Preset = Literal["webtext", "openwebtext", "gopher", "c4", "fineweb"]

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
TERMINAL_PUNCTUATION = (".", "!", "?", '"', "\u201d", "'", "\u2019", "\u2026", "\u3002", "\uff01", "\uff1f")
_POLICY = re.compile(
    r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies", re.I
)
_CITATION = re.compile(r"\[(?:\d{1,4}|edit|citation needed)\]")
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*(?=\s|$)")
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


class C4Config(Section):
    """C4's line cleaning and page rules."""

    terminal_punctuation: bool = True
    """Whether a line must end in a terminal punctuation mark to stay (section 2.2). The fineweb preset leaves it out."""
    min_words_per_line: int = 3
    """Shorter lines go, words; the first version of the paper, and the code that made C4."""
    min_sentences: int = 5
    """Least sentences left on the page; the first version of the paper, and the code that made C4."""
    max_word_chars: int = 1000
    """Lines with a longer word go, characters; the code that made C4."""


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


class QualityConfig(Section):
    """Which rules a text must pass."""

    preset: Preset = "webtext"
    """`webtext`, `openwebtext`, `gopher`, `c4` or `fineweb`: see clean/quality.py."""
    min_words: int | None = Field(default=None, ge=0)
    """Least words of a document, or none: the preset's (webtext 50: Gopher's; openwebtext 96: about 128 GPT-2 tokens)."""
    gopher: GopherConfig = Field(default_factory=GopherConfig)
    c4: C4Config = Field(default_factory=C4Config)
    fineweb: FineWebConfig = Field(default_factory=FineWebConfig)


class Profile:
    """A text and what the rules count in it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """What stands between white space."""
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, stripped."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between blank lines, stripped."""
        return [part for raw in re.split(r"\n{2,}", self.text) if (part := raw.strip())]


Rule = Callable[[Profile, QualityConfig], Reason | None]


class Judged(NamedTuple):
    """The text as the preset leaves it, and why it is dropped, if it is."""

    text: str
    reason: Reason | None


def judge(text: str, config: QualityConfig) -> Judged:
    """The verdict of the preset's rules, the first that applies."""
    if config.preset == "c4":
        text = c4_lines(text, config.c4, punctuation=config.c4.terminal_punctuation)
    elif config.preset == "fineweb":
        text = c4_lines(text, config.c4, punctuation=False)
    profile = Profile(text)
    for rule in (too_short, *RULES[config.preset]):
        reason = rule(profile, config)
        if reason is not None:
            return Judged(text, reason)
    return Judged(text, None)


def min_words(config: QualityConfig) -> int:
    """The least words of a document: the config's, else the preset's."""
    return config.min_words if config.min_words is not None else MIN_WORDS[config.preset]


def too_short(profile: Profile, config: QualityConfig) -> Reason | None:
    """Fewer words than the least length."""
    return Reason.TOO_SHORT if len(profile.words) < min_words(config) else None


def gopher_words(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too few or too many words."""
    within = config.gopher.min_words <= len(profile.words) <= config.gopher.max_words
    return None if within else Reason.GOPHER_WORDS


def gopher_word_length(profile: Profile, config: QualityConfig) -> Reason | None:
    """Words that are too short or too long on average."""
    mean = _frac(sum(map(len, profile.words)), len(profile.words))
    within = config.gopher.min_mean_word_chars <= mean <= config.gopher.max_mean_word_chars
    return None if within else Reason.GOPHER_WORD_LENGTH


def gopher_symbols(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too many hash signs, or too many ellipses, for the words."""
    text, most = profile.text, config.gopher.max_symbols_per_word * len(profile.words)
    ellipses = text.count("...") + text.count("\u2026")
    return Reason.GOPHER_SYMBOLS if text.count("#") > most or ellipses > most else None


def gopher_bullets(profile: Profile, config: QualityConfig) -> Reason | None:
    """A list rather than a text."""
    bullets = sum(line.startswith(_BULLETS) for line in profile.lines)
    return (
        Reason.GOPHER_BULLETS
        if _frac(bullets, len(profile.lines)) > config.gopher.max_bullet_lines_frac
        else None
    )


def gopher_ellipses(profile: Profile, config: QualityConfig) -> Reason | None:
    """Lines that break off: teasers."""
    cut = sum(line.endswith(("...", "\u2026")) for line in profile.lines)
    return (
        Reason.GOPHER_ELLIPSES
        if _frac(cut, len(profile.lines)) > config.gopher.max_ellipsis_lines_frac
        else None
    )


def gopher_alphabetic(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too many words without a letter."""
    alphabetic = sum(any(map(str.isalpha, word)) for word in profile.words)
    return (
        Reason.GOPHER_ALPHABETIC
        if _frac(alphabetic, len(profile.words)) < config.gopher.min_alphabetic_words_frac
        else None
    )


def gopher_stop_words(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too few of the words that any English text has."""
    return (
        Reason.GOPHER_STOP_WORDS
        if len(STOP_WORDS.intersection(profile.words)) < config.gopher.min_stop_words
        else None
    )


def gopher_repeated_lines(profile: Profile, config: QualityConfig) -> Reason | None:
    """Lines that come again."""
    lines, chars = _repeats(profile.lines)
    return (
        Reason.GOPHER_REPEATED_LINES
        if _frac(lines, len(profile.lines)) > config.gopher.max_dup_lines_frac
        or _frac(chars, len(profile.text)) > config.gopher.max_dup_line_chars_frac
        else None
    )


def gopher_repeated_paragraphs(profile: Profile, config: QualityConfig) -> Reason | None:
    """Paragraphs that come again."""
    paragraphs, chars = _repeats(profile.paragraphs)
    return (
        Reason.GOPHER_REPEATED_PARAGRAPHS
        if _frac(paragraphs, len(profile.paragraphs)) > config.gopher.max_dup_paragraphs_frac
        or _frac(chars, len(profile.text)) > config.gopher.max_dup_paragraph_chars_frac
        else None
    )


def gopher_top_ngram(profile: Profile, config: QualityConfig) -> Reason | None:
    """One n-gram that makes up much of the text."""
    for n, most in config.gopher.max_top_ngram_chars_frac.items():
        if _frac(top_ngram_chars(profile.words, n), len(profile.text)) > most:
            return Reason.GOPHER_TOP_NGRAM
    return None


def gopher_repeated_ngrams(profile: Profile, config: QualityConfig) -> Reason | None:
    """Many n-grams that come again."""
    for n, most in config.gopher.max_dup_ngram_chars_frac.items():
        if _frac(duplicate_ngram_chars(profile.words, n), len(profile.text)) > most:
            return Reason.GOPHER_REPEATED_NGRAMS
    return None


def c4_lorem_ipsum(profile: Profile, config: QualityConfig) -> Reason | None:
    """A page that is not written yet."""
    return Reason.C4_LOREM_IPSUM if "lorem ipsum" in profile.text.lower() else None


def c4_curly_brace(profile: Profile, config: QualityConfig) -> Reason | None:
    """Programming code, by the sign that prose never has."""
    return Reason.C4_CURLY_BRACE if "{" in profile.text else None


def c4_sentences(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too few sentences left."""
    return Reason.C4_SENTENCES if num_sentences(profile.text) < config.c4.min_sentences else None


def fineweb_line_punctuation(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too few lines that end like sentences."""
    ended = sum(line.endswith(TERMINAL_PUNCTUATION) for line in profile.lines)
    return (
        Reason.FINEWEB_LINE_PUNCTUATION
        if _frac(ended, len(profile.lines)) < config.fineweb.min_line_punctuation_frac
        else None
    )


def fineweb_short_lines(profile: Profile, config: QualityConfig) -> Reason | None:
    """A page of list items and menu entries."""
    short = sum(len(line) <= config.fineweb.short_line_chars for line in profile.lines)
    return (
        Reason.FINEWEB_SHORT_LINES
        if _frac(short, len(profile.lines)) > config.fineweb.max_short_lines_frac
        else None
    )


def fineweb_repeated_lines(profile: Profile, config: QualityConfig) -> Reason | None:
    """Characters in lines that come again."""
    _, chars = _repeats(profile.lines)
    whole = len(profile.text.replace("\n", ""))
    return (
        Reason.FINEWEB_REPEATED_LINES
        if _frac(chars, whole) > config.fineweb.max_dup_line_chars_frac
        else None
    )


def fineweb_newlines(profile: Profile, config: QualityConfig) -> Reason | None:
    """Too many line ends for the words."""
    return (
        Reason.FINEWEB_NEWLINES
        if _frac(profile.text.count("\n"), len(profile.words)) > config.fineweb.max_newlines_per_word
        else None
    )


_GOPHER_REPETITION: tuple[Rule, ...] = (
    gopher_repeated_paragraphs,
    gopher_repeated_lines,
    gopher_top_ngram,
    gopher_repeated_ngrams,
)
_GOPHER_QUALITY: tuple[Rule, ...] = (
    gopher_words,
    gopher_word_length,
    gopher_symbols,
    gopher_bullets,
    gopher_ellipses,
    gopher_alphabetic,
    gopher_stop_words,
)
_C4: tuple[Rule, ...] = (c4_lorem_ipsum, c4_curly_brace, c4_sentences)
_FINEWEB: tuple[Rule, ...] = (
    fineweb_line_punctuation,
    fineweb_short_lines,
    fineweb_repeated_lines,
    fineweb_newlines,
)
RULES: dict[Preset, tuple[Rule, ...]] = {
    "webtext": (),
    "openwebtext": (),
    "gopher": _GOPHER_REPETITION + _GOPHER_QUALITY,
    "c4": _C4,
    "fineweb": _GOPHER_REPETITION + _GOPHER_QUALITY + _C4 + _FINEWEB,
}
MIN_WORDS: dict[Preset, int] = {"webtext": 50, "openwebtext": 96, "gopher": 50, "c4": 0, "fineweb": 50}


def c4_lines(text: str, config: C4Config, *, punctuation: bool) -> str:
    """The text without the lines that C4 takes out, and without Wikipedia's citation marks."""
    kept = []
    for raw in text.split("\n"):
        line = _CITATION.sub("", raw).strip()
        lowered = line.lower()
        if (
            len(line.split()) >= config.min_words_per_line
            and not (punctuation and (not line.endswith(TERMINAL_PUNCTUATION) or line.endswith("...")))
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


def top_ngram_chars(words: Sequence[str], n: int) -> int:
    """Characters in all occurrences of the most frequent n-gram, spaces between its words counted.

    Of n-grams equally frequent the first counts.
    """
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    if not counts:
        return 0
    gram, count = counts.most_common(1)[0]
    return count * len(" ".join(gram))


def duplicate_ngram_chars(words: Sequence[str], n: int) -> int:
    """Characters of words that lie in a repeat of an earlier n-gram, each word counted once.

    Repeats are looked for from left to right, and a repeat found is stepped over, as in Gopher's description.
    """
    seen: set[tuple[str, ...]] = set()
    chars = index = 0
    while index <= len(words) - n:
        gram = tuple(words[index : index + n])
        if gram in seen:
            chars += sum(map(len, gram))
            index += n
        else:
            seen.add(gram)
            index += 1
    return chars


def _repeats(items: Sequence[str]) -> tuple[int, int]:
    """How many items are repeats of an earlier one, and their characters."""
    seen: set[str] = set()
    repeats = chars = 0
    for item in items:
        if item in seen:
            repeats += 1
            chars += len(item)
        else:
            seen.add(item)
    return repeats, chars


def _frac(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
