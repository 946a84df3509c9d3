"""When a task is copied, named or ended, to the second and by the defaults."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from corpus.run import stragglers
from corpus.run.stragglers import Limits, Watch


def watch(num_tasks: int, finished: list[float], limits: Limits | None = None) -> Watch:
    return Watch("toy/total", num_tasks, limits or Limits(), finished_s=finished)


@pytest.mark.parametrize(
    ("num_tasks", "num_finished", "known"),
    [(1, 0, False), (1, 1, True), (2, 0, False), (2, 1, True), (3, 1, False), (3, 2, True), (9, 2, False), (9, 3, True)],
)  # fmt: skip
def test_tasks_that_make_a_median(num_tasks: int, num_finished: int, known: bool) -> None:
    """Three, or all but one of a step with fewer."""
    finished = [5.0, 7.0, 6.0][:num_finished]
    usual = watch(num_tasks, finished).usual_s
    assert (usual is not None) is known
    assert watch(9, [5.0, 7.0, 6.0]).usual_s == 6.0


@pytest.mark.parametrize(
    ("usual_s", "youngest_s", "copied"),
    [
        (1.0, 10.0, False),
        (1.0, 10.1, True),
        (6.0, 10.1, True),
        (7.0, 10.5, False),
        (7.0, 10.6, True),
        (100.0, 150.0, False),
        (100.0, 150.1, True),
    ],
)
def test_a_copy_is_wanted_after_half_as_long_again(
    usual_s: float, youngest_s: float, copied: bool
) -> None:
    """And never before ten seconds."""
    assert watch(4, [usual_s] * 3).wants_copy(youngest_s) is copied


@pytest.mark.parametrize(("num_finished", "copied"), [(3, False), (4, True), (5, True)])
def test_a_copy_is_wanted_once_half_of_the_tasks_have_finished(
    num_finished: int, copied: bool
) -> None:
    assert watch(8, [10.0] * num_finished).wants_copy(1e3) is copied
    assert watch(7, [10.0] * num_finished).wants_copy(1e3) is copied


def test_a_task_is_never_ended_before_ten_minutes_nor_twenty_medians() -> None:
    assert watch(4, [29.0] * 3).limit_s == 600.0
    assert watch(4, [30.0] * 3).limit_s == 600.0
    assert watch(4, [31.0] * 3).limit_s == 620.0
    assert watch(4, [31.0] * 3).overdue({0: 620.0, 1: 620.1, 2: 1.0}) == [1]
    assert watch(4, [31.0] * 2).limit_s == 6 * 3600
    assert watch(4, [31.0] * 3, Limits(timeout_s=5.0)).overdue({0: 5.0, 1: 5.1}) == [1]


@pytest.mark.parametrize(
    ("usual_s", "seconds", "named"),
    [(1.0, 60.0, False), (1.0, 60.1, True), (12.0, 60.0, False), (13.0, 65.0, False), (13.0, 65.1, True)],
)  # fmt: skip
def test_a_task_is_named_after_five_medians_and_a_minute(
    usual_s: float, seconds: float, named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    watched = watch(4, [usual_s] * 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            watched.warn({2: 1.0, 3: seconds})
    lines = [record.message.partition(" has")[0] for record in caplog.records]
    assert lines == ["toy/total part 3"] * named


def test_silence_is_said_every_ten_minutes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(stragglers, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    watched = watch(9, [1.0])
    watched._silent_since = clock[0]
    said = []
    for now in (1599.9, 1600.0, 2199.9, 2200.0):
        clock[0] = now
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            watched.warn({0: 1.0, 5: 700.0})
        said += [now] * len(caplog.records)
        assert all("part 5 has run for 11:40" in record.message for record in caplog.records)
    assert said == [1600.0, 2200.0]


def test_nothing_is_said_of_no_task_nor_of_steps_that_ask_strangers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asking = watch(4, [1.0] * 3, Limits(enabled=False))
    silent = watch(4, [])
    silent._silent_since = asking._silent_since = -1e9
    with caplog.at_level(logging.WARNING):
        asking.warn({3: 1e6})
        watch(4, [], Limits(enabled=False)).warn({3: 1e6})
        silent.warn({})
    assert not caplog.records
    assert (asking.limit_s, asking.wants_copy(1e6)) == (None, False)
