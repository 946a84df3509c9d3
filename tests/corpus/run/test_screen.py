"""The progress screen: stages as a list, steps with a bar, time used afterwards, "kept" once."""

from __future__ import annotations

import contextlib
import io
import logging

import pytest
from rich.console import Console

from corpus.run import funnel, progress, screen
from corpus.run.progress import Meter
from tests.support import grown_corpus


def terminal(width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(drawn: screen.Screen, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(drawn.render())
    output = console.file
    assert isinstance(output, io.StringIO)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_a_refresh_lists_its_stages_with_the_bar_of_the_one_under_way() -> None:
    names = [f"2024-01 {stage}" for stage in ("crawl", "clean", "dedup")]
    drawn = screen.Screen(names, console=terminal())
    with drawn.open():
        with screen.stage("crawl"):
            drawn.stages["2024-01 crawl"].started -= 185
        with screen.stage("clean"):
            meter = Meter("clean/documents", 1, 70)
            with screen.show(meter) as display:
                meter.rows_reported = 28
                meter.started -= 14
                screen.note("5 failed")
                display.update()
                crawl, clean, step, dedup = shown(drawn)
    assert crawl.split() == ["2024-01", "crawl", "done", "in", "3:05"]
    assert clean.split() == ["2024-01", "clean", "now"]
    assert step.endswith("28 of 70 pages  2 pages/s  ETA 21 s  5 failed")
    assert "━" in step
    assert dedup == "2024-01 dedup"
    assert screen.current() is None


def test_a_single_stage_keeps_its_finished_steps_but_no_details() -> None:
    drawn = screen.Screen(["dedup"], console=terminal())
    with drawn.open(), screen.stage("dedup"):
        for label in ("dedup/shingles (scatter)", "dedup/verdicts"):
            with screen.show(Meter(label, 1, None)):
                running = shown(drawn)
            assert "scatter" not in "".join(running)
    stage, step = shown(drawn)
    assert stage.split()[:2] == ["dedup", "done"]
    assert step.split()[:3] == ["judge", "documents", "done"]


def test_a_line_never_wraps() -> None:
    drawn = screen.Screen(["crawl"], console=terminal(50))
    with drawn.open(), screen.stage("crawl"), screen.show(Meter("crawl/fetch (reduce)", 1, 70)):
        screen.note("a very long note " * 4)
        assert len(shown(drawn, width=50)) == 2


def test_a_screen_opens_without_stdout() -> None:
    """Python sets it to None if the file descriptor is closed, as by `>&-`."""
    drawn = screen.Screen(["crawl"], console=terminal(50))
    with contextlib.redirect_stdout(None), drawn.open(), screen.stage("crawl"):
        assert drawn.is_live


def test_a_stage_that_fails_says_so_and_no_terminal_means_plain_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.INFO, progress.__name__),
        pytest.raises(RuntimeError),
        screen.stage("clean"),
    ):
        assert not screen.is_live()
        with screen.show(Meter("clean/documents", 1, 3)):
            raise RuntimeError
    assert [record.getMessage() for record in caplog.records] == ["clean: stopped in 0 s"]


def test_kept_means_one_thing(fates: grown_corpus.Fates) -> None:
    first = [line.split()[0] for line in funnel.render(fates.store, "2024-01").splitlines()]
    assert [word for word in first if "kept" in word] == ["kept", "not_kept"]
    assert first.index("verdicts") < first.index("kept") < first.index("tokens")
    assert {"admitted", "usable"} <= set(first)
    own = funnel.render(fates.store, "2024-01", stage="dedup")
    assert "verdicts" in own
    assert "documents" not in own
