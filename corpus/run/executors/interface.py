"""The interface of executors, and how an attempt at a task ends.

A task gets paths and settings, writes its own files and returns a small value; page bodies never
travel. An executor reports how each attempt ended and decides nothing: trying again and giving up
are the runner's business.
"""

from __future__ import annotations

import os
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from corpus.errors import WebtextError
from corpus.run.cpu_time import cpu_seconds

# A module-level function of (payload, report); `report(rows)` adds to the progress display.
TaskFunction = Callable[[Any, Callable[[int], None]], Any]

# Seconds in which cancelled tasks may save their state before they are killed.
CANCEL_GRACE_S = 6.0


class Status(StrEnum):
    """The ways in which an attempt ends."""

    OK = "ok"
    ERROR = "error"
    CRASH = "crash"
    OOM = "oom"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The end of one attempt at a task."""

    key: int
    status: Status
    value: Any = None
    error: str = ""
    exception: WebtextError | None = None
    """The task's own error, if it is one of ours: the runner stops the run for a FatalError."""
    seconds: float = 0.0
    """Time of a task that succeeded."""
    cpu_s: float = 0.0
    """CPU time of it, with that of processes that worked for it."""
    lost: bool = False
    """True if its node left the cluster: the task itself has not failed."""


class Executor(ABC):
    """A place where tasks run. Every implementation gives the same bytes.

    `tests/corpus/run/executor_laws.py` has the invariants that each implementation's tests inherit.
    """

    name: str
    slots: int
    """Tasks that run at the same time. A cluster may grow and shrink."""

    @property
    def window(self) -> int:
        """Tasks to keep open. One more than there are slots, so that no slot waits for the caller."""
        return self.slots + 1

    @abstractmethod
    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        """Queue a task under `key`. The caller keeps at most `slots` plus a few open."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Attempt]:
        """Attempts that ended since the last call; waits at most `timeout_s` for the first."""

    @abstractmethod
    def progress(self) -> int:
        """Rows that running tasks have reported since the last call."""

    @abstractmethod
    def running_s(self) -> dict[int, float]:
        """Seconds that each running task has taken so far, by key; queued ones are left out."""

    @abstractmethod
    def cancel(self, key: int) -> None:
        """End a task, by force, without an attempt for `wait`; nothing to do for an ended one."""

    @abstractmethod
    def close(self, *, cancel: bool = False) -> None:
        """Release everything, once or more often; `cancel` ends running tasks, softly at first."""


def run_attempt(
    key: int, function: TaskFunction, payload: Any, report: Callable[[int], None]
) -> Attempt:
    """Run a task in this process. The one broad catch: a task's failure is a value."""
    started, used = time.monotonic(), cpu_seconds()
    try:
        value = function(payload, report)
        wall_s, cpu_s = time.monotonic() - started, cpu_seconds() - used
        return Attempt(key, Status.OK, value, seconds=wall_s, cpu_s=cpu_s)
    except MemoryError as error:
        return Attempt(key, Status.OOM, error=f"MemoryError: {error}")
    except WebtextError as error:
        return Attempt(key, Status.ERROR, error=str(error), exception=error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.name}, {os.path.basename(where.filename)}:{where.lineno}"
        return Attempt(key, Status.ERROR, error=f"{type(error).__name__}: {error} ({place})")


def limit_threads() -> None:
    """Keep Arrow to one compute thread, so that as many workers as cores do not compete."""
    import pyarrow as pa

    pa.set_cpu_count(1)
