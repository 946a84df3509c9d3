"""The training runs of an ablation: every arm with every seed, at one shape and token count."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from corpus.config import load_config
from corpus.errors import Interrupted, StageError
from corpus.run import command
from corpus.snapshots.snapshot import read_head
from corpus.storage.store import open_corpus
from train.checkpoints.run_folder import RunFolder
from train.config import TrainConfig
from webtext.ablate.arms import Arm
from webtext.stages import stage_main

# Evaluations of a run, the points of its curve.
POINTS = 10
# Seeds are FIRST_SEED, FIRST_SEED + 1, ...: more seeds later repeat none.
FIRST_SEED = 1337


@dataclass(frozen=True)
class Plan:
    """The parts of the training shared by all arms."""

    shape: str
    tokens: int
    seeds: int
    held_out: str
    sets: tuple[str, ...] = ()
    jobs: int = 1
    texts: tuple[str, ...] = ()
    """Further texts to judge on, as NAME=FILE."""


@dataclass(frozen=True)
class TrainingRun:
    """One run: an arm's corpus and snapshot, and a seed."""

    arm: Arm
    corpus: str
    snapshot: str
    seed: int

    @property
    def name(self) -> str:
        """The run's name in the arm's corpus."""
        return f"seed-{self.seed}"

    def words(self, plan: Plan) -> list[str]:
        """The command line of `webtext train`."""
        sets = self._sets(plan)
        return [
            *("--corpus", self.corpus, "--snapshot", self.snapshot, "--run", self.name),
            *("--held-out", plan.held_out),
            *(word for each in sets for word in ("--set", each)),
        ]

    def config(self, plan: Plan) -> TrainConfig:
        """The settings of the run, without its seed and number of steps."""
        return load_config(
            TrainConfig,
            "train",
            corpus_toml=command.corpus_settings(self.corpus),
            sets=self._shared(plan),
            environ=os.environ,
        )

    def _shared(self, plan: Plan) -> list[str]:
        own = [each for each in self.arm.sets if each.startswith("train.")]
        return [f"train.model.preset={plan.shape}", *plan.sets, *own]

    def _sets(self, plan: Plan) -> list[str]:
        config = self.config(plan)
        block = config.model.shape(vocab_size=1).block_size
        steps = max(1, plan.tokens // (config.resolved_batch_size * block))
        return [
            *self._shared(plan),
            f"train.seed={self.seed}",
            f"train.max_steps={steps}",
            f"train.eval_interval={max(1, steps // POINTS)}",
            "train.num_samples=0",
            # An interrupted run continues from its last evaluation, so one checkpoint will do.
            "train.runtime.keep_last=1",
            "train.runtime.tensorboard=false",
            *([f"train.runtime.num_threads={_threads(plan.jobs)}"] if plan.jobs > 1 else []),
        ]

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run."""
        return RunFolder(open_corpus(self.corpus), self.name).read("summary.json")

    def curve(self) -> list[tuple[int, float]]:
        """Tokens seen and bits per byte of the held-out texts, by evaluation."""
        folder = RunFolder(open_corpus(self.corpus), self.name)
        by_step = {
            int(line["step"]): float(line["val_bits_per_byte"])
            for line in folder.metrics()
            if "val_bits_per_byte" in line
        }

        summary = folder.read("summary.json") or {}
        tokens_per_step = summary.get("tokens", 0) / max(1, summary.get("steps", 1))
        return [(round(step * tokens_per_step), value) for step, value in sorted(by_step.items())]

    def train_tokens(self) -> int:
        """Tokens of the training split."""
        return read_head(open_corpus(self.corpus), self.snapshot).splits["train"].num_tokens


def train_all(runs: Sequence[TrainingRun], plan: Plan) -> None:
    """Train all unfinished runs, `plan.jobs` at a time. Raises: StageError, Interrupted."""
    missing = [each for each in runs if each.summary() is None]
    if plan.jobs == 1:
        for each in missing:
            _check(each, stage_main("train")(each.words(plan)))
        return

    with ThreadPoolExecutor(plan.jobs) as pool:
        codes = list(pool.map(_train_apart, missing, itertools.count(), itertools.repeat(plan)))
    for each, code in zip(missing, codes, strict=True):
        _check(each, code)


def _train_apart(run: TrainingRun, number: int, plan: Plan) -> int:
    """Train a run in a process of its own, on one GPU in turn where there are several."""
    environment = dict(os.environ)
    visible = [each for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    if visible:
        environment["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
    line = [sys.executable, "-m", "train.run", *run.words(plan)]
    return subprocess.run(line, env=environment, stdout=subprocess.DEVNULL).returncode


def _threads(jobs: int) -> int:
    return max(1, (os.cpu_count() or 1) // jobs)


def _check(run: TrainingRun, code: int) -> None:
    if code in (130, 143, -2, -15):
        raise Interrupted(code - 128 if code > 0 else -code)
    if code != 0:
        raise StageError(f"of arm {run.arm.name}, {run.name}", "train", code)
