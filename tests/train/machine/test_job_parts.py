"""Choices that a run makes before its first step, at exact borders and on clocks of the test."""

from __future__ import annotations

import itertools
import logging
import os
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from corpus.errors import InputError
from shards.stream.blocks import BlockStream
from tests.train import fakes
from train import job
from train.checkpoints.checkpoint import PendingSave
from train.config import RuntimeConfig
from train.gpt2.sampling import Sampling
from train.loop import Trainer
from train.machine import peaks
from train.machine.distributed import World, num_threads


def run_config(num_steps: int, batch_size: int = 4, **data: Any) -> Any:
    return SimpleNamespace(
        steps=lambda num_blocks: num_steps,
        resolved_batch_size=batch_size,
        data=SimpleNamespace(**{"max_passes": None, "window": None, **data}),
        num_samples=0,
    )


def test_a_sample_is_drawn_as_the_docs_say() -> None:
    """docs/train.md and Fan et al. 2018: temperature 1, the 40 most probable tokens."""
    assert Sampling(temperature=1, top_k=40, top_p=1, min_p=0) == job.SAMPLING


@pytest.mark.parametrize(("limit", "is_allowed"), [(2.0, True), (2.1, True), (1.9, False)])
def test_as_many_passes_as_the_limit_are_made(limit: float, is_allowed: bool) -> None:
    """Ten steps of four samples over twenty blocks are two passes."""
    stream = cast(Any, SimpleNamespace(num_blocks=20))
    if is_allowed:
        assert job._passes(stream, run_config(10, max_passes=limit)) == {"the train split": 2.0}
    else:
        with pytest.raises(InputError, match=r"2\.00 over the train split passes"):
            job._passes(stream, run_config(10, max_passes=limit))


def held_out(num_blocks: int, num_steps: int, frac: float) -> list[int]:
    """The numbers of the held-out blocks of a run in the order of the split."""
    stream = cast(Any, object.__new__(BlockStream))
    stream.__dict__.update(num_blocks=num_blocks, block_size=1)
    stream.__dict__["split"] = SimpleNamespace(slice=lambda start, end: np.arange(start, end))
    stream.__dict__["block_numbers"] = lambda numbers: numbers
    blocks, num_bytes = job._held_out(stream, run_config(num_steps), frac)
    assert num_bytes == 0
    return [int(block[0]) for block in blocks()]


@pytest.mark.parametrize(
    ("num_blocks", "num_steps", "frac", "first", "count"),
    [
        (1000, 10, 0.1, 900, 100),  # all that is held out
        (10_000, 10, 0.1, 9000, 256),  # at least 256
        (10_000, 512, 0.1, 9000, 256),  # an eighth of 2,048 sequences
        (10_000, 516, 0.1, 9000, 258),
        (100, 1, 0.001, 99, 1),  # at least one
        (100, 24, 0.04, 96, 4),  # up to the first of them
    ],
)
def test_a_sweep_is_judged_on_the_last_blocks(
    num_blocks: int, num_steps: int, frac: float, first: int, count: int
) -> None:
    """An eighth as many as it trains on, at least 256."""
    assert held_out(num_blocks, num_steps, frac) == list(range(first, first + count))


def test_a_sweep_may_not_train_on_what_it_is_judged_on() -> None:
    with pytest.raises(InputError, match=r"set train.max_steps=24 or less"):
        held_out(100, 25, 0.04)


@pytest.mark.parametrize(
    ("suggested", "window", "chosen", "warns"),
    [
        (0, None, 0, False),
        (8, None, 8, False),
        (8, 8, 8, False),
        (8, 7, 7, False),
        (8, 9, 9, True),
        (8, 0, 0, True),
        (0, 9, 9, False),
    ],
)
def test_a_window_beyond_the_cache_is_warned_of(
    suggested: int,
    window: int | None,
    chosen: int,
    warns: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job, "_warn_of_small_window", lambda *_: None)
    split = cast(Any, SimpleNamespace(suggested_window=suggested))
    with caplog.at_level(logging.WARNING):
        assert job._window(split, run_config(1, window=window)) == chosen
    assert ("the cache holds less" in caplog.text) is warns


@pytest.mark.parametrize(("num_tokens", "is_allowed"), [(1, False), (2, True)])
def test_a_validation_split_has_a_token_and_its_target(
    num_tokens: int, is_allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = SimpleNamespace(num_tokens=num_tokens)
    monkeypatch.setattr(job, "open_split", lambda *_, **__: split)
    store = cast(Any, SimpleNamespace(root="c"))
    if is_allowed:
        assert job._validation_split(store, "s", 8, 5, None)[1] == 5
    else:
        with pytest.raises(InputError, match="the val split holds 1 tokens"):
            job._validation_split(store, "s", 8, 5, None)


def test_tokens_of_an_object_store_are_cached_where_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job, "TokenCache", lambda *given: given)
    for folder, expected in (("", None), ("/tmp/tokens", "/tmp/tokens")):
        runtime = SimpleNamespace(token_cache=folder, token_cache_bytes=5)
        config = cast(Any, SimpleNamespace(runtime=runtime))
        remote = cast(Any, SimpleNamespace(is_local=False))
        assert job.token_cache_of(remote, config) == (expected, 5)
        assert job.token_cache_of(cast(Any, SimpleNamespace(is_local=True)), config) is None


def test_the_empty_share_of_whole_documents_is_logged_in_per_cent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    packed = SimpleNamespace(num_blocks=7, waste=0.0123)
    monkeypatch.setattr(job, "open_split", lambda *_, **__: SimpleNamespace(suggested_window=0))
    monkeypatch.setattr(job, "PackedStream", lambda *_, **__: packed)
    config = run_config(1, sources=[], packing="documents", sample_by="")
    config.seed = 0
    with caplog.at_level(logging.INFO):
        job.train_stream(cast(Any, SimpleNamespace(root="c")), "s", config, 8, None)
    assert "whole documents in 7 rows, 1.23 % of them empty" in caplog.text


def test_dropout_is_seeded_by_the_place_of_a_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample 8 of step 2 is that of step 3 if a batch has eight: any cut of the work draws the same."""
    seeds: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)

    def seed(step: int, sample: int, *, seed: int = 1, dropout: float = 0.1) -> None:
        trainer = SimpleNamespace(
            model=SimpleNamespace(dropout=dropout),
            step=step,
            batch_size=8,
            job=SimpleNamespace(config=SimpleNamespace(seed=seed)),
        )
        Trainer._seed_dropout(cast(Any, trainer), sample)

    for step, sample in itertools.product(range(4), range(8)):
        seed(step, sample)
    assert len(set(seeds)) == 32
    assert all(0 <= each < 2**63 for each in seeds)

    seed(2, 8)
    seed(3, 0)
    seed(3, 0, seed=2)
    assert seeds[-3] == seeds[-2] != seeds[-1]
    seed(0, 0, dropout=0)
    assert len(seeds) == 35


@pytest.mark.parametrize(("starts", "begins"), [(0, True), (1, True), (2, False)])
def test_an_evaluation_that_ended_two_processes_is_skipped(starts: int, begins: bool) -> None:
    written: list[Any] = []
    failed: list[str] = []
    trainer = SimpleNamespace(
        step=5,
        folder=SimpleNamespace(
            read=lambda _: {"step": 5, "starts": starts} if starts else None,
            write=lambda _, values: written.append(values),
            forget=lambda _: None,
        ),
        _failed=lambda what, error: failed.append(f"{what} {error}"),
    )
    assert Trainer._begin_evaluation(cast(Any, trainer)) is begins
    assert written == ([{"step": 5, "starts": starts + 1}] if begins else [])
    assert failed == ([] if begins else ["evaluation the process ended in it 2 times"])


def test_starts_of_an_evaluation_of_another_step_are_not_counted() -> None:
    written: list[Any] = []
    folder = SimpleNamespace(
        read=lambda _: {"step": 4, "starts": 9}, write=lambda _, values: written.append(values)
    )
    assert Trainer._begin_evaluation(cast(Any, SimpleNamespace(step=5, folder=folder)))
    assert written == [{"step": 5, "starts": 1}]


def test_cores_are_counted_without_an_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS; a system that cannot count its cores has one."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for cores, expected in ((6, [6, 3, 1]), (None, [1, 1, 1])):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert [num_threads(RuntimeConfig(), ranks) for ranks in (0, 2, 4)] == expected


def test_a_measured_peak_is_that_of_the_best_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 x 512 matrices take 2 x 512^3 operations; the fastest of the 20 took half a second."""
    times = [*itertools.chain(*((10.0 * n, 10.0 * n + (0.5 if n == 7 else 1)) for n in range(20)))]
    clock = iter(times)
    monkeypatch.setattr(peaks.time, "perf_counter", lambda: next(clock))
    found = peaks.peak(torch.device("cpu"), torch.float32, RuntimeConfig())
    assert found.flops == 2 * 512**3 / 0.5
    assert next(clock, None) is None


def test_a_request_asks_for_nothing_unusual_by_itself() -> None:
    request = job.RunRequest("c", "s", "r", cast(Any, None))
    assert not any((request.rebuild, request.allow_withdrawn, request.extend))
    assert (request.held_out_frac, request.held_out) == (0, "")


def test_a_process_alone_is_the_only_one_of_its_machine() -> None:
    alone = World(0, 1, 0, torch.device("cpu"), torch.float32)
    assert (alone.local_size, alone.owns_group, alone.is_main) == (1, False, True)
    # There is no process group to ask.
    alone.barrier()
    assert alone.gather("a") == ["a"]
    assert alone.sum(torch.ones(1)).item() == alone.from_main(torch.ones(1)).item() == 1


def test_a_limit_of_passes_is_not_that_of_rounding() -> None:
    """A billionth more than the limit is the limit, in floats."""
    stream = cast(Any, SimpleNamespace(num_blocks=10**9))
    found = job._passes(stream, run_config(10**9 + 1, batch_size=1, max_passes=1.0))
    assert found == {"the train split": 1.0}
    with pytest.raises(InputError, match="max_passes"):
        job._passes(stream, run_config(10**9 + 2, batch_size=1, max_passes=1.0))


@pytest.mark.parametrize(("fetched", "warns"), [(1.1, True), (1.0, False), (0.9, False)])
def test_a_window_that_fetches_as_much_as_is_tolerated_is_no_warning(
    fetched: float, warns: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "most_fetched", lambda _: fetched * job.MOST_FETCHED)
    split = cast(Any, SimpleNamespace(cache_bytes_for=lambda _: 5))
    with caplog.at_level(logging.WARNING):
        job._warn_of_small_window(split, 8)
    assert ("an epoch fetches up to" in caplog.text) is warns


@pytest.mark.parametrize("number", [0, 15])
def test_ranks_agree_on_signals_and_on_the_length_of_a_step(number: int) -> None:
    """Two ranks with the same numbers: the sum is the double of each."""
    trainer = SimpleNamespace(
        world=SimpleNamespace(size=2, device=torch.device("cpu"), sum=lambda values: 2 * values),
        job=SimpleNamespace(wanted_stop=lambda: 0),
    )
    stop = cast(Any, SimpleNamespace(number=number))
    found = Trainer._reduce(cast(Any, trainer), torch.tensor(3.0), torch.tensor(0.5), 40, 2.5, stop)
    assert found == (6, 80, 0.5)
    assert (trainer._step_s, trainer._stopping) == (2.5, number)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "named"), [(5, "a0, a1, a2, a3, a4)"), (6, "a3, a4, ...)")])
def test_five_documents_of_a_batch_are_named(
    number: int, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = SimpleNamespace(
        step=3,
        watch=SimpleNamespace(judge=lambda *_: ("warn", "a spike")),
        world=SimpleNamespace(is_main=True),
        folder=SimpleNamespace(log=lambda **_: None),
        _documents=lambda _: [f"a{place}" for place in range(number)],
    )
    with caplog.at_level(logging.WARNING):
        assert Trainer._judge(cast(Any, trainer), 9.0, 1.0, {})
    assert f"the batch has {number} documents" in caplog.text
    assert named in caplog.text


@pytest.mark.parametrize(("step", "is_logged"), [(8, False), (9, True), (11, True)])
def test_the_last_step_is_logged_at_any_interval(step: int, is_logged: bool) -> None:
    trainer = SimpleNamespace(
        step=step,
        num_steps=11,
        job=SimpleNamespace(config=SimpleNamespace(runtime=SimpleNamespace(log_interval=3))),
        world=SimpleNamespace(is_main=False),
        _losses=[1.0],
    )
    Trainer._log_step(cast(Any, trainer), cast(Any, None), 1.0, 1.0)
    assert (trainer._losses == []) is is_logged


@pytest.mark.parametrize(
    ("eval_interval", "at_the_begin", "checkpoints"),
    [(11, True, 11), (12, True, 12), (13, False, 2)],
)
def test_a_run_evaluated_at_its_end_only_has_checkpoints_on_the_way(
    eval_interval: int, at_the_begin: bool, checkpoints: int, tmp_path: Path
) -> None:
    """Twelve steps: a tenth of them between two checkpoints, rounded up."""
    settings = fakes.config(eval_interval=eval_interval)
    trainer = Trainer(fakes.job(tmp_path, settings), fakes.ALONE)
    assert trainer.checkpoint_interval == checkpoints
    assert trainer._evaluation_due() is at_the_begin


def test_an_evaluation_that_fails_does_not_end_a_run_of_one_process(tmp_path: Path) -> None:
    def val_blocks() -> Any:
        raise RuntimeError("no such blocks")

    settings = fakes.config(max_steps=2, eval_interval=2)
    trainer = Trainer(fakes.job(tmp_path, settings, val_blocks=val_blocks), fakes.ALONE)
    summary = trainer.run()
    assert summary["steps"] == 2
    assert summary["failures"] == {"evaluation": 2}


def test_a_save_has_failed_once_its_writer_has() -> None:
    written: Future[Any] = Future()
    pending = PendingSave(cast(Any, None), 5, cast(Any, None), written, is_main=True)
    assert not pending.failed()
    written.set_result("committed")
    assert not pending.failed()

    written = Future()
    pending = PendingSave(cast(Any, None), 5, cast(Any, None), written, is_main=True)
    written.set_exception(OSError("no space"))
    assert pending.failed()
