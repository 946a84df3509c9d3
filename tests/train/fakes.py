"""Small stand-ins for what training reads: a stream of blocks over random tokens, and a job on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corpus.storage.local import LocalStore
from corpus.storage.store import open_store
from train.checkpoints.checkpoint import state_tensors
from train.config import ModelConfig, OptimizerConfig, RuntimeConfig, TrainConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.loop import Job, Trainer
from train.machine.distributed import join_world

VOCAB = 50
BLOCK = 16
END = 0
TOKENIZER = ("--set", "shards.tokenizer.source=train", "--set", "shards.tokenizer.vocab_size=300")
"""Of corpora that `shards.run` makes for these tests: GPT-2's own takes longer than all else."""


class RemoteStore(LocalStore):
    """A store that says it is no local folder, over one that is."""

    @property
    def is_local(self) -> bool:
        return False

    def local_path(self, path: str) -> Path | None:
        return None


@dataclass
class Document:
    doc_id: str


class FakeStream:
    """Blocks of a fixed random text in a fixed order; `on_index` is called before each batch."""

    def __init__(self, seed: int = 0, num_blocks: int = 96, block_size: int = BLOCK) -> None:
        generator = np.random.default_rng(seed)
        # A text with structure: each token is likely to be followed by its successor.
        steps = generator.choice([1, 2, 7], p=[0.8, 0.1, 0.1], size=num_blocks * block_size + 1)
        self.tokens = np.cumsum(steps) % VOCAB
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.index = 0
        self.on_index: Any = lambda index: None

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        self.on_index(self.index)
        share = global_batch // world_size
        first = self.index + rank * share
        starts = [(i % self.num_blocks) * self.block_size for i in range(first, first + share)]
        self.index += global_batch
        return np.stack([self.tokens[s : s + self.block_size + 1] for s in starts]).astype(np.int64)

    def advance(self, num_samples: int) -> None:
        self.index += num_samples

    def state_dict(self) -> dict[str, int | str]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = int(state["index"])

    def documents(self, index: int) -> list[Document]:
        return [Document(f"{index:032x}")]


def val_blocks() -> Iterator[np.ndarray]:
    tokens = FakeStream(seed=1, num_blocks=6).tokens
    for start in range(0, len(tokens) - 1, BLOCK):
        yield tokens[start : start + BLOCK + 1].astype(np.int64)
    yield tokens[:5].astype(np.int64)


def config(**changes: Any) -> TrainConfig:
    """Two layers of width 16, 12 steps of 8 sequences, an evaluation and checkpoint every 4."""
    runtime = {
        "micro_batch_size": 4,
        "num_threads": 1,
        "log_interval": 3,
        "peak_tflops": 1.0,
        **changes.pop("runtime", {}),
    }
    model = {
        "preset": "tiny",
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "block_size": BLOCK,
        **changes.pop("model", {}),
    }
    optimizer = {"learning_rate": 1e-2, **changes.pop("optimizer", {})}
    settings: dict[str, Any] = {
        "batch_size": 8,
        "max_steps": 12,
        "eval_interval": 4,
        "num_samples": 0,
    }
    settings |= changes
    return TrainConfig(
        model=ModelConfig(**model),
        optimizer=OptimizerConfig(**optimizer),
        runtime=RuntimeConfig(**runtime),
        **settings,
    )


def job(root: Path, settings: TrainConfig, *, run: str = "r", **changes: Any) -> Job:
    values: dict[str, Any] = {
        "store": open_store(str(root)),
        "run": run,
        "config": settings,
        "shape": Shape(2, 2, 16, BLOCK, VOCAB),
        "end_of_text": END,
        "stream": FakeStream(),
        "val_blocks": val_blocks,
        "val_bytes": 300,
        "record": {"identity": {}},
    }
    return Job(**(values | changes))


ALONE = join_world(RuntimeConfig(device="cpu", num_threads=1), {})


class KilledError(Exception):
    """Stands for a kill -9: nothing is caught, nothing is written after it."""


def trained(root: Path, settings: TrainConfig, **changes: Any) -> dict[str, torch.Tensor]:
    """The tensors of a run of one process, from its last checkpoint to its end."""
    trainer = Trainer(job(root, settings, **changes), ALONE)
    trainer.resume()
    trainer.run()
    return {
        name: tensor.clone()
        for name, tensor in state_tensors(trainer.model, trainer.optimizers).items()
    }


def metrics(root: Path) -> list[dict[str, Any]]:
    """The lines of run `r` without what depends on the clock."""
    lines = (root / "runs/r/metrics.jsonl").read_text().splitlines()
    return [
        {
            key: value
            for key, value in json.loads(line).items()
            if key not in ("tokens_per_s", "mfu", "time")
        }
        for line in lines
    ]


def raising(index: int, error: Exception) -> FakeStream:
    """A stream that fails at a position."""
    stream = FakeStream()

    def check(position: int) -> None:
        if position == index:
            raise error

    stream.on_index = check
    return stream


def perturbed(shape: Shape, spread: float, seed: int = 0) -> GPT2:
    """A model whose biases and norms are no zeros and ones either; the same for a seed."""
    torch.manual_seed(seed)
    model = GPT2(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    return model.eval()
