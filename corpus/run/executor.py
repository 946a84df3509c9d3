"""Where tasks run: in this process, in a pool of local processes, or on Ray. The bytes they write are the same.

A task gets paths and settings, writes its own files and returns a small value; page bodies never
travel. An executor reports how each attempt ended and decides nothing: trying again and giving up
are the runner's.

Ray has its home here. The rules behind this adapter, each of them measured: no implicit address (it
would join a stranger's cluster), `max_retries=0` (out-of-memory retries have no end), tasks of
seconds to minutes, never rows.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import secrets
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from corpus.errors import ConfigError, InputError, Interrupted, WebtextError

# A module-level function of (payload, report); `report(rows)` tells the progress display of rows
# done.
TaskFunction = Callable[[Any, Callable[[int], None]], Any]

# A worker is one core: libraries that would start a thread per core are told so before they load.
SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NUMBA_NUM_THREADS": "1",
}


# What cancelled tasks have to save their state before they are ended by force.
CANCEL_GRACE_S = 6.0


class Status(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    ERROR = "error"
    CRASH = "crash"
    OOM = "oom"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt at a task."""

    key: int
    status: Status
    value: Any = None
    error: str = ""
    exception: WebtextError | None = None
    """Ours, where the task raised one: the runner stops the run for a FatalError."""


class Executor(Protocol):
    """What the runner asks of any place where tasks run."""

    name: str
    slots: int
    """Tasks that run at the same time."""

    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        """Start a task under `key`; the caller keeps at most `slots` plus a few open."""

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Attempts that ended, waiting at most `timeout_s` for the first."""

    def progress(self) -> int:
        """Rows that running tasks have reported since the last call."""

    def close(self, *, cancel: bool = False) -> None:
        """Release everything; with `cancel`, running tasks are ended."""


def _attempt(
    key: int, function: TaskFunction, payload: Any, report: Callable[[int], None]
) -> Outcome:
    """Run a task here and tell how it ended. The one broad catch: a task's failure is a value."""
    try:
        return Outcome(key, Status.OK, function(payload, report))
    except MemoryError as error:
        return Outcome(key, Status.OOM, error=f"MemoryError: {error}")
    except (
        Interrupted
    ):  # the whole run's, not the task's: in this process a signal may strike anywhere
        raise
    except WebtextError as error:
        return Outcome(key, Status.ERROR, error=str(error), exception=error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome(
            key,
            Status.ERROR,
            error=f"{type(error).__name__}: {error} ({where.name}, {os.path.basename(where.filename)}:{where.lineno})",
        )


class SerialExecutor:
    """One task at a time in this process: for small runs, debuggers, and the reference bytes."""

    name = "serial"
    slots = 1

    def __init__(self) -> None:
        self._queue: deque[tuple[int, TaskFunction, Any]] = deque()
        self._rows = 0

    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        self._queue.append((key, function, payload))

    def wait(self, timeout_s: float) -> list[Outcome]:
        if not self._queue:
            return []
        return [_attempt(*self._queue.popleft(), self._report)]

    def _report(self, rows: int) -> None:
        self._rows += rows

    def progress(self) -> int:
        rows, self._rows = self._rows, 0
        return rows

    def close(self, *, cancel: bool = False) -> None:
        self._queue.clear()


@dataclass(slots=True)
class _Worker:
    """One pool process and what it is doing."""

    process: Any
    pipe: Any
    key: int | None = None
    started: float = 0.0
    ended_by_us: Status | None = field(default=None)


class PoolExecutor:
    """Local processes, each its own: one that dies takes its task along and nobody else's.

    `concurrent.futures` is not used for that reason: there one dead worker fails every task in
    flight.
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

    def wait(self, timeout_s: float) -> list[Outcome]:
        deadline = time.monotonic() + timeout_s
        while True:
            outcomes = self._collect(min(0.25, max(0.0, deadline - time.monotonic())))
            self._feed()
            if outcomes or time.monotonic() >= deadline:
                return outcomes

    def progress(self) -> int:
        rows, self._rows = self._rows, 0
        return rows

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
                worker.process.join()

        self._workers.clear()

    def _feed(self) -> None:
        """Give waiting tasks to idle workers, starting workers up to the number of slots."""
        while self._queue:
            worker = next((w for w in self._workers if w.key is None), None)
            if worker is None:
                if len(self._workers) >= self.slots:
                    return
                worker = self._start()
            key, function, payload = self._queue.popleft()
            worker.key, worker.started = key, time.monotonic()
            # A worker that died idle closes the pipe; the task is then reported as crashed and tried again.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send_bytes(pickle.dumps((key, function, payload)))

    def _start(self) -> _Worker:
        ours, theirs = self._spawn.Pipe()
        kept = {name: os.environ.get(name) for name in SINGLE_THREADED}
        os.environ.update(SINGLE_THREADED)

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

    def _collect(self, timeout_s: float) -> list[Outcome]:
        busy = [worker for worker in self._workers if worker.key is not None]
        if not busy:
            return []

        multiprocessing.connection.wait(
            [w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout_s
        )
        outcomes = []

        for worker in busy:
            self._enforce_limits(worker)
            outcome = self._read(worker)
            if outcome is not None:
                outcomes.append(outcome)

        return outcomes

    def _read(self, worker: _Worker) -> Outcome | None:
        """What a worker sent: its outcome, or its death; progress is counted on the way."""
        try:
            while worker.pipe.poll():
                message = pickle.loads(worker.pipe.recv_bytes())
                if isinstance(message, Outcome):
                    worker.key = None
                    if worker.ended_by_us is not None:  # too late: the task had ended first
                        self._remove(worker)
                    return message
                self._rows += message
        except (EOFError, OSError):
            return self._bury(worker)

        return None if worker.process.is_alive() else self._bury(worker)

    def _bury(self, worker: _Worker) -> Outcome:
        self._remove(worker)
        code = worker.process.exitcode
        assert worker.key is not None
        if worker.ended_by_us is Status.TIMEOUT:
            return Outcome(worker.key, Status.TIMEOUT, error=f"over {self._timeout_s:g} s")
        if worker.ended_by_us is Status.OOM:
            return Outcome(
                worker.key, Status.OOM, error=f"over {(self._memory_bytes or 0) >> 20} MiB resident"
            )

        how = (
            f"signal {-code} ({signal.Signals(-code).name})"
            if code is not None and code < 0
            else f"exit code {code}"
        )

        return Outcome(worker.key, Status.CRASH, error=f"the worker process ended with {how}")

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


_gauges: dict[str, Any] = {}


def publish(values: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Set Ray's gauges of these names, where this process works for Ray; its dashboard and Prometheus show them."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return

    from ray.util.metrics import Gauge

    for name, value in values.items():
        if name not in _gauges:
            _gauges[name] = Gauge(name, description=name.replace("_", " "), tag_keys=tuple(tags))
        _gauges[name].set(value, tags=dict(tags))


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process (this one by default) in bytes; 0 where /proc does not tell."""
    try:
        with open(f"/proc/{pid or 'self'}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _work(pipe: Any) -> None:
    """The life of a pool process: take a task, do it, tell, until the pipe closes or the parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the driver decides
    # A task that has a process of its own, as the fetch has, ends it on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    threading.Thread(target=_die_with_parent, daemon=True).start()
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
        outcome = _attempt(key, function, payload, report)
        with sending, contextlib.suppress(BrokenPipeError):
            pipe.send_bytes(pickle.dumps(outcome))


def _die_with_parent() -> None:
    """End this process when the driver is gone, also when it was killed and could tell nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def limit_threads() -> None:
    """Keep Arrow to one compute thread in a worker, so that as many workers as cores do not fight."""
    import pyarrow as pa

    pa.set_cpu_count(1)


class RayExecutor:
    """Tasks on a Ray cluster: the one this job runs in, or a private one on this machine."""

    name = "ray"

    def __init__(self, workers: int | None, *, timeout_s: float | None = None) -> None:
        _prepare_ray_environment()
        import ray

        self._ray = ray
        self._owned = not ray.is_initialized()
        if self._owned:
            _join_or_start_ray(workers)
        self.slots = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._timeout_s = timeout_s
        self._remote = ray.remote(max_retries=0, num_cpus=1)(_ray_task)
        self._queue: deque[tuple[int, bytes]] = deque()
        self._open: dict[Any, tuple[int, float]] = {}
        self._timed_out: set[int] = set()

    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        # Pickled here, not by Ray: only references to importable names may travel, as in the pool.
        self._queue.append((key, pickle.dumps((key, function, payload))))
        self._feed()

    def _feed(self) -> None:
        """Hand Ray no more than it has CPUs for: what would wait there has not begun, and its time not either."""
        while self._queue and len(self._open) < self.slots:
            key, pickled = self._queue.popleft()
            self._open[self._remote.remote(pickled)] = (key, time.monotonic())

    def wait(self, timeout_s: float) -> list[Outcome]:
        if not self._open:
            return []

        try:
            done, _ = self._ray.wait(list(self._open), num_returns=1, timeout=timeout_s)
        except SystemError as error:
            # A signal handler that raises inside ray.wait comes out of its compiled frame as a SystemError.
            if isinstance(error.__cause__, Interrupted):
                raise error.__cause__ from None
            raise

        self._cancel_overdue()
        outcomes = [self._outcome(reference) for reference in done]
        self._feed()

        return outcomes

    def progress(self) -> int:
        return 0  # a task on another machine reports when it ends

    def close(self, *, cancel: bool = False) -> None:
        self._queue.clear()
        if cancel and self._open:
            # First softly: the task's `finally` runs, so that a child of it may save its state; then by force.
            references = list(self._open)
            for reference in references:
                self._ray.cancel(reference)
            _, left = self._ray.wait(
                references, num_returns=len(references), timeout=CANCEL_GRACE_S
            )
            for reference in left:
                self._ray.cancel(reference, force=True)

        self._open.clear()
        if self._owned:
            self._ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        key, _ = self._open.pop(reference)
        timed_out = key in self._timed_out
        self._timed_out.discard(key)
        errors = self._ray.exceptions

        try:
            outcome: Outcome = pickle.loads(self._ray.get(reference))
            return outcome
        except errors.OutOfMemoryError as error:
            return Outcome(key, Status.OOM, error=_first_line(error))
        except (
            errors.WorkerCrashedError,
            errors.TaskCancelledError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
        ) as error:
            if timed_out:
                return Outcome(key, Status.TIMEOUT, error=f"over {self._timeout_s:g} s")
            return Outcome(key, Status.CRASH, error=_first_line(error))
        except errors.RayError as error:
            return Outcome(key, Status.ERROR, error=_first_line(error))

    def _cancel_overdue(self) -> None:
        if self._timeout_s is None:
            return
        for reference, (key, started) in self._open.items():
            if key not in self._timed_out and time.monotonic() - started > self._timeout_s:
                self._timed_out.add(key)
                self._ray.cancel(reference, force=True)


def _ray_task(pickled: bytes) -> bytes:
    limit_threads()
    key, function, payload = pickle.loads(pickled)
    return pickle.dumps(_attempt(key, function, payload, lambda rows: None))


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _prepare_ray_environment() -> None:
    """What Ray reads while it is imported: no usage statistics, token authentication wherever a token is known.

    A private cluster gets a token of its own, in the environment of its processes only. Of Ray's
    ports just the dashboard honours a loopback address; the token is what closes the others.
    Raises: ConfigError for a dashboard's address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address := os.environ.get("RAY_ADDRESS"):
        if address.startswith(("http://", "https://")):
            raise ConfigError(
                f"RAY_ADDRESS={address}: that is a dashboard; set RAY_API_SERVER_ADDRESS to it for `ray job submit`, or RAY_ADDRESS=host:port"
            )
        if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        return

    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _join_or_start_ray(workers: int | None) -> None:
    """Join the cluster that RAY_ADDRESS names, else start a private one. The address is never left to Ray's guess.

    Raises: InputError when no cluster answers.
    """
    import ray

    quiet = {"log_to_driver": False, "configure_logging": False}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        ray.init(
            address="local",
            num_cpus=workers,
            include_dashboard=False,
            dashboard_host="127.0.0.1",
            **quiet,
        )
        return

    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise InputError(
            f"RAY_ADDRESS={address}: no cluster answers ({_first_line(error)}); unset it to run here, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        ) from error


def choose(kind: str, workers: int) -> str:
    """The executor that `--executor KIND --workers N` means here: `serial`, `pool` or `ray`."""
    if kind != "auto":
        return kind
    if os.environ.get("RAY_ADDRESS"):
        return "ray"
    return "serial" if workers == 1 else "pool"


@contextlib.contextmanager
def open_executor(
    kind: str,
    workers: int | None,
    *,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
) -> Iterator[Executor]:
    """The chosen executor; on an exception (Ctrl-C among them) running tasks are cancelled.

    `workers`: None means one per core here, or one per CPU of the cluster on Ray.
    """
    chosen = choose(kind, workers if workers is not None else len(os.sched_getaffinity(0)))
    executor: Executor
    if chosen == "serial":
        executor = SerialExecutor()
    elif chosen == "pool":
        executor = PoolExecutor(
            workers or len(os.sched_getaffinity(0)), timeout_s=timeout_s, memory_bytes=memory_bytes
        )
    else:
        executor = RayExecutor(workers, timeout_s=timeout_s)

    try:
        yield executor
    except BaseException:
        executor.close(cancel=True)
        raise

    executor.close()
