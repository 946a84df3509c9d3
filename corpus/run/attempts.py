"""Runs tasks with a bounded window, tries failed ones again, and does not wait for hanging ones.

A task is given up after `ATTEMPTS` failures, or when it cannot succeed by its own account. The
others continue, the batch stays uncommitted, and the run ends with exit code 1. A task on a dead
node has not failed: it has `LOST_ATTEMPTS`. Idle slots get a second copy of a slow task
(`corpus.run.stragglers`). Beyond its time limit it is ended and counts as failed.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from corpus.errors import FatalError, PartitionError, RetryableError
from corpus.run import metrics, progress, screen
from corpus.run.executors.interface import Attempt, Executor, Status, TaskFunction
from corpus.run.progress import duration
from corpus.run.stragglers import MOST_COPIES, Limits, Watch

log = logging.getLogger(__name__)

ATTEMPTS = 3
# Nodes that join and leave are the normal life of a cluster.
LOST_ATTEMPTS = 20

# Seconds between two looks at the executor: the pace of the progress display.
WAIT_S = 0.5

OnDone = Callable[[Any, progress.Meter], None]


def run_tasks(
    executor: Executor,
    tasks: Iterable[tuple[int, TaskFunction, Any]],
    meter: progress.Meter,
    on_done: OnDone | None = None,
    limits: Limits | None = None,
) -> tuple[dict[int, Any], dict[int, Attempt]]:
    """Run tasks, each up to `ATTEMPTS` times: (values, last attempts of the failed ones).

    Raises: InputError or FatalError that a task raised, since those concern the whole run.
    """
    given = list(tasks)
    crew = _Crew(executor, deque(given), Watch(meter.label, len(given), limits or Limits()))
    with screen.show(meter) as display:
        while crew.waiting or crew.running:
            crew.fill()
            for attempt in executor.wait(WAIT_S):
                meter.cpu_s += attempt.cpu_s
                if crew.end(attempt):
                    meter.parts_done += 1
                    if on_done is not None:
                        on_done(attempt.value, meter)

            crew.judge()
            meter.rows_reported += executor.progress()
            display.update()
            crew.publish(meter)

    return crew.values, crew.failed


@dataclass(slots=True)
class _Crew:
    """The attempts under way. The executor knows each by a ticket, since a task may have several."""

    executor: Executor
    waiting: deque[tuple[int, TaskFunction, Any]]
    watch: Watch
    running: dict[int, tuple[int, TaskFunction, Any]] = field(default_factory=dict)
    """Ticket to task."""
    values: dict[int, Any] = field(default_factory=dict)
    failed: dict[int, Attempt] = field(default_factory=dict)
    _failures: Counter[int] = field(default_factory=Counter)
    _lost: Counter[int] = field(default_factory=Counter)
    _num_copies: int = 0
    _tickets: Iterator[int] = field(default_factory=itertools.count)

    def fill(self) -> None:
        """Hand over as many tasks as the executor takes."""
        while self.waiting and len(self.running) < self.executor.window:
            self._submit(self.waiting.popleft())

    def _submit(self, task: tuple[int, TaskFunction, Any]) -> None:
        ticket = next(self._tickets)
        self.running[ticket] = task
        self.executor.submit(ticket, task[1], task[2])

    def end(self, attempt: Attempt) -> bool:
        """Account for the end of an attempt: True if its task is finished now.

        Raises: FatalError that the task raised.
        """
        task = self.running.pop(attempt.key, None)
        if task is None:
            return False  # another copy finished in the same moment

        key = task[0]
        copies = self._tickets_of(key)

        if attempt.status is Status.OK:
            self.values[key] = attempt.value
            self.watch.finished(attempt.seconds)
            for ticket in copies:
                self._cancel(ticket)
            return True

        again = self._may_run_again(key, attempt)
        # While another copy runs, its result decides.
        if copies:
            return False
        if again:
            self.waiting.append(task)
        else:
            self.failed[key] = attempt
        return False

    def judge(self) -> None:
        """Warn of slow attempts, end overdue ones, and give idle slots a copy of the slowest."""
        running_s = {t: s for t, s in self.executor.running_s().items() if t in self.running}
        longest: dict[int, float] = {}
        for ticket, seconds in running_s.items():
            key = self.running[ticket][0]
            longest[key] = max(longest.get(key, 0.0), seconds)
        self.watch.warn(longest)

        for ticket in self.watch.overdue(running_s):
            # The limit is there if something is over it.
            error = f"over {duration(self.watch.limit_s or 0)}"
            self.executor.cancel(ticket)
            self.end(Attempt(ticket, Status.TIMEOUT, error=error))

        if not self.waiting:
            self._copy_slowest(running_s)

    def _copy_slowest(self, running_s: dict[int, float]) -> None:
        idle = self.executor.slots - len(self.running)
        youngest: dict[int, float] = {}
        for ticket in self.running:
            key = self.running[ticket][0]
            youngest[key] = min(youngest.get(key, float("inf")), running_s.get(ticket, 0.0))

        for key in sorted(youngest, key=lambda each: -youngest[each])[: max(0, idle)]:
            copies = self._tickets_of(key)
            if len(copies) < MOST_COPIES and self.watch.wants_copy(youngest[key]):
                log.info(
                    "%s part %d has run for %s; starting another copy, the first to finish counts",
                    self.watch.label,
                    key,
                    duration(max(running_s.get(ticket, 0.0) for ticket in copies)),
                )
                self._num_copies += 1
                self._submit(self.running[copies[0]])

    def publish(self, meter: progress.Meter) -> None:
        """Put the state of the step into the metrics."""
        tasks = {
            "running": len(self.running),
            "waiting": len(self.waiting),
            "done": len(self.values),
            "failed": len(self.failed),
        }
        label = {"step": meter.label}
        metrics.CURRENT.set_all("webtext_step_tasks", "state", tasks, **label)
        metrics.CURRENT.set("webtext_step_rows", meter.rows, **label)
        if meter.total_rows is not None:
            metrics.CURRENT.set("webtext_step_rows_expected", meter.total_rows, **label)
        metrics.CURRENT.set("webtext_step_rows_per_second", round(meter.rate, 3), **label)
        failed = self._failures.total() + self._lost.total()
        metrics.CURRENT.set("webtext_step_failed_attempts", failed, **label)
        metrics.CURRENT.set("webtext_step_copies", self._num_copies, **label)

    def _tickets_of(self, key: int) -> list[int]:
        return [ticket for ticket, task in self.running.items() if task[0] == key]

    def _cancel(self, ticket: int) -> None:
        del self.running[ticket]
        self.executor.cancel(ticket)

    def _may_run_again(self, key: int, attempt: Attempt) -> bool:
        """Count a failure: True unless it was the last. Raises: FatalError that the task raised."""
        if isinstance(attempt.exception, FatalError):
            raise attempt.exception

        counter, most = (self._lost, LOST_ATTEMPTS) if attempt.lost else (self._failures, ATTEMPTS)
        counter[key] += 1
        log.warning(
            "%s part %d: %s: %s (attempt %d of %d)",
            self.watch.label,
            key,
            attempt.status,
            attempt.error,
            counter[key],
            most,
        )
        hopeless = isinstance(attempt.exception, PartitionError) and not isinstance(
            attempt.exception, RetryableError
        )
        return not hopeless and counter[key] < most
