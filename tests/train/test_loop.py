"""The loop: a run interrupted anywhere ends as if it never was; any number of ranks learns the same."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.errors import ConfigError, FatalError, InputError, Interrupted
from corpus.storage.store import open_store
from tests.train.fakes import (
    ALONE,
    FakeStream,
    KilledError,
    RemoteStore,
    config,
    job,
    metrics,
    raising,
    trained,
    val_blocks,
)  # fmt: skip
from train.checkpoints.checkpoint import Checkpoints, load_weights
from train.checkpoints.run_folder import RunFolder
from train.data import next_rows, num_micro_batches, shared_blocks
from train.gpt2.model import GPT2
from train.loop import Trainer
from train.machine.distributed import World
from train.monitoring.divergence import DivergedError


@dataclasses.dataclass(frozen=True)
class Whole:
    """A run that nothing interrupted."""

    root: Path
    tensors: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Of `config()`; do not write to it."""
    root = tmp_path_factory.mktemp("undisturbed")
    return Whole(root, trained(root, config()))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "muon", "schedule": "wsd"}, "model": {"dropout": 0.2}},
        {"model": {"document_mask": True}, "runtime": {"micro_batch_size": 8}},
    ],
)
def test_killed_and_resumed_equals_undisturbed_bit_for_bit(
    undisturbed: Whole, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = config(**changes)
    whole, lines = undisturbed.tensors, metrics(undisturbed.root)
    if changes:
        whole, lines = trained(tmp_path / "whole", settings), metrics(tmp_path / "whole")
    root = tmp_path / "killed"
    for step in (
        2,
        6,
        9,
        11,
    ):  # checkpoints are after 4, 8 and 12, lines of metrics after 3, 6, 9 and 12
        with pytest.raises(KilledError):
            trained(root, settings, stream=raising(8 * step, KilledError()))
    resumed = trained(root, settings)
    assert whole.keys() == resumed.keys()
    assert any(name.startswith("optimizer.") for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert metrics(root) == lines


def test_a_store_that_is_no_folder_holds_the_same_run(undisturbed: Whole, tmp_path: Path) -> None:
    store = RemoteStore(str(tmp_path))
    with pytest.raises(KilledError):
        trained(tmp_path, config(), store=store, stream=raising(8 * 9, KilledError()))
    resumed = trained(tmp_path, config(), store=store)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in undisturbed.tensors.items())
    assert metrics(tmp_path) == metrics(undisturbed.root)


def test_training_learns(tmp_path: Path) -> None:
    trained(tmp_path, config(max_steps=60, eval_interval=30))
    losses = {line["step"]: line["val_loss"] for line in metrics(tmp_path) if "val_loss" in line}
    assert sorted(losses) == [0, 30, 60]
    assert losses[0] == pytest.approx(math.log(50), abs=0.2)
    assert losses[60] < losses[0] - 1.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_checkpoint_then_an_exit_code(
    undisturbed: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    stream = FakeStream()
    stream.on_index = lambda index: os.kill(os.getpid(), number) if index == 8 * 5 else None
    before = signal.getsignal(number)
    trainer = Trainer(job(tmp_path, config(), stream=stream), ALONE)
    with pytest.raises(Interrupted) as stopped:
        trainer.run()
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    latest = trainer.checkpoints.latest()
    assert latest is not None
    assert latest.step == 5  # the step during which it came is given up, no update is half done
    assert latest.record["stream"] == {"index": 40}
    resumed = trained(tmp_path, config())
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in undisturbed.tensors.items())
    assert metrics(tmp_path) == metrics(undisturbed.root)


def test_a_loss_that_is_no_number_stops_before_the_update(tmp_path: Path) -> None:
    trainer = Trainer(job(tmp_path, config()), ALONE)

    def poison(index: int) -> None:
        if index == 8 * 6:
            trainer.model.wpe.weight.data.fill_(math.nan)

    trainer.job.stream.on_index = poison  # type: ignore[attr-defined]
    with pytest.raises(
        FatalError, match=f"step 6: loss nan.*8 documents.*{48:032x}.*last checkpoint: step 4"
    ):
        trainer.run()
    latest = trainer.checkpoints.latest()
    assert latest is not None
    assert latest.step == 4


def test_gradient_accumulation_changes_nothing_but_rounding(tmp_path: Path) -> None:
    for size in (8, 1):
        trained(tmp_path / str(size), config(runtime={"micro_batch_size": size}))
    for one, other in zip(metrics(tmp_path / "8"), metrics(tmp_path / "1"), strict=True):
        assert one.keys() == other.keys()
        for key in ("loss", "val_loss"):
            assert one.get(key) == pytest.approx(other.get(key), abs=1e-5)


def test_a_signal_in_an_evaluation_gives_it_up_until_the_run_goes_on(
    undisturbed: Whole, tmp_path: Path
) -> None:
    rounds = iter(range(10))

    def blocks() -> Iterator[np.ndarray]:
        if next(rounds) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return val_blocks()

    with pytest.raises(Interrupted):
        Trainer(job(tmp_path, config(), val_blocks=blocks), ALONE).run()
    assert [line["step"] for line in metrics(tmp_path) if "val_loss" in line] == [0, 4]
    assert [found.step for found in Checkpoints(open_store(str(tmp_path)), "r").all()] == [4, 8]
    trained(tmp_path, config())
    assert metrics(tmp_path) == metrics(undisturbed.root)
    losses = [
        [
            (found.step, found.record["val_loss"])
            for found in Checkpoints(open_store(str(root)), "r").all()
        ]
        for root in (tmp_path, undisturbed.root)
    ]
    assert losses[0] == losses[1]
    assert [step for step, loss in losses[0] if loss is not None] == [8, 12]


def poisoned(trainer: Trainer, index: int, factor: float) -> None:
    """Scale loss and gradients of the batch at `index` of the stream."""
    whole = trainer._backward

    def backward(rows: np.ndarray) -> torch.Tensor:
        scale = factor if trainer.job.stream.state_dict()["index"] == index + 8 else 1.0
        loss = whole(rows) * scale
        for parameter in trainer.model.parameters() if scale != 1 else ():
            assert parameter.grad is not None
            parameter.grad *= scale
        return loss

    trainer._backward = backward  # type: ignore[method-assign]


def test_on_an_object_store_a_checkpoint_hides_no_line_of_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are sent together, at the latest before a checkpoint that later starts go on from."""
    settings = config(
        eval_interval=12,
        runtime={"checkpoint_interval": 2, "log_interval": 1, "tensorboard": False},
    )
    trained(tmp_path / "whole", settings, store=RemoteStore(str(tmp_path / "whole")))
    store = RemoteStore(str(tmp_path / "killed"))
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "close_metrics", lambda folder: None)  # a kill closes nothing
        with pytest.raises(KilledError):
            trained(
                tmp_path / "killed", settings, store=store, stream=raising(8 * 7, KilledError())
            )
    trained(tmp_path / "killed", settings, store=store)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


@pytest.mark.parametrize(("factor", "setting"), [(math.nan, "on_nan"), (10.0, "on_spike")])
def test_a_bad_batch_is_skipped_where_asked_and_named(
    tmp_path: Path, factor: float, setting: str
) -> None:
    settings = {"window": 3, setting: "skip"}
    trainer = Trainer(job(tmp_path, config(divergence=settings)), ALONE)
    poisoned(trainer, 8 * 5, factor)  # the last step of a line of metrics.jsonl
    trainer.run()
    (skipped,) = [line for line in metrics(tmp_path) if "skip" in line]
    assert skipped["step"] == 6
    assert skipped["documents"] == [f"{index:032x}" for index in range(40, 48)]
    assert [line["step"] for line in metrics(tmp_path) if "loss" in line] == [3, 6, 9, 12]
    assert "NaN" not in (tmp_path / "runs/r/metrics.jsonl").read_text(), "which no JSON has"
    steps = trainer.optimizers[0].state[trainer.model.wte.weight]["step"]
    assert int(steps) == 11  # twelve batches, eleven updates
    assert all(math.isfinite(line["loss"]) for line in metrics(tmp_path) if "loss" in line)


def test_a_spike_is_said_and_by_default_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(job(tmp_path, config(divergence={"window": 3})), ALONE)
    poisoned(trainer, 8 * 6, 10.0)
    trainer.run()
    assert "step 6: loss 3" in caplog.text
    assert f"the batch has 8 documents ({48:032x}, " in caplog.text
    assert int(trainer.optimizers[0].state[trainer.model.wte.weight]["step"]) == 12


def test_a_run_stopped_by_a_bad_batch_goes_on_without_it(tmp_path: Path) -> None:
    trainer = Trainer(job(tmp_path, config()), ALONE)
    poisoned(trainer, 8 * 6, math.inf)
    with pytest.raises(FatalError, match="on_nan=skip"):
        trainer.run()
    (named,) = [line for line in metrics(tmp_path) if "stop" in line]
    assert (named["step"], named["documents"]) == (7, [f"{index:032x}" for index in range(48, 56)])
    assert config(divergence={"on_nan": "skip"}).decisive() == config().decisive()
    again = Trainer(job(tmp_path, config(divergence={"on_nan": "skip"})), ALONE)
    poisoned(again, 8 * 6, math.inf)
    assert again.resume()
    assert again.run()["steps"] == 12


def test_a_failed_checkpoint_does_not_hide_that_the_loss_diverged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are reported: the disk's error in the log, and the batch to leave out as the error."""

    class Failing:
        """A checkpoint whose write ends with an error."""

        step = 6

        def wait(self) -> None:
            raise FatalError("the disk is full")

    trainer = Trainer(job(tmp_path, config()), ALONE)
    poisoned(trainer, 8 * 6, math.inf)
    judge = trainer.watch.judge

    def judged(loss: float, norm: float) -> tuple[str, str]:
        found = judge(loss, norm)
        if found[0] == "stop":
            trainer._pending = Failing()  # type: ignore[assignment]
        return found

    trainer.watch.judge = judged  # type: ignore[method-assign, assignment]
    with pytest.raises(DivergedError, match="on_nan=skip"):
        trainer.run()
    assert "the checkpoint of step 6 was not written" in caplog.text


def test_a_checkpoint_of_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    trained(
        tmp_path, config(), record={"identity": {"snapshot_digest": "a", "shape": {"n_layer": 2}}}
    )
    other = {"identity": {"snapshot_digest": "b", "shape": {"n_layer": 3}}}
    with pytest.raises(
        InputError, match="shape.n_layer: 2 there, 3 now; snapshot_digest: 'a' there, 'b' now"
    ):
        Trainer(job(tmp_path, config(), record=other), ALONE).resume()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_commit", full)
    with pytest.raises(FatalError, match="No space left on device; free space"):
        trained(tmp_path, config(runtime={"async_checkpoints": asynchronous}))


def test_a_checkpoint_that_failed_beside_the_training_ends_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_commit", full)
    settings = config(max_steps=20, eval_interval=20, runtime={"checkpoint_interval": 4})
    trainer = Trainer(job(tmp_path, settings), ALONE)

    def wait(index: int) -> None:
        deadline = time.monotonic() + 30
        while index == 8 * 5 and trainer._pending and not trainer._pending.failed():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    trainer.job.stream.on_index = wait  # type: ignore[attr-defined]
    with pytest.raises(FatalError, match="No space left on device; free space"):
        trainer.run()
    assert trainer.step <= 6


def test_a_checkpoint_is_of_the_moment_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are written only after two more steps are done; what they hold is the earlier step."""
    trainer = Trainer(job(tmp_path, config(max_steps=4, eval_interval=2)), ALONE)
    released = threading.Event()
    write = Checkpoints._finish

    def held(self: Checkpoints, written: Any, *arguments: Any) -> Any:
        assert released.wait(30)
        return write(self, written, *arguments)

    monkeypatch.setattr(Checkpoints, "_finish", held)
    weights: list[torch.Tensor] = []

    def watch(index: int) -> None:
        if index == 16:
            weights.append(trainer.model.wte.weight.detach().clone())
        if index == 24:
            released.set()

    trainer.job.stream.on_index = watch  # type: ignore[attr-defined]
    trainer.run()
    other = GPT2(trainer.job.shape)
    with trainer.checkpoints.local_copy(trainer.checkpoints.find("2")) as files:
        load_weights(other, files)
    assert torch.equal(other.wte.weight, weights[0])
    assert not torch.equal(other.wte.weight, trainer.model.wte.weight)


def test_each_block_is_compiled_where_asked_and_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block: compiled.append(block))
    plain = Trainer(job(tmp_path, config()), ALONE)
    assert not compiled
    trainer = Trainer(job(tmp_path, config(runtime={"compile": True})), ALONE)
    assert compiled == list(trainer.model.h)
    assert trainer.model.state_dict().keys() == plain.model.state_dict().keys()


@pytest.mark.soak  # the tracer takes longer than all other tests of this file
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_compiled_blocks_learn_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tracer without its C++ compiler, which takes a minute; that one is for `make gpu-check`."""
    compile_block = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda block: compile_block(block, backend="aot_eager")
    )
    trained(tmp_path / "plain", config(max_steps=4))
    trained(tmp_path / "compiled", config(max_steps=4, runtime={"compile": True}))
    for plain, other in zip(
        metrics(tmp_path / "plain"), metrics(tmp_path / "compiled"), strict=True
    ):
        assert plain.get("loss") == pytest.approx(other.get("loss"), abs=1e-5)
        assert plain.get("val_loss") == pytest.approx(other.get("val_loss"), abs=1e-5)


def test_products_in_bfloat16_learn_nearly_the_same(undisturbed: Whole, tmp_path: Path) -> None:
    world = dataclasses.replace(ALONE, dtype=torch.bfloat16)
    Trainer(job(tmp_path, config()), world).run()
    for plain, lower in zip(metrics(undisturbed.root), metrics(tmp_path), strict=True):
        assert plain.get("loss") == pytest.approx(lower.get("loss"), abs=0.02)


@pytest.mark.parametrize(
    ("batch", "world", "most", "expected"),
    [(512, 8, 24, 3), (8, 1, 3, 3), (6, 2, 8, 1), (8, 3, 2, 2), (7, 1, 4, 2), (3, 2, 1, 1)],
)
def test_a_ranks_share_is_cut_into_few_equal_passes(
    batch: int, world: int, most: int, expected: int
) -> None:
    assert num_micro_batches(batch, world, most) == expected


def test_more_ranks_than_sequences_are_refused() -> None:
    with pytest.raises(ConfigError, match="train.batch_size = 2: less than the 3 processes"):
        num_micro_batches(2, 3, 8)


def rank(number: int, size: int) -> World:
    return World(number, size, number, torch.device("cpu"), torch.float32)


def test_each_rank_needs_a_sequence() -> None:
    assert num_micro_batches(2, 2, 1) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_shares_of_all_ranks_are_the_batch_in_order(size: int) -> None:
    shares = [next_rows(FakeStream(), 8, rank(number, size)) for number in range(size)]
    assert (
        np.concatenate([rows for rows, _ in shares]).tolist() == FakeStream().next_batch(8).tolist()
    )
    assert [first for _, first in shares] == np.cumsum([0, *(len(rows) for rows, _ in shares)])[
        :-1
    ].tolist()


def test_every_rank_sees_its_share_of_validation_once_and_all_run_in_step() -> None:
    blocks = [np.full(5, number) for number in range(11)] + [np.full(3, 11)]
    parts = [list(shared_blocks(blocks, 2, rank(number, 3))) for number in range(3)]
    assert {len(part) for part in parts} == {3}
    assert all(rows.shape[0] <= 2 for part in parts for rows, _ in part)
    counted = [rows[:, 0].tolist() for part in parts for rows, counts in part if counts]
    assert sorted(number for part in counted for number in part) == list(range(12))
