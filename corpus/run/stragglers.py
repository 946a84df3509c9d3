"""Decides about tasks that take much longer than their like: warn, start a second copy, give up.

The measure is the median time of the step's finished tasks. Tasks are deterministic and write whole
files, so two copies of one may run at once and the first to finish wins (Spark calls it
speculation). A frozen process, a lost node or a slow disk then costs a step about as long as one
task takes, and not for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from corpus.run.progress import duration

log = logging.getLogger(__name__)

# Multiples of the median, each with the least time that counts, in seconds.
COPY_FACTOR, COPY_LEAST_S = 1.5, 10.0  # Spark's spark.speculation.multiplier
WARN_FACTOR, WARN_LEAST_S = 5.0, 60.0
LIMIT_FACTOR, LIMIT_LEAST_S = 20.0, 600.0
# A median of fewer tasks says little; for copies, half of the step's tasks must be finished.
FEWEST_FINISHED = 3
# The limit without a median. The largest dump of a month, 50 million submissions, takes one task
# less than an hour.
FIRST_S = 6 * 3600.0
# A step without a finished task says so this often.
SILENT_S = 600.0
MOST_COPIES = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the tasks of a step."""

    timeout_s: float | None = None
    """A fixed time limit."""
    automatic: bool = True
    """Without a fixed one, derive it from the median of finished tasks."""
    first_s: float | None = FIRST_S
    """The automatic limit while too few tasks have finished to judge the others."""
    copies: bool = True
    """Start copies of slow tasks."""
    enabled: bool = True
    """False for steps that wait for other people's servers: no limit, no warning, no copies."""


@dataclass(slots=True)
class Watch:
    """The times of one step's tasks."""

    label: str
    num_tasks: int
    limits: Limits = field(default_factory=Limits)
    finished_s: list[float] = field(default_factory=list)
    _warned: set[int] = field(default_factory=set)
    _silent_since: float = field(default_factory=time.monotonic)

    def finished(self, seconds: float) -> None:
        """Count a finished task."""
        self.finished_s.append(seconds)

    @property
    def usual_s(self) -> float | None:
        """The median of finished tasks; None while there are too few."""
        if len(self.finished_s) < min(FEWEST_FINISHED, max(1, self.num_tasks - 1)):
            return None
        return median(self.finished_s)

    @property
    def limit_s(self) -> float | None:
        """The time after which a task is ended; None without a limit."""
        if not self.limits.enabled:
            return None
        if self.limits.timeout_s is not None:
            return self.limits.timeout_s
        if not self.limits.automatic:
            return None
        if self.usual_s is None:
            return self.limits.first_s
        return max(LIMIT_LEAST_S, LIMIT_FACTOR * self.usual_s)

    def overdue(self, running_s: Mapping[int, float]) -> list[int]:
        """Attempts over the limit, by their time so far."""
        limit = self.limit_s
        return [] if limit is None else [key for key, s in running_s.items() if s > limit]

    def wants_copy(self, youngest_s: float) -> bool:
        """True if a task deserves another copy; `youngest_s` is the time of its latest attempt."""
        if not (self.limits.enabled and self.limits.copies) or self.usual_s is None:
            return False
        if len(self.finished_s) < self.num_tasks / 2:
            return False
        return youngest_s > max(COPY_LEAST_S, COPY_FACTOR * self.usual_s)

    def warn(self, running_s: Mapping[int, float]) -> None:
        """Log each task once that takes far longer than the others."""
        if not self.limits.enabled or not running_s:
            return

        usual = self.usual_s
        if usual is None:
            self._warn_of_silence(running_s)
            return

        for key, seconds in running_s.items():
            if key not in self._warned and seconds > max(WARN_LEAST_S, WARN_FACTOR * usual):
                self._warned.add(key)
                log.warning(
                    "%s part %d has run for %s; others took %s; %s",
                    self.label,
                    key,
                    duration(seconds),
                    duration(usual),
                    self._end(),
                )

    def _warn_of_silence(self, running_s: Mapping[int, float]) -> None:
        now = time.monotonic()
        if now - self._silent_since < SILENT_S:
            return

        self._silent_since = now
        key = max(running_s, key=lambda each: running_s[each])
        log.warning(
            "%s: too few parts have finished to judge the others; part %d has run for %s; %s; "
            "--set run.task_timeout=1h sets another limit",
            self.label,
            key,
            duration(running_s[key]),
            self._end(),
        )

    def _end(self) -> str:
        limit = self.limit_s
        return "it has no limit" if limit is None else f"it is ended after {duration(limit)}"
