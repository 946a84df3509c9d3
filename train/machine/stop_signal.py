"""Turns SIGINT and SIGTERM into a flag for the training loop, so that no step is cut short.

The caller's handlers are restored.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any


class StoppedError(Exception):
    """A run was asked to stop; repeatable work was given up."""


class StopSignal:
    """Remembers SIGINT or SIGTERM while the block runs; a second one acts as it did before."""

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        # Not the main thread (a Ray worker, a notebook): the host program owns its signals.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: Any) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
