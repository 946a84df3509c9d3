"""The loop: a run interrupted anywhere ends as if it never was; any number of ranks learns the same."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.errors import ConfigError, FatalError, Interrupted
from tests.train.fakes import FakeStream, RemoteStore, config, job
from train.checkpoint import state_tensors
from train.config import RuntimeConfig, TrainConfig
from train.data import next_rows, num_micro_batches, shared_blocks
from train.distributed import World, join_world
from train.loop import Trainer

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})


class KilledError(Exception):
    """Stands for a kill -9: nothing is caught, nothing is written after it."""


def trained(root: Path, settings: TrainConfig, **changes: Any) -> dict[str, torch.Tensor]:
    trainer = Trainer(job(root, settings, **changes), WORLD)
    trainer.resume()
    trainer.run()
    return {name: tensor.clone() for name, tensor in state_tensors(trainer.model, trainer.optimizers).items()}


def metrics(root: Path) -> list[dict[str, Any]]:
    lines = (root / "runs/r/metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in ("tokens_per_s", "mfu", "time")}
        for line in lines
    ]


def raising(index: int, error: Exception) -> FakeStream:
    stream = FakeStream()

    def check(position: int) -> None:
        if position == index:
            raise error

    stream.on_index = check
    return stream


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "muon", "schedule": "wsd"}, "model": {"dropout": 0.2}},
        {"model": {"document_mask": True}, "runtime": {"micro_batch_size": 8}},
    ],
)
def test_killed_and_resumed_equals_undisturbed_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = config(**changes)
    whole = trained(tmp_path / "whole", settings)
    root = tmp_path / "killed"
    for step in (6, 9, 11):  # checkpoints are after 4, 8 and 12
        with pytest.raises(KilledError):
            trained(root, settings, stream=raising(8 * step, KilledError()))
    resumed = trained(root, settings)
    assert whole.keys() == resumed.keys()
    assert any(name.startswith("optimizer.") for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert metrics(root) == metrics(tmp_path / "whole")


def test_a_store_that_is_no_folder_holds_the_same_run(tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    whole = trained(local, config())
    with pytest.raises(KilledError):
        trained(remote, config(), store=RemoteStore(str(remote)), stream=raising(8 * 9, KilledError()))
    resumed = trained(remote, config(), store=RemoteStore(str(remote)))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert metrics(remote) == metrics(local)


def test_training_learns(tmp_path: Path) -> None:
    trained(tmp_path, config(max_steps=60, eval_interval=30))
    losses = {line["step"]: line["val_loss"] for line in metrics(tmp_path) if "val_loss" in line}
    assert sorted(losses) == [0, 30, 60]
    assert losses[0] == pytest.approx(math.log(50), abs=0.2)
    assert losses[60] < losses[0] - 1.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_checkpoint_then_an_exit_code(tmp_path: Path, number: signal.Signals) -> None:
    stream = FakeStream()
    stream.on_index = lambda index: os.kill(os.getpid(), number) if index == 8 * 5 else None
    before = signal.getsignal(number)
    trainer = Trainer(job(tmp_path, config(), stream=stream), WORLD)
    with pytest.raises(Interrupted) as stopped:
        trainer.run()
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    latest = trainer.checkpoints.latest()
    assert latest is not None
    assert latest.step == 5  # the step during which it came is given up, no update is half done
    assert latest.record["stream"] == {"index": 40}
    resumed = trained(tmp_path, config())
    assert all(
        torch.equal(a, b)
        for a, b in zip(resumed.values(), trained(tmp_path / "w", config()).values(), strict=True)
    )


def test_a_loss_that_is_no_number_stops_before_the_update(tmp_path: Path) -> None:
    trainer = Trainer(job(tmp_path, config()), WORLD)

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


WORKER = """
import sys
from pathlib import Path
from tests.train.fakes import config, job
from train.config import RuntimeConfig
from train.distributed import join_world, leave_world
from train.loop import Trainer

world = join_world(RuntimeConfig(device="cpu", num_threads=1))
trainer = Trainer(job(Path(sys.argv[1]), config(model={"dropout": 0.1})), world)
trainer.resume()
trainer.run()
leave_world(world)
"""


def test_two_ranks_learn_what_one_does_and_either_resumes_the_other(tmp_path: Path) -> None:
    settings = config(model={"dropout": 0.1})
    trained(tmp_path / "one", settings)
    with pytest.raises(KilledError):
        trained(tmp_path / "two", settings, stream=raising(8 * 5, KilledError()))
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [sys.executable, *command, str(script), str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for single, double in zip(one, two, strict=True):
        for key, tolerance in (("loss", 1e-5), ("val_loss", 1e-5), ("grad_norm", 1e-3)):
            assert single.get(key) == pytest.approx(double.get(key), abs=tolerance)
    record = json.loads((tmp_path / "two/runs/r/checkpoints/step-00000012/checkpoint.json").read_text())
    assert record["world_size"] == 2
    assert record["stream"] == {"index": 96}
    assert trained(tmp_path / "two", settings)  # and one process opens what two wrote


@pytest.mark.parametrize(
    ("batch", "world", "most", "expected"),
    [(512, 8, 24, 3), (8, 1, 3, 3), (6, 2, 8, 1), (8, 3, 2, 2), (7, 1, 4, 2), (3, 2, 1, 1)],
)
def test_a_ranks_share_is_cut_into_few_equal_passes(batch: int, world: int, most: int, expected: int) -> None:
    assert num_micro_batches(batch, world, most) == expected


def test_more_ranks_than_sequences_are_refused() -> None:
    with pytest.raises(ConfigError, match="train.batch_size = 2: less than the 3 processes"):
        num_micro_batches(2, 3, 8)


def rank(number: int, size: int) -> World:
    return World(number, size, number, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_shares_of_all_ranks_are_the_batch_in_order(size: int) -> None:
    shares = [next_rows(FakeStream(), 8, rank(number, size)) for number in range(size)]
    assert np.concatenate([rows for rows, _ in shares]).tolist() == FakeStream().next_batch(8).tolist()
    assert [first for _, first in shares] == np.cumsum([0, *(len(rows) for rows, _ in shares)])[:-1].tolist()


def test_every_rank_sees_its_share_of_validation_once_and_all_run_in_step() -> None:
    blocks = [np.full(5, number) for number in range(11)] + [np.full(3, 11)]
    parts = [list(shared_blocks(blocks, 2, rank(number, 3))) for number in range(3)]
    assert {len(part) for part in parts} == {3}
    assert all(rows.shape[0] <= 2 for part in parts for rows, _ in part)
    counted = [rows[:, 0].tolist() for part in parts for rows, counts in part if counts]
    assert sorted(number for part in counted for number in part) == list(range(12))
