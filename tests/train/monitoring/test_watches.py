"""Unusual losses to the exact border, and speeds by a clock that the test sets."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest

from train.config import DivergenceConfig
from train.machine.peaks import Peak
from train.monitoring import meter
from train.monitoring.divergence import LossWatch
from train.monitoring.meter import SpeedMeter


def watch(**changes: Any) -> LossWatch:
    given = {"window": 3, "spike_nats": 0.5, "on_spike": "skip", "on_nan": "skip", "max_skips": 2}
    return LossWatch(DivergenceConfig(**{**given, **changes}))


@pytest.mark.parametrize(
    ("before", "loss", "action"),
    [
        ([2.0, 2.0, 2.0], 2.5, "go"),
        ([2.0, 2.0, 2.0], 2.5001, "skip"),
        # The median, not the mean.
        ([2.0, 2.0, 9.0], 2.5001, "skip"),
        ([2.0, 9.0, 9.0], 9.5, "go"),
        # A window that is not full says nothing.
        ([2.0, 2.0], 99.0, "go"),
        ([9.0, 2.0, 2.0, 2.0], 2.5001, "skip"),
    ],
)
def test_a_loss_is_unusual_above_the_median_and_a_half(
    before: list[float], loss: float, action: str
) -> None:
    losses = watch()
    losses.restore(before, 0)
    assert losses.judge(loss, 1.0)[0] == action


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)]
)
def test_what_is_no_number_is_judged_at_once(loss: float, norm: float) -> None:
    assert watch().judge(loss, norm)[0] == "skip"
    assert watch(on_nan="stop").judge(loss, norm)[0] == "stop"


def test_two_batches_are_skipped_and_the_third_stops() -> None:
    """One that is learnt in between begins the count anew."""
    losses = watch()
    found = [losses.judge(loss, 1.0)[0] for loss in (math.nan, math.nan, 1.0, math.nan, math.nan, math.nan)]  # fmt: skip
    assert found == ["skip", "skip", "go", "skip", "skip", "stop"]
    assert losses.state() == {"losses": [1.0], "skipped": 3}


def test_a_warning_is_remembered_as_usual() -> None:
    losses = watch(on_spike="warn")
    losses.restore([2.0, 2.0, 2.0], 1)
    assert losses.judge(5.0, 1.0)[0] == "warn"
    assert losses.state() == {"losses": [2.0, 2.0, 5.0], "skipped": 0}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the meter's clock, which a test may change."""
    now = [100.0]
    monkeypatch.setattr(meter, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_speed_by_the_clock(now: list[float], caplog: pytest.LogCaptureFixture) -> None:
    speed = SpeedMeter(
        num_steps=10,
        flops_per_token=3,
        peak=Peak(1000.0, "made up"),
        devices=2,
        progress_interval_s=15.0,
    )
    caplog.set_level(logging.INFO)
    speed.add(400)
    speed.add(600)
    now[0] = 110.0
    # 1,000 tokens in 10 s; 300 of 2,000 operations a second.
    assert speed.line(2, 4.0) == {"tokens_per_s": 100.0, "mfu": 0.15}
    assert not caplog.records

    def wait() -> str:
        now[0] += 30.0
        return "done"

    speed.add(100)
    assert speed.pause(wait) == "done"
    now[0] += 5.0
    # 35 s after the first line; the pause is no part of the speed.
    assert speed.line(3, None) == {"tokens_per_s": 20.0, "mfu": 0.03}
    assert not caplog.records, "a line without a loss is not logged"

    speed.add(100)
    now[0] += 5.0
    speed.line(4, 3.5)
    (line,) = [record.message for record in caplog.records]
    assert line == (
        "step 4/10  loss 3.5000  20 tokens/s  MFU 3.0% of 2e-09 TFLOP/s (made up)  ETA 30 s"
    )
    # The next line is due after 15 s to the moment.
    for seconds, lines in ((14.9, 1), (0.1, 2), (0.1, 2)):
        speed.add(1)
        now[0] += seconds
        speed.line(5, 3.0)
        assert len(caplog.records) == lines


def test_the_first_line_counts_the_steps_before_it(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    speed = SpeedMeter(
        num_steps=9, flops_per_token=1, peak=Peak(1e12, "x"), devices=1, progress_interval_s=0.0
    )
    caplog.set_level(logging.INFO)
    for step, eta in ((1, "ETA 32 s"), (3, "ETA 24 s")):
        speed.add(1)
        speed.add(1)
        now[0] += 8.0
        speed.line(step, 1.0)
        assert caplog.records[-1].message.endswith(eta)
