"""Executors: the invariants of all, and what each does in its own way."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.errors import ConfigError
from corpus.run.executors import choose, open_executor
from corpus.run.executors.interface import Executor, Status
from corpus.run.executors.pool import PoolExecutor
from corpus.run.executors.ray import RayExecutor
from tests.corpus.run.executor_laws import (
    PATIENCE_S,
    ExecutorLaws,
    ProcessExecutorLaws,
    drain,
    importable_tasks,
)
from tests.corpus.run.listeners import is_loopback, listeners
from tests.support import toy_tasks
from tests.support.child import is_alive


class TestSerial(ExecutorLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with open_executor("serial", 1) as opened:
            yield opened

    def test_it_runs_in_this_process(self, executor: Executor) -> None:
        executor.submit(0, toy_tasks.process, None)
        assert drain(executor, 1)[0].value == os.getpid()


class TestPool(ProcessExecutorLaws):
    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with importable_tasks(), open_executor("pool", 2, timeout_s=PATIENCE_S) as opened:
            yield opened

    def opened(self) -> Any:
        return open_executor("pool", 1)


class TestRay(ProcessExecutorLaws):
    reports_rows = False

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with importable_tasks(), open_executor("ray", 2, timeout_s=PATIENCE_S) as opened:
            yield opened

    def opened(self) -> Any:
        return open_executor("ray", 1)

    @pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc/net")
    def test_every_port_of_a_private_cluster_is_on_loopback(self, executor: Executor) -> None:
        """Ray runs code for everyone who reaches its ports; a token is the second wall."""
        executor.submit(0, toy_tasks.double, 1)
        assert drain(executor, 1)[0].status is Status.OK
        found = listeners(os.getpid())
        commands = " ".join(found.values())
        assert "raylet" in commands
        assert "gcs_server" in commands
        assert {
            str(address): command
            for (address, _), command in found.items()
            if not is_loopback(address)
        } == {}
        assert os.environ["RAY_AUTH_MODE"] == "token"

    def test_relative_paths_mean_the_drivers_folder(
        self, executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A test set named by a relative path is read by tasks; Ray starts them somewhere else."""
        (tmp_path / "set.txt").write_text("here")
        monkeypatch.chdir(tmp_path)
        executor.submit(0, toy_tasks.read_text, "set.txt")
        attempt = drain(executor, 1)[0]
        assert (attempt.status, attempt.value) == (Status.OK, "here"), attempt.error


def test_pool_ends_a_task_that_outgrows_its_memory() -> None:
    pool = PoolExecutor(1, memory_bytes=300 << 20)
    pool.submit(0, toy_tasks.grow, 600 << 20)
    pool.submit(1, toy_tasks.double, 4)
    attempts = drain(pool, 2)
    pool.close()
    assert attempts[0].status is Status.OOM
    assert "resident" in attempts[0].error
    assert attempts[1].value == 8


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
        attempt = drain(pool, 1)[2]
        assert (attempt.status, attempt.value) == (Status.OK, 6)
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
        found += [attempt.status for attempt in executor.wait(0)]
    assert ended == ["first", "second"]
    assert found == [Status.OOM, Status.TIMEOUT]


def test_on_ray_a_cluster_that_grows_is_used_and_asked_to_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3 CPUs, 6 more joined: the most tasks at once stayed 3, and no autoscaler saw demand."""
    monkeypatch.setattr("corpus.run.executors.ray.CAPACITY_EVERY_S", 0.0)
    cpus, handed = [3.0], []
    executor = object.__new__(RayExecutor)
    executor._ray = SimpleNamespace(
        cluster_resources=lambda: {"CPU": cpus[0]},
        wait=lambda references, **_: ([], references),
        cancel=lambda reference, force: None,
    )
    executor._remote = SimpleNamespace(remote=lambda data: handed.append(data) or len(handed))
    executor._elastic, executor.slots, executor._timeout_s = True, 3, None
    executor._queue, executor._open, executor._timed_out = deque(), {}, set()
    executor._first_seen = {}
    for key in range(30):
        executor.submit(key, toy_tasks.double, key)
    assert len(handed) == 6, "as many wait at Ray as run: a cluster may double"
    assert len(executor.running_s()) == 3
    cpus[0] = 9.0
    executor.wait(0)
    assert (executor.slots, executor.window, len(handed)) == (9, 19, 18)
    assert len(executor.running_s()) == 9
    cpus[0] = 2.0
    executor.cancel(0)
    executor.wait(0)
    assert (executor.slots, len(handed)) == (2, 18), "nodes left: nothing more is handed over"
    assert 0 not in executor.running_s()


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


def test_a_driver_that_is_gone_takes_its_workers_along() -> None:
    pool = PoolExecutor(1)
    pool.submit(0, toy_tasks.orphan, None)
    worker = drain(pool, 1)[0].value
    pool.close()
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(worker):
        assert time.monotonic() < deadline, f"worker {worker} outlived its driver"
        time.sleep(0.05)


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
