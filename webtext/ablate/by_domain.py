"""Bits per byte of all runs on texts of several domains, arm against arm.

One number over all texts hides an arm better on code and worse on prose. Figures are kept in
the run's folder, so a second call computes only those of new runs or texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from corpus.storage.store import open_corpus
from train.checkpoints.load import load_model
from train.checkpoints.run_folder import RunFolder
from train.machine.distributed import join_world, leave_world
from train.scores.texts import TextSet, score_texts, text_sets
from webtext.ablate.compare import Comparison, compare
from webtext.ablate.runs import Plan, TrainingRun

KEPT = "texts.json"


@dataclass(frozen=True)
class DomainResult:
    """One arm on the texts of one domain."""

    texts: str
    arm: str
    bits_per_byte: tuple[float, ...]
    """By seed."""
    against_first: Comparison | None
    """None for the first arm."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return fmean(self.bits_per_byte)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        comparison = self.against_first.to_json() if self.against_first else None
        return {
            "texts": self.texts,
            "arm": self.arm,
            "bits_per_byte": list(self.bits_per_byte),
            "mean": self.mean,
            "against_first": comparison,
        }


def domain_results(runs: Sequence[TrainingRun], plan: Plan) -> list[DomainResult]:
    """Results by domain and arm. Raises: InputError for unreadable texts."""
    sets = text_sets(plan.texts)
    measured = {run: _measured(run, sets, plan) for run in runs} if sets else {}
    arms = list(dict.fromkeys(run.arm.name for run in runs))
    num_comparisons = max(1, (len(arms) - 1) * len(sets))

    found = []
    for each in sets:
        by_arm = {
            arm: tuple(measured[run][each.name] for run in runs if run.arm.name == arm)
            for arm in arms
        }
        for arm, values in by_arm.items():
            first = by_arm[arms[0]]
            comparison = compare(first, values, num_comparisons=num_comparisons)
            found.append(
                DomainResult(each.name, arm, values, None if arm == arms[0] else comparison)
            )
    return found


def _measured(run: TrainingRun, sets: Sequence[TextSet], plan: Plan) -> dict[str, float]:
    """Bits per byte of one run by set."""
    store = open_corpus(run.corpus)
    folder = RunFolder(store, run.name)
    kept: dict[str, Any] = folder.read(KEPT) or {}
    missing = [each for each in sets if kept.get(each.name, {}).get("digest") != each.digest]

    if missing:
        world = join_world(run.config(plan).runtime)
        try:
            loaded = load_model(store, run.name, "last", world)
            for each in missing:
                figures = score_texts(loaded, each, world)
                kept[each.name] = {"digest": each.digest, **figures}
        finally:
            leave_world(world)
        store.write_json(f"{folder.path}/{KEPT}", kept)

    return {each.name: float(kept[each.name]["bits_per_byte"]) for each in sets}
