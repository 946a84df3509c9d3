"""Tasks that end in every way, importable by worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpus.errors import InputError

Report = Callable[[int], None]


def double(payload: int, report: Report) -> int:
    return 2 * payload


def fail(payload: Any, report: Report) -> float:
    return 1 / 0


def die(payload: Any, report: Report) -> None:
    os._exit(9)


def refuse(payload: Any, report: Report) -> None:
    raise InputError("no such thing")


def sleep(payload: float, report: Report) -> None:
    time.sleep(payload)


def leave_in_order(payload: str, report: Report) -> None:
    try:
        with open(payload, "x"):
            pass
        for _ in range(600):  # Ray interrupts between calls, and one long sleep is one call
            time.sleep(0.1)
    finally:
        time.sleep(0.3)
        os.unlink(payload)


def exhaust(payload: Any, report: Report) -> None:
    raise MemoryError("asked for the moon")


def grow(payload: int, report: Report) -> None:
    held = []
    for _ in range(payload >> 20):
        held.append(b"x" * (1 << 20))
        time.sleep(0.005)


def report_rows(payload: int, report: Report) -> None:
    for _ in range(payload):
        report(1)


def process(payload: Any, report: Report) -> int:
    return os.getpid()


def threads(payload: Any, report: Report) -> tuple[int, str | None, str | None]:
    return pa.cpu_count(), os.environ.get("OMP_NUM_THREADS"), os.environ.get("RAYON_NUM_THREADS")


def orphan(payload: Any, report: Report) -> int:
    """Start a driver with a busy pool, kill it, and tell the id of the worker that is left."""
    program = """
import sys, time
from tests.support import toy_tasks
from corpus.run.executors.pool import PoolExecutor
if __name__ == "__main__":
    pool = PoolExecutor(1)
    pool.submit(0, toy_tasks.sleep, 600)
    pool.wait(1.0)
    print(pool._workers[0].process.pid, flush=True)
    time.sleep(600)
"""
    driver = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    return worker


def read_text(path: str, report: Any) -> str:
    return Path(path).read_text()
