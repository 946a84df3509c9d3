"""Progress of a step: a live bar in a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

log = logging.getLogger(__name__)

LINE_EVERY_S = 10.0  # between lines in a log

# What a step does, in the words of the job, and the unit of its rows.
JOBS = {
    "crawl/links (scatter)": ("read dumps", "submissions"),
    "crawl/links (reduce)": ("merge links", "submissions"),
    "crawl/import (scatter)": ("read WARC files", "captures"),
    "crawl/import (reduce)": ("store pages", "captures"),
    "crawl/fetch (reduce)": ("fetch pages", "links"),
    "clean/documents": ("extract text", "pages"),
    "clean/candidates": ("extract text", "pages"),
    "clean/cut_documents": ("remove repeated lines", "pages"),
    "dedup/signatures": ("sign documents", "documents"),
    "dedup/compare (reduce)": ("compare candidates", "pairs"),
    "dedup/overlaps (reduce)": ("find test passages", "documents"),
    "dedup/verdicts": ("judge documents", "documents"),
    "shards/tokens": ("write tokens", "documents"),
}
DETAILS = frozenset({"crawl", "clean", "dedup", "shards"})
"""Stages whose other steps regroup rows between these: their lines are details (-v)."""


@dataclass(slots=True)
class Meter:
    """Counts of finished rows and parts of one step."""

    label: str
    num_parts: int
    total_rows: int | None
    parts_done: int = 0
    rows_reported: int = 0
    rows_done: int = 0
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

    @property
    def is_detail(self) -> bool:
        """True for a step that only prepares the next one; its lines are shown with -v."""
        return self.label not in JOBS and self.label.partition("/")[0] in DETAILS

    def line(self, *, took_s: float | None = None) -> str:
        """Rows, rate and remaining time in one line; `took_s` of a finished step instead of those."""
        job, unit = JOBS.get(self.label, (self.label, "rows"))
        if log.isEnabledFor(logging.DEBUG) and job != self.label:
            job = f"{job} [{self.label}]"
        of = f" of {self.total_rows:,}" if self.total_rows and took_s is None else ""
        words = [f"{job:<18} {self.rows:,}{of} {unit}"]
        if self.num_parts > 1 and (took_s is None or self.parts_done < self.num_parts):
            words.append(f"{self.parts_done}/{self.num_parts} parts")

        words.append(f"{self.rate:,.0f} {unit}/s")
        if took_s is not None:
            words.append(f"in {duration(took_s)}")
        elif self.eta_s is not None and self.parts_done < self.num_parts:
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
            # A step that takes this long is worth a line, whatever it is.
            log.info("%s", meter.line())


@contextlib.contextmanager
def show(meter: Meter) -> Iterator[Display]:
    """Open a display for `meter`: a bar if stderr is a terminal, else log lines and a last line."""
    level = logging.DEBUG if meter.is_detail else logging.INFO
    if not sys.stderr.isatty():
        display = Display(meter, None)
        yield display
        log.log(level, "%s", meter.line(took_s=time.monotonic() - meter.started))
        return

    # A finished bar leaves its line with the time that it took; a detail leaves none.
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
    )
    with bar as progress:
        display = Display(meter, progress)
        yield display
        display.update()
    log.log(level, "%s", meter.line(took_s=time.monotonic() - meter.started))


def duration(seconds: float) -> str:
    """Format `seconds` as 12 s, 3:05 or 2:10:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
