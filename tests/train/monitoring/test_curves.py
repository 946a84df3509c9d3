"""Curves for TensorBoard and Weights & Biases: what metrics.jsonl says, once, over all interruptions."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.errors import ConfigError
from corpus.storage.local import LocalStore
from corpus.storage.store import Store, open_store
from tests.train.fakes import FakeStream, RemoteStore, config, job
from train.checkpoints.run_folder import RunFolder
from train.config import RuntimeConfig
from train.loop import Trainer
from train.machine.distributed import join_world
from train.monitoring import curves
from train.monitoring.curves import open_boards, scalars

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})


def points(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Every scalar of the event files: records of length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in folder.iterdir():
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                yield value.tag, event.step, value.simple_value


def stop_at(index: int) -> FakeStream:
    stream = FakeStream()

    def check(position: int) -> None:
        if position == index:
            raise RuntimeError

    stream.on_index = check
    return stream


@pytest.mark.parametrize("kind", [LocalStore, RemoteStore])
def test_a_resumed_run_is_one_curve(tmp_path: Path, kind: type[Store]) -> None:
    store = kind(str(tmp_path))
    with pytest.raises(RuntimeError):
        Trainer(job(tmp_path, config(), store=store, stream=stop_at(8 * 7)), WORLD).run()
    again = Trainer(job(tmp_path, config(), store=store), WORLD)
    assert again.resume()
    again.run()
    lines = [
        json.loads(line) for line in (tmp_path / "runs/r/metrics.jsonl").read_text().splitlines()
    ]
    expected = {
        (name, line["step"]): value for line in lines for name, value in scalars(line).items()
    }
    found = list(points(tmp_path / "runs/r/tensorboard"))
    assert len(found) == len(expected)
    assert {(tag, step) for tag, step, _ in found} == expected.keys()
    assert {"loss", "val_loss", "learning_rate", "grad_norm", "tokens_per_s", "mfu"} <= {
        tag for tag, _, _ in found
    }
    for tag, step, value in found:
        assert value == pytest.approx(expected[tag, step], rel=1e-6)


def test_text_and_truth_values_are_no_curves() -> None:
    line = {
        "step": 3,
        "time": 1.5,
        "loss": 2.0,
        "val_tokens": 7,
        "skip": "loss nan",
        "documents": ["a"],
        "x": True,
    }
    assert scalars(line) == {"loss": 2.0, "val_tokens": 7}


def test_no_board_where_none_is_wanted(tmp_path: Path) -> None:
    Trainer(job(tmp_path, config(runtime={"tensorboard": False})), WORLD).run()
    assert not (tmp_path / "runs/r/tensorboard").exists()


def test_wandb_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder = RunFolder(open_store(str(tmp_path)), "r")
    with pytest.raises(
        ConfigError, match="wandb_project = 'p': wandb is not installed; pip install wandb"
    ):
        open_boards(folder, RuntimeConfig(wandb_project="p"))


class FakeWandb:
    """What this project asks of wandb: every start's settings and points."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.points: list[dict[str, Any]] = []
        self.metrics: list[tuple[str, str]] = []
        self.num_finished = self.num_torn_down = self.num_failing = 0

    def init(self, **settings: Any) -> FakeWandb:
        print("wandb: hello")
        if self.num_failing:
            self.num_failing -= 1
            raise OSError("no such\nhost")
        self.starts.append(settings)
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, Any]) -> None:
        self.points.append(values)

    def finish(self) -> None:
        self.num_finished += 1

    def teardown(self) -> None:
        self.num_torn_down += 1


def test_both_starts_of_a_run_are_one_at_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    settings: dict[str, Any] = {"tensorboard": False, "wandb_project": "p"}
    with pytest.raises(RuntimeError):
        Trainer(job(tmp_path, config(runtime=settings), stream=stop_at(8 * 7)), WORLD).run()
    again = Trainer(job(tmp_path, config(runtime=settings)), WORLD)
    assert again.resume()
    again.run()
    assert [start["resume"] for start in wandb.starts] == ["allow"] * 2
    assert {(start["project"], start["name"]) for start in wandb.starts} == {("p", "r")}
    assert len({start["id"] for start in wandb.starts}) == 1
    assert wandb.metrics == [("*", "step")] * 2
    assert wandb.num_finished == 2
    lines = [
        json.loads(line) for line in (tmp_path / "runs/r/metrics.jsonl").read_text().splitlines()
    ]
    curve = {
        (name, point["step"]): value for point in wandb.points for name, value in point.items()
    }
    for line in lines:  # points made again fall on the old ones
        for name, value in scalars(line).items():
            assert curve[name, line["step"]] == value


def lines_of(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "runs/r/metrics.jsonl").read_text().splitlines()]


def test_wandb_that_answers_late_gets_every_line_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Lines before the first answer were lost, and a run that failed to open was never opened again."""
    wandb = FakeWandb()
    wandb.num_failing = 2
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    settings: dict[str, Any] = {"tensorboard": False, "wandb_project": "p"}
    summary = Trainer(job(tmp_path, config(runtime=settings)), WORLD).run()
    assert summary["failures"] == {"WeightsAndBiases": 2}
    assert wandb.num_torn_down == 2
    assert "OSError: no such\\nhost; training continues" in caplog.text
    expected = [{**scalars(line), "step": line["step"]} for line in lines_of(tmp_path)]
    assert wandb.points == expected
    # stdout is the command's: a caller reads the last line of it.
    captured = capsys.readouterr()
    assert "hello" in captured.err
    assert "hello" not in captured.out

    # A later start has nothing to send again.
    more = Trainer(job(tmp_path, config(max_steps=13, runtime=settings)), WORLD)
    assert more.resume()
    more.run()
    assert wandb.points == [{**scalars(line), "step": line["step"]} for line in lines_of(tmp_path)]


def test_a_board_is_asked_for_a_twentieth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb waits a minute and a half for a server that does not answer, and again at each evaluation."""
    clock = [0.0]
    monkeypatch.setattr(curves, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    tries = []

    class Slow(curves.RunPage):
        def begin(self, lines: Any) -> None:
            tries.append(clock[0])
            clock[0] += 90
            raise OSError("no answer")

    board = curves.GuardedBoard(Slow(RunFolder(open_store(str(tmp_path)), "r")))
    board.begin([])
    for _ in range(100):
        clock[0] += 60
        board.flush()
    assert board.num_failures == len(tries)
    assert 3 <= len(tries) <= 5
    assert all(later - earlier >= 20 * 90 for earlier, later in pairwise(tries))


class FakeTrackio:
    """What this project asks of trackio."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        self.points: list[tuple[int, dict[str, Any]]] = []
        self.num_finished = 0

    def init(self, **settings: Any) -> FakeTrackio:
        self.starts.append(settings["resume"])
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        self.points.append((step, values))

    def finish(self) -> None:
        self.num_finished += 1


def test_trackio_does_not_continue_a_stranger_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another corpus, or the run before a rebuild, may have used the project and the name."""
    trackio = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    settings: dict[str, Any] = {"tensorboard": False, "trackio_project": "p"}
    folder = RunFolder(open_store(str(tmp_path)), "r")
    for _ in range(2):
        (board,) = open_boards(folder, RuntimeConfig(**settings))[1:]
        board.begin([{"step": 1, "loss": 2.0}])
        board.close()
    folder.clear()
    (board,) = open_boards(folder, RuntimeConfig(**settings))[1:]
    board.begin([])
    assert trackio.starts == ["never", "allow", "never"]
    # A board that is asked for later gets the lines before it, and each only once.
    assert trackio.points == [(1, {"loss": 2.0})]
    assert trackio.num_finished == 2


def test_wandb_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    settings: dict[str, Any] = {"tensorboard": False, "wandb_project": "p"}
    with pytest.raises(RuntimeError):
        Trainer(job(tmp_path, config(runtime=settings), stream=stop_at(8 * 7)), WORLD).run()
    again = Trainer(job(tmp_path, config(runtime=settings)), WORLD)
    assert again.resume()
    assert math.isfinite(again.run()["val_loss"])
    known = json.loads((tmp_path / "runs/r/wandb.json").read_text())["id"]
    kept = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(kept) == 2
    assert all(folder.name.endswith(known) for folder in kept)


def test_trackio_continues_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The library reads its folder when it is imported.
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="trackio is not installed: pip install trackio")
    settings: dict[str, Any] = {"tensorboard": False, "trackio_project": "p"}
    with pytest.raises(RuntimeError):
        Trainer(job(tmp_path, config(runtime=settings), stream=stop_at(8 * 7)), WORLD).run()
    again = Trainer(job(tmp_path, config(runtime=settings)), WORLD)
    assert again.resume()
    again.run()

    with sqlite3.connect(tmp_path / "trackio" / "p.db") as store:
        rows = store.execute("select run_id, run_name, step, metrics from metrics").fetchall()
    assert {name for _, name, *_ in rows} == {"r"}
    assert len({run for run, *_ in rows}) == 1
    curve = {
        (name, step): value for *_, step, row in rows for name, value in json.loads(row).items()
    }
    for line in (tmp_path / "runs/r/metrics.jsonl").read_text().splitlines():
        for name, value in scalars(json.loads(line)).items():
            assert curve[name, json.loads(line)["step"]] == value
