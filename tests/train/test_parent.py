"""A run that begins with another model: its weights, or all of its state, on the same or other tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.storage.store import open_store
from tests.support.document_corpus import commit_batch, documents, make_shards
from tests.train.doors import arguments
from tests.train.fakes import TOKENIZER
from train import export, run
from train.checkpoints.checkpoint import Checkpoints, load_weights
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape


@pytest.fixture(scope="module")
def parent(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `r`, stable up to step 8 of 10; do not write to it."""
    root = tmp_path_factory.mktemp("parent") / "c"
    shutil.copytree(corpus, root)
    assert run.main(arguments(root, **STABLE, max_steps=10, runtime__keep_last=9)) == 0
    return root


STABLE: dict[str, Any] = {
    "optimizer.schedule": "wsd", "optimizer.decay_frac": 0.2, "optimizer.warmup_frac": 0.0,
}  # fmt: skip


@pytest.fixture
def root(parent: Path, tmp_path: Path) -> Path:
    return shutil.copytree(parent, tmp_path / "c")


def child(root: Path, *extra: str, **changes: Any) -> int:
    """Train run `child`, beginning with `r` unless told otherwise."""
    settings = arguments(root, **{"init_from": "r", **changes})
    settings[settings.index("--run") + 1] = "child"
    return run.main([*settings, *extra])


def described(root: Path, name: str = "child") -> dict[str, Any]:
    config: dict[str, Any] = json.loads((root / f"runs/{name}/config.json").read_text())
    return config


def weights(root: Path, name: str, which: str = "last") -> GPT2:
    checkpoints = Checkpoints(open_store(str(root)), name)
    model = GPT2(Shape(**described(root, name)["identity"]["shape"]))
    with checkpoints.local_copy(checkpoints.find(which)) as files:
        load_weights(model, files)
    return model


def same(one: GPT2, other: GPT2) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def losses(root: Path, name: str) -> dict[int, float]:
    lines = (root / f"runs/{name}/metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {line["step"]: line["val_loss"] for line in found if "val_loss" in line}


def test_a_run_begins_with_its_parents_weights_and_names_it(root: Path) -> None:
    assert child(root, max_steps=4) == 0
    assert losses(root, "child")[0] == losses(root, "r")[10]
    parent = described(root)["identity"]["parent"]
    assert (parent["run"], parent["step"], len(parent["weights"])) == ("r", 10, 32)
    summary = json.loads((root / "runs/child/summary.json").read_text())
    assert summary["steps"] == 4
    assert child(root, max_steps=4) == 0, "up to date, though nothing else names the parent"


def test_all_of_a_stable_parent_goes_on_as_one_longer_run_would(root: Path) -> None:
    """Bit for bit: the checkpoint of step 8 is before the decay of a run of 10 steps, and of 20."""
    settings: dict[str, Any] = {**STABLE, "max_steps": 20, "init_state": "all"}
    assert child(root, init_from="r:8", **settings) == 0
    assert run.main(arguments(root, "--rebuild", **STABLE, max_steps=20)) == 0
    assert same(weights(root, "child"), weights(root, "r"))
    lines = {name: losses(root, name) for name in ("child", "r")}
    assert lines["child"] == {step: loss for step, loss in lines["r"].items() if step >= 8}


def test_a_child_goes_on_without_its_parent(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train.loop import Trainer

    step = Trainer._train_step

    def stop(trainer: Trainer, *arguments: Any) -> None:
        if trainer.step == 5:
            raise KeyboardInterrupt
        step(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop)
        assert child(root) == 130
    shutil.rmtree(root / "runs/r")
    assert child(root) == 0
    assert json.loads((root / "runs/child/summary.json").read_text())["steps"] == 8


def test_an_imported_model_is_trained_on_as_another_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root.parent / "hf"
    corpus = ["--corpus", str(root)]
    assert export.main([*corpus, "--run", "r", "--to", "hf", "--folder", str(folder)]) == 0
    assert export.main([*corpus, "--run", "imp", "--from", "hf", "--folder", str(folder)]) == 0
    settings = arguments(root)
    settings[settings.index("--run") + 1] = "imp"
    assert run.main(settings) == 2
    assert "--run NAME --set train.init_from=imp" in capsys.readouterr().err

    assert child(root, init_from="imp", max_steps=2) == 0
    first = losses(root, "child")
    assert child(root, "--rebuild", init_from=str(folder), max_steps=2) == 0
    assert losses(root, "child") == first
    assert described(root)["identity"]["parent"]["folder"] == str(folder)
    assert child(root, "--rebuild", init_from="imp", init_state="all") == 2
    assert "an imported model has no state" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_from": "nobody"}, "train.init_from = 'nobody': no such run"),
        ({"init_from": "r:7"}, "no checkpoint '7'"),
        ({"init_state": "all", "max_steps": 8}, "the parent has 10 steps, which count"),
        ({"init_state": "all", "max_steps": 10}, "the parent has 10 steps, which count"),
        ({"model.n_embd": 32}, "n_embd: 16 there, 32 here"),
        (
            {"init_state": "all", "max_steps": 20, "optimizer.name": "muon"},
            "has the states exp_avg, exp_avg_sq, step, not those of Muon: set",
        ),
    ],
)
def test_a_parent_that_does_not_fit_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert child(root, **changes) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_parent_whose_settings_are_damaged_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = described(root, "r")
    for identity in ({}, {**document["identity"], "shape": {"n_layer": "1"}}, [1]):
        damaged = {**document, "identity": identity}
        (root / "runs/r/config.json").write_text(json.dumps(damaged))
        assert child(root) == 2
        assert "runs/r/config.json: not the settings of a run" in capsys.readouterr().err


def test_the_next_snapshot_continues_with_some_of_the_old_batches(root: Path) -> None:
    """One line: a model follows its corpus, with the parent's sizes, recipe and a share of its text."""
    commit_batch(str(root), "c", documents(60)[40:])
    make_shards(str(root), "c", *TOKENIZER)
    settings = ["--corpus", str(root), "--snapshot", "c", "--run", "child", "--set", "train.max_steps=2"]  # fmt: skip
    assert run.main([*settings, "--continue-from", "r"]) == 0
    config = described(root)["config"]
    before = described(root, "r")["config"]
    assert config["init_from"] == "r"
    assert config["optimizer"] == {**before["optimizer"], "learning_rate": 2e-3}
    assert config["batch_size"] == before["batch_size"]
    assert [(each["batches"], each["weight"]) for each in config["data"]["sources"]] == [
        (["c"], 0.95), (["b"], 0.05),
    ]  # fmt: skip
    assert described(root)["identity"]["shape"] == described(root, "r")["identity"]["shape"]
