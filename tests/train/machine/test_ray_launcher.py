"""Ray Train as a launcher: how many workers, what driver and workers tell one another; and (soak) the same run as without it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed import TCPStore

from corpus.errors import ConfigError, FatalError, InputError, RetryableError
from corpus.storage.store import open_corpus, open_store
from tests.corpus.run.listeners import is_loopback, listeners
from tests.train.fakes import config
from train import run as door
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.run_folder import RunFolder
from train.job import RunRequest
from train.machine import ray_launcher
from train.machine.ray_launcher import num_workers
from train.monitoring.divergence import DivergedError

REPO = Path(__file__).parents[3]


@pytest.mark.parametrize(("text", "expected"), [("4", 4), ("1:1", (1, 1)), ("2:8", (2, 8))])
def test_workers_are_a_number_or_a_range(text: str, expected: int | tuple[int, int]) -> None:
    assert num_workers(text) == expected


@pytest.mark.parametrize("text", ["0", "3:2", "x", "-1", "1:2:3", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected N or MIN:MAX"):
        num_workers(text)


def test_without_ray_trains_packages_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        ray_launcher, "find_spec", lambda name: None if name == "pandas" else object()
    )
    line = [
        "--corpus",
        str(tmp_path),
        "--snapshot",
        "b",
        "--run",
        "r",
        "--ray-workers",
        "2",
        "--rebuild",
    ]
    assert door.main(line) == 2
    assert "Ray Train needs pandas; pip install 'webtext[raytrain]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [InputError("small"), DivergedError("nan"), FatalError("disk")])
def test_an_error_of_the_workers_is_the_one_that_a_process_alone_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: FatalError
) -> None:
    request = RunRequest(str(tmp_path), "b", "r", config())
    open_corpus(request.corpus, create=True)

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    class Main:
        def get_world_rank(self) -> int:
            return 0

    fake = SimpleNamespace(train=SimpleNamespace(get_context=Main, report=None))
    for name, module in (("ray", fake), ("ray.train", fake.train)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(ray_launcher, "claim", lambda request: None)
    monkeypatch.setattr(ray_launcher, "train", fail)
    monkeypatch.setattr(
        ray_launcher,
        "_fit",
        lambda request, *_: ray_launcher._worker({"request": pickle.dumps(request)}),
    )
    with pytest.raises(FatalError, match=str(error)) as raised:
        ray_launcher.train_on_ray(request, 1)
    assert type(raised.value) is type(error)


def test_workers_find_a_corpus_that_was_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train's workers have a working directory of their own."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    open_corpus("c", create=True)

    def fit(request: RunRequest, workers: int, folder: RunFolder) -> None:
        monkeypatch.chdir(tmp_path / "elsewhere")
        RunFolder(open_corpus(request.corpus), request.run).write("summary.json", {"steps": 1})
        monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(ray_launcher, "claim", lambda request: None)
    monkeypatch.setattr(ray_launcher, "_fit", fit)
    assert ray_launcher.train_on_ray(RunRequest("c", "b", "r", config()), 2).summary == {"steps": 1}


def test_a_store_that_fails_for_a_moment_hides_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_launcher, "POLL_S", 0.01)
    answers: list[Any] = [RetryableError("silent"), OSError("reset"), None, {"signal": 15}]

    def read(name: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    folder = RunFolder(open_store(str(tmp_path)), "r")
    monkeypatch.setattr(folder, "read", read)
    watch = ray_launcher._StopFile(folder)
    watch._thread.join(30)
    assert watch.number == 15


def command(root: Path, *extra: str, **changes: object) -> list[str]:
    settings = {
        "model.preset": "tiny", "model.n_layer": 1, "model.n_embd": 16, "model.block_size": 16, "batch_size": 8,
        "max_steps": 8, "runtime.device": "cpu",
    } | {name.replace("__", "."): value for name, value in changes.items()}  # fmt: skip
    sets = [part for name, value in settings.items() for part in ("--set", f"train.{name}={value}")]
    return [
        sys.executable,
        "-m",
        "train.run",
        "--corpus",
        str(root),
        "--snapshot",
        "b",
        *sets,
        *extra,
    ]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc/net")
def test_the_store_of_workers_on_one_machine_is_on_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of torch by itself takes connections on all interfaces, without a password."""
    monkeypatch.setattr(ray_launcher, "_stores", [])
    before = listeners(os.getpid())
    port = ray_launcher.open_loopback_store()
    opened = listeners(os.getpid()).keys() - before.keys()
    assert [number for _, number in opened] == [port]
    assert all(is_loopback(address) for address, _ in opened)

    rank = TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=60))
    rank.set("key", "value")
    assert ray_launcher._stores[0].get("key") == b"value"


NEEDS_PANDAS = pytest.mark.skipif(
    find_spec("pandas") is None, reason="pip install 'webtext[raytrain]'"
)
ENVIRON = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}


@pytest.mark.soak
@pytest.mark.timeout(600)
@NEEDS_PANDAS
def test_two_ray_workers_learn_what_one_process_does(corpus_copy: Path) -> None:
    losses = []
    for run, extra in (
        ("one", []),
        ("ray", ["--ray-workers", "2"]),
        ("ray", ["--ray-workers", "2"]),
    ):
        line = command(corpus_copy, "--run", run, "--json", *extra)
        done = subprocess.run(
            line, cwd=REPO, env=ENVIRON, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        losses.append(json.loads(done.stdout.strip().splitlines()[-1]))
    assert losses[0]["counts"]["val_loss"] == pytest.approx(
        losses[1]["counts"]["val_loss"], abs=1e-5
    )
    assert [each["up_to_date"] for each in losses] == [False, False, True]


def steps(root: Path, run: str) -> list[int]:
    return [found.step for found in Checkpoints(open_store(str(root)), run).all()]


def wait_beyond(root: Path, step: int, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 240
    while not (found := steps(root, "ray")) or found[-1] <= step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found[-1]


def train_workers(ancestor: int) -> list[int]:
    """Process ids of Ray's train workers below a process."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    parents = {int(text.split()[0]): int(text.rpartition(")")[2].split()[1]) for text in stats}

    def below(pid: int) -> bool:
        while pid in parents and pid != ancestor:
            pid = parents[pid]
        return pid == ancestor

    return [
        pid for pid in parents
        if below(pid) and b"TrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(900)
@NEEDS_PANDAS
def test_a_lost_worker_and_a_stop_change_nothing(corpus_copy: Path) -> None:
    long = {
        "max_steps": 2000,
        "eval_interval": 1000,
        "num_samples": 0,
        "runtime__checkpoint_interval": 50,
    }
    line = command(corpus_copy, "--run", "ray", "--ray-workers", "1:2", **long)
    process = subprocess.Popen(line, cwd=REPO, env=ENVIRON, stderr=subprocess.PIPE, text=True)
    step = wait_beyond(corpus_copy, 0, process)
    workers = train_workers(process.pid)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    step = wait_beyond(corpus_copy, step + 50, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert time.monotonic() - asked < 40
    assert (
        steps(corpus_copy, "ray")[-1] % 50 != 0
    )  # saved where it was told to stop, not at the last interval
    results = []
    for run in ("ray", "one"):
        done = subprocess.run(
            command(corpus_copy, "--run", run, "--json", **long),
            cwd=REPO, env=ENVIRON, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout.strip().splitlines()[-1])["counts"]["val_loss"])
    assert results[0] == pytest.approx(results[1], abs=0.02)  # 2,000 steps apart by rounding only
