"""Checkpoints: whole or not there; the last k and the best stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.errors import FatalError, InputError, SchemaError
from corpus.storage.store import Store
from tests.train.fakes import RemoteStore
from train import checkpoint as checkpoint_module
from train.checkpoint import Checkpoints, load_weights
from train.config import RuntimeConfig
from train.distributed import join_world
from train.model import GPT2
from train.shape import Shape

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
SHAPE = Shape(1, 1, 4, 8, 10)


def model(seed: int = 0) -> GPT2:
    torch.manual_seed(seed)
    return GPT2(SHAPE)


def save(
    checkpoints: Checkpoints, step: int, val_loss: float | None = None, keep_last: int = 2
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model(step).state_dict().items()}
    checkpoints.save(step, tensors, {"val_loss": val_loss}, WORLD, keep_last=keep_last)


@pytest.mark.parametrize("kind", [Store, RemoteStore])
def test_weights_come_back(tmp_path: Path, kind: type[Store]) -> None:
    checkpoints = Checkpoints(kind(str(tmp_path)), "r")
    save(checkpoints, 3)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 3
    other = model(1)
    with checkpoints.local_copy(latest) as files:
        load_weights(other, files)
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), model(3).parameters(), strict=True)
    )


def test_the_last_two_and_the_best_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Store(str(tmp_path)), "r")
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5)):
        save(checkpoints, step, loss)
    assert [found.step for found in checkpoints.all()] == [2, 4, 5]
    assert checkpoints.find("best").step == 2
    assert checkpoints.find("last").step == 5
    assert checkpoints.find("4").step == 4
    with pytest.raises(InputError, match="no checkpoint '3'.*steps there: 2, 4, 5"):
        checkpoints.find("3")


@pytest.mark.parametrize("kind", [Store, RemoteStore])
def test_a_save_that_dies_hides_nothing(
    tmp_path: Path, kind: type[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(kind(str(tmp_path)), "r")
    save(checkpoints, 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            Checkpoints, "_commit", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 2)
    assert [found.step for found in checkpoints.all()] == [1]
    save(checkpoints, 2)
    names = sorted(path.name for path in (tmp_path / "runs/r/checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("kind", [Store, RemoteStore])
def test_what_kills_left_goes_with_the_next_checkpoint(
    tmp_path: Path, kind: type[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while an old one is dropped, and (where nothing can be renamed) while one is sent: a step that may never come again."""
    checkpoints = Checkpoints(kind(str(tmp_path)), "r")
    save(checkpoints, 1, keep_last=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            kind, "delete_dir", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 2, keep_last=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            Checkpoints, "_commit", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 3, keep_last=1)
    save(checkpoints, 4, keep_last=1)
    assert [path.name for path in (tmp_path / "runs/r/checkpoints").iterdir()] == ["step-00000004"]


def damage(root: Path, step: int) -> None:
    path = root / f"runs/r/checkpoints/step-{step:08}/__0_0.distcp"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(Store(str(tmp_path)), "r")
    save(checkpoints, 1)
    save(checkpoints, 2)
    damage(tmp_path, 2)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 1
    assert "__0_0.distcp: digest" in caplog.text


def test_a_damaged_checkpoint_takes_no_whole_ones_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Store(str(tmp_path)), "r")
    for step in (2, 8):
        save(checkpoints, step, keep_last=1)
    damage(tmp_path, 8)
    for step in (3, 4):  # the run went on from step 2
        save(checkpoints, step, keep_last=1)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.step == 4


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "_write_tensors", full)
    with pytest.raises(FatalError, match="No space left on device; free space"):
        save(Checkpoints(Store(str(tmp_path)), "r"), 1)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Store(str(tmp_path)), "r")
    save(checkpoints, 1)
    path = tmp_path / "runs/r/checkpoints/step-00000001/checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    with pytest.raises(SchemaError, match="format 9, this version reads 2"):
        checkpoints.latest()
