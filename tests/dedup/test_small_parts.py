"""Small parts of deduplication at their borders: masks of words, bitmaps, ranges and their reasons."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from corpus.evaluation_sets.files import TestSet
from dedup import report
from dedup.contamination import overlap, test_index
from dedup.contamination.overlap import OverlapConfig
from dedup.near_duplicates import lsh, survivor_steps
from dedup.near_duplicates.shingle_store import bitmap
from dedup.passage_spans import paragraphs
from dedup.words import Ragged, ShinglesConfig, word_hashes
from tests.dedup.made import MadeCorpus, Page
from tests.setting_values import check_values

New = Callable[[], MadeCorpus]


@pytest.mark.parametrize("seed", range(4))
def test_words_inside_grams_and_no_others_are_matched(seed: int) -> None:
    rng = random.Random(seed)
    for num_words in range(1, 12):
        starts = sorted(rng.sample(range(num_words), rng.randrange(num_words)))
        sizes = [rng.randint(1, num_words - start) for start in starts]
        inside = {start + n for start, size in zip(starts, sizes, strict=True) for n in range(size)}
        found = overlap.matched_words(num_words, np.array(starts, int), np.array(sizes, int))
        assert np.flatnonzero(found).tolist() == sorted(inside)


def test_a_hit_of_a_gram_and_one_with_edits_are_apart() -> None:
    """Those of grams come first, over all forms of a text; equal ones are one."""
    text = "a b c d e f"

    def hits(rows: list[tuple[int, int, int]], num_exact: int) -> test_index._Hits:
        columns = np.array(rows, np.int64).reshape(-1, 3).T
        return test_index._Hits(
            np.array([7], np.uint64), columns[0].astype(np.uint64), *columns[1:], num_exact
        )

    forms = [hits([(1, 0, 3), (2, 4, 7)], 1), hits([(1, 0, 3), (3, 2, 5), (2, 4, 7)], 2)]
    found = test_index._page_hits(forms, text, OverlapConfig())
    assert [each.tolist() for each in (found.ngrams, found.removable)] == [[7], [1, 3, 2]]
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, 2, 4], [3, 5, 7])


@pytest.mark.parametrize(
    ("num_values", "num_words"),
    [(0, 1), (1, 1), (5, 1), (6, 2), (10, 2), (11, 4), (21, 4), (22, 8), (1000, 256)],
)
def test_a_bitmap_has_twelve_bits_a_value_or_up_to_twice_as_many(
    num_values: int, num_words: int
) -> None:
    """Words of 64 bits, a power of two: in a hundred pages a bit is shared by chance only seldom."""
    assert bitmap(np.arange(num_values, dtype=np.uint64)).shape == (num_words,)


def test_ranges_begin_with_the_first_character() -> None:
    assert paragraphs("ab c d", 3) == [(0, 6)]
    assert paragraphs("a b\nc d\n\ne f", 2) == [(0, 7), (0, 3), (4, 7), (9, 12)]


@pytest.mark.parametrize(("threshold", "reason"), [(0.8, "near_duplicate"), (0.81, "contained")])
def test_a_page_at_the_threshold_is_a_near_duplicate(
    made_corpus: New, threshold: float, reason: str
) -> None:
    """Eight of ten runs of five words are shared, and eight of the nine of either page."""
    words = [f"word{n}" for n in range(14)]
    corpus = made_corpus()
    pages = [Page(" ".join(words[:13]), score=9), Page(" ".join([*words[:12], "other"]))]
    corpus.add("b", pages)
    settings = [f"dedup.threshold={threshold}", "dedup.containment=0.85"]
    assert corpus.dedup("b", *(word for each in settings for word in ("--set", each))) == 0
    removed = [row for row in corpus.verdicts("b").values() if not row["kept"]]
    assert [(row["reason"], round(row["similarity"], 6)) for row in removed] == [(reason, 0.8)]


def texts_of(*words_of: str) -> Ragged:
    return word_hashes(pa.array(list(words_of), pa.large_string()))


@pytest.mark.parametrize(("shared", "cut"), [(1, True), (50, True), (51, False)])
@pytest.mark.parametrize("behind", [False, True])
def test_a_prompt_has_up_to_fifty_words(shared: int, cut: bool, behind: bool) -> None:
    """More that all questions share at one side is a passage of its own."""
    prompt = [f"prompt{n}" for n in range(shared)]
    own = [[f"own{place}x{n}" for n in range(4)] for place in range(6)]
    texts = [" ".join([*each, *prompt] if behind else [*prompt, *each]) for each in own]
    found = overlap.without_prompts(texts_of(*texts), np.zeros(6, int))
    assert found.lengths().tolist() == [4 if cut else 4 + shared] * 6


@pytest.mark.parametrize(("num_words", "short"), [(6, True), (7, False), (8, False)])
def test_an_entry_of_fewer_words_than_the_least_passage_is_short(
    num_words: int, short: bool
) -> None:
    config = OverlapConfig(min_passage_words=7)
    entries = ((" ".join(f"w{n}" for n in range(num_words)),),)
    rows, entry = overlap.short_entries(TestSet("t", "0", entries), config)
    assert rows.lengths().tolist() == [num_words] * short
    assert entry.tolist() == [0] * short


def test_a_task_with_large_buckets_has_no_time_limit() -> None:
    """It takes many times as long as the others; all other steps are limited."""
    steps = [*survivor_steps.STEPS]
    assert [step.name for step in steps if not step.limited] == ["dedup/survivors"]


@pytest.mark.parametrize(
    ("threshold", "bands", "rows"), [(0.5, 27, 4), (0.75, 14, 8), (0.9, 6, 20)]
)
def test_bands_by_threshold_are_those_of_the_documentation(
    threshold: float, bands: int, rows: int
) -> None:
    """`docs/dedup.md`: the steepest of at most 128 permutations."""
    found = lsh.bands_for(threshold)
    assert (found.num_bands, found.rows_per_band) == (bands, rows)


def test_bands_are_the_steepest_that_meet_well() -> None:
    """By trial, for thresholds all over the range: most rows first, then fewest bands."""
    for threshold in np.linspace(0.02, 1, 197).tolist():
        wanted = threshold + min(0.05, (1 - threshold) / 2)
        fitting = [
            (-rows, bands)
            for bands in range(1, 129)
            for rows in range(1, 128 // bands + 1)
            if 1 - (1 - wanted**rows) ** bands >= 0.92
        ]
        found = lsh.bands_for(threshold)
        assert (-found.rows_per_band, found.num_bands) == min(fitting)


def test_shingles_have_one_to_64_words() -> None:
    check_values(ShinglesConfig, "n", (1, 5, 64), (0, 65), "allowed: 1 to 64 words")


def test_shares_of_the_paper() -> None:
    """GPT-2's paper, table 6: percent of 8-grams of the test sets in their own training sets and WebText."""
    table = {
        "ptb": (2.67, 0.88),
        "wikitext2": (0.66, 1.63),
        "enwik8": (7.50, 6.31),
        "text8": (2.34, 3.94),
        "wikitext103": (9.09, 2.42),
        "one_billion_word": (13.19, 3.75),
    }
    found = {
        name: (round(100 * row["train"], 2), round(100 * row["webtext"], 2))
        for name, row in report.GPT2_SHARES.items()
    }
    assert found == table


def test_a_batch_without_reports_has_none(made_corpus: New) -> None:
    corpus = made_corpus()
    assert report.are_written(corpus.store, "b") is False
