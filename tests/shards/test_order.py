from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from shards.reader import BlockStream, PackedStream, least_window, most_fetched, open_split
from shards.stream.epochs import row_groups_together, with_together
from shards.stream.order import Permutation, WindowedPermutation


@settings(deadline=None)
@given(n=st.integers(1, 5000), key=st.tuples(st.integers(0, 2**63), st.integers(0, 9)))
def test_every_index_comes_once(n: int, key: tuple[int, int]) -> None:
    assert np.array_equal(np.sort(Permutation(n, *key)(np.arange(n))), np.arange(n))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 500), run=st.integers(1, 99), window=st.integers(1, 9), key=st.integers(0, 9)
)
def test_windows_too_give_every_index_once(n: int, run: int, window: int, key: int) -> None:
    order = WindowedPermutation(n, run, window, key)
    whole = order(np.arange(n))
    assert np.array_equal(np.sort(whole), np.arange(n))
    assert order(np.array([n - 1]))[0] == whole[-1]
    size = run * window
    for begin in range(0, n // size * size - size, size):
        assert len(np.unique(whole[begin : begin + size] // run)) <= window


@settings(deadline=None)
@given(n=st.integers(1, 2**40), index=st.integers(0, 2**40))
def test_one_index_is_what_it_is_among_others(n: int, index: int) -> None:
    permutation = Permutation(n, 7)
    several = np.array([index % n, 0, n - 1])
    assert permutation(several)[0] == permutation(several[:1])[0]
    assert permutation(several).min() >= 0
    assert permutation(several).max() < n


def test_keys_give_different_orders() -> None:
    orders = {
        tuple(Permutation(64, *key)(np.arange(64)))
        for key in [(0, 0), (0, 1), (1, 0), (1, 1), (10,)]
    }
    assert len(orders) == 5


@pytest.mark.parametrize("n", [64, 1000, 100_000])
def test_places_are_uniform_and_neighbours_unrelated(n: int) -> None:
    # Over keys, the place of one index is uniform: chi-square of 16 cells, 15 degrees, 37.7 is the 0.999 quantile.
    places = np.array([Permutation(n, key)(np.array([n // 3]))[0] for key in range(1000)])
    counts = np.bincount(places * 16 // n, minlength=16)
    expected = np.diff(np.ceil(np.arange(17) * n / 16)) / n * 1000
    assert ((counts - expected) ** 2 / expected).sum() < 37.7
    # Within one order, neighbours' places correlate as little as those of random permutations.
    order = Permutation(n, 3)(np.arange(n))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize(("window", "most"), [(16, 1.2), (64, 1.12)])
def test_a_window_needs_hardly_more_row_groups_than_there_are(window: int, most: float) -> None:
    """Row groups of files of any length, and a cache of three windows that forgets the oldest use."""
    lengths = np.random.default_rng(0).integers(3000, 4097, (30, 9))
    lengths[:, :-1] = 4096
    starts = np.cumsum([0, *lengths.ravel()])
    split: Any = Lengths(int(starts[-1]))
    stream = BlockStream(split, block_size=64, seed=0, window=window)
    places = stream.block_numbers(np.arange(stream.num_blocks)) * 64

    cache: OrderedDict[int, None] = OrderedDict()
    fetched = 0
    for pair in np.stack([places, places + 64]).T:
        for group in set((np.searchsorted(starts, pair, "right") - 1).tolist()):
            fetched += group not in cache
            cache[group] = None
            cache.move_to_end(group)
            if len(cache) > 3 * window:
                cache.popitem(last=False)
    assert fetched <= most * lengths.size


class Lengths:
    """A split of which nothing is read."""

    name, digest, run_tokens = "train", "d", 4096

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens


def test_windows_of_impossible_row_groups_are_refused() -> None:
    split: Any = Lengths(1 << 20)
    stream = BlockStream(split, block_size=64, seed=0, window=16)
    state = stream.state_dict()
    stream.load_state_dict(state)
    for together in (0, 17, 2.0, True, "6", None):
        with pytest.raises(InputError, match="together"):
            stream.load_state_dict({**state, "together": together})
    assert stream.state_dict() == state


def fetched_in_an_epoch(window: int, block: int = 16) -> float:
    """The bytes that an epoch fetches, relative to the split's, from a cache of three windows."""
    rng = np.random.default_rng(window)
    group = 64 * block
    sizes: list[int] = []
    for file in rng.uniform(6, 9, 8 + window // 2):  # files end with a smaller row group
        whole, rest = divmod(int(file * group), group)
        sizes += [group] * whole + [rest] * (rest > 0)

    starts = np.cumsum([0, *sizes])
    num_blocks = int((starts[-1] - 1) // block)
    together = row_groups_together(window)
    order = WindowedPermutation(num_blocks, 64 * together, window // together, 1)
    firsts = order(np.arange(num_blocks)) * block
    touched = np.searchsorted(starts, np.stack([firsts, firsts + block], 1), "right") - 1

    held: OrderedDict[int, int] = OrderedDict()
    fetched = in_cache = 0
    for index in touched.ravel().tolist():
        if index in held:
            held.move_to_end(index)
            continue
        held[index] = sizes[index]
        fetched += sizes[index]
        in_cache += sizes[index]
        while in_cache > 3 * window * group:
            in_cache -= held.popitem(last=False)[1]

    return fetched / int(starts[-1])


def test_an_epoch_fetches_little_more_than_the_split() -> None:
    found = {
        window: fetched_in_an_epoch(window) for window in (1, 2, 3, 4, 5, 6, 8, 11, 12, 16, 32)
    }
    assert all(ratio <= 1.1 * most_fetched(window) for window, ratio in found.items()), found
    assert all(ratio <= 1.2 for window, ratio in found.items() if window >= least_window())
    assert least_window() == 5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("together", [1, 2, 4, 9])
def test_a_run_begun_with_other_windows_keeps_its_order(
    built: str, packed: bool, together: int
) -> None:
    """Earlier versions kept 1 or `window // 4` row groups together, and said nothing about 1."""
    split = open_split(built, "b2", "train")
    make = PackedStream if packed else BlockStream

    def stream(begun_with: int | None = None) -> Any:
        made = make(split, block_size=48, seed=3, window=9)
        if begun_with is not None:
            made.load_state_dict(with_together(made.state_dict(), begun_with))
        return made

    whole = stream(together)
    rows = whole.next_batch(whole.num_blocks)
    state = with_together({**stream().state_dict(), "index": 40}, together)
    assert ("together" in state) == (together > 1)
    later = stream()
    later.next_batch(8)
    later.load_state_dict(state)
    assert later.state_dict() == state
    assert np.array_equal(later.next_batch(8, 1, 2), rows[44:48])
    if not packed:
        run = split.run_tokens // 48 * together
        order = WindowedPermutation(whole.num_blocks, run, 9 // together, 3, 0)
        assert np.array_equal(
            rows[:, 0], split.read_blocks(order(np.arange(len(rows))) * 48, 1)[:, 0]
        )
