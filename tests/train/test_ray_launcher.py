"""Ray Train as a launcher: how many workers; and (soak) the same run as without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.errors import ConfigError
from tests.shards.corpora import commit_batch, documents, make_shards
from train.ray_launcher import num_workers

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize(("text", "expected"), [("4", 4), ("1:1", (1, 1)), ("2:8", (2, 8))])
def test_workers_are_a_number_or_a_range(text: str, expected: int | tuple[int, int]) -> None:
    assert num_workers(text) == expected


@pytest.mark.parametrize("text", ["0", "3:2", "x", "-1", "1:2:3", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected N or MIN:MAX"):
        num_workers(text)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_two_ray_workers_learn_what_one_process_does(tmp_path: Path) -> None:
    root = tmp_path / "c"
    commit_batch(str(root), "b", documents(40))
    tokenizer = ["--set", "shards.tokenizer.source=train", "--set", "shards.tokenizer.vocab_size=300"]
    make_shards(str(root), "b", *tokenizer)
    settings = [
        "model.preset=tiny",
        "model.n_layer=1",
        "model.n_embd=16",
        "model.block_size=16",
        "batch_size=8",
        "max_steps=8",
        "runtime.device=cpu",
    ]
    sets = [part for each in settings for part in ("--set", f"train.{each}")]
    command = [sys.executable, "-m", "train.run", "--corpus", str(root), "--snapshot", "b", *sets]
    environ = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    losses = []
    for run, extra in (("one", []), ("ray", ["--ray-workers", "2"]), ("ray", ["--ray-workers", "2"])):
        line = [*command, "--run", run, "--json", *extra]
        done = subprocess.run(line, cwd=REPO, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        losses.append(json.loads(done.stdout.strip().splitlines()[-1]))
    assert losses[0]["counts"]["val_loss"] == pytest.approx(losses[1]["counts"]["val_loss"], abs=1e-5)
    assert [each["up_to_date"] for each in losses] == [False, False, True]
