"""Candidates are exactly the pages that share a bucket; the S-curve is what happens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.config import DedupConfig
from dedup.near_duplicates import lsh
from dedup.near_duplicates.lsh import LshConfig, Members

rows = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 2),
        st.integers(3, 5),
        st.integers(0, 9),
        st.integers(0, 3),
    ),
    max_size=40,
)


def members(given_rows: list[tuple[int, int, int, int, int]]) -> Members:
    """Rows (key, batch, score, page, content); a page has one score and one content, one row per key."""
    made = {}
    for key, batch, score, page, content in given_rows:
        first = next((row for row in made.values() if row[1] == batch and row[3] == page), None)
        made[key, batch, page] = (
            key,
            batch,
            first[2] if first else score,
            page,
            first[4] if first else content,
        )
    table = list(made.values())
    return Members(
        np.array([row[0] for row in table], np.uint64),
        np.array([row[1] for row in table], np.int32),
        np.array([row[2] for row in table], np.int32),
        np.array([b"%016d" % row[3] for row in table], "S16"),
        np.array([b"%016d" % row[4] if row[1] == 2 else b"" for row in table], "S16"),
    )


def order(given_members: Members, row: int) -> tuple[int, int, bytes]:
    return (
        int(given_members.batch[row]),
        -int(given_members.rank[row]),
        bytes(given_members.doc[row]),
    )


@settings(max_examples=50)
@given(rows)
def test_small_buckets_bring_all_their_pages_together(
    given_rows: list[tuple[int, int, int, int, int]],
) -> None:
    made = members(given_rows)
    found = lsh.candidates(made, 2)
    copies = {(int(first), int(later)) for first, later in found.copies}
    gone = {later for _, later in copies}
    expected_pairs, expected_copies = set(), set()
    for later in range(made.key.size):
        for earlier in range(made.key.size):
            if made.key[earlier] != made.key[later] or order(made, earlier) >= order(made, later):
                continue
            if made.batch[later] != 2:
                continue
            if (
                made.batch[earlier] == 2
                and made.content[earlier] == made.content[later]
                and earlier not in gone
            ):
                expected_copies.add((earlier, later))
            elif earlier not in gone and later not in gone:
                expected_pairs.add((earlier, later))
    assert copies == expected_copies
    assert {(int(a), int(b)) for a, b in found.pairs} == expected_pairs
    assert found.large.size == 0


def test_a_large_bucket_costs_its_size_not_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 100_000
    made = Members(
        np.zeros(size, np.uint64),
        np.zeros(size, np.int32),
        np.full(size, 3, np.int32),
        np.array([b"%016d" % page for page in range(size)], "S16"),
        np.array([b"%016d" % page for page in range(size)], "S16"),
    )
    found = lsh.candidates(made, 0)
    assert len(found.pairs) == sum(size - lead - 1 for lead in range(lsh.LEADERS))
    assert found.large.tolist() == list(range(size))


def test_bands_do_not_meet_each_other() -> None:
    config = LshConfig(num_bands=3, rows_per_band=2)
    keys = lsh.band_keys(np.tile(np.array([7, 9], np.uint32), (2, 3)), config)
    assert np.array_equal(keys[0], keys[1])
    assert len(set(keys[0].tolist())) == 3


def test_order_within_a_band_matters() -> None:
    config = LshConfig(num_bands=1, rows_per_band=2)
    keys = lsh.band_keys(np.array([[7, 9], [9, 7], [8, 8]], np.uint32), config)
    assert len(set(keys[:, 0].tolist())) == 3


def test_unrelated_pages_do_not_meet() -> None:
    signatures = np.random.default_rng(1).integers(0, 2**22, (20_000, 112)).astype(np.uint32)
    keys = lsh.band_keys(signatures, LshConfig()).ravel()
    assert np.unique(keys).size == keys.size


@pytest.mark.parametrize("jaccard", [0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0])
def test_pages_meet_as_the_curve_says(jaccard: float) -> None:
    config, pairs = LshConfig(), 4000
    generator = np.random.default_rng(int(jaccard * 100))
    left = generator.integers(0, 2**32, (pairs, config.num_perm), np.uint32)
    other = generator.integers(0, 2**32, left.shape, np.uint32)
    right = np.where(generator.random(left.shape) < jaccard, left, other)
    met = (lsh.band_keys(left, config) == lsh.band_keys(right, config)).any(axis=1).mean()
    expected = lsh.meet_probability(jaccard, config)
    assert abs(met - expected) <= 4 * np.sqrt(max(expected * (1 - expected), 1e-9) / pairs) + 1e-12
    assert f"{expected:.4f}" in lsh.curve(config) or jaccard in (1.0,)


def test_bad_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="0 bands of 8 rows"):
        LshConfig(num_bands=0)


def test_bands_follow_the_threshold() -> None:
    assert DedupConfig().lsh == LshConfig(num_bands=14, rows_per_band=8) == LshConfig()
    assert DedupConfig(threshold=0.5).lsh == LshConfig(num_bands=27, rows_per_band=4)
    assert (
        DedupConfig.model_validate({"threshold": 0.5, "lsh": {"num_bands": 9}}).lsh.num_bands == 9
    )
    given = LshConfig(num_bands=3, rows_per_band=2)
    assert DedupConfig(threshold=0.5, lsh=given).lsh == given


@given(st.floats(0.001, 1))
def test_chosen_bands_keep_what_they_promise_and_no_steeper_ones_would(threshold: float) -> None:
    config = lsh.bands_for(threshold)
    above = threshold + min(lsh.MARGIN, (1 - threshold) / 2)
    assert config.num_perm <= lsh.MOST_PERMUTATIONS
    assert lsh.meet_probability(above, config) >= lsh.MEETS
    steeper = config.rows_per_band + 1
    most = max(1, lsh.MOST_PERMUTATIONS // steeper)
    assert steeper > lsh.MOST_PERMUTATIONS or 1 - (1 - above**steeper) ** most < lsh.MEETS


@pytest.mark.parametrize(
    ("size", "num_pairs", "num_large"), [(23, 253, 0), (24, 276, 0), (25, 90, 25), (26, 94, 26)]
)
def test_a_bucket_is_large_beyond_24_pages(size: int, num_pairs: int, num_large: int) -> None:
    """All pairs up to there, and four leaders with all others beyond."""
    found = lsh.candidates(members([(1, 2, 0, page, page) for page in range(size)]), 2)
    assert len(found.pairs) == num_pairs
    assert found.large.size == num_large


def test_a_large_bucket_without_a_page_of_this_batch_is_left_alone() -> None:
    earlier = [(1, 1, 0, page, page) for page in range(30)]
    assert lsh.candidates(members(earlier), 2).large.size == 0
    assert lsh.candidates(members([*earlier, (1, 2, 0, 99, 99)]), 2).large.size == 31
    assert lsh.candidates(members([*earlier, (2, 2, 0, 99, 99)]), 2).large.size == 0


@pytest.mark.parametrize(
    ("bands", "rows", "allowed"),
    [(1, 1, True), (0, 1, False), (1, 0, False), (4096, 1, True), (64, 64, True), (17, 241, False), (4097, 1, False)],
)  # fmt: skip
def test_bands_and_rows_that_settings_may_have(bands: int, rows: int, allowed: bool) -> None:
    if allowed:
        assert LshConfig(num_bands=bands, rows_per_band=rows).num_perm == bands * rows
    else:
        with pytest.raises(ValueError, match="at least 1 each and at most 4096 together"):
            LshConfig(num_bands=bands, rows_per_band=rows)


def test_bands_that_meet_exactly_as_wanted_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = lsh.bands_for(0.75)
    monkeypatch.setattr(lsh, "MEETS", lsh.meet_probability(0.8, chosen))
    assert lsh.bands_for(0.75) == chosen
    monkeypatch.setattr(lsh, "MEETS", np.nextafter(lsh.MEETS, 1))
    assert lsh.bands_for(0.75) != chosen


def test_copies_go_to_the_first_page_of_their_content() -> None:
    """Within a bucket and this batch; pages of earlier batches take none."""
    key = np.array([1, 1, 1, 1, 1, 2, 2], np.uint64)
    batch = np.array([0, 1, 1, 1, 1, 1, 1], np.int32)
    content = np.array([b"a", b"a", b"b", b"a", b"b", b"a", b"a"], "S16")
    doc = np.array([b"%d" % n for n in range(7)], "S16")
    given_members = Members(key, batch, np.zeros(7, np.int64), doc, content)
    copies, left = lsh._take_copies(given_members, np.arange(7), 1)
    assert copies.tolist() == [[1, 3], [2, 4], [5, 6]]
    assert left.tolist() == [0, 1, 2, 5]


def test_keys_of_bands_and_contents_keep_their_values() -> None:
    """They are stored: with others no page of an earlier batch would be found."""
    signatures = np.arange(8, dtype=np.uint32).reshape(2, 4)
    keys = lsh.band_keys(signatures, LshConfig(num_bands=2, rows_per_band=2))
    assert [f"{key:x}" for key in keys.ravel().tolist()] == [
        "fa1f3b7a717f948c",
        "e72f8707b5de1239",
        "7ebea51ba071af64",
        "b8f0d6d9a98758d9",
    ]
    contents = lsh.content_keys(np.array([[1, 2], [2, 1]], np.uint64))
    assert [f"{key:x}" for key in contents.tolist()] == ["6f52d3c89ca2f6a", "3dd31be79d8c421"]
