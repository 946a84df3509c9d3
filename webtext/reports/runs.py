"""Runs as their folders record them: losses by step, and the last samples."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from corpus.storage.store import Store


def read_metrics(store: Store, run: str) -> list[dict[str, Any]]:
    """The sound lines of a run's metrics.jsonl; none for a run without a log yet.

    A killed or a writing run leaves its last line cut short, and a stranger's has anything.
    """
    try:
        data = store.read_bytes(f"runs/{run}/metrics.jsonl").decode("utf-8", "replace")
    except FileNotFoundError:
        return []

    lines = []
    for line in data.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_sound(found):
            lines.append(found)

    return lines


def _is_sound(line: Any) -> bool:
    """True for an object with a step and numeric losses."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    losses = (line.get(name, 0.0) for name in ("loss", "val_loss"))
    return all(type(loss) in (int, float) and abs(loss) < 1e9 for loss in losses)


def runs_of(store: Store, snapshots: Collection[str]) -> list[str]:
    """The runs that train on one of the snapshots."""
    found = []
    for run in store.folders("runs"):
        try:
            described = store.read_object(f"runs/{run}/config.json")
        except FileNotFoundError:
            continue
        if described.get("snapshot") in snapshots:
            found.append(run)

    return found


def last_sample(store: Store, run: str) -> str:
    """The texts sampled last, as they were written; empty for none."""
    samples = [path for path, _ in store.files(f"runs/{run}/samples")]
    return store.read_bytes(samples[-1]).decode(errors="replace") if samples else ""


def read_scores(store: Store, run: str) -> list[tuple[str, str]]:
    """The scores of the checkpoint scored last, flat; none for a run that has not been scored."""
    try:
        return list(_flat(store.read_object(f"runs/{run}/scores.json")))
    except FileNotFoundError:
        return []


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix} {key}".strip())
    elif isinstance(value, float):
        yield prefix, f"{value:.4g}"
    elif not isinstance(value, list):
        yield prefix, str(value)
