"""The door of training on the small corpus: its arguments, and what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corpus.storage.store import open_store
from train.checkpoints.checkpoint import Checkpoints

SETTINGS = {
    "model.preset": "tiny",
    "model.n_layer": 1,
    "model.n_head": 2,
    "model.n_embd": 16,
    "model.block_size": 16,
    "batch_size": 8,
    "max_steps": 8,
    "eval_interval": 4,
    "sample_tokens": 8,
    "runtime.num_threads": 1,
    "runtime.device": "cpu",
}


def arguments(root: Path, *extra: str, **changes: Any) -> list[str]:
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    sets = [part for key, value in settings.items() for part in ("--set", f"train.{key}={value}")]
    return ["--corpus", str(root), "--snapshot", "b", "--run", "r", *sets, *extra]


def weights(root: Path) -> dict[str, str]:
    """Digests of the tensor files and of their index."""
    files = Checkpoints(open_store(str(root)), "r").find("last").record["files"]
    return {file["file"]: file["digest"] for file in files}


def last_json(text: str) -> Any:
    return json.loads(text.strip().splitlines()[-1])
