"""A cache of bounded bytes and age is that of a slow list."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawl.fetch.permission.aged_cache import AgedCache


class Sized(AgedCache[str, int]):
    """Values count for themselves."""

    def __init__(self) -> None:
        super().__init__(keep_s=10.0, max_bytes=20)
        self.evicted: list[tuple[str, float, int]] = []

    def _size(self, key: str, value: int) -> int:
        return value

    def _evicted(self, key: str, until: float, value: int) -> None:
        self.evicted.append((key, until, value))


STEP = st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.none() | st.integers(0, 25))


@given(st.lists(STEP, max_size=30))
@example([("a", 0, 10), ("b", 0, 10), ("a", 0, None), ("b", 0, None)])
@example([("a", 0, 10), ("b", 0, 11), ("a", 0, None), ("b", 0, None)])
def test_entries_are_kept_for_ten_seconds_and_within_twenty_bytes(
    steps: list[tuple[str, int, int | None]],
) -> None:
    """The last one used is at the end. A single one may be larger than the cache."""
    cache, now = Sized(), 0.0
    slow: list[tuple[str, float, int]] = []
    evicted: list[tuple[str, float, int]] = []
    for key, passed, value in steps:
        now += passed
        entry = next((each for each in slow if each[0] == key), None)
        if value is None:
            fresh = entry is not None and entry[1] >= now
            assert cache.find(key, now) == (entry[2] if entry is not None and fresh else None)
            if entry is not None and fresh:
                slow.remove(entry)
                slow.append(entry)
        else:
            cache.keep(key, value, now)
            slow = [each for each in slow if each[0] != key] + [(key, now + 10.0, value)]
            while sum(each[2] for each in slow) > 20 and len(slow) > 1:
                evicted.append(slow.pop(0))
        assert len(cache) == len(slow)
        assert cache.num_bytes == sum(each[2] for each in slow)
        assert cache.evicted == evicted


@pytest.mark.parametrize(("now", "found"), [(14.0, 3), (15.0, 3), (15.5, None)])
def test_an_entry_is_known_until_its_end(now: float, found: int | None) -> None:
    """It is kept at five for ten seconds, and to be found does not make it younger."""
    cache = Sized()
    cache.keep("a", 3, 5.0)
    assert cache.find("a", 10.0) == 3
    assert cache.find("a", now) == found
