"""Runs side by side: curves on shared axes, scores, samples, ablations, and pages of a step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from corpus.errors import InputError
from corpus.storage.store import Store
from webtext.reports import charts
from webtext.reports.runs import last_sample, read_metrics, read_scores
from webtext.stages import needing

CURVES = (
    ("val_loss", "validation loss, nats per token, by step"),
    ("loss", "training loss, nats per token, by step"),
)
SAMPLE_CHARACTERS = 5000


class Ablation(NamedTuple):
    """The result of `webtext ablate` in one folder."""

    name: str
    drawing: str
    rows: list[tuple[str, str, str]]
    """Arm, mean of bits per byte, and verdict."""


def drawings(store: Store, names: Sequence[str]) -> list[str]:
    """A drawing of each kind of loss with the curves of all runs; their points lead to steps."""
    lines = {name: read_metrics(store, name) for name in names}

    found = []
    for key, title in CURVES:
        bands = {
            name: charts.band([(line["step"], line[key]) for line in lines[name] if key in line])
            for name in names
        }
        shown = [name for name in names if bands[name]]
        links = [f"/runs/{quote(name, safe='')}/step?step={{step}}" for name in shown]
        if shown:
            found.append(charts.compared([(name, bands[name]) for name in shown], title, links))

    return found


def score_rows(store: Store, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """A row for each score that any run has, with the value of every run."""
    scores = {name: dict(read_scores(store, name)) for name in names}
    known = dict.fromkeys(score for each in scores.values() for score in each)
    return [(score, [scores[name].get(score, "") for name in names]) for score in known]


def samples(store: Store, names: Sequence[str]) -> list[tuple[str, str]]:
    """The last samples of the runs that have any."""
    texts = ((name, last_sample(store, name)[:SAMPLE_CHARACTERS]) for name in names)
    return [(name, text) for name, text in texts if text]


def step_pages(store: Store, run: str, step: int) -> list[str]:
    """The doc_ids of the batch of a step. Raises: InputError."""
    if run not in store.folders("runs"):
        raise InputError(f"run {run!r}: expected one of {', '.join(store.folders('runs'))}")
    with needing("train"):
        from train.step_documents import step_documents
    return step_documents(store, run, step)


def read_ablations(folders: Sequence[str]) -> list[Ablation]:
    """The results in folders of `webtext ablate`. Raises: InputError for one without a result."""
    found = []
    for folder in folders:
        path = Path(folder) / "result.json"
        try:
            result: dict[str, Any] = json.loads(path.read_bytes())
            arms = [(arm["name"], arm["curves"]) for arm in result["arms"]]
            rows = [
                (arm["name"], f"{arm['mean']:.4f}", (arm["against_first"] or {}).get("verdict", ""))
                for arm in result["arms"]
            ]
            found.append(Ablation(Path(folder).name, charts.draw_seeds(arms), rows))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"--ablation {folder}: no result of `webtext ablate --to {folder}` ({error})"
            ) from error

    return found
