"""Executors run tasks in this process, in local processes, or on Ray, and give the same bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from corpus.run.executors.interface import Executor
from corpus.run.executors.pool import PoolExecutor
from corpus.run.executors.serial import SerialExecutor


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
    """Open the chosen executor. On an exception, Ctrl-C included, running tasks are cancelled.

    `workers`: None means one per core here, or one per CPU of the cluster on Ray.
    """
    chosen = choose(kind, workers if workers is not None else len(os.sched_getaffinity(0)))
    if chosen == "serial":
        executor: Executor = SerialExecutor()
    elif chosen == "pool":
        executor = PoolExecutor(
            workers or len(os.sched_getaffinity(0)), timeout_s=timeout_s, memory_bytes=memory_bytes
        )
    else:
        # The module is imported only here: it is the home of a heavy library.
        from corpus.run.executors.ray import RayExecutor

        executor = RayExecutor(workers, timeout_s=timeout_s)

    try:
        yield executor
    except BaseException:
        executor.close(cancel=True)
        raise
    executor.close()
