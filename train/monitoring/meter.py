"""Speed, share of the device's peak, and remaining time, as reported by rank 0."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from corpus.run.progress import duration
from train.machine.peaks import Peak

T = TypeVar("T")

log = logging.getLogger(__name__)


class SpeedMeter:
    """Speed since the last line."""

    def __init__(
        self,
        *,
        num_steps: int,
        flops_per_token: int,
        peak: Peak,
        devices: int,
        progress_interval_s: float,
    ) -> None:
        self.num_steps = num_steps
        self.flops_per_token = flops_per_token
        self.peak = peak
        self.devices = devices
        self.progress_interval_s = progress_interval_s
        self._since = self._last_line = time.monotonic()
        self._steps = 0
        self._tokens = 0

    def add(self, num_tokens: int) -> None:
        """One step is done."""
        self._steps += 1
        self._tokens += num_tokens

    def pause(self, action: Callable[[], T]) -> T:
        """Run something outside training: its time counts in no rate."""
        started = time.monotonic()
        result = action()
        self._since += time.monotonic() - started
        return result

    def line(self, step: int, loss: float | None) -> dict[str, float]:
        """The speed since the last call for metrics.jsonl; logs a progress line if one is due."""
        now = time.monotonic()
        # Two calls within the clock's resolution would divide by zero.
        seconds = max(1e-9, now - self._since)
        rate = self._tokens / seconds
        mfu = rate * self.flops_per_token / (self.peak.flops * self.devices)

        if now - self._last_line >= self.progress_interval_s and loss is not None:
            self._last_line = now
            eta = duration((self.num_steps - step) * seconds / self._steps)
            log.info(
                "step %d/%d  loss %.4f  %s tokens/s  MFU %.1f%% of %.4g TFLOP/s (%s)  ETA %s",
                step, self.num_steps, loss, f"{rate:,.0f}", 100 * mfu, self.peak.flops * self.devices / 1e12,
                self.peak.source, eta,
            )  # fmt: skip

        self._tokens, self._steps, self._since = 0, 0, now
        return {"tokens_per_s": round(rate, 1), "mfu": round(mfu, 4)}
