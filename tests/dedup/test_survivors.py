"""The greedy choice equals the naive rule, with all pairs known or with large buckets verified on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import kernels, words
from dedup.document_rows import ShingleSets
from dedup.near_duplicates import greedy
from dedup.near_duplicates.containment import is_contained
from dedup.near_duplicates.greedy import KEPT, Edges, LargeBuckets
from dedup.near_duplicates.shingle_store import SetWriter, StoredSets
from dedup.words import Ragged, jaccard
from tests.dedup import oracle

THRESHOLD = 0.5


@st.composite
def families(draw: st.DrawFn) -> tuple[int, int, dict[tuple[int, int], float], list[set[int]], int]:
    """(pages, pages of earlier batches, similarities, buckets, leaders)."""
    num_pages = draw(st.integers(1, 14))
    num_old = draw(st.integers(0, num_pages))
    values = st.sampled_from([0.1, 0.4, 0.5, 0.8, 1.0])
    similarity = {(a, b): draw(values) for b in range(num_old, num_pages) for a in range(b)}
    return num_pages, num_old, similarity, draw(buckets_of(num_pages)), draw(st.integers(0, 3))


def buckets_of(num_pages: int) -> st.SearchStrategy[list[set[int]]]:
    return (
        st.lists(st.sets(st.integers(0, num_pages - 1), min_size=2), max_size=4)
        if num_pages > 1
        else st.just([])
    )


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
    choice = greedy.choose(num_pages, edges_of(pairs, similar))
    expected = naive(num_pages, num_old, similar, buckets)
    assert choice.duplicate_of.tolist() == expected
    for page, before in enumerate(expected):
        assert before == KEPT or choice.similarity[page] == similar[before, page]


shingles = st.sets(st.integers(0, 7), min_size=1).map(
    lambda values: np.array(sorted(values), np.uint64)
)


def stored(sets: list[np.ndarray], numbers: np.ndarray) -> StoredSets:
    """The sets of these pages only."""
    with tempfile.TemporaryFile() as values, tempfile.TemporaryFile() as bitmaps:
        writer = SetWriter(len(sets), values, bitmaps)
        chosen = [sets[number] for number in numbers]
        content = np.array([each.astype(np.uint8).tobytes() + b"." for each in chosen], "S16")
        bounds = np.cumsum([0, *(each.size for each in chosen)], dtype=np.int64)
        ragged = Ragged(np.concatenate([np.zeros(0, np.uint64), *chosen]), bounds)
        writer.add(numbers, ShingleSets(content, content, ragged))
        return writer.finish()


@pytest.mark.parametrize("by", [greedy, oracle])
@settings(max_examples=60)
@given(st.data())
def test_choice_in_large_buckets(by: Any, data: st.DataObject) -> None:
    sets = data.draw(st.lists(shingles, min_size=1, max_size=14))
    num_pages = len(sets)
    num_old, leaders = data.draw(st.integers(0, num_pages)), data.draw(st.integers(0, 3))
    buckets = data.draw(buckets_of(num_pages))
    similar = {
        (a, b): jaccard(sets[a], sets[b]) for b in range(num_old, num_pages) for a in range(b)
    }
    pairs, rows = [], []
    for number, bucket in enumerate(buckets):
        for place, page in enumerate(sorted(bucket)):
            rows.append((number, page, place < leaders))
            pairs.extend(
                (page, later)
                for later in bucket
                if place < leaders and later > page and later >= num_old
            )
    table = np.array(rows, np.int64).reshape(-1, 3)
    large = LargeBuckets(table[:, 0], table[:, 1], table[:, 2].astype(bool))
    edges = edges_of(pairs, similar)
    open_pages = by.open_pages(num_pages, num_old, edges, large)
    choice = by.choose_in_large(
        num_pages, num_old, edges, large, THRESHOLD, stored(sets, open_pages)
    )
    expected = naive(num_pages, num_old, similar, buckets)
    assert choice.duplicate_of.tolist() == expected
    for page, before in enumerate(expected):
        if before != KEPT:
            assert choice.similarity[page] == similar[before, page]
            assert choice.exact[page] == (similar[before, page] == 1.0)
    assert np.isnan(choice.similarity[choice.duplicate_of == KEPT]).all()
    assert open_pages.tolist() == oracle.open_pages(num_pages, num_old, edges, large).tolist()


@pytest.mark.parametrize("by", [greedy, oracle])
def test_nothing_is_settled_by_a_page_that_may_yet_go(by: Any) -> None:
    """Page 3 is near page 1, which goes for page 0: so it has to be compared with page 2 after all."""
    same = np.arange(4, dtype=np.uint64)
    large = LargeBuckets(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), np.zeros(4, bool))
    edges = Edges(np.array([3]), np.array([1]), np.array([1.0]), np.array([True]))
    open_pages = by.open_pages(4, 0, edges, large)
    assert open_pages.tolist() == [0, 1, 2, 3]
    choice = by.choose_in_large(4, 0, edges, large, THRESHOLD, stored([same] * 4, open_pages))
    assert choice.duplicate_of.tolist() == [KEPT, 0, KEPT, 2]


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=90),
    st.sets(st.integers(0, 2**64 - 1), max_size=90),
    st.integers(0, 90),
    st.integers(1, 100),
)
def test_bitmaps_rule_out_only_what_is_below_the_threshold(
    left: set[int], right: set[int], shared: int, percent: int
) -> None:
    """Of sets of very different sizes too."""
    right |= set(sorted(left)[:shared]) or {1}
    arrays = [np.array(sorted(each), np.uint64) for each in (left, right)]
    exact, found = jaccard(*arrays), compiled_similarity(*arrays, percent / 100)
    assert found == exact or (found == 0.0 and exact < percent / 100)


def compiled_similarity(left: np.ndarray, right: np.ndarray, threshold: float) -> float:
    sets = stored([left, right], np.arange(2))
    return float(
        kernels.stored_similarity(
            sets.values, sets.value_bounds, sets.bitmaps, sets.bitmap_bounds, 0, 1, threshold
        )
    )


@pytest.mark.parametrize("own", [100, 400])
def test_bitmaps_tell_pages_of_one_frame_apart(own: int) -> None:
    """Three quarters of the smaller page is the frame: the bitmaps, of one size or not, say so without a merge."""
    generator = np.random.default_rng(1)
    frame, *rest = (generator.integers(0, 2**64, size, np.uint64) for size in (300, 100, own))
    pages = [np.unique(np.concatenate([frame, each])) for each in rest]
    exact = jaccard(*pages)
    assert compiled_similarity(*pages, exact) == exact
    assert compiled_similarity(*pages, exact + 0.04) == 0.0


@pytest.mark.parametrize("containment", [0.0, 0.9])
def test_pages_that_blocks_rule_out_are_not_similar(containment: float) -> None:
    """More than four blocks of pages of one frame, among them smaller ones, near copies and parts."""
    generator = np.random.default_rng(2)
    frame = generator.integers(0, 2**63, 120, np.uint64)
    sets: list[np.ndarray] = []
    for number in range(300):
        own = generator.integers(0, 2**63, int(generator.integers(20, 60)), np.uint64)
        page = np.unique(np.concatenate([frame, own]))
        if number % 9 == 8:
            page = np.unique(np.concatenate([sets[number // 2][5:], own[:9]]))
        elif number % 31 == 30:
            page = sets[number // 3][:90]
        sets.append(page)

    pages = np.arange(300)
    bucket = np.repeat([0, 1], 300)
    large = LargeBuckets(bucket, np.tile(pages, 2), np.zeros(600, bool))
    choice = greedy.choose_in_large(
        300, 20, edges_of([], {}), large, 0.75, stored(sets, pages), containment
    )
    expected = [KEPT] * 300
    for page in range(20, 300):
        for before in range(page):
            value = jaccard(sets[before], sets[page]) if expected[before] == KEPT else 0.0
            held = is_contained(sets[before].size, sets[page].size, value, containment or 2.0)
            if value >= 0.75 or (held and value):
                expected[page] = before
                break
    assert choice.duplicate_of.tolist() == expected
    assert 20 < sum(before != KEPT for before in expected) < 200


def test_near_copies_of_one_page_cost_one_comparison_each() -> None:
    size = 3000
    edges = Edges(
        np.arange(1, size),
        np.zeros(size - 1, np.int64),
        np.full(size - 1, 0.9),
        np.zeros(size - 1, bool),
    )
    large = LargeBuckets(np.zeros(size, np.int64), np.arange(size), np.arange(size) < 1)
    for by in (greedy, oracle):
        assert by.open_pages(size, 0, edges, large).size == 0


def test_no_chains() -> None:
    edges = Edges(np.array([1, 2]), np.array([0, 1]), np.array([0.8, 0.8]), np.zeros(2, bool))
    assert greedy.choose(3, edges).duplicate_of.tolist() == [KEPT, 0, KEPT]


def test_copies_share_the_fate_of_the_first() -> None:
    edges = Edges(np.array([1]), np.array([0]), np.array([0.8]), np.zeros(1, bool))
    choice = greedy.follow_copies(greedy.choose(5, edges), np.array([1, 3]), np.array([2, 4]))
    assert choice.duplicate_of.tolist() == [KEPT, 0, 0, KEPT, 3]
    assert choice.similarity[[2, 4]].tolist() == [0.8, 1.0]
    assert choice.exact.tolist() == [False, False, False, False, True]


def test_pages_are_numbered_by_batch_score_and_id() -> None:
    docs = np.array([b"a", b"b", b"c", b"a"], "S16")
    pages = greedy.number_pages([(np.array([1, 1, 1, 0]), np.array([3, 9, 3, 1]), docs)])
    assert pages.numbers[0].tolist() == [2, 1, 3, 0]
    assert pages.batch.tolist() == [0, 1, 1, 1]


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, 2**64 - 1), max_size=60),
    st.sets(st.integers(0, 2**64 - 1), max_size=60),
    st.integers(0, 60),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_containment_is_what_the_sets_say(
    left: set[int], right: set[int], shared: int, containment: float
) -> None:
    """`right` is the later page. Plain sets and stored ones with bitmaps decide alike."""
    right |= set(sorted(left)[:shared]) or {1}
    left |= {2}
    arrays = [np.array(sorted(each), np.uint64) for each in (left, right)]
    exact, held = jaccard(*arrays), len(left & right) / min(len(left), len(right))
    is_duplicate = exact >= 0.75 or (
        held >= containment and (len(right) <= len(left) or exact >= 0.5)
    )
    sets = stored(arrays, np.arange(2))
    assert words.similarity(*arrays, 0.75, containment) == (exact if is_duplicate else 0)
    compiled = kernels.stored_similarity(
        sets.values, sets.value_bounds, sets.bitmaps, sets.bitmap_bounds, 0, 1, 0.75, containment
    )
    assert compiled == exact if is_duplicate else compiled < 0.75


def page_of_frame(generator: np.random.Generator, frame: np.ndarray, own: int) -> np.ndarray:
    return np.unique(np.concatenate([frame, generator.integers(0, 2**64, own, np.uint64)]))


def test_pages_of_one_frame_around_the_threshold() -> None:
    """Similarities of .739 and .765 in one bucket: the choice is that of the naive rule."""
    generator = np.random.default_rng(3)
    frame = generator.integers(0, 2**64, 255, np.uint64)
    sets = [page_of_frame(generator, frame, own) for own in [45, 45, 39, 45, 39, 34] * 12]
    num_pages = len(sets)
    similar = {(a, b): jaccard(sets[a], sets[b]) for b in range(num_pages) for a in range(b)}
    everything = np.arange(num_pages)
    large = LargeBuckets(np.zeros(num_pages, np.int64), everything, np.zeros(num_pages, bool))
    none = edges_of([], {})
    assert greedy.open_pages(num_pages, 0, none, large).tolist() == everything.tolist()

    expected = [KEPT] * num_pages
    for page in range(num_pages):
        near = (b for b in range(page) if expected[b] == KEPT and similar[b, page] >= 0.75)
        expected[page] = next(near, KEPT)

    choice = greedy.choose_in_large(
        num_pages, 0, none, large, 0.75, stored(sets, everything)
    ).duplicate_of.tolist()
    assert choice == expected
    assert 0 < choice.count(KEPT) < num_pages


def test_values_of_one_page_alone_decide_pages_of_one_frame() -> None:
    """At similarity .739 neither the bitmaps nor a merge are needed: the frame alone is shared."""
    generator = np.random.default_rng(4)
    frame = generator.integers(0, 2**64, 255, np.uint64)
    sets = [page_of_frame(generator, frame, 45) for _ in range(200)]
    common = greedy._num_common(stored(sets, np.arange(200)))
    assert common.min() >= 255
    assert (common / (600 - common) < 0.75).mean() > 0.9


@settings(max_examples=40)
@given(st.lists(shingles, max_size=8))
def test_no_value_of_two_pages_is_taken_for_one_pages_alone(sets: list[np.ndarray]) -> None:
    everything = np.concatenate([np.zeros(0, np.uint64), *sets])
    found, times = np.unique(everything, return_counts=True)
    least = [int(np.isin(each, found[times > 1]).sum()) for each in sets]
    common = greedy._num_common(stored(sets, np.arange(len(sets)))).tolist()
    assert all(
        few <= many <= each.size for few, many, each in zip(least, common, sets, strict=True)
    )


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, 400), min_size=1, max_size=200),
    st.sets(st.integers(0, 400), min_size=1, max_size=200),
    st.sampled_from([0.2, 0.5, 0.75, 1.0]),
    st.sampled_from([0.0, 0.5, 0.9]),
)
def test_a_merge_ends_early_only_below_the_threshold(
    left: set[int], right: set[int], threshold: float, containment: float
) -> None:
    arrays = [np.array(sorted(each), np.uint64) for each in (left, right)]
    shared = len(left & right)
    found = kernels.count_shared_from(*arrays, threshold, containment)
    reached = shared / len(left | right) >= threshold or (
        containment > 0 and shared >= containment * min(len(left), len(right))
    )
    assert found == shared if reached else found in (-1, shared)
    disjoint = [arrays[0], arrays[0] + np.uint64(1000)]
    assert kernels.count_shared_from(*disjoint, threshold, 0.0) == -1


@pytest.mark.parametrize("containment", [0.6, 0.8])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_choice_with_containment_among_pages_of_one_frame(
    threshold: float, containment: float
) -> None:
    """Pages of many sizes with a common frame, parts that some share, and own parts."""
    generator = np.random.default_rng(5)
    frame = generator.integers(0, 2**64, 200, np.uint64)
    shared_by_some = generator.integers(0, 2**64, 120, np.uint64)
    sets = []
    for _ in range(60):
        of_frame, of_some, own = generator.integers([20, 0, 0], [200, 60, 60])
        parts = [generator.choice(frame, of_frame, False), shared_by_some[:of_some]]
        sets.append(page_of_frame(generator, np.concatenate(parts), int(own)))

    expected = [KEPT] * len(sets)
    for page, later in enumerate(sets):
        for before in (each for each in range(page) if expected[each] == KEPT):
            value = jaccard(sets[before], later)
            held = is_contained(sets[before].size, later.size, value, containment)
            if value >= threshold or held:
                expected[page] = before
                break

    everything = np.arange(len(sets))
    large = LargeBuckets(np.zeros(len(sets), np.int64), everything, np.zeros(len(sets), bool))
    choice = greedy.choose_in_large(
        len(sets), 0, edges_of([], {}), large, threshold, stored(sets, everything), containment
    )
    assert choice.duplicate_of.tolist() == expected
    assert 0 < expected.count(KEPT) < len(sets)
