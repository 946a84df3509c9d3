"""Words and n-grams: the compiled path, the numpy path and a plain reading of the rule agree."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import words
from dedup.words import Ragged
from tests.dedup import oracle

MASK = (1 << 64) - 1
texts = st.lists(
    st.text(
        st.one_of(
            st.characters(exclude_categories=["Cs"]), st.sampled_from("ab .,'\n\u0301\u00adß㌖ﷺ東")
        )
    ),
    max_size=6,
)


def mix(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


def word_hash(word: str) -> int:
    state = int(words.WORD_SEED)
    for character in word:
        state = (state ^ ord(character)) * int(words.WORD_MULTIPLIER) & MASK
        state ^= state >> 32
    return mix(state)


def gram_hash(gram: list[str]) -> int:
    state = 0
    for word in gram:
        state = (state * int(words.NGRAM_BASE) + word_hash(word)) & MASK
    return mix(state ^ len(gram) * int(words.LENGTH_SALT) & MASK)


@pytest.mark.parametrize("by", [words, oracle])
@settings(max_examples=50)
@given(texts, st.integers(1, 6))
def test_hashes_follow_the_rule(by: Any, given_texts: list[str], n: int) -> None:
    found = by.word_hashes(pa.array(given_texts, pa.string()))
    grams = by.ngram_hashes(found, n)
    for index, text in enumerate(given_texts):
        spelled = [word for word, _, _ in words.split_words(text)]
        assert found.row(index).tolist() == [word_hash(word) for word in spelled]
        size = min(n, len(spelled))
        expected = (
            [gram_hash(spelled[at : at + size]) for at in range(len(spelled) - size + 1)]
            if size
            else []
        )
        assert grams.row(index).tolist() == expected


@settings(max_examples=50)
@given(texts)
def test_content_hashes_agree_and_tell_apart(given_texts: list[str]) -> None:
    found = words.word_hashes(pa.array(given_texts, pa.string()))
    compiled, plain = words.content_hashes(found), oracle.content_hashes(found)
    assert np.array_equal(compiled, plain)
    spelled = [tuple(word for word, _, _ in words.split_words(text)) for text in given_texts]
    assert len({tuple(row) for row in compiled.tolist()}) == len(set(spelled))


@settings(max_examples=50)
@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_form_does_not_show(text: str, form: str) -> None:
    changed = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    assert [word for word, _, _ in words.split_words(changed)] == [
        w for w, _, _ in words.split_words(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't  STOP—now!", ["don", "t", "stop", "now"]),
        ("so\u00adft hy\u200bphen", ["soft", "hyphen"]),
        ("naïve CAFÉ ﬁve", ["naive", "cafe", "five"]),
        ("snake_case x²", ["snake", "case", "x2"]),
        ("東京2024年", ["東", "京", "2024", "年"]),
        ("", []),
        ("— … !", []),
    ],
)
def test_words_of_known_texts(text: str, expected: list[str]) -> None:
    assert [word for word, _, _ in words.split_words(text)] == expected


@settings(max_examples=50)
@given(st.text())
def test_spans_agree_with_the_plain_reading(text: str) -> None:
    starts, ends = words.word_spans(text)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        (s, e) for _, s, e in words.split_words(text)
    ]


@settings(max_examples=50)
@given(texts, st.integers(0, 3), st.booleans())
def test_sliced_and_wide_arrays_are_read_alike(
    given_texts: list[str], skip: int, wide: bool
) -> None:
    array = pa.array(given_texts, pa.large_string() if wide else pa.string())[skip:]
    whole = words.word_hashes(pa.array(given_texts[skip:], pa.string()))
    assert np.array_equal(words.word_hashes(array).values, whole.values)


@settings(max_examples=50)
@given(texts, st.integers(1, 50))
def test_slices_cover_all_texts_in_order(given_texts: list[str], size: int) -> None:
    array = pa.array(given_texts, pa.string())
    ranges = list(words.slices(array, size))
    assert [index for first, after in ranges for index in range(first, after)] == list(
        range(len(array))
    )


@pytest.mark.parametrize("by", [words, oracle])
@settings(max_examples=50)
@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_jaccard_is_shared_over_all(by: Any, left: set[int], right: set[int]) -> None:
    arrays = [np.array(sorted(each), np.uint64) for each in (left, right)]
    assert by.jaccard(*arrays) == (len(left & right) / len(left | right) if left | right else 0.0)


@settings(max_examples=50)
@given(st.sets(st.integers(0, 120)), st.sets(st.integers(0, 120)), st.integers(1, 100))
def test_sizes_rule_out_only_what_is_below_the_threshold(
    left: set[int], right: set[int], percent: int
) -> None:
    arrays = [np.array(sorted(each), np.uint64) for each in (left, right)]
    exact, found = words.jaccard(*arrays), words.similarity(*arrays, percent / 100)
    assert found in (exact, 0.0)
    assert (found >= percent / 100) == (exact >= percent / 100)


def test_sets_at_the_threshold_reach_it() -> None:
    arrays = [np.arange(size, dtype=np.uint64) for size in (7, 100)]
    assert 0.07 * 100 > 7  # what a product with the threshold would compare
    assert words.similarity(*arrays, 0.07) == 0.07


@settings(max_examples=50)
@given(texts, st.integers(1, 4))
def test_shingle_sets_are_the_distinct_grams(given_texts: list[str], n: int) -> None:
    hashed = words.word_hashes(pa.array(given_texts, pa.string()))
    grams, sets = words.ngram_hashes(hashed, n), words.shingle_sets(hashed, n)
    assert [sets.row(i).tolist() for i in range(len(sets))] == [
        sorted(set(grams.row(i).tolist())) for i in range(len(grams))
    ]


def test_ragged_rows() -> None:
    ragged = Ragged(np.arange(5), np.array([0, 2, 2, 5]))
    assert [ragged.row(index).tolist() for index in range(len(ragged))] == [[0, 1], [], [2, 3, 4]]
