"""Exact borders of the overlap rules, and rows in which nothing happened."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from corpus.evaluation_sets.files import TestSet
from dedup.contamination import overlap
from dedup.contamination.overlap import OverlapConfig
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
