"""Evaluation, samples, boards and disks may fail: the training is kept, and goes to its end."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.errors import FatalError, InputError
from corpus.storage.store import open_store
from tests.train.fakes import ALONE, KilledError, config, job, metrics, raising, trained, val_blocks
from tests.train.monitoring.test_curves import points
from tests.train.worlds import STOPPED, draw_differently, fail_in_evaluation, stall, train_in_world
from train.checkpoints.checkpoint import Checkpoint, Checkpoints
from train.checkpoints.run_folder import RunFolder
from train.gpt2.model import GPT2
from train.loop import Trainer
from train.machine.distributed import World
from train.monitoring.curves import TensorBoard


def out_of_memory(model: GPT2, step: int, world: World) -> list[str]:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def failing_blocks(*rounds: int) -> Any:
    """Validation blocks whose reading fails in these evaluations (the one at step 0 is number 0)."""
    number = iter(range(100))

    def blocks() -> Iterator[np.ndarray]:
        if next(number) in rounds:
            raise RuntimeError("lost the disk")
        return val_blocks()

    return blocks


def test_a_sampler_that_fails_ends_no_run_and_costs_no_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = trained(tmp_path / "plain", config())
    trainer = Trainer(job(tmp_path / "failing", config(), sampler=out_of_memory), ALONE)
    summary = trainer.run()
    assert summary["failures"] == {"samples": 3}
    assert "step 4: samples failed: OutOfMemoryError: CUDA out of memory" in caplog.text
    lines = [line for line in metrics(tmp_path / "failing") if "failed" not in line]
    assert lines == metrics(tmp_path / "plain")
    assert torch.equal(trainer.model.wte.weight, plain["model.wte.weight"])


def test_an_evaluation_that_fails_is_tried_again_at_the_next_interval(tmp_path: Path) -> None:
    summary = Trainer(job(tmp_path, config(), val_blocks=failing_blocks(0, 1)), ALONE).run()
    assert summary["failures"] == {"evaluation": 2}
    assert [line["step"] for line in metrics(tmp_path) if "val_loss" in line] == [8, 12]
    assert [line["step"] for line in metrics(tmp_path) if "failed" in line] == [0, 4]


def test_a_last_evaluation_that_fails_gives_no_earlier_loss_for_its_own(tmp_path: Path) -> None:
    summary = Trainer(job(tmp_path, config(), val_blocks=failing_blocks(3)), ALONE).run()
    assert (summary["steps"], summary["val_loss"]) == (12, None)
    last = Checkpoints(open_store(str(tmp_path)), "r").find("last")
    assert (last.step, last.record["val_loss"]) == (12, None)


@pytest.mark.parametrize("killed", ["evaluation", "samples"])
def test_the_checkpoint_is_written_before_anything_that_may_end_the_process(
    tmp_path: Path, killed: str
) -> None:
    """As by the kernel for its memory: nothing is caught, and the checkpoint of this step is there."""

    def sampler(model: GPT2, step: int, world: World) -> list[str]:
        raise KeyboardInterrupt

    rounds = iter(range(100))

    def blocks() -> Iterator[np.ndarray]:
        if next(rounds) == 1:
            raise KeyboardInterrupt
        return val_blocks()

    changes = {"sampler": sampler} if killed == "samples" else {"val_blocks": blocks}
    with pytest.raises(KeyboardInterrupt):
        Trainer(job(tmp_path, config(), **changes), ALONE).run()
    assert [found.step for found in Checkpoints(open_store(str(tmp_path)), "r").all()] == [4]


def test_an_evaluation_that_ends_every_process_is_skipped_at_last(tmp_path: Path) -> None:
    for _ in range(2):
        trainer = Trainer(job(tmp_path, config(), val_blocks=deadly), ALONE)
        trainer.resume()
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    summary = Trainer(job(tmp_path, config()), ALONE).run()
    assert summary["failures"] == {"evaluation": 1}
    assert [line["step"] for line in metrics(tmp_path) if "val_loss" in line] == [4, 8, 12]
    assert not (tmp_path / "runs/r/evaluating.json").exists()


def deadly() -> Iterator[np.ndarray]:
    raise KeyboardInterrupt


def test_a_board_that_fails_is_begun_again_with_all_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add = TensorBoard.add
    broken = [True]

    def fail_once(board: TensorBoard, line: Any) -> None:
        if line["step"] == 6 and broken.pop() if broken else False:
            raise PermissionError(errno.EACCES, "Permission denied")
        add(board, line)

    monkeypatch.setattr(TensorBoard, "add", fail_once)
    summary = Trainer(job(tmp_path, config()), ALONE).run()
    assert summary["failures"] == {"TensorBoard": 1}
    assert "TensorBoard: PermissionError" in caplog.text
    steps = {step for tag, step, _ in points(tmp_path / "runs/r/tensorboard") if tag == "loss"}
    assert steps == {3, 6, 9, 12}


def test_a_board_that_never_works_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "runs/r/tensorboard").write_text("a file where the folder should be")
    assert Trainer(job(tmp_path, config()), ALONE).run()["steps"] == 12


def test_lines_that_cannot_be_appended_come_with_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if path.name == "metrics.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *arguments, **named)  # type: ignore[call-overload]

    trained(tmp_path / "plain", config())
    monkeypatch.setattr(Path, "open", full)
    trained(tmp_path / "full", config())
    assert metrics(tmp_path / "full") == metrics(tmp_path / "plain")
    assert "No space left on device; its lines are written at the next checkpoint" in caplog.text


def test_bytes_of_metrics_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, config(), stream=raising(8 * 9, KilledError()))
    path = tmp_path / "runs/r/metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], b'{"step": 2, "loss": "\xff\xfe"}', *lines[1:]]))
    trained(tmp_path, config())
    trained(tmp_path / "plain", config())
    assert metrics(tmp_path) == metrics(tmp_path / "plain")


def record_path(root: Path, step: int) -> Path:
    return root / f"runs/r/checkpoints/step-{step:08}/checkpoint.json"


def damaged_records() -> dict[str, Any]:
    """Ways in which a record is not what was written, by name."""

    def changed(**values: Any) -> Any:
        return lambda data: json.dumps({**json.loads(data), **values}).encode()

    def renamed(data: bytes) -> bytes:
        return data.replace(b'"stream"', b'"strean"')

    return {
        "truncated": lambda data: data[: len(data) // 2],
        "empty": lambda data: b"",
        "binary": lambda data: b"\xff" * 50,
        "a list": lambda data: b"[]",
        "another position": changed(stream={"index": 7}),
        "a renamed key": renamed,
        "another step": changed(step=9),
        "no tokens": changed(tokens=0),
    }


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed after steps 4 and 8; do not write to it."""
    root = tmp_path_factory.mktemp("two")
    with pytest.raises(KilledError):
        trained(root, config(), stream=raising(8 * 9, KilledError()))
    return root


@pytest.mark.parametrize("damage", damaged_records())
def test_a_damaged_record_is_passed_over_and_when_all_are_the_run_refuses(
    two_checkpoints: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(two_checkpoints, tmp_path / "c")
    change = damaged_records()[damage]
    record_path(root, 8).write_bytes(change(record_path(root, 8).read_bytes()))
    checkpoints = Checkpoints(open_store(str(root)), "r")
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 4
    assert checkpoints.find("4").step == 4  # for generating and evaluating
    assert "step-00000008" in caplog.text

    record_path(root, 4).write_bytes(change(record_path(root, 4).read_bytes()))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="no checkpoint of this run is whole.*--rebuild"):
        Trainer(job(root, config()), ALONE).resume()
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_tensors_damaged_in_every_checkpoint_are_refused_too(
    two_checkpoints: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(two_checkpoints, tmp_path / "c")
    for path in root.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="step-00000008.*step-00000004.*--rebuild"):
        Trainer(job(root, config()), ALONE).resume()


def test_an_amended_record_has_a_digest_of_its_own(tmp_path: Path) -> None:
    trained(tmp_path, config())
    checkpoints = Checkpoints(open_store(str(tmp_path)), "r")
    last = checkpoints.find("last")
    assert last.record["val_loss"] is not None, "it was amended after the evaluation"
    changed: Checkpoint = checkpoints.amend(last, {"note": "x"})
    assert checkpoints.find("last").record == changed.record


def test_a_full_disk_says_what_to_free_and_leaves_no_remains(
    two_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(two_checkpoints, tmp_path / "c")
    written = os.fsync

    def full(number: int) -> None:
        if "rank-" in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        written(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FatalError) as failed:
            trained(root, config())
    message = str(failed.value)
    assert "No space left on device; free space: a checkpoint takes 0.1 MB" in message
    assert "this run keeps the steps 4, 8 (train.runtime.keep_last=1 keeps fewer)" in message
    assert "\n" not in message
    names = sorted(path.name for path in (root / "runs/r/checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000008"]
    resumed = trained(root, config())  # with more room
    whole = trained(tmp_path / "whole", config())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_remains_of_killed_saves_go_at_the_start(two_checkpoints: Path, tmp_path: Path) -> None:
    root = shutil.copytree(two_checkpoints, tmp_path / "c")
    remains = root / "runs/r/checkpoints/.tmp-step-00000012"
    remains.mkdir()
    Trainer(job(root, config()), ALONE).resume()
    assert not remains.exists()


def test_a_rank_whose_evaluation_fails_keeps_step_with_the_others(tmp_path: Path) -> None:
    assert train_in_world(tmp_path, 2, prepare=fail_in_evaluation) == [0, 0]
    assert [line["step"] for line in metrics(tmp_path) if "val_loss" in line] == [0, 8, 12]
    (line,) = [line for line in metrics(tmp_path) if "failed" in line]
    assert line["step"] == 4
    assert "failed on 1 of 2 ranks" in line["reason"]


def test_ranks_of_a_sharded_model_sample_the_tokens_of_rank_0(tmp_path: Path) -> None:
    """Logits may differ in their last bit; a rank that stops alone would leave the others waiting."""
    codes = train_in_world(
        tmp_path, 2, prepare=draw_differently, max_steps=2, runtime={"parallel": "fsdp"}
    )
    assert codes == [0, 0]
    texts = [(tmp_path / f"rank-{rank}-step-2.txt").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1]


def test_a_rank_that_stalls_is_named_within_the_time_limit(tmp_path: Path) -> None:
    codes = train_in_world(tmp_path, 2, prepare=stall, runtime={"rank_timeout_s": 2})
    assert codes == [STOPPED, 0], "rank 0 ended while rank 1 stood still"
    message = (tmp_path / "error.txt").read_text()
    assert re.search(r"rank 1 \(host .+, process \d+\) is at step 3, training", message)
    assert "rank_timeout_s = 2" in message
    assert "run the same command again" in message


def test_nothing_of_a_run_without_failures_mentions_them(tmp_path: Path) -> None:
    summary = Trainer(job(tmp_path, config()), ALONE).run()
    assert "failures" not in summary
    assert RunFolder(open_store(str(tmp_path)), "r").read("evaluating.json") is None
    logging.getLogger("train").debug("done")
