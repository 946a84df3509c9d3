"""Tasks in local processes, each its own: one that dies takes its task along and no other."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from corpus.run.arrow import leave_pandas_out
from corpus.run.executors.interface import (
    CANCEL_GRACE_S,
    Attempt,
    Executor,
    Status,
    TaskFunction,
    limit_threads,
    run_attempt,
)

# Seconds for a killed process to be gone.
KILL_WAIT_S = 2.0

# Environment of a worker, which is one core: libraries read it when they load, before they start
# a thread per core.
SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NUMBA_NUM_THREADS": "1",
}


@dataclass(slots=True)
class _Worker:
    """One pool process and its current task."""

    process: Any
    pipe: Any
    key: int | None = None
    started: float = 0.0
    ended_by_us: Status | None = field(default=None)


class PoolExecutor(Executor):
    """Local processes that fail one by one.

    `concurrent.futures` is not used: there one dead worker fails every task in flight.
    """

    name = "pool"

    def __init__(
        self, workers: int, *, timeout_s: float | None = None, memory_bytes: int | None = None
    ) -> None:
        self.slots = workers
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._queue: deque[tuple[int, TaskFunction, Any]] = deque()
        self._rows = 0

    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        self._queue.append((key, function, payload))
        self._feed()

    def wait(self, timeout_s: float) -> list[Attempt]:
        deadline = time.monotonic() + timeout_s
        while True:
            attempts = self._collect(min(0.25, max(0.0, deadline - time.monotonic())))
            self._feed()
            if attempts or time.monotonic() >= deadline:
                return attempts

    def progress(self) -> int:
        rows, self._rows = self._rows, 0
        return rows

    def running_s(self) -> dict[int, float]:
        now = time.monotonic()
        return {w.key: now - w.started for w in self._workers if w.key is not None}

    def cancel(self, key: int) -> None:
        self._queue = deque(task for task in self._queue if task[0] != key)
        for worker in [w for w in self._workers if w.key == key]:
            worker.process.kill()
            # One that waits for a failing disk ends when the disk answers.
            worker.process.join(KILL_WAIT_S)
            self._workers.remove(worker)
            worker.pipe.close()

    def close(self, *, cancel: bool = False) -> None:
        self._queue.clear()
        for worker in self._workers:
            if cancel or worker.key is not None:
                worker.process.terminate()
            worker.pipe.close()
        deadline = time.monotonic() + CANCEL_GRACE_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(KILL_WAIT_S)
        self._workers.clear()

    def _feed(self) -> None:
        """Give waiting tasks to idle workers; start workers up to the number of slots."""
        while self._queue:
            worker = next((w for w in self._workers if w.key is None), None)
            if worker is None:
                if len(self._workers) >= self.slots:
                    return
                worker = self._start()

            key, function, payload = self._queue.popleft()
            worker.key, worker.started = key, time.monotonic()
            # A worker that died idle has closed the pipe: the task counts as crashed.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send_bytes(pickle.dumps((key, function, payload)))

    def _start(self) -> _Worker:
        ours, theirs = self._spawn.Pipe()
        kept = {name: os.environ.get(name) for name in SINGLE_THREADED}
        os.environ.update(SINGLE_THREADED)

        # The new process reads its environment at once, so ours is restored afterwards.
        try:
            process = self._spawn.Process(target=_work, args=(theirs,), daemon=False)
            process.start()
        finally:
            for name, value in kept.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _collect(self, timeout_s: float) -> list[Attempt]:
        busy = [worker for worker in self._workers if worker.key is not None]
        if not busy:
            return []

        multiprocessing.connection.wait(
            [w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout_s
        )

        attempts = []
        for worker in busy:
            self._enforce_limits(worker)
            attempt = self._read(worker)
            if attempt is not None:
                attempts.append(attempt)
        return attempts

    def _read(self, worker: _Worker) -> Attempt | None:
        """Read the end of a worker's attempt, or its death; count progress on the way."""
        try:
            while worker.pipe.poll():
                message = pickle.loads(worker.pipe.recv_bytes())
                if isinstance(message, Attempt):
                    worker.key = None
                    # Its result came before we killed it: the result counts, the worker is gone.
                    if worker.ended_by_us is not None:
                        self._remove(worker)
                    return message
                self._rows += message
        except (EOFError, OSError):
            return self._bury(worker)
        return None if worker.process.is_alive() else self._bury(worker)

    def _bury(self, worker: _Worker) -> Attempt:
        """Report the task of a dead worker by what it died of."""
        self._remove(worker)
        code = worker.process.exitcode
        assert worker.key is not None

        if worker.ended_by_us is Status.TIMEOUT:
            return Attempt(worker.key, Status.TIMEOUT, error=f"over {self._timeout_s:g} s")
        if worker.ended_by_us is Status.OOM:
            return Attempt(
                worker.key, Status.OOM, error=f"over {(self._memory_bytes or 0) >> 20} MiB resident"
            )

        how = (
            f"signal {-code} ({signal.Signals(-code).name})"
            if code is not None and code < 0
            else f"exit code {code}"
        )
        return Attempt(worker.key, Status.CRASH, error=f"the worker process ended with {how}")

    def _remove(self, worker: _Worker) -> None:
        worker.process.join()
        self._workers.remove(worker)
        worker.pipe.close()

    def _enforce_limits(self, worker: _Worker) -> None:
        if self._timeout_s is not None and time.monotonic() - worker.started > self._timeout_s:
            worker.ended_by_us = Status.TIMEOUT
        elif (
            self._memory_bytes is not None
            and resident_bytes(worker.process.pid) > self._memory_bytes
        ):
            worker.ended_by_us = Status.OOM
        else:
            return
        worker.process.kill()
        worker.process.join()


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process (this one by default) in bytes; 0 if /proc does not have it."""
    try:
        with open(f"/proc/{pid or 'self'}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _work(pipe: Any) -> None:
    """Run a pool process: take tasks from the pipe until it closes or the parent is gone."""
    # Ctrl-C reaches the whole process group; the driver decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A task that has a process of its own, as the fetch has, ends it on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    leave_pandas_out()
    limit_threads()

    sending = threading.Lock()

    def report(rows: int) -> None:
        with sending:
            pipe.send_bytes(pickle.dumps(rows))

    while True:
        try:
            key, function, payload = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return

        attempt = run_attempt(key, function, payload, report)
        with sending, contextlib.suppress(BrokenPipeError):
            pipe.send_bytes(pickle.dumps(attempt))


def _die_with_parent() -> None:
    """End this process when the driver is gone, even if it was killed and could not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
