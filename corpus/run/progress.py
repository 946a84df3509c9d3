"""Progress of a step: a live bar in a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

LINE_EVERY_S = 10.0  # between lines in a log


@dataclass(slots=True)
class Meter:
    """Counts of finished rows and parts of one step."""

    label: str
    num_parts: int
    total_rows: int | None
    parts_done: int = 0
    rows_reported: int = 0
    rows_done: int = 0
    rows_kept: int = 0
    started: float = field(default_factory=time.monotonic)
    rows_before: int = 0
    """Rows finished by an earlier, interrupted run; they do not count in this run's rate."""

    @property
    def rows(self) -> int:
        """Rows of finished parts, or those reported by running tasks if they are more."""
        return max(self.rows_done, self.rows_before + self.rows_reported)

    @property
    def rate(self) -> float:
        """Rows per second in this run."""
        return (self.rows - self.rows_before) / max(1e-9, time.monotonic() - self.started)

    @property
    def eta_s(self) -> float | None:
        """Seconds left at this rate; None while unknown."""
        if self.total_rows is None or self.rate <= 0:
            return None
        return max(0, self.total_rows - self.rows) / self.rate

    def line(self) -> str:
        """Parts, rows, rate, kept share and remaining time in one line."""
        words = [
            f"{self.label:<18} {self.parts_done}/{self.num_parts} parts",
            f"{self.rows:,} rows",
            f"{self.rate:,.0f} rows/s",
        ]
        if self.rows_done and self.rows_kept:
            words.append(f"kept {self.rows_kept / self.rows_done:.1%}")
        if self.eta_s is not None and self.parts_done < self.num_parts:
            words.append(f"ETA {duration(self.eta_s)}")

        return "  ".join(words)


class Display:
    """Shows a meter; call `update` often."""

    def __init__(self, meter: Meter, progress: Progress | None) -> None:
        self.meter = meter
        self._progress = progress
        self._task = (
            progress.add_task("", total=meter.total_rows or meter.num_parts) if progress else None
        )
        self._next_line = time.monotonic() + LINE_EVERY_S

    def update(self) -> None:
        """Redraw the bar, or log a line every `LINE_EVERY_S`."""
        meter = self.meter
        if self._progress is not None and self._task is not None:
            done = meter.rows if meter.total_rows else meter.parts_done
            self._progress.update(self._task, completed=done, description=meter.line())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            log.info("%s", meter.line())


@contextlib.contextmanager
def show(meter: Meter) -> Iterator[Display]:
    """Open a display for `meter`: a bar if stderr is a terminal, else log lines and a last line."""
    if not sys.stderr.isatty():
        display = Display(meter, None)
        yield display
        log.info("%s  in %s", meter.line(), duration(time.monotonic() - meter.started))
        return

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        display = Display(meter, progress)
        yield display
        display.update()


def duration(seconds: float) -> str:
    """Format `seconds` as 12 s, 3:05 or 2:10:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
