"""Repetition of n-grams just under, at and just over each limit, and against a count by hand."""

from __future__ import annotations

import random

import pytest

from clean.filters import gopher
from clean.filters.gopher import GopherConfig
from clean.filters.profile import Profile
from clean.reasons import Reason

CONFIG = GopherConfig()


def repeated(chars: int, n: int, length: int) -> str:
    """`n` words of so many characters together, twice, in a text of so many in all."""
    words = [chr(ord("a") + number) for number in range(n - 1)]
    phrase = " ".join([*words, "z" * (chars - len(words))])
    text = f"{phrase} {phrase} "
    return text + "-" * (length - len(text))


@pytest.mark.parametrize(("length", "dropped"), [(101, False), (100, False), (99, True)])
@pytest.mark.parametrize("n", sorted(CONFIG.max_top_ngram_chars_frac))
def test_the_share_of_the_most_frequent_ngram(n: int, length: int, dropped: bool) -> None:
    """Characters of an n-gram count with its spaces: twice half of the limit in 100 characters."""
    most = CONFIG.max_top_ngram_chars_frac[n]
    config = GopherConfig(max_top_ngram_chars_frac={n: most})
    profile = Profile(repeated(round(100 * most) // 2 - (n - 1), n, length))
    found = gopher.too_frequent_ngram(profile, config)
    assert found == ((n, pytest.approx(100 * most / length)) if dropped else None)
    assert gopher.top_ngram(profile, config) is (Reason.GOPHER_TOP_NGRAM if dropped else None)


@pytest.mark.parametrize(("length", "dropped"), [(101, False), (100, False), (99, True)])
@pytest.mark.parametrize("n", sorted(CONFIG.max_dup_ngram_chars_frac))
def test_the_share_of_repeated_ngrams(n: int, length: int, dropped: bool) -> None:
    """Characters of the words in the repeat, without spaces: the limit in 100 characters."""
    most = CONFIG.max_dup_ngram_chars_frac[n]
    config = GopherConfig(max_dup_ngram_chars_frac={n: most})
    profile = Profile(repeated(round(100 * most), n, length))
    found = gopher.too_repeated_ngrams(profile, config)
    assert found == ((n, pytest.approx(100 * most / length)) if dropped else None)


@pytest.mark.parametrize(("length", "dropped"), [(101, False), (100, False), (99, True)])
def test_of_repeats_that_overlap_each_word_counts_once(length: int, dropped: bool) -> None:
    """Eight times one word: 7 characters are in some repeat, and 5 in those read left to right."""
    config = GopherConfig(max_dup_ngram_chars_frac={5: 0.05})
    text = "a " * 8
    profile = Profile(text + "-" * (length - len(text)))
    assert profile.grams.most_repeated_chars(5) == 7
    assert (gopher.too_repeated_ngrams(profile, config) is not None) is dropped


def test_ngrams_against_a_count_by_hand() -> None:
    rng = random.Random(3)
    for _ in range(40):
        words = [rng.choice(("a", "bb", "ccc")) for _ in range(rng.randint(0, 14))]
        profile = Profile(" ".join(words))
        for n in (2, 3, 5):
            grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
            best = max(grams, key=grams.count, default=())
            top = grams.count(best) * len(" ".join(best))
            assert profile.grams.top_chars(n) == top

            at = chars = 0
            seen, again = set(), set()
            while at < len(grams):
                if grams[at] in seen:
                    chars += len("".join(grams[at]))
                    at += n
                else:
                    seen.add(grams[at])
                    at += 1
            assert profile.grams.repeated_chars(n) == chars

            for place, gram in enumerate(grams):
                if gram in grams[:place]:
                    again.update(range(place, place + n))
            most = sum(len(words[place]) for place in again)
            assert profile.grams.most_repeated_chars(n) == most


@pytest.mark.parametrize(
    ("repeats", "detail"),
    [(3, "of characters in repeated lines"), (4, "of lines repeated")],
)
def test_the_share_that_is_above_its_limit_is_named(repeats: int, detail: str) -> None:
    """Three of ten lines are at the limit, so their characters are the reason."""
    text = "\n".join(["x" * 40] * (repeats + 1) + [f"line {n}" for n in range(9 - repeats)])
    profile = Profile(text)
    assert gopher.repeated_lines(profile, CONFIG) is Reason.GOPHER_REPEATED_LINES
    assert detail in gopher.DETAILS[Reason.GOPHER_REPEATED_LINES](profile, CONFIG)
