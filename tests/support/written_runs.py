"""Folders of runs as training writes them, without a model."""

from __future__ import annotations

import json

from tests.support import grown_corpus
from train.config import TrainConfig

SNAPSHOT, BLOCK, BATCH_SIZE = "2024-02", 16, 4


def add_run(fates: grown_corpus.Fates, name: str, start: float) -> None:
    """A run of a few steps, as training records it."""
    config = TrainConfig.model_validate({"batch_size": BATCH_SIZE, "seed": 11})
    described = {
        "config": config.model_dump(),
        "snapshot": SNAPSHOT,
        "identity": {"shape": {"block_size": BLOCK}},
    }
    fates.store.write_json(f"runs/{name}/config.json", described)
    fates.store.write_json(f"runs/{name}/scores.json", {"sets": {"lambada": {"ppl": start}}})
    lines = [{"step": at, "loss": start / at, "val_loss": start / at + 1} for at in (1, 2, 3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    fates.store.write_bytes(f"runs/{name}/metrics.jsonl", text.encode())
