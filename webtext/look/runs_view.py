"""Runs side by side: curves on shared axes, scores, samples, and pages of a step."""

from __future__ import annotations

from collections.abc import Sequence
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
