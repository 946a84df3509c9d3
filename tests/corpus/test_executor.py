"""How attempts end, told apart: ok, error, crash, out of memory, time-out. In the pool and on Ray alike."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.errors import ConfigError, InputError
from corpus.run.executor import (
    Executor,
    Outcome,
    PoolExecutor,
    RayExecutor,
    SerialExecutor,
    Status,
    choose,
    open_executor,
)
from tests.support import toy_tasks

TIMEOUT_S = {"pool": 8.0, "ray": 20.0}
"""Of a task; a busy machine takes seconds to start the process of one, and for Ray's many."""


def drain(executor: Executor, count: int) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    deadline = time.monotonic() + 180
    while len(outcomes) < count and time.monotonic() < deadline:
        outcomes.update({outcome.key: outcome for outcome in executor.wait(0.5)})
    assert len(outcomes) == count
    return outcomes


@pytest.fixture(scope="module", params=["pool", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    folder = os.path.dirname(toy_tasks.__file__)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), folder])
    with open_executor(request.param, 2, timeout_s=TIMEOUT_S[request.param]) as opened:
        yield opened
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def test_every_end_is_told_apart_and_costs_nobody_else(executor: Executor) -> None:
    tasks: list[Callable[..., Any]] = [
        toy_tasks.double,
        toy_tasks.fail,
        toy_tasks.die,
        toy_tasks.refuse,
        toy_tasks.sleep,
        toy_tasks.double,
    ]
    for key, function in enumerate(tasks):
        executor.submit(key, function, 60 if function is toy_tasks.sleep else key)
    outcomes = drain(executor, len(tasks))
    assert {key: outcome.status for key, outcome in outcomes.items()} == {
        0: Status.OK,
        1: Status.ERROR,
        2: Status.CRASH,
        3: Status.ERROR,
        4: Status.TIMEOUT,
        5: Status.OK,
    }
    assert outcomes[5].value == 10
    assert "ZeroDivisionError: division by zero (fail, toy_tasks.py:" in outcomes[1].error
    assert isinstance(outcomes[3].exception, InputError)
    assert re.search("over (8|20) s", outcomes[4].error)


def test_a_cancelled_task_leaves_in_order_before_the_executor_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([os.getcwd(), os.path.dirname(toy_tasks.__file__)])
    )
    mark = tmp_path / "at work"
    with open_executor("pool", 1) as executor:
        executor.submit(0, toy_tasks.leave_in_order, str(mark))
        deadline = time.monotonic() + 60
        while not mark.exists():
            executor.wait(0.1)
            assert time.monotonic() < deadline
        executor.close(cancel=True)
        assert not mark.exists()


def test_memory_error_is_out_of_memory(executor: Executor) -> None:
    executor.submit(0, toy_tasks.exhaust, 0)
    assert drain(executor, 1)[0].status is Status.OOM


def test_pool_ends_a_task_that_outgrows_its_memory() -> None:
    pool = PoolExecutor(1, memory_bytes=300 << 20)
    pool.submit(0, toy_tasks.grow, 600 << 20)
    pool.submit(1, toy_tasks.double, 4)
    outcomes = drain(pool, 2)
    pool.close()
    assert outcomes[0].status is Status.OOM
    assert "resident" in outcomes[0].error
    assert outcomes[1].value == 8


def test_a_task_that_ends_as_its_time_does_costs_the_next_one_nothing() -> None:
    """Its result had been sent when its worker was ended: that worker is gone, and takes no task."""
    pool = PoolExecutor(1, timeout_s=1000.0)
    try:
        pool.submit(1, toy_tasks.double, 2)
        (worker,) = pool._workers
        assert worker.pipe.poll(60)
        worker.started -= 2000.0
        assert drain(pool, 1)[1].value == 4
        pool.submit(2, toy_tasks.double, 3)
        outcome = drain(pool, 1)[2]
        assert (outcome.status, outcome.value) == (Status.OK, 6)
    finally:
        pool.close(cancel=True)


def test_on_ray_the_time_of_a_second_attempt_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory in the moment that its time was over: tried again, it is ended when that time is over."""
    names = (
        "OutOfMemoryError",
        "WorkerCrashedError",
        "TaskCancelledError",
        "NodeDiedError",
        "LocalRayletDiedError",
    )
    base = type("RayError", (Exception,), {})
    errors = {name: type(name, (base,), {}) for name in names}
    ended: list[str] = []

    def get(reference: str) -> bytes:
        raise errors["OutOfMemoryError" if reference == "first" else "WorkerCrashedError"]("gone")

    executor = object.__new__(RayExecutor)
    executor._ray = SimpleNamespace(
        exceptions=SimpleNamespace(RayError=base, **errors),
        get=get,
        cancel=lambda reference, force: ended.append(reference),
        wait=lambda references, **_: (references, []),
    )
    executor.slots, executor._timeout_s = 1, 1.0
    executor._queue, executor._open, executor._timed_out = deque(), {}, set()
    found = []
    for attempt in ("first", "second"):
        executor._open[attempt] = (7, time.monotonic() - 10)
        found += [outcome.status for outcome in executor.wait(0)]
    assert ended == ["first", "second"]
    assert found == [Status.OOM, Status.TIMEOUT]


def test_pool_counts_rows_that_tasks_report() -> None:
    pool = PoolExecutor(2)
    for key in range(4):
        pool.submit(key, toy_tasks.report_rows, 10)
    drain(pool, 4)
    assert pool.progress() == 40
    assert pool.progress() == 0
    pool.close()


def test_pool_workers_are_single_threaded() -> None:
    pool = PoolExecutor(1)
    pool.submit(0, toy_tasks.threads, None)
    assert drain(pool, 1)[0].value == (1, "1", "1")
    pool.close()
    assert os.environ.get("RAYON_NUM_THREADS") != "1", "the driver's own environment is left alone"


def test_serial_runs_in_this_process() -> None:
    serial = SerialExecutor()
    serial.submit(0, toy_tasks.process, None)
    assert drain(serial, 1)[0].value == os.getpid()


def test_a_driver_that_is_gone_takes_its_workers_along() -> None:
    pool = PoolExecutor(1)
    pool.submit(0, toy_tasks.orphan, None)
    worker = drain(pool, 1)[0].value
    pool.close()
    for _ in range(50):
        if not os.path.exists(f"/proc/{worker}"):
            return
        time.sleep(0.1)
    raise AssertionError(f"worker {worker} outlived its driver")


@pytest.mark.parametrize(
    ("kind", "workers", "address", "expected"),
    [
        ("auto", 2, None, "pool"),
        ("auto", 1, None, "serial"),
        ("auto", 1, "head:6379", "ray"),
        ("pool", 1, "head:6379", "pool"),
        ("ray", 2, None, "ray"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch, kind: str, workers: int, address: str | None, expected: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    assert choose(kind, workers) == expected


def test_a_dashboards_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ConfigError, match="RAY_API_SERVER_ADDRESS"), open_executor("ray", 1):
        pass
