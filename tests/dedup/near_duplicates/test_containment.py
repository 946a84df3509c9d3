"""Containment at its exact borders, in whole shingles."""

from __future__ import annotations

import numpy as np
import pytest

from dedup import words
from dedup.near_duplicates.containment import is_contained


@pytest.mark.parametrize(
    ("earlier", "later", "shared", "contained"),
    [
        # The later page is the smaller one: 8 of its 10 shingles.
        (100, 10, 8, True),
        (100, 10, 7, False),
        # Both are of one size.
        (10, 10, 8, True),
        # The later page is larger: half of the union has to be shared as well.
        (10, 11, 8, True),
        (10, 18, 10, True),
        (10, 20, 10, True),
        (10, 21, 10, False),
        (10, 100, 10, False),
        (10, 10, 0, False),
    ],
)
def test_the_smaller_page_is_held_by_the_other(
    earlier: int, later: int, shared: int, contained: bool
) -> None:
    jaccard = shared / (earlier + later - shared)
    assert is_contained(earlier, later, jaccard, 0.8) is contained


@pytest.mark.parametrize(
    ("earlier", "later", "contained"), [(10, 10, True), (11, 10, True), (10, 11, False)]
)
def test_half_of_a_page_is_enough_if_the_earlier_one_is_as_large(
    earlier: int, later: int, contained: bool
) -> None:
    """A third of the union is shared, less than a larger page may add."""
    jaccard = 5 / (earlier + later - 5)
    assert jaccard < 0.5
    assert is_contained(earlier, later, jaccard, 0.5) is contained


def test_pages_that_share_nothing_hold_nothing_whatever_the_share() -> None:
    assert not is_contained(10, 5, 0.0, 0.0)


@pytest.mark.parametrize(
    ("left", "right", "threshold", "found"),
    [
        # Sizes alone allow 3/4 exactly, and less than 3/4 + a little.
        (range(4), range(3), 0.75, 0.75),
        (range(4), range(3), 0.7501, 0.0),
        (range(3), range(4), 0.75, 0.75),
        # Sizes that would do, with less in common.
        (range(4), range(2, 6), 0.75, 2 / 6),
        (range(0), range(0), 0.75, 0.0),
        (range(0), range(3), 0.75, 0.0),
    ],
)
def test_similarity_where_sizes_rule_it_out(
    left: range, right: range, threshold: float, found: float
) -> None:
    sets = (np.array(each, np.uint64) for each in (left, right))
    assert words.similarity(*sets, threshold) == found


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        (range(100), range(10), 0.1),  # held whole
        (range(10), range(100), 0.0),  # the larger one is later, and adds most
        (range(10), range(2, 12), 8 / 12),  # 8 of 10 shared
        (range(10), range(3, 13), 0.0),
    ],
)
def test_similarity_with_containment(left: range, right: range, found: float) -> None:
    sets = (np.array(each, np.uint64) for each in (left, right))
    assert words.similarity(*sets, 0.75, 0.8) == found


@pytest.mark.parametrize(("threshold", "value"), [(0.49, 0.5), (0.5, 0.5), (0.51, 0.0)])
def test_similar_pages_need_not_hold_each_other(threshold: float, value: float) -> None:
    """Two of four shingles are common, and two of three of each page."""
    left, right = np.array([1, 2, 3], np.uint64), np.array([2, 3, 4], np.uint64)
    assert words.similarity(left, right, threshold, 0.9) == value
