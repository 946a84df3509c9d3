"""An event loop whose clock jumps to the next timer, so that a crawl of hours takes moments."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Advances the clock of its loop instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen: a task waits for no timer"
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual seconds, which begin at 1,000. Nothing in it may wait for a thread."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        self._clock.now = 1000.0
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now
