"""Bad batches: a loss that is not a number, or far above the previous ones.

The window of losses is part of the run's state, so a resumed run judges like the uninterrupted one.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from typing import Literal

from corpus.errors import FatalError
from train.config import DivergenceConfig

Action = Literal["go", "warn", "skip", "stop"]


class DivergedError(FatalError):
    """A batch must not be learnt, and the settings say stop. A sweep goes on to its next rate."""


class LossWatch:
    """The losses of the last steps, and the reaction to an unusual one."""

    def __init__(self, config: DivergenceConfig) -> None:
        self.config = config
        self.losses: deque[float] = deque(maxlen=config.window)
        # Batches skipped since the last one that was not.
        self.skipped = 0

    def judge(self, loss: float, norm: float) -> tuple[Action, str]:
        """Choose the action for a batch by mean loss (nats per token) and gradient norm, with the reason.

        "go" remembers the loss.
        """
        action, reason = self._judge(loss, norm)
        if action == "skip":
            self.skipped += 1
            if self.skipped > self.config.max_skips:
                return "stop", f"{reason}; {self.config.max_skips} batches skipped before it"
        elif action != "stop":
            self.skipped = 0
            self.losses.append(loss)

        return action, reason

    def _judge(self, loss: float, norm: float) -> tuple[Action, str]:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return self.config.on_nan, f"loss {loss}, gradient norm {norm}"

        # A part-filled window says too little: early losses fall fast and spread widely.
        if len(self.losses) == self.config.window:
            usual = statistics.median(self.losses)
            if loss > usual + self.config.spike_nats:
                last = f"median of the last {self.config.window}: {usual:.4f}"
                return self.config.on_spike, f"loss {loss:.4f}, gradient norm {norm:.4f} ({last})"

        return "go", ""

    def state(self) -> dict[str, list[float] | int]:
        """For a checkpoint."""
        return {"losses": list(self.losses), "skipped": self.skipped}

    def restore(self, losses: Iterable[float], skipped: int) -> None:
        """As `state` gave it."""
        self.losses.clear()
        self.losses.extend(losses)
        self.skipped = skipped
