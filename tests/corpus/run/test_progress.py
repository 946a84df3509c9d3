"""Progress in the words of the job: rows of all, rate, time left, and the time that a step took."""

from __future__ import annotations

import logging

import pytest

from corpus.run import progress, screen
from corpus.run.progress import Meter


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
