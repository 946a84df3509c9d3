"""Processor time of a call, for tests that compare two sizes of an input."""

from __future__ import annotations

import time
from collections.abc import Callable


def least_cpu_s(call: Callable[[], object], times: int = 3) -> float:
    """The least processor time of some calls: a collection of garbage falls into one of them."""
    least = float("inf")
    for _ in range(times):
        started = time.process_time()
        call()
        least = min(least, time.process_time() - started)
    return least
