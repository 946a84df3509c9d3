"""Small parts of deduplication at their borders: masks of words, bitmaps, ranges and their reasons."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from dedup.contamination import overlap, test_index
from dedup.contamination.overlap import OverlapConfig
from dedup.near_duplicates.shingle_store import bitmap
from dedup.passage_spans import paragraphs
from tests.dedup.made import MadeCorpus, Page

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
