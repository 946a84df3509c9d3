"""Tasks in this process, one at a time: for small runs, debuggers, and the reference bytes."""

from __future__ import annotations

from collections import deque
from typing import Any

from corpus.run.executors.interface import Attempt, Executor, TaskFunction, run_attempt


class SerialExecutor(Executor):
    """One task at a time, in the process of the caller."""

    name = "serial"
    slots = 1

    def __init__(self) -> None:
        self._queue: deque[tuple[int, TaskFunction, Any]] = deque()
        self._rows = 0

    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        self._queue.append((key, function, payload))

    def wait(self, timeout_s: float) -> list[Attempt]:
        if not self._queue:
            return []
        return [run_attempt(*self._queue.popleft(), self._report)]

    def _report(self, rows: int) -> None:
        self._rows += rows

    def progress(self) -> int:
        rows, self._rows = self._rows, 0
        return rows

    def running_s(self) -> dict[int, float]:
        return {}  # `wait` returns when the task has ended

    def cancel(self, key: int) -> None:
        self._queue = deque(task for task in self._queue if task[0] != key)

    def close(self, *, cancel: bool = False) -> None:
        self._queue.clear()
