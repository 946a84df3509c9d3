"""Exact borders of what counts as a passage, a seed, a pair and common speech, on tables made by hand."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from corpus.evaluation_sets.files import TestSet
from dedup import words as word_rule
from dedup.contamination import common_speech, near_match
from dedup.contamination.common_speech import PageGrams
from dedup.contamination.near_match import FREQUENT, Pairs
from dedup.contamination.overlap import Grams, OverlapConfig, removable_passages
from dedup.near_duplicates import lsh
from dedup.near_duplicates.lsh import LshConfig
from dedup.words import Ragged, word_hashes

CONFIG = OverlapConfig(measure_n=())


def ragged(*rows: list[int]) -> Ragged:
    values = np.array([value for row in rows for value in row], np.uint64)
    return Ragged(values, np.cumsum([0, *map(len, rows)], dtype=np.int64))


def weights(words: Ragged, weight: int = 16) -> tuple[np.ndarray, np.ndarray]:
    known = np.unique(words.values)
    return known, np.full(known.size, weight, np.int32)


@pytest.mark.parametrize("size", [1, 59, 60, 61, 79, 80, 81, 100, 101, 137])
def test_chunks_of_a_passage(size: int) -> None:
    """Up to 60 words it is one. Of a longer one, any 60 words in a row hold a chunk of 40 whole."""
    chunks = near_match._chunks(size)
    if size <= 60:
        assert chunks == [(0, size)]
        return
    assert {end - start for start, end in chunks} == {40}
    assert (chunks[0][0], chunks[-1][1]) == (0, size)
    assert all(0 < later[0] - earlier[0] <= 20 for earlier, later in pairwise(chunks))
    for first in range(size - 59):
        assert any(first <= start and end <= first + 60 for start, end in chunks)


@pytest.mark.parametrize(("num_words", "num_prompt", "counts"), [(5, 0, True), (4, 0, False), (6, 1, True), (6, 2, False)])  # fmt: skip
def test_a_passage_has_words_of_its_own(num_words: int, num_prompt: int, counts: bool) -> None:
    rows = ragged(list(range(num_words)))
    is_prompt = np.arange(num_words) < num_prompt
    found = near_match.passages_of(rows, is_prompt, weights(rows), 5)
    assert len(found.words) == int(counts)
    assert found.chunk_bounds.tolist() == ([0, 1] if counts else [0])


@pytest.mark.parametrize(("num_own", "chunks"), [(5, 3), (4, 2)])
def test_a_chunk_has_words_of_its_own(num_own: int, chunks: int) -> None:
    """Of 61 words in three chunks, the first chunk has so many outside of prompts before word 20."""
    rows = ragged(list(range(61)))
    is_prompt = (np.arange(61) >= num_own) & (np.arange(61) < 40)
    found = near_match.passages_of(rows, is_prompt, weights(rows), 5)
    assert found.chunk_bounds.tolist() == [0, chunks]


def test_equal_passages_are_one() -> None:
    rows = ragged([1, 2, 3], [4, 5, 6], [1, 2, 3], [1, 2, 3, 4])
    found = near_match.passages_of(rows, np.zeros(13, bool), weights(rows), 3)
    assert [found.words.row(n).tolist() for n in range(3)] == [[1, 2, 3], [4, 5, 6], [1, 2, 3, 4]]
    assert np.unique(found.keys).size == 3


@pytest.mark.parametrize(("places", "kept"), [(12, True), (13, False)])
def test_a_seed_at_many_places_is_a_turn_of_phrase(places: int, kept: bool) -> None:
    """Five words that twelve passages share are a seed of each; of thirteen they are none."""
    rows = ragged(*([1, 2, 3, 4, 5, 100 + 10 * n] for n in range(places)))
    passages = near_match.passages_of(rows, np.zeros(6 * places, bool), weights(rows), 5)
    index = near_match.build_near_index(passages)
    counts = np.diff(index.place_bounds)
    assert sorted(counts.tolist()) == [1] * places + [places] * kept
    assert sorted(zip(index.passage.tolist(), index.word.tolist(), strict=True)) == sorted(
        [(n, 1) for n in range(places)] + [(n, 0) for n in range(places)] * kept
    )


def test_a_seed_that_passages_share_finds_each_of_them() -> None:
    """Five of six words are common: with another last word, the page holds .83 of all three."""
    rows = ragged(*([1, 2, 3, 4, 5, 100 + n] for n in range(3)))
    passages = near_match.passages_of(rows, np.zeros(18, bool), weights(rows), 5)
    index = near_match.build_near_index(passages)
    page = ragged([90, 91, 1, 2, 3, 4, 5, 92, 93])
    found = near_match.find_near(page, index, 0.72)
    assert sorted(found.key.tolist()) == sorted(passages.keys.tolist())
    assert set(zip(found.first.tolist(), found.after.tolist(), strict=True)) == {(2, 7)}
    assert near_match.find_near(page, index, 0.84).key.size == 0


def test_pages_of_one_signature_are_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without words are none, whatever their signature; nor are ids that are not asked for."""
    doc = np.array([bytes([n]) * 16 for n in range(1, 6)], "S16")
    ids = [bytes([n]).hex() * 16 for n in (1, 2, 3, 4, 5, 9)]
    signatures = pa.table(
        {
            "doc_id": ids,
            "num_shingles": [1, 1, 0, 2, 1, 1],
            "signature": pa.array([[1, 2], [1, 2], [1, 2], [3, 4], [3, 5], [1, 2]], pa.list_(pa.uint32())),
        }
    )  # fmt: skip
    config = LshConfig(num_bands=2, rows_per_band=1)
    group, known = common_speech.groups(doc, iter([signatures]), config, cast(Any, None), [])
    assert group.tolist() == [0, 0, 2, 3, 3]
    assert not known.any()

    met = lsh.band_keys(np.array([[1, 7]], np.uint32), config)[0, :1]
    monkeypatch.setattr(common_speech.index, "read_matching", lambda *_: (met, None))
    earlier = [cast(Any, None)]
    group, known = common_speech.groups(doc, iter([signatures]), config, cast(Any, None), earlier)
    assert known.tolist() == [True, True, False, False, False]


def test_words_of_prompts_are_in_no_seed() -> None:
    rows = ragged(list(range(12)))
    is_prompt = np.arange(12) == 6
    passages = near_match.passages_of(rows, is_prompt, weights(rows), 5)
    index = near_match.build_near_index(passages)
    assert sorted(index.word.tolist()) == [0, 1, 7]
    assert index.chunk_weights.tolist() == [11 * 16]


@pytest.mark.parametrize(
    ("rows", "paired"),
    [
        ([[1, 2, 3], [4, 5]], True),
        ([[1, 2, 3], [4]], False),
        ([[1, 2], [3, 4, 5]], False),
        ([[1, 2, 3, 4], [5]], True),
        ([[1, 2, 3, 4, 5]], False),
        ([[], [1, 2, 3], [4, 5]], False),
        ([[1, 2, 3], [], [4, 5]], True),
        ([[1, 2, 3], [], []], False),
    ],
)
def test_a_question_has_three_words_and_with_an_answer_five(
    rows: list[list[int]], paired: bool
) -> None:
    words = ragged(*rows)
    found = near_match.pairs_of(words, np.zeros(len(rows), np.int64), weights(words))
    assert len(found.words) == int(paired)
    if paired:
        assert found.words.row(0).tolist() == [value for row in rows for value in row]
        assert found.piece_starts.tolist() == [0, len(rows[0])]
        assert found.weights.tolist() == [16] * len(words.values)


def pair(*sizes: int, bits: float = 46.0) -> Pairs:
    """An entry of passages of these sizes with consecutive words, which weigh `bits` together."""
    total = sum(sizes)
    weight = np.zeros(total, np.int32)
    weight[0] = round(16 * bits)
    return Pairs(
        ragged(list(range(total))),
        weight,
        np.array([0, len(sizes)]),
        np.cumsum([0, *sizes[:-1]]),
        np.zeros(1, np.uint64),
    )


@pytest.mark.parametrize(
    ("made", "before", "between", "answers", "found"),
    [
        (pair(3, 2), 5, 0, [[3, 4]], (5, 10)),
        (pair(3, 2, bits=46 - 1 / 16), 5, 0, [[3, 4]], None),
        # Thirty words on, the answer is close: it ends there.
        (pair(3, 2), 0, 28, [[3, 4]], (0, 33)),
        (pair(3, 2), 0, 29, [[3, 4]], None),
        # One of two answers is half of them; one of three is not.
        (pair(3, 2, 2), 0, 0, [[3, 4]], (0, 5)),
        (pair(3, 2, 2, 2), 0, 0, [[3, 4]], None),
        (pair(3, 2, 2, 2), 0, 0, [[3, 4], [7, 8]], (0, 7)),
        # Of an answer that is not there, the words do not count.
        (pair(3, 1, 1), 0, 0, [[3]], None),
        (pair(4, 1, 1), 0, 0, [[4]], (0, 5)),
        (pair(3, 2), 0, 0, [[4, 3]], None),
    ],
)
def test_a_question_and_its_answers_close_by(
    made: Pairs, before: int, between: int, answers: list[list[int]], found: tuple[int, int] | None
) -> None:
    question = made.words.row(0)[: int(made.piece_starts[1])].tolist()
    fill = range(1000, 2000)
    page = [*fill[:before], *question, *fill[500 : 500 + between], *(w for a in answers for w in a), *fill[900:]]  # fmt: skip
    assert near_match._pair_at(np.array(page, np.uint64), before, made, 0) == found


@pytest.mark.parametrize(("between", "found"), [(28, (0, 33)), (29, None)])
def test_answers_may_come_first(between: int, found: tuple[int, int] | None) -> None:
    page = [3, 4, *range(1000, 1000 + between), 0, 1, 2, 9]
    at = near_match._pair_at(np.array(page, np.uint64), 2 + between, pair(3, 2), 0)
    assert at == found


@pytest.mark.parametrize("beyond_first", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_weights_by_plain_arithmetic(seed: int, beyond_first: bool) -> None:
    """Words of all ranks of English and of none, in sets of several sizes."""
    rng = random.Random(seed)
    vocabulary = [*FREQUENT, *(f"rare{n}" for n in range(40))]
    # Most of English sorts behind the words of a set of one word.
    sizes = [rng.randrange(1, 90) for _ in range(4)] if seed < 3 else [1]
    texts = [" ".join(rng.choices(vocabulary, k=size)) for size in sizes]
    hashes = {
        word: int(word_hashes(pa.array([word], pa.large_string())).values[0])
        for text in texts
        for word in text.split()
    }
    every = [word for text in texts for word in text.split()]
    # Unless asked otherwise, every occurrence counts.
    asked = {"beyond_first": True} if beyond_first else {}
    found = near_match.word_weights(
        [word_hashes(pa.array([text], pa.large_string())) for text in texts], **asked
    )
    assert found[0].tolist() == sorted(hashes.values())
    got = dict(zip(found[0].tolist(), found[1].tolist(), strict=True))
    for word, hashed in hashes.items():
        prior = 0.07 / (1 + FREQUENT.index(word)) if word in FREQUENT else 2**-12 * beyond_first
        share = (every.count(word) - beyond_first + 1000 * prior) / (len(every) + 1000)
        bits = min(14.0, max(1.0, -math.log2(share))) if share else 14.0
        assert got[hashed] == round(16 * bits)


def test_finds_of_several_passes_are_in_the_order_of_texts() -> None:
    rows = [(1, 5, 0, 4), (0, 9, 3, 9), (0, 7, 3, 9), (0, 1, 2, 9), (1, 4, 0, 3)]
    found = near_match.merge([near_match._found(rows[:2]), near_match._found(rows[2:])])
    merged = zip(found.text, found.first, found.after, found.key, strict=True)
    assert [tuple(map(int, row)) for row in merged] == sorted((t, f, a, k) for t, k, f, a in rows)


def test_a_gram_lies_within_a_passage_up_to_its_ends() -> None:
    """Gram 1 is at places 3 to 6: a passage (key 9) from 3 to 6 covers it, a narrower one does not."""
    passages = [(3, 6, True), (3, 5, False), (4, 6, False), (2, 7, True)]
    for start, end, covered in passages:
        hits = pa.table(
            {
                "doc_id": [f"{0:032x}"],
                "ngrams": pa.array([[1, 9]], pa.list_(pa.uint64())),
                "starts": [[3, start]],
                "ends": [[6, end]],
            }
        )
        pages = PageGrams.of(hits)
        near = np.array([9], np.uint64)
        found = common_speech.within_passages(hits, pages, near)
        assert dict(zip(pages.gram.tolist(), found.tolist(), strict=True)) == {1: covered, 9: True}


def test_a_gram_counts_as_within_if_all_its_places_are() -> None:
    hits = pa.table(
        {
            "doc_id": [f"{n:032x}" for n in range(3)],
            "ngrams": pa.array([[1, 1, 9], [1, 9], [1]], pa.list_(pa.uint64())),
            "starts": [[3, 90, 2], [3, 2], [3]],
            "ends": [[6, 93, 8], [6, 8], [6]],
        }
    )
    pages = PageGrams.of(hits)
    found = common_speech.within_passages(hits, pages, np.array([9], np.uint64))
    rows = zip(pages.page.tolist(), pages.gram.tolist(), found.tolist(), strict=True)
    assert sorted(rows) == [(0, 1, False), (0, 9, True), (1, 1, True), (1, 9, True), (2, 1, False)]


def distinct(count: int) -> str:
    return " ".join(f"word{n}" for n in range(count))


@pytest.mark.parametrize(("held", "exempt"), [(8, False), (7, True), (1, True)])
def test_a_page_with_nearly_the_whole_passage_is_not_exempt(held: int, exempt: bool) -> None:
    """Ten grams of thirteen words, of which a page holds eight: .8 of them."""
    testset = TestSet("t", "0", ((distinct(22),),))
    grams = removable_passages(testset, CONFIG)[0].ngram
    assert grams.size == 10
    mine = np.sort(grams[:held])
    doc = np.array([b"0" * 16, b"1" * 16], "S16")
    other = np.uint64(12345)
    pages = PageGrams(doc, np.repeat([0, 1], [held, 1]), np.append(mine, other))
    common = np.sort(np.array([grams[0], other]))
    found = common_speech.exempt(pages, common, [testset], CONFIG)
    assert found.tolist() == [gram == grams[0] and exempt for gram in mine] + [True]


def test_a_gram_of_full_length_is_no_whole_entry() -> None:
    """Of an entry of sixteen words it is more than .8, and still one of four grams."""
    testset = TestSet("t", "0", ((distinct(16),),))
    grams = removable_passages(testset, CONFIG)[0].ngram
    pages = PageGrams(np.array([b"0" * 16], "S16"), np.zeros(1, np.int64), grams[:1])
    assert common_speech.exempt(pages, grams[:1], [testset], CONFIG).tolist() == [True]


@pytest.mark.parametrize(("n", "whole"), [(8, True), (7, False), (9, True)])
def test_a_short_gram_is_a_whole_entry_from_eight_words_of_ten(n: int, whole: bool) -> None:
    testset = TestSet("t", "0", (("another one",), (distinct(7), "and three more")))
    gram = np.array([77], np.uint64)
    grams = Grams(gram, np.array([n], np.int16), np.ones(1, bool), gram)
    entry, chosen = np.array([1]), np.ones(1, bool)
    found = common_speech._whole_entries(testset, grams, entry, chosen)
    assert found.tolist() == ([77] if whole else [])
    assert word_rule.word_hashes(pa.array([" \n".join(testset.entries[1])], pa.large_string())).lengths().tolist() == [10]  # fmt: skip


def test_words_of_the_question_are_no_answer() -> None:
    """The answer is the end of the question: it has to come a second time."""
    row, weight = ragged([1, 2, 3, 2, 3]), np.full(5, 16 * 46, np.int32)
    made = Pairs(row, weight, np.array([0, 2]), np.array([0, 3]), np.zeros(1, np.uint64))
    page = np.array([9, 1, 2, 3, 8, 8, 2, 3], np.uint64)
    assert near_match._pair_at(page, 1, made, 0) == (1, 8)
    assert near_match._pair_at(page[:7], 1, made, 0) is None
