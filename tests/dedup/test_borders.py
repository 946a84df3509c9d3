"""Exact borders of the overlap rules, and rows in which nothing happened."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from corpus.evaluation_sets.files import TestSet
from corpus.tables.manifest import read_manifest
from dedup import kernels
from dedup.contamination import overlap
from dedup.contamination.overlap import OverlapConfig
from dedup.near_duplicates import lsh, minhash, ranks
from dedup.words import Ragged
from tests.dedup.made import MadeCorpus, Page

New = Callable[[], MadeCorpus]


def distinct(count: int, start: int = 0) -> str:
    return " ".join(f"word{n}" for n in range(start, start + count))


def removed_in(testset: TestSet, config: OverlapConfig = OverlapConfig()) -> int:  # noqa: B008 (frozen)
    return int(overlap.ngrams_of([testset], config).removes.sum())


@pytest.mark.parametrize(
    ("sharing", "entries", "removed"),
    [
        (4, 20, True),  # fewer than five entries are no habit
        (5, 20, False),
        (5, 99, False),  # .05 of 99 is 4.95
        (5, 100, True),
        (6, 100, False),
        (6, 120, True),
        (7, 120, False),
    ],
)
def test_a_gram_that_many_entries_share_is_their_prompt(
    sharing: int, entries: int, removed: bool
) -> None:
    common = distinct(13)
    texts = [
        f"{common} {distinct(3, 1000 + 10 * n)}" if n < sharing else distinct(16, 5000 + 20 * n)
        for n in range(entries)
    ]
    testset = TestSet("t", "0", tuple((text,) for text in texts))
    ngrams = overlap.ngrams_of([testset], OverlapConfig(measure_n=()))
    expected = (entries - sharing) * 4 + sharing * 3 + int(removed)
    assert int(ngrams.removes.sum()) == expected


@pytest.mark.parametrize(("longest", "as_one"), [(6, True), (7, False), (8, False)])
def test_an_entry_is_one_passage_if_all_of_it_is_short(longest: int, as_one: bool) -> None:
    """7 words count by themselves; from 6 on, question and answer count together."""
    testset = TestSet("t", "0", ((distinct(longest), distinct(4, 100)),))
    assert removed_in(testset, OverlapConfig(measure_n=())) == 1
    only_the_first = TestSet("t", "0", ((distinct(longest),),))
    assert removed_in(only_the_first, OverlapConfig(measure_n=())) == (0 if as_one else 1)


def test_pages_without_overlap_have_zero_and_no_sets(made_corpus: New, tmp_path: Path) -> None:
    generator = random.Random(4)
    texts = [" ".join(f"w{generator.randrange(10**6)}" for _ in range(60)) for _ in range(6)]
    leaked = " ".join(f"leak{n}" for n in range(40))
    (tmp_path / "set.jsonl").write_text(json.dumps({"text": leaked}) + "\n")
    pages = [
        Page(text, 3, f"{n:032x}") for n, text in enumerate([*texts, f"{leaked} {texts[0][::-1]}"])
    ]
    corpus = made_corpus()
    corpus.add("b", pages)
    assert corpus.dedup("b", "--set", f'dedup.testsets=["{tmp_path / "set.jsonl"}"]') == 0
    rows = corpus.verdicts("b")
    for page in pages[:-1]:
        row = rows[page.id]
        assert (row["overlap_ngrams"], row["testsets"], row["cuts"]) == (0, [], [])
        assert (row["kept"], row["reason"], row["duplicate_of"], row["similarity"]) == (
            True,
            None,
            None,
            None,
        )
    assert rows[pages[-1].id]["overlap_ngrams"] > 0
    without = made_corpus()
    without.add("b", pages[:2])
    assert without.dedup("b") == 0
    assert [row["overlap_ngrams"] for row in without.verdicts("b").values()] == [0, 0]


def test_the_shortest_passage_that_counts_is_counted_once() -> None:
    assert pa.array([removed_in(TestSet("t", "0", ((distinct(n),),)), OverlapConfig(measure_n=())) for n in (6, 7, 12, 13, 14)]).to_pylist() == [0, 1, 1, 1, 2]  # fmt: skip


def test_ranks_of_earlier_batches_are_those_of_each_page(made_corpus: New) -> None:
    """Read by id, wherever the page is among those of its part; pages taken down have a score of 0."""
    corpus = made_corpus()
    pages = [Page(f"text {n}", score=10 + n, doc_id=f"{n:032x}") for n in range(6)]
    corpus.add("a", pages, num_parts=1)
    manifest = read_manifest(corpus.store, "documents", "a")
    asked = np.array([n.to_bytes(16, "big") for n in (0, 2, 4, 5, 99)], "S16")
    found = ranks.ranks_of_batch(corpus.store, manifest, asked, ("score",))
    assert (found - (1 << 31)).tolist() == [10, 12, 14, 15, 0]


@pytest.mark.parametrize(
    ("longest", "slots"), [(0, 4), (1, 4), (2, 4), (3, 8), (4, 8), (5, 16), (8, 16), (9, 32)]
)
def test_the_set_of_seen_hashes_is_at_most_half_full(
    longest: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled loop masks with a power of two and checks no index: too small is out of memory's bounds."""
    sizes = []
    real = kernels.distinct
    monkeypatch.setattr(
        kernels, "distinct", lambda *given: (sizes.append(given[2].size), real(*given))[1]
    )
    values = np.arange(longest, dtype=np.uint64) + np.uint64(1)
    rows = Ragged(values, np.array([0, 0, longest], np.int64))
    assert minhash.distinct(rows).values.tolist() == values.tolist()
    assert sizes == [slots]


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("n", (4, 13, 64), (3, 65)),
        ("measure_n", ((1,), (64,), ()), ((0,), (65,), (8, 0))),
        ("boilerplate_frac", (0.001, 1.0), (0.0, -0.1, 1.001)),
        ("near_share", (0.5, 0.72, 1.0), (0.499, 1.001)),
        ("common_frac", (0.0, 1.0), (-0.001, 1.001)),
        *((name, (least, least + 1), (least - 1,)) for name, least in overlap.LEAST.items()),
    ],
)
def test_values_that_settings_may_have(
    name: str, allowed: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    for value in allowed:
        assert getattr(OverlapConfig(**{name: value}), name) == value  # type: ignore[arg-type]
    for value in refused:
        with pytest.raises(ValueError, match=f"{name} is .*; allowed: "):
            OverlapConfig(**{name: value})  # type: ignore[arg-type]


def test_least_values_of_settings_as_a_table() -> None:
    assert overlap.LEAST == {
        "min_passage_words": 1,
        "near_min_words": 5,
        "common_pages": 0,
        "window_chars": 0,
        "min_piece_chars": 0,
        "max_pieces": 1,
    }


@pytest.mark.parametrize(
    ("passage", "pieces"),
    [
        # One natural form of the whole passage: at least 7 words count, as in the set.
        ("the cat 's paw was found on @-@ site by seven men today", [(12, 7)]),
        # A gap makes two pieces; each needs 8 words.
        ("one two three four five six seven <unk> a b c d e f g h", [(7, 8), (8, 8)]),
    ],
)
def test_pieces_need_more_words_than_whole_passages(
    passage: str, pieces: list[tuple[int, int]]
) -> None:
    testset = TestSet("t", "0", ((passage,),))
    rows, least, entries = overlap._every_form(testset, OverlapConfig())
    found = list(zip(rows.lengths().tolist(), least.tolist(), strict=True))[1:]
    assert found == pieces
    assert entries.tolist() == [0] * (len(pieces) + 1)


@pytest.mark.parametrize(
    ("seed", "allowed"), [(-1, False), (0, True), (2**32 - 1, True), (2**32, False)]
)
def test_a_seed_is_one_of_the_generator(seed: int, allowed: bool) -> None:
    """It goes into 32 bits of the generator and of stored signatures."""
    if allowed:
        minhash.permutations(8, minhash.MinhashConfig(seed=seed).seed)
    else:
        with pytest.raises(ValueError, match="allowed: 0 to 4294967295"):
            minhash.MinhashConfig(seed=seed)


def test_salts_of_the_stored_index_keep_their_values() -> None:
    """Keys of bands are stored: with another salt no page of an earlier batch would be found."""
    salts = (lsh._MULTIPLIER, lsh._BAND_SALT, lsh._CONTENT_SALT)
    assert [f"{int(salt):x}" for salt in salts] == [
        "d6e8feb86659fd93",
        "9e3779b97f4a7c15",
        "a0761d6478bd642f",
    ]


@pytest.mark.parametrize(("num_words", "is_prompt"), [(49, True), (50, True), (51, False)])
def test_a_prompt_has_up_to_fifty_words(num_words: int, is_prompt: bool) -> None:
    """It is in the middle of twenty entries of their own: a longer one is a text that they quote."""
    texts = [
        f"{distinct(16, 5000 + 50 * n)} {distinct(num_words)} {distinct(16, 5020 + 50 * n)}"
        for n in range(20)
    ]
    testset = TestSet("t", "0", tuple((text,) for text in texts))
    grams_of_each = (16 + num_words + 16) - 12 - (num_words - 12)
    shared = 0 if is_prompt else num_words - 12
    ngrams = overlap.ngrams_of([testset], OverlapConfig(measure_n=()))
    assert int(ngrams.removes.sum()) == 20 * grams_of_each + shared
