"""Progress of a step: rows of all, rate and time left, in the words of the job."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

# What a step does, in the words of the job, and the unit of its rows.
JOBS = {
    "crawl/links (scatter)": ("read dumps", "submissions"),
    "crawl/links (reduce)": ("merge links", "submissions"),
    "crawl/archive (reduce)": ("ask archives", "links"),
    "crawl/import (scatter)": ("read WARC files", "captures"),
    "crawl/import (reduce)": ("store pages", "captures"),
    "crawl/fetch (reduce)": ("fetch pages", "links"),
    "clean/documents": ("extract text", "pages"),
    "clean/candidates": ("extract text", "pages"),
    "clean/cut_documents": ("remove repeated lines", "pages"),
    "dedup/known (scatter)": ("sign known documents", "documents"),
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
    cpu_s: float = 0.0
    """CPU time of finished tasks."""
    rows_before: int = 0
    """Rows finished by an earlier, interrupted run; they do not count in this run's rate."""
    note: str = ""
    """Further words, such as failures so far."""

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

    @property
    def job(self) -> str:
        """The step in the words of the job; with -v its internal name as well."""
        job, _ = JOBS.get(self.label, (self.label, ""))
        if self.is_detail:
            job = f"prepare {_plain(self.label)}"
        return f"{job} [{self.label}]" if verbose() and job != self.label else job

    def words(self, *, took_s: float | None = None) -> str:
        """Rows, rate and remaining time; `took_s` of a finished step instead of the last."""
        _, unit = JOBS.get(self.label, ("", "rows"))
        of = f" of {self.total_rows:,}" if self.total_rows and took_s is None else ""
        words = [f"{self.rows:,}{of} {unit}"]
        if self.num_parts > 1 and (took_s is None or self.parts_done < self.num_parts):
            words.append(f"{self.parts_done}/{self.num_parts} parts")

        words.append(f"{self.rate:,.0f} {unit}/s")
        if took_s is not None:
            words.append(f"in {duration(took_s)}")
        elif self.eta_s is not None and self.parts_done < self.num_parts:
            words.append(f"ETA {duration(self.eta_s)}")
        return "  ".join([*words, self.note] if self.note else words)

    def line(self, *, took_s: float | None = None) -> str:
        """The job and its words in one line, for a log."""
        return f"{self.job:<18} {self.words(took_s=took_s)}"


def verbose() -> bool:
    """True with -v: details and internal names are shown."""
    return log.isEnabledFor(logging.DEBUG)


def _plain(label: str) -> str:
    """`dedup/cut_keys (scatter)` as `cut keys`."""
    return label.partition("/")[2].partition(" (")[0].replace("_", " ")


def duration(seconds: float) -> str:
    """Format `seconds` as 12 s, 3:05 or 2:10:00."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
