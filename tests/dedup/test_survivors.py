"""The greedy choice equals the naive rule, with all pairs known or with large buckets verified on the way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import survivors
from dedup.survivors import KEPT, Edges, LargeBuckets

THRESHOLD = 0.5


@st.composite
def families(draw: st.DrawFn) -> tuple[int, int, dict[tuple[int, int], float], list[set[int]], int]:
    """(pages, pages of earlier batches, similarities, buckets, leaders)."""
    num_pages = draw(st.integers(1, 14))
    num_old = draw(st.integers(0, num_pages))
    buckets = (
        draw(st.lists(st.sets(st.integers(0, num_pages - 1), min_size=2), max_size=4))
        if num_pages > 1
        else []
    )
    values = st.sampled_from([0.1, 0.4, 0.5, 0.8, 1.0])
    similarity = {(a, b): draw(values) for b in range(num_old, num_pages) for a in range(b)}
    return num_pages, num_old, similarity, buckets, draw(st.integers(0, 3))


def naive(
    num_pages: int, num_old: int, similar: Mapping[tuple[int, int], float], buckets: list[set[int]]
) -> list[int]:
    fates = [KEPT] * num_pages
    for page in range(num_old, num_pages):
        for before in range(page):
            meets = any({page, before} <= bucket for bucket in buckets)
            if fates[before] == KEPT and meets and similar[before, page] >= THRESHOLD:
                fates[page] = before
                break
    return fates


def edges_of(pairs: list[tuple[int, int]], similar: Mapping[tuple[int, int], float]) -> Edges:
    chosen = sorted({pair for pair in pairs if similar[pair] >= THRESHOLD}, reverse=True)
    table = np.array(chosen, np.int64).reshape(-1, 2)
    values = np.array([similar[pair] for pair in chosen])
    return Edges(table[:, 1], table[:, 0], values, values == 1.0)


@settings(max_examples=50)
@given(families())
def test_choice_with_all_pairs_known(
    family: tuple[int, int, dict[tuple[int, int], float], list[set[int]], int],
) -> None:
    num_pages, num_old, similar, buckets, _ = family
    pairs = [(a, b) for bucket in buckets for b in bucket for a in bucket if a < b and b >= num_old]
    choice = survivors.choose(num_pages, edges_of(pairs, similar))
    expected = naive(num_pages, num_old, similar, buckets)
    assert choice.duplicate_of.tolist() == expected
    for page, before in enumerate(expected):
        assert before == KEPT or choice.similarity[page] == similar[before, page]


@settings(max_examples=50)
@given(families())
def test_choice_in_large_buckets(
    family: tuple[int, int, dict[tuple[int, int], float], list[set[int]], int],
) -> None:
    num_pages, num_old, similar, buckets, leaders = family
    pairs, rows = [], []
    for number, bucket in enumerate(buckets):
        for place, page in enumerate(sorted(bucket)):
            rows.append((number, page, place < leaders))
            pairs.extend(
                (page, later) for later in bucket if place < leaders and later > page and later >= num_old
            )
    large = LargeBuckets(*(np.array([row[column] for row in rows]) for column in range(3)))
    if not rows:
        large = LargeBuckets(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))
    edges = edges_of(pairs, similar)
    open_pages = set(survivors.open_pages(num_pages, num_old, edges, large).tolist())
    asked = []

    def verify(earlier: int, later: int) -> tuple[float, bool]:
        assert {earlier, later} <= open_pages
        asked.append((earlier, later))
        return similar[earlier, later], similar[earlier, later] == 1.0

    choice = survivors.choose_in_large(num_pages, num_old, edges, large, THRESHOLD, verify)
    assert choice.duplicate_of.tolist() == naive(num_pages, num_old, similar, buckets)
    assert len(asked) == len(set(asked))
    assert not set(asked) & set(pairs)


def test_near_copies_of_one_page_cost_one_comparison_each() -> None:
    size = 3000
    edges = Edges(
        np.arange(1, size), np.zeros(size - 1, np.int64), np.full(size - 1, 0.9), np.zeros(size - 1, bool)
    )
    large = LargeBuckets(np.zeros(size, np.int64), np.arange(size), np.arange(size) < 1)
    assert survivors.open_pages(size, 0, edges, large).size == 0


def test_no_chains() -> None:
    edges = Edges(np.array([1, 2]), np.array([0, 1]), np.array([0.8, 0.8]), np.zeros(2, bool))
    assert survivors.choose(3, edges).duplicate_of.tolist() == [KEPT, 0, KEPT]


def test_copies_share_the_fate_of_the_first() -> None:
    edges = Edges(np.array([1]), np.array([0]), np.array([0.8]), np.zeros(1, bool))
    choice = survivors.follow_copies(survivors.choose(5, edges), np.array([1, 3]), np.array([2, 4]))
    assert choice.duplicate_of.tolist() == [KEPT, 0, 0, KEPT, 3]
    assert choice.similarity[[2, 4]].tolist() == [0.8, 1.0]
    assert choice.exact.tolist() == [False, False, False, False, True]


def test_pages_are_numbered_by_batch_score_and_id() -> None:
    docs = np.array([b"a", b"b", b"c", b"a"], "S16")
    pages = survivors.number_pages([(np.array([1, 1, 1, 0]), np.array([3, 9, 3, 1]), docs)])
    assert pages.numbers[0].tolist() == [2, 1, 3, 0]
    assert pages.batch.tolist() == [0, 1, 1, 1]
