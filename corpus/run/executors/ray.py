"""Tasks on a Ray cluster, the one home of Ray in the core.

Rules behind this adapter, each of them measured: the address is never implicit (Ray would join a
stranger's cluster), `max_retries=0` (out-of-memory retries have no end), and tasks take seconds to
minutes, never one row.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import secrets
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from corpus.errors import ConfigError, FatalError, InputError, Interrupted
from corpus.run.executors.interface import (
    CANCEL_GRACE_S,
    Attempt,
    Executor,
    Status,
    TaskFunction,
    limit_threads,
    run_attempt,
)
from corpus.run.executors.opening import require_answer, watched

# Seconds between two looks at the size of the cluster.
CAPACITY_EVERY_S = 2.0
# Fewest tasks that wait at Ray beyond the cluster's size, so that an autoscaler sees demand.
FEWEST_PENDING = 2

# Seconds for all nodes to answer.
NODES_WITHIN_S = 30.0
# Seconds for a cluster to become idle, when all of it is reserved.
RESERVED_WITHIN_S = 120.0

_gauges: dict[str, Any] = {}


def publish(values: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Set gauges that Ray's dashboard and Prometheus show, if this process works for Ray."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return

    from ray.util.metrics import Gauge

    for name, value in values.items():
        if name not in _gauges:
            _gauges[name] = Gauge(name, description=name.replace("_", " "), tag_keys=tuple(tags))
        _gauges[name].set(value, tags=dict(tags))


class RayExecutor(Executor):
    """Tasks on a Ray cluster: the one this job runs in, or a private one on this machine."""

    name = "ray"
    _elastic = False
    _capacity_at = 0.0

    def __init__(self, workers: int | None, *, timeout_s: float | None = None) -> None:
        _prepare_ray_environment()
        if address := os.environ.get("RAY_ADDRESS"):
            require_answer(address)
        import ray

        self._ray = ray
        self._owned = not ray.is_initialized()
        # True for a cluster that this process has started for itself: its ports are on loopback.
        self.is_private = self._owned and not address
        if self._owned:
            what = f"RAY_ADDRESS={address}" if address else "starting Ray"
            with watched(what), _interruptible_children():
                _join_or_start_ray(workers)

        # Nodes join and leave a cluster: its size is read again and again.
        self._elastic = workers is None
        self.slots = workers or self._cpus()
        self._timeout_s = timeout_s
        self._first_seen: dict[int, float] = {}
        self._remote = ray.remote(max_retries=0, num_cpus=1)(_ray_task)
        self._queue: deque[tuple[int, bytes]] = deque()
        self._open: dict[Any, tuple[int, float]] = {}
        self._timed_out: set[int] = set()

    @property
    def window(self) -> int:
        return self.slots + 1 + self._pending

    @property
    def _pending(self) -> int:
        """Tasks beyond the cluster's size: as many as it has, so that it may double."""
        return max(FEWEST_PENDING, self.slots) if self._elastic else 0

    def _cpus(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(self, key: int, function: TaskFunction, payload: Any) -> None:
        # Pickled here, not by Ray: as in the pool, only references to importable names may travel.
        self._queue.append((key, pickle.dumps((key, function, payload, os.getcwd()))))
        self._feed()

    def _feed(self) -> None:
        """Hand Ray the tasks that it has CPUs for, and a few more on a cluster that may grow."""
        if self._elastic and time.monotonic() - self._capacity_at > CAPACITY_EVERY_S:
            self._capacity_at = time.monotonic()
            self.slots = self._cpus()

        while self._queue and len(self._open) < self.slots + self._pending:
            key, pickled = self._queue.popleft()
            self._open[self._remote.remote(pickled)] = (key, time.monotonic())

    def wait(self, timeout_s: float) -> list[Attempt]:
        if not self._open:
            return []
        try:
            done, _ = self._ray.wait(list(self._open), num_returns=1, timeout=timeout_s)
        except SystemError as error:
            # An exception of a signal handler leaves the compiled ray.wait as a SystemError.
            if isinstance(error.__cause__, Interrupted):
                raise error.__cause__ from None
            raise

        self._cancel_overdue()
        attempts = [self._ended(reference) for reference in done]
        self._feed()
        return attempts

    def running_s(self) -> dict[int, float]:
        # Ray does not say cheaply what runs. It starts tasks in their order, so those beyond the
        # number of CPUs are taken to wait.
        now = time.monotonic()
        keys = [key for key, _ in itertools.islice(self._open.values(), self.slots)]
        self._first_seen = {key: self._first_seen.get(key, now) for key in keys}
        return {key: now - seen for key, seen in self._first_seen.items()}

    def cancel(self, key: int) -> None:
        self._queue = deque(task for task in self._queue if task[0] != key)
        for reference in [ref for ref, (open_key, _) in self._open.items() if open_key == key]:
            # A node that is frozen or gone never answers, so nothing waits for the end.
            del self._open[reference]
            self._ray.cancel(reference, force=True)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive, as Ray describes them."""
        return [node for node in self._ray.nodes() if node["Alive"]]

    def on_every_node(self, function: Callable[..., Any], *words: Any) -> list[Any]:
        """The result of a function on each node that is alive."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Place

        nodes = [node["NodeID"] for node in self.nodes()]
        remote = self._ray.remote(max_retries=0, num_cpus=0)(function)
        asked = [
            remote.options(scheduling_strategy=Place(node_id=node, soft=False)).remote(*words)
            for node in nodes
        ]
        found: list[Any] = self._ray.get(asked, timeout=NODES_WITHIN_S)
        return found

    def progress(self) -> int:
        return 0  # a task on another machine reports when it ends

    def close(self, *, cancel: bool = False) -> None:
        self._queue.clear()
        if cancel and self._open:
            # Softly at first, so that `finally` blocks run and save state; then by force.
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

    def _ended(self, reference: Any) -> Attempt:
        key, _ = self._open.pop(reference)
        timed_out = key in self._timed_out
        self._timed_out.discard(key)
        errors = self._ray.exceptions

        try:
            attempt: Attempt = pickle.loads(self._ray.get(reference))
            return attempt
        except errors.OutOfMemoryError as error:
            return Attempt(key, Status.OOM, error=_first_line(error))
        except (
            errors.WorkerCrashedError,
            errors.TaskCancelledError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
        ) as error:
            if timed_out:
                return Attempt(key, Status.TIMEOUT, error=f"over {self._timeout_s:g} s")
            gone = isinstance(error, errors.NodeDiedError | errors.LocalRayletDiedError)
            return Attempt(key, Status.CRASH, error=_first_line(error), lost=gone)
        except errors.RayError as error:
            return Attempt(key, Status.ERROR, error=_first_line(error))

    def _cancel_overdue(self) -> None:
        if self._timeout_s is None:
            return
        for reference, (key, started) in self._open.items():
            if key not in self._timed_out and time.monotonic() - started > self._timeout_s:
                self._timed_out.add(key)
                self._ray.cancel(reference, force=True)


@contextlib.contextmanager
def reserved_cluster() -> Iterator[None]:
    """Reserve all CPUs that the cluster of RAY_ADDRESS has now: only nodes that join run tasks.

    Raises: InputError without a cluster, or with a busy one.
    """
    executor = RayExecutor(1)
    try:
        from ray.util import placement_group, remove_placement_group

        cpus = [node["Resources"].get("CPU", 0) for node in executor.nodes()]
        group = placement_group([{"CPU": count} for count in cpus if count])
        try:
            if not group.wait(RESERVED_WITHIN_S):
                raise InputError(
                    f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}: the cluster did not become idle "
                    f"within {RESERVED_WITHIN_S:.0f} s; wait for its tasks to end"
                )
            yield
        finally:
            remove_placement_group(group)
    finally:
        executor.close()


def _ray_task(pickled: bytes) -> bytes:
    limit_threads()
    key, function, payload, folder = pickle.loads(pickled)
    # Relative paths in settings, such as test sets, mean the driver's folder, if this machine has it.
    with contextlib.suppress(OSError):
        os.chdir(folder)
    return pickle.dumps(run_attempt(key, function, payload, lambda rows: None))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _prepare_ray_environment() -> None:
    """Set the variables that Ray reads while it is imported: no usage statistics, and a token.

    A private cluster gets a token of its own, in the environment of its processes only, and listens
    on loopback. Ray replaces a loopback address given to `init` by that of the network, but obeys
    the variable by which it avoids questions of the firewall on a Mac.
    Raises: ConfigError for a dashboard's address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address := os.environ.get("RAY_ADDRESS"):
        if address.startswith(("http://", "https://")):
            raise ConfigError(
                f"RAY_ADDRESS={address} is a dashboard; set RAY_API_SERVER_ADDRESS to it for "
                "`ray job submit`, or set RAY_ADDRESS=host:port"
            )
        if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        return

    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextlib.contextmanager
def _interruptible_children() -> Iterator[None]:
    """Let processes started meanwhile be interrupted, although this one ignores SIGINT.

    A shell starts `command &` so, and children inherit it. Ray interrupts a cancelled task by that
    signal, and a task that ignored it could not save its state.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _join_or_start_ray(workers: int | None) -> None:
    """Join the cluster that RAY_ADDRESS names, else start a private one.

    Ray never guesses the address.

    Raises: InputError when no cluster answers, FatalError when a private one does not start.
    """
    import ray

    quiet = {"log_to_driver": False, "configure_logging": False}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        try:
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                **quiet,
            )
        except Exception as error:
            # Ray raises a bare Exception if its processes do not start in time.
            raise FatalError(
                f"Ray did not start on this machine ({_first_line(error)}); it may be too busy or "
                "short of memory: run the same command again, or with --executor pool"
            ) from error
        return

    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise InputError(
            f"RAY_ADDRESS={address}: no cluster answers ({_first_line(error)}); unset it to run "
            "here, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        ) from error
