"""Ranks that the others wait for, by a clock that the test sets."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from train.machine import stragglers
from train.machine.stragglers import Place, Stragglers


def described(
    monkeypatch: pytest.MonkeyPatch, ranks: dict[int, tuple[int, float]], *, size: int = 2
) -> str:
    """The words on ranks given by their count of stages and the time since their last post."""
    monkeypatch.setattr(stragglers, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    watch = Stragglers(cast(Any, SimpleNamespace(size=size, rank=0)), 100.0)
    for rank, (count, age) in ranks.items():
        watch._seen[rank] = Place(count, 7, "reading", f"h{rank}", 50 + rank, 1), 1000.0 - age
    return watch.described()


A, B = (f"rank {rank} (host h{rank}, process {50 + rank}) is at step 7, reading" for rank in (0, 1))
AHEAD = "; the others are ahead"


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ({}, ""),
        ({0: (3, 0.0), 1: (3, 0.0)}, f"{A}; {B}"),
        ({0: (3, 0.0), 1: (2, 0.0)}, f"{B}{AHEAD}"),
        # Of the limit of 100 s a quarter; a rank that is silent for so long is behind.
        ({0: (3, 0.0), 1: (3, 25.0)}, f"{A}; {B}, silent for 25 s"),
        ({0: (3, 0.0), 1: (3, 25.1)}, f"{B}, silent for 25 s{AHEAD}"),
        # A post may be missed: silence is said of two.
        ({0: (3, 0.0), 1: (2, 20.0)}, f"{B}{AHEAD}"),
        ({0: (3, 0.0), 1: (2, 21.0)}, f"{B}, silent for 21 s{AHEAD}"),
        ({0: (3, 26.0), 1: (2, 0.0)}, f"{A}, silent for 26 s; {B}"),
        ({0: (3, 0.0)}, f"{A}; nothing came from rank 1"),
    ],
)
def test_ranks_that_are_behind(
    ranks: dict[int, tuple[int, float]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert described(monkeypatch, ranks) == words


def test_a_rank_that_waits_for_half_of_the_limit_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each stage, and posts twenty times within the limit."""
    now, intervals = [1000.0], []
    monkeypatch.setattr(stragglers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = Stragglers(cast(Any, SimpleNamespace(size=2, rank=0)), 100.0)
    watch.enter(7, "reading")
    times = iter([1050.0, 1050.1, 1060.0])
    said: list[float] = []

    def wait(seconds: float) -> bool:
        intervals.append(seconds)
        said.extend([now[0]] * len(caplog.records))
        caplog.clear()
        now[0] = next(times, 0.0)
        return now[0] == 0.0

    monkeypatch.setattr(watch, "_closed", SimpleNamespace(wait=wait))
    monkeypatch.setattr(watch, "_exchange", lambda: None)
    with caplog.at_level(logging.WARNING):
        watch._watch()
        assert said == [1050.1]
        now[0], times = 2000.0, iter([2051.0])
        watch.enter(8, "writing")
        watch._watch()
    assert said == [1050.1, 2051.0]
    assert set(intervals) == {5.0}


@pytest.mark.parametrize(
    ("limit_s", "interval_s"), [(0.1, 0.1), (2.0, 0.1), (3.0, 0.15), (200.0, 10.0), (3600.0, 10.0)]
)
def test_posts_of_a_rank(
    limit_s: float, interval_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Stragglers(cast(Any, SimpleNamespace(size=2, rank=0)), limit_s)
    waited: list[float] = []
    closed = SimpleNamespace(wait=lambda seconds: waited.append(seconds) is None)
    monkeypatch.setattr(watch, "_closed", closed)
    watch._watch()
    assert waited == [interval_s]


def test_places_are_compared_by_when_they_were_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """A post that is read again is not new; a process alone compares nothing."""
    now, posts = [1000.0], {}
    monkeypatch.setattr(stragglers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    one, other = (
        Stragglers(cast(Any, SimpleNamespace(size=3, rank=rank)), 100.0) for rank in (0, 1)
    )
    one._store = other._store = SimpleNamespace(
        set=posts.__setitem__, get=posts.__getitem__, check=lambda names: names[0] in posts
    )
    other._exchange()
    for now[0] in (1010.0, 1020.0, 1030.0):
        one._exchange()
    assert {rank: seen for rank, (_, seen) in one._seen.items()} == {0: 1030.0, 1: 1010.0}
    other._exchange()
    one._exchange()
    assert {rank: (place.beat, seen) for rank, (place, seen) in one._seen.items()} == {
        0: (4, 1030.0),
        1: (2, 1030.0),
    }
    with Stragglers(cast(Any, SimpleNamespace(size=1, rank=0)), 100.0) as alone:
        assert alone._thread is None
