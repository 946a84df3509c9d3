"""Processor time of a call, for tests that compare two sizes of an input."""

from __future__ import annotations

import time
from collections.abc import Callable

# Some systems count in ticks of 10 ms, so shorter calls are repeated: one was said to take no time.
MEASURED_S = 0.03


def least_cpu_s(
    call: Callable[[], object], times: int = 3, measured_s: float = MEASURED_S
) -> float:
    """The least processor time of some calls: a collection of garbage falls into one of them.

    A call that uses something up is measured once each time, with 0 s.
    """
    return min(_mean_cpu_s(call, measured_s) for _ in range(times))


def _mean_cpu_s(call: Callable[[], object], measured_s: float) -> float:
    num_calls = 0
    started = time.process_time()
    while True:
        call()
        num_calls += 1
        if (taken := time.process_time() - started) >= measured_s:
            return taken / num_calls
