"""Runs of several processes, and processes that are killed: any of them ends as one undisturbed process would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore
from torch.distributed.run import main as torchrun

from corpus.storage.store import open_store
from tests.train.doors import arguments, last_json, weights
from tests.train.fakes import KilledError, config, metrics, raising, trained
from tests.train.worlds import PATIENCE_S, STOPPED, forked, leave_before_model, train_in_world
from train import run
from train.checkpoints.checkpoint import Checkpoints

REPO = Path(__file__).parents[2]


def shared(dropout: float, parallel: str = "ddp") -> dict[str, Any]:
    """With one sequence a pass, dropout falls alike however a batch is shared equally."""
    return {"model": {"dropout": dropout}, "runtime": {"micro_batch_size": 1, "parallel": parallel}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    """Runs of one process by their dropout; do not write to them."""
    roots = {dropout: tmp_path_factory.mktemp("alone") for dropout in (0.0, 0.1)}
    for dropout, root in roots.items():
        trained(root, config(**shared(dropout)))
    return roots


@pytest.mark.parametrize(
    ("parallel", "size", "dropout"), [("ddp", 4, 0.1), ("fsdp", 2, 0.1), ("ddp", 3, 0.0)]
)
def test_any_number_of_ranks_goes_on_as_one_would(
    alone: dict[float, Path], tmp_path: Path, parallel: str, size: int, dropout: float
) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, config(**shared(dropout)), stream=raising(8 * 5, KilledError()))
    assert train_in_world(tmp_path, size, **shared(dropout, parallel)) == [0] * size
    one, many = metrics(alone[dropout]), metrics(tmp_path)
    assert [line["step"] for line in one] == [line["step"] for line in many]
    for single, other in zip(one, many, strict=True):
        for key, tolerance in (("loss", 1e-5), ("val_loss", 1e-5), ("grad_norm", 1e-3)):
            assert single.get(key) == pytest.approx(other.get(key), abs=tolerance)
    samples = {
        path.name: len(json.loads(path.read_text()))
        for path in (tmp_path / "runs/r/samples").iterdir()
    }
    assert samples == {"step-00000008.txt": 8, "step-00000012.txt": 8}
    record = json.loads((tmp_path / "runs/r/checkpoints/step-00000012/checkpoint.json").read_text())
    assert record["world_size"] == size
    assert record["stream"] == {"index": 96}
    opened, expected = (
        trained(root, config(**shared(dropout))) for root in (tmp_path, alone[dropout])
    )
    for name, tensor in expected.items():  # and one process opens what many wrote
        torch.testing.assert_close(opened[name], tensor, rtol=1e-3, atol=2e-4)


def test_a_signal_to_one_rank_stops_all_after_the_same_step(tmp_path: Path) -> None:
    codes = train_in_world(tmp_path, 2, told_rank=1, runtime={"parallel": "fsdp"})
    assert codes == [STOPPED, STOPPED]
    assert [found.step for found in Checkpoints(open_store(str(tmp_path)), "r").all()] == [4, 6]


ENDLESS = {
    "max_steps": 1_000_000, "eval_interval": 1_000_000, "num_samples": 0, "optimizer.schedule": "wsd",
    "optimizer.warmup_frac": 0, "optimizer.decay_frac": 0, "runtime.checkpoint_interval": 20,
}  # fmt: skip
"""A run that is stopped somewhere; without warm-up and decay its weights do not depend on where its end would be."""


def door(options: list[str], log: Path) -> None:
    """`python -m train.run` in a process forked from one that has torch, stderr in a file."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    raise SystemExit(run.main(options))


def wait_for_checkpoint(root: Path, process: BaseProcess, after: int = 0) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while (
        not (steps := [found.step for found in Checkpoints(open_store(str(root)), "r").all()])
        or steps[-1] <= after
    ):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return steps[-1]


def test_killed_then_refused_while_busy_then_stopped_is_as_if_nothing_had_been(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, root, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    for folder in (whole, root):
        shutil.copytree(corpus, folder)
    process = forked(door, arguments(root, **ENDLESS), log)
    step = wait_for_checkpoint(root, process)
    process.kill()
    process.join()
    process = forked(door, arguments(root, **ENDLESS), log)  # the lock of the dead is taken over
    step = wait_for_checkpoint(root, process, after=step)
    assert run.main(arguments(root, **ENDLESS)) == 2
    assert "held by process" in capsys.readouterr().err
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(PATIENCE_S)
    assert process.exitcode == 143, log.read_text()
    assert "continuing after step" in log.read_text()
    assert "finished work is kept. To continue: python -m train.run" in log.read_text()
    stopped = Checkpoints(open_store(str(root)), "r").find("last").step
    assert stopped >= step
    assert run.main(arguments(whole, **ENDLESS | {"max_steps": stopped})) == 0
    assert weights(root) == weights(whole)


def ranked_door(options: list[str], place: dict[str, str], log: Path) -> None:
    os.environ.update(place)
    door(options, log)


def test_ranks_of_torchrun_try_one_rate_after_the_other(corpus: Path, tmp_path: Path) -> None:
    """The store that torchrun keeps for its ranks, without the seconds of its start; a second group in it finds the first."""
    for folder in ("one", "two"):
        shutil.copytree(corpus, tmp_path / folder)
    options = ("--sweep", "1e-6,1e-2")
    assert run.main(arguments(tmp_path / "one", *options, max_steps=4, num_samples=0)) == 0
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    ranks = [
        forked(
            ranked_door,
            arguments(tmp_path / "two", *options, max_steps=4, num_samples=0),
            place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            tmp_path / f"log-{rank}",
        )
        for rank in range(2)
    ]
    for rank in ranks:
        rank.join(PATIENCE_S)
        rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0], (tmp_path / "log-0").read_text()
    found = [
        json.loads((tmp_path / folder / "runs/r/sweep.json").read_text())
        for folder in ("one", "two")
    ]
    assert found[0]["best"] == found[1]["best"]
    for alone, together in zip(found[0]["rates"], found[1]["rates"], strict=True):
        assert alone["perplexity"] == pytest.approx(together["perplexity"], rel=1e-5)


def test_a_world_is_left_while_a_thread_of_it_still_needs_the_interpreter() -> None:
    """One in five ranks hung so: the model's reducer ended the group, and waited for its thread."""
    stores = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in range(20)]
    ports = [store.port for store in stores]
    ranks = [forked(leave_before_model, rank, 2, ports) for rank in range(2)]
    for rank in ranks:
        rank.join(PATIENCE_S)
        rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]


@pytest.fixture
def own_signals() -> Iterator[None]:
    """What handles signals now does so afterwards: torchrun leaves its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_torchrun_trains_what_one_process_does(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The launcher runs in this process, its two ranks in processes of their own."""
    for folder in ("one", "two"):
        shutil.copytree(corpus, tmp_path / folder)
    assert run.main(arguments(tmp_path / "one", "--json")) == 0
    alone = last_json(capfd.readouterr().out)["counts"]
    monkeypatch.chdir(REPO)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # torchrun takes --run for its own --run-path; the door's other name for it is --name.
    options = [
        "--name" if option == "--run" else option
        for option in arguments(tmp_path / "two", "--json")
    ]
    torchrun(["--standalone", "--nproc-per-node", "2", "-m", "train.run", *options])
    assert last_json(capfd.readouterr().out)["counts"]["val_loss"] == pytest.approx(
        alone["val_loss"], abs=1e-5
    )


@pytest.mark.soak  # two agents of torchrun load torch, and so do their ranks
def test_two_agents_train_what_one_process_does(corpus: Path, tmp_path: Path) -> None:
    """The line of docs/gpu.md for several machines, with both on the loopback."""
    root = shutil.copytree(corpus, tmp_path / "c")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--rdzv-backend", "c10d", "--rdzv-id", "r", "--rdzv-endpoint", f"127.0.0.1:{port}",
        "-m", "train.run",
        *["--name" if part == "--run" else part for part in arguments(root, runtime__parallel="hsdp")],
    ]  # fmt: skip
    agents = [
        subprocess.Popen(line, cwd=REPO, env={"OMP_NUM_THREADS": "1", **os.environ})
        for _ in range(2)
    ]
    assert [agent.wait(200) for agent in agents] == [0, 0]
    alone = shutil.copytree(corpus, tmp_path / "alone")
    assert run.main(arguments(alone)) == 0
    one, two = (
        json.loads((folder / "runs/r/summary.json").read_text())["val_loss"]
        for folder in (alone, root)
    )
    assert one == pytest.approx(two, abs=1e-5)
