"""Runs as their folders record them: losses by step, and the last samples."""

from __future__ import annotations

import json
from typing import Any

from corpus.storage.store import Store


def read_metrics(store: Store, run: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none for a run that has not logged yet."""
    try:
        data = store.read_bytes(f"runs/{run}/metrics.jsonl").decode()
    except FileNotFoundError:
        return []

    lines = []
    for line in data.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # the last line of a killed or a writing run may be cut short

    return lines


def last_sample(store: Store, run: str) -> str:
    """The texts sampled last, as they were written; empty for none."""
    samples = [path for path, _ in store.files(f"runs/{run}/samples")]
    return store.read_bytes(samples[-1]).decode(errors="replace") if samples else ""
