"""Tasks that hang: named, copied and ended, whatever the step; a fetch is left alone."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from corpus.config import load_config
from corpus.errors import ConfigError, PartitionError
from corpus.run import attempts, stragglers
from corpus.run.executors.interface import Attempt, Executor, Status
from corpus.run.executors.pool import PoolExecutor
from corpus.run.executors.serial import SerialExecutor
from corpus.run.plan import Run
from corpus.run.progress import Meter
from corpus.run.runner import run_steps
from corpus.run.settings import RunConfig
from corpus.run.stragglers import Limits, Watch
from corpus.storage.store import Store
from crawl.captures import archive_step
from crawl.fetch import steps as fetch_steps
from tests.support import toy_stage, toy_tasks


class FakeExecutor(Executor):
    """Runs nothing: the test says which tasks end, and how long the others have run."""

    name = "fake"

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.submitted: list[tuple[int, Any]] = []
        self.open: dict[int, Any] = {}
        self.cancelled: list[int] = []
        self.ages: dict[Any, list[float]] = {}
        self.script: list[Any] = []

    def submit(self, key: int, function: Any, payload: Any) -> None:
        self.submitted.append((key, payload))
        self.open[key] = payload

    def wait(self, timeout_s: float) -> list[Attempt]:
        step = self.script.pop(0)
        found = []
        for key, payload in list(self.open.items()):
            if payload in step:
                found.append(Attempt(key, Status.OK, payload, seconds=100.0))
                del self.open[key]
        self.time = step.get("time", {})
        return found

    def running_s(self) -> dict[int, float]:
        copies: dict[Any, int] = {}
        found = {}
        for key, payload in self.open.items():
            number = copies[payload] = copies.get(payload, -1) + 1
            ages = self.time.get(payload, [])
            found[key] = ages[number] if number < len(ages) else 0.0
        return found

    def cancel(self, key: int) -> None:
        self.cancelled.append(key)
        self.open.pop(key, None)

    def progress(self) -> int:
        return 0

    def close(self, *, cancel: bool = False) -> None:
        pass


def run_toy(store: Store, executor: Executor, limits: Limits | None = None, **config: Any) -> None:
    run = Run(
        stage="toy",
        config=toy_stage.ToyConfig(**config),
        store=store,
        batch="b",
        executor=executor,
        num_parts=5,
        limits=limits or Limits(),
    )
    run_steps(run, toy_stage.STEPS)


def play(
    script: list[Any], num_tasks: int = 4, slots: int = 4, limits: Limits | None = None
) -> tuple[FakeExecutor, dict[int, Any], dict[int, Attempt]]:
    executor = FakeExecutor(slots)
    executor.script = script
    values, failed = attempts.run_tasks(
        executor,
        [(index, toy_tasks.double, f"t{index}") for index in range(num_tasks)],
        Meter("toy/split", num_tasks, None),
        limits=limits,
    )
    return executor, values, failed


DONE3: dict[str, Any] = {"t0": 1, "t1": 1, "t2": 1}


def test_an_idle_slot_gets_a_copy_and_the_first_to_finish_counts() -> None:
    executor, values, failed = play(
        [{**DONE3, "time": {"t3": [149.0]}}, {"time": {"t3": [151.0]}}, {"t3": 1}]
    )
    assert [payload for _, payload in executor.submitted] == ["t0", "t1", "t2", "t3", "t3"]
    assert (values, failed) == ({index: f"t{index}" for index in range(4)}, {})
    assert executor.cancelled == [4], "the other copy is ended"


@pytest.mark.parametrize(
    ("limits", "script", "num_copies"),
    [
        (
            Limits(),
            [{**DONE3, "time": {"t3": [151.0, 140.0]}}, {"time": {"t3": [300.0, 149.0]}}],
            1,
        ),
        (Limits(), [{**DONE3, "time": {"t3": [400.0]}}, {"time": {"t3": [560.0, 151.0]}}], 2),
        (Limits(), [{**DONE3, "time": {"t3": [9e2]}}] + [{"time": {"t3": [1e3] * 9}}] * 4, 2),
        (Limits(copies=False), [{**DONE3, "time": {"t3": [900.0]}}], 0),
        (Limits(enabled=False), [{**DONE3, "time": {"t3": [1e9]}}], 0),
        (Limits(), [{"t0": 1, "time": {f"t{n}": [1e3] for n in range(4)}}], 0),
    ],
    ids=["one", "two", "never more than three attempts", "switched off", "fetch", "no median"],
)
def test_copies(limits: Limits, script: list[Any], num_copies: int) -> None:
    executor, values, failed = play([*script, {f"t{n}": 1 for n in range(4)}], limits=limits)
    assert len(values) == 4
    assert not failed
    assert len(executor.submitted) - 4 == num_copies


def test_no_copy_while_others_wait() -> None:
    executor, values, _ = play(
        [{**DONE3, "time": {"t3": [1e3]}}, {f"t{n}": 1 for n in range(3, 8)}], num_tasks=8
    )
    assert len(executor.submitted) == 8
    assert len(values) == 8


@pytest.mark.parametrize(
    ("limits", "age", "ended"),
    [
        (Limits(), 1999.0, False),
        (Limits(), 2001.0, True),
        (Limits(timeout_s=30.0), 31.0, True),
        (Limits(timeout_s=5000.0), 4000.0, False),
        (Limits(automatic=False), 1e6, False),
        (Limits(timeout_s=1.0, enabled=False), 1e6, False),
    ],
)
def test_a_task_over_its_limit_is_ended_and_tried_again(
    limits: Limits, age: float, ended: bool
) -> None:
    limits = Limits(limits.timeout_s, limits.automatic, copies=False, enabled=limits.enabled)
    executor, values, _ = play([{**DONE3, "time": {"t3": [age]}}, {"t3": 1}], limits=limits)
    assert executor.cancelled == ([3] if ended else [])
    assert len(values) == 4


@pytest.mark.parametrize("num_tasks", [1, 2, 4])
@pytest.mark.parametrize(
    ("limits", "age", "ended"),
    [
        (Limits(), 21_599.0, False),
        (Limits(), 21_601.0, True),
        (Limits(first_s=60.0), 61.0, True),
        (Limits(first_s=None), 1e9, False),
        (Limits(automatic=False), 1e9, False),
        (Limits(timeout_s=1e5), 9e4, False),
        (Limits(enabled=False), 1e9, False),
    ],
    ids=["below", "over", "set", "none", "switched off", "given", "fetch"],
)
def test_first_tasks_that_all_hang_are_ended(
    num_tasks: int, limits: Limits, age: float, ended: bool
) -> None:
    """Without three finished tasks no limit applied: such a step hung for ever."""
    names = [f"t{index}" for index in range(num_tasks)]
    executor, values, failed = play(
        [{"time": {name: [age] for name in names}}, dict.fromkeys(names, 1)],
        num_tasks=num_tasks,
        limits=limits,
    )
    assert len(executor.cancelled) == (num_tasks if ended else 0)
    assert (len(values), failed) == (num_tasks, {})


def test_a_task_that_always_hangs_is_given_up() -> None:
    script = [DONE3] + [{"time": {"t3": [9e9]}}] * 3
    _, values, failed = play(script, limits=Limits(timeout_s=60.0, copies=False))
    assert failed[3].status is Status.TIMEOUT
    assert failed[3].error == "over 1:00"
    assert len(values) == 3


def test_a_slow_task_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ages = [499.0, 501.0, 600.0]
        play([{**DONE3}, *[{"time": {"t3": [age]}} for age in ages], {"t3": 1}])
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("toy/split part 3 has run for 8:21; others took 1:40; it is ended after")


def test_a_slow_task_without_a_limit_is_named_as_such(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(automatic=False, copies=False)
    with caplog.at_level(logging.WARNING):
        play([{**DONE3}, {"time": {"t3": [501.0]}}, {"t3": 1}], limits=limits)
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.endswith("others took 1:40; it has no limit")


def test_a_step_without_a_finished_task_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stragglers, "SILENT_S", 0.0)
    watch = Watch("toy/total", 1)
    with caplog.at_level(logging.WARNING):
        watch.warn({0: 700.0})
    assert "part 0 has run for 11:40; it is ended after 6:00:00" in caplog.text


def test_a_task_whose_nodes_leave_is_not_given_up_after_three(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor = FakeExecutor(2)
    gone = [Status.CRASH] * 7

    def wait(timeout_s: float) -> list[Attempt]:
        found = []
        for key, payload in list(executor.open.items()):
            del executor.open[key]
            lost = bool(gone)
            status = gone.pop() if gone else Status.OK
            found.append(Attempt(key, status, payload, lost=lost))
        executor.time = {}
        return found

    monkeypatch.setattr(executor, "wait", wait)
    values, failed = attempts.run_tasks(
        executor, [(0, toy_tasks.double, "t0")], Meter("toy/split", 1, None)
    )
    assert (values, failed) == ({0: "t0"}, {})


@pytest.mark.parametrize(
    "step", [*fetch_steps.STEPS, archive_step.ONLY_STEP], ids=lambda step: step.name
)
def test_only_the_steps_that_ask_strangers_have_no_limit(step: Any) -> None:
    fetches = step.name in ("crawl/fetch", "crawl/archive")
    assert step.limited is not fetches


def test_settings_of_the_limit() -> None:
    def limits(*sets: str) -> Limits:
        return load_config(RunConfig, "run", sets=sets).limits()

    assert limits() == Limits()
    assert limits("run.task_timeout=90m") == Limits(timeout_s=5400.0)
    assert limits("run.task_timeout=none", "run.copies=false") == Limits(
        automatic=False, copies=False
    )
    assert limits("run.first_timeout=30m") == Limits(first_s=1800.0)
    assert limits("run.first_timeout=none") == Limits(first_s=None)
    for words in ("task_timeout=2 hours", "first_timeout=auto"):
        with pytest.raises(ConfigError, match="such as 90s, 15m, 2h or 35d"):
            limits(f"run.{words}")


def test_a_frozen_worker_costs_its_step_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process stopped as by SIGSTOP: 23 of 24 parts were done, and the step never ended."""
    monkeypatch.setattr(stragglers, "COPY_LEAST_S", 0.5)
    store = toy_stage.make_corpus(str(tmp_path / "c"))
    reference = toy_stage.make_corpus(str(tmp_path / "r"))
    executor = PoolExecutor(2)
    frozen: list[int] = []
    inner = executor.wait

    def wait(timeout_s: float) -> list[Attempt]:
        found = inner(0.05)
        if not frozen and any(attempt.status is Status.OK for attempt in found):
            victim = next((w for w in executor._workers if w.key is not None), None)
            if victim is not None:
                os.kill(victim.process.pid, signal.SIGSTOP)
                frozen.append(victim.process.pid)
        return found

    monkeypatch.setattr(executor, "wait", wait)
    begun = time.monotonic()
    try:
        run_toy(store, executor, slow_s=0.15)
    finally:
        executor.close(cancel=True)
    assert frozen
    assert time.monotonic() - begun < 60
    run_toy(reference, SerialExecutor())
    assert toy_stage.committed_bytes(store) == toy_stage.committed_bytes(reference)


def test_a_part_that_never_ends_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = toy_stage.make_corpus(str(tmp_path), num_rows=20)
    executor = PoolExecutor(2)
    monkeypatch.setattr(attempts, "ATTEMPTS", 1)
    try:
        with pytest.raises(PartitionError, match="timeout: over 1 s"):
            run_toy(store, executor, Limits(timeout_s=0.6), slow_s=60)
    finally:
        executor.close(cancel=True)
