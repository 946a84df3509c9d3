"""Runs tasks with a bounded window, and tries failed ones again.

A task that fails `ATTEMPTS` times, or says itself that it cannot succeed, is given up: the others
continue, the batch stays uncommitted, and the run ends with exit code 1.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from corpus.errors import FatalError, PartitionError, RetryableError
from corpus.run import progress
from corpus.run.executors.interface import Attempt, Executor, Status, TaskFunction

log = logging.getLogger(__name__)

ATTEMPTS = 3

# Seconds between two looks at the executor: the pace of the progress display.
WAIT_S = 0.5


def run_tasks(
    executor: Executor,
    tasks: Iterable[tuple[int, TaskFunction, Any]],
    meter: progress.Meter,
    on_done: Any = None,
) -> tuple[dict[int, Any], dict[int, Attempt]]:
    """Run tasks, each up to `ATTEMPTS` times: (values, last attempts of the failed ones).

    Raises: InputError or FatalError that a task raised, since those concern the whole run.
    """
    waiting = deque(tasks)
    running: dict[int, tuple[TaskFunction, Any]] = {}
    failures: Counter[int] = Counter()
    values: dict[int, Any] = {}
    failed: dict[int, Attempt] = {}

    with progress.show(meter) as display:
        while waiting or running:
            # One more than there are slots, so that no slot waits for this loop.
            while waiting and len(running) < executor.slots + 1:
                key, function, payload = waiting.popleft()
                running[key] = (function, payload)
                executor.submit(key, function, payload)

            for attempt in executor.wait(WAIT_S):
                function, payload = running.pop(attempt.key)
                if attempt.status is Status.OK:
                    values[attempt.key] = attempt.value
                    meter.parts_done += 1
                    if on_done is not None:
                        on_done(attempt.value, meter)
                    continue

                failures[attempt.key] += 1
                if _is_final(attempt, failures[attempt.key], meter.label):
                    failed[attempt.key] = attempt
                else:
                    waiting.append((attempt.key, function, payload))

            meter.rows_reported += executor.progress()
            display.update()

    return values, failed


def _is_final(attempt: Attempt, count: int, label: str) -> bool:
    """True if a failed task is given up. Raises: FatalError that the task raised."""
    if isinstance(attempt.exception, FatalError):
        raise attempt.exception

    log.warning(
        "%s part %d: %s: %s (attempt %d of %d)",
        label,
        attempt.key,
        attempt.status,
        attempt.error,
        count,
        ATTEMPTS,
    )
    hopeless = isinstance(attempt.exception, PartitionError) and not isinstance(
        attempt.exception, RetryableError
    )
    return hopeless or count >= ATTEMPTS
