"""Progress in the words of the job: rows of all, rate, time left, and the time that a step took."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from corpus.run import progress, screen
from corpus.run.progress import Meter, duration


def test_a_running_fetch_shows_links_of_all_and_time_left() -> None:
    meter = Meter("crawl/fetch (reduce)", 1, 70)
    meter.rows_reported = 27
    meter.started -= 9
    line = meter.line()
    assert "fetch pages        27 of 70 links" in line
    assert "3 links/s" in line
    assert "ETA 14 s" in line
    assert "kept" not in line


def test_a_finished_step_shows_the_time_used_and_no_eta() -> None:
    meter = Meter("clean/documents", 4, 28)
    meter.rows_done, meter.parts_done = 28, 4
    meter.started -= 24
    assert meter.line(took_s=24.0) == "extract text       28 pages  1 pages/s  in 24 s"


@pytest.mark.parametrize(("level", "shown"), [(logging.INFO, False), (logging.DEBUG, True)])
def test_steps_between_are_details(
    level: int, shown: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with caplog.at_level(level, progress.__name__):
        for label in ("dedup/shingles (scatter)", "dedup/verdicts"):
            with screen.show(Meter(label, 1, None)):
                pass
    assert ("dedup/shingles" in caplog.text) is shown
    assert "judge documents" in caplog.text
    assert ("[dedup/verdicts]" in caplog.text) is shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (60.0, "1:00"),
        (3599.4, "59:59"),
        (3599.6, "1:00:00"),
        (3600.0, "1:00:00"),
        (7_265.0, "2:01:05"),
    ],
)
def test_times_as_they_are_shown(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time now, to be set."""
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "0 of 80 rows  0/4 parts  0 rows/s"),
        ({"rows_reported": 20}, "20 of 80 rows  0/4 parts  2 rows/s  ETA 30 s"),
        ({"rows_done": 20, "parts_done": 1}, "20 of 80 rows  1/4 parts  2 rows/s  ETA 30 s"),
        ({"rows_done": 80, "parts_done": 4}, "80 of 80 rows  4/4 parts  8 rows/s"),
        ({"rows_done": 90, "parts_done": 3}, "90 of 80 rows  3/4 parts  9 rows/s  ETA 0 s"),
        ({"num_parts": 1, "rows_done": 20}, "20 of 80 rows  2 rows/s  ETA 30 s"),
        ({"num_parts": 2, "rows_done": 20}, "20 of 80 rows  0/2 parts  2 rows/s  ETA 30 s"),
        ({"total_rows": None, "rows_done": 20}, "20 rows  0/4 parts  2 rows/s"),
        # An earlier run's rows count, and not in the rate.
        (
            {"rows_before": 50, "rows_reported": 10},
            "60 of 80 rows  0/4 parts  1 rows/s  ETA 20 s",
        ),
        ({"rows_done": 20, "note": "1 failed"}, "20 of 80 rows  0/4 parts  2 rows/s  ETA 30 s  1 failed"),
    ],
)  # fmt: skip
def test_words_of_a_step_under_way(
    changes: dict[str, object], words: str, clock: list[float]
) -> None:
    meter = Meter("toy", 4, 80, started=clock[0])
    for name, value in changes.items():
        setattr(meter, name, value)
    clock[0] += 10.0
    assert meter.words() == words


@pytest.mark.parametrize(
    ("parts_done", "words"),
    [(4, "20 rows  2 rows/s  in 10 s"), (3, "20 rows  3/4 parts  2 rows/s  in 10 s")],
)
def test_words_of_a_step_that_ended(parts_done: int, words: str, clock: list[float]) -> None:
    """A step that ended before its time says how many parts it had."""
    meter = Meter("toy", 4, 80, parts_done=parts_done, rows_done=20, started=clock[0])
    clock[0] += 10.0
    assert meter.words(took_s=10.0) == words


def test_a_log_has_a_line_every_ten_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(screen, "time", SimpleNamespace(monotonic=lambda: now[0]))
    display, said = screen.Display(Meter("toy", 1, None), logs=True), []
    for now[0] in (109.9, 110.0, 119.9, 120.0, 200.0):
        with caplog.at_level(logging.INFO, progress.__name__):
            caplog.clear()
            display.update()
        said += [now[0]] * len(caplog.records)
    assert said == [110.0, 120.0, 200.0]
