"""Invariants of `corpus.run.executors.interface.Executor`: every implementation's tests inherit
these suites.
"""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import InputError
from corpus.run.executors.interface import Attempt, Executor, Status
from tests.support import toy_tasks

# Below the limit of a test. No task but one that hangs takes longer, however busy the machine.
PATIENCE_S = 180.0


def drain(executor: Executor, count: int) -> dict[int, Attempt]:
    """Wait for so many attempts; each key comes once."""
    found: dict[int, Attempt] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        for attempt in executor.wait(0.5):
            assert attempt.key not in found, "a task ended twice"
            found[attempt.key] = attempt
    assert len(found) == count
    return found


@contextmanager
def importable_tasks() -> Iterator[None]:
    """Let worker processes import the toy tasks as this one does."""
    before = os.environ.get("PYTHONPATH")
    folder = os.path.dirname(toy_tasks.__file__)
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), folder])
    yield
    if before is None:
        os.environ.pop("PYTHONPATH")
    else:
        os.environ["PYTHONPATH"] = before


class ExecutorLaws(ABC):
    """What holds wherever a task runs. Subclasses name a fixture `executor`, open and with two
    slots at most.
    """

    reports_rows = True
    """True if rows are counted while a task runs."""

    @pytest.fixture(scope="class")
    @classmethod
    @abstractmethod
    def executor(cls) -> Iterator[Executor]: ...

    def test_an_idle_executor_has_nothing_to_tell(self, executor: Executor) -> None:
        assert executor.wait(0.0) == []
        assert executor.progress() == 0
        assert executor.slots >= 1

    def test_every_task_ends_once_with_its_own_value(self, executor: Executor) -> None:
        """More tasks than slots, in whatever order they end."""
        for key in range(12):
            executor.submit(key, toy_tasks.double, key + 100)
        found = drain(executor, 12)
        assert {key: attempt.value for key, attempt in found.items()} == {
            key: 2 * (key + 100) for key in range(12)
        }
        assert {attempt.status for attempt in found.values()} == {Status.OK}
        assert executor.wait(0.0) == []

    def test_a_failing_task_is_a_value_that_names_its_place(self, executor: Executor) -> None:
        executor.submit(0, toy_tasks.fail, None)
        executor.submit(1, toy_tasks.refuse, None)
        executor.submit(2, toy_tasks.double, 4)
        found = drain(executor, 3)
        assert found[0].status is Status.ERROR
        assert "ZeroDivisionError: division by zero (fail, toy_tasks.py:" in found[0].error
        assert found[0].exception is None
        assert found[1].status is Status.ERROR
        assert isinstance(found[1].exception, InputError), "ours arrives as what it was"
        assert found[2].value == 8

    def test_a_memory_error_is_out_of_memory(self, executor: Executor) -> None:
        executor.submit(0, toy_tasks.exhaust, 0)
        assert drain(executor, 1)[0].status is Status.OOM

    def test_a_key_may_be_used_again(self, executor: Executor) -> None:
        """A second attempt at the same task."""
        for payload in (1, 2):
            executor.submit(7, toy_tasks.double, payload)
            assert drain(executor, 1)[7].value == 2 * payload

    def test_rows_are_counted_once(self, executor: Executor) -> None:
        for key in range(4):
            executor.submit(key, toy_tasks.report_rows, 10)
        drain(executor, 4)
        assert executor.progress() == (40 if self.reports_rows else 0)
        assert executor.progress() == 0


class ProcessExecutorLaws(ExecutorLaws):
    """What holds where a task has a process of its own. The executor's time limit is `PATIENCE_S`."""

    def test_every_end_is_told_apart_and_costs_nobody_else(
        self, executor: Executor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tasks: list[Callable[..., Any]] = [
            toy_tasks.double,
            toy_tasks.fail,
            toy_tasks.die,
            toy_tasks.refuse,
            toy_tasks.double,
            toy_tasks.sleep,
        ]
        for key, function in enumerate(tasks):
            executor.submit(key, function, 3600 if function is toy_tasks.sleep else key)
        found = drain(executor, len(tasks) - 1)
        # Only then is the limit short: a busy machine takes seconds to start a task's process.
        monkeypatch.setattr(executor, "_timeout_s", 0.5)
        found |= drain(executor, 1)
        monkeypatch.undo()
        executor.submit(6, toy_tasks.double, 6)
        found |= drain(executor, 1)
        assert {key: attempt.status for key, attempt in found.items()} == {
            0: Status.OK,
            1: Status.ERROR,
            2: Status.CRASH,
            3: Status.ERROR,
            4: Status.OK,
            5: Status.TIMEOUT,
            6: Status.OK,
        }
        assert (found[4].value, found[6].value) == (8, 12)
        assert re.search("over 0.5 s", found[5].error)

    def test_tasks_run_elsewhere(self, executor: Executor) -> None:
        executor.submit(0, toy_tasks.process, None)
        assert drain(executor, 1)[0].value != os.getpid()

    @abstractmethod
    def opened(self) -> Any:
        """A context manager that gives an executor of one slot, for this test alone."""

    def test_a_cancelled_task_leaves_in_order_before_the_executor_does(
        self, tmp_path: Path
    ) -> None:
        mark = tmp_path / "at work"
        with importable_tasks(), self.opened() as executor:
            executor.submit(0, toy_tasks.leave_in_order, str(mark))
            executor.submit(1, toy_tasks.double, 1)
            deadline = time.monotonic() + PATIENCE_S
            while not mark.exists():
                executor.wait(0.1)
                assert time.monotonic() < deadline
            executor.close(cancel=True)
            assert not mark.exists()
            executor.close(cancel=True)
