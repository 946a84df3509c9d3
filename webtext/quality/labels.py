"""Labelled texts for a quality model: by votes of the corpus, or from files.

Votes compare only within a subreddit and a month: a score of 50 is little in a large subreddit and
much in a small one, and subreddits grow. A document above the median of its group is a good one,
below it a bad one; those at the median, and groups that are too small, give no label.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import iter_tables, part_paths

# Fewer scores say little of their median.
LEAST_GROUP = 8
# Seed for choosing documents if there are more than asked for.
SAMPLE_SEED = 20240131


class Labelled(NamedTuple):
    """A text, its label, and its group. A group is never split between folds."""

    text: str
    good: bool
    group: str


def by_votes(store: Store, batches: Sequence[str], limit: int) -> list[Labelled]:
    """Documents with labels by votes, at most `limit`, in the order of their ids."""
    scores: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for batch in batches:
        months = _months(store, batch)
        for path in part_paths(store, "documents", batch):
            for table in iter_tables(store, path, ["doc_id", "score", "subreddit"]):
                for row in table.to_pylist():
                    group = (row["subreddit"], months.get(row["doc_id"], ""))
                    scores[group].append((row["doc_id"], row["score"]))

    labels = dict(_labels(list(scores.values())))
    # By a hash, so that a limit takes no subreddit or batch before others.
    chosen = sorted(labels, key=lambda doc_id: xxh3_64_intdigest(doc_id.encode(), SAMPLE_SEED))[
        :limit
    ]
    wanted = {doc_id: labels[doc_id] for doc_id in chosen}
    return [
        Labelled(row["text"], wanted[row["doc_id"]], row["domain"])
        for batch in batches
        for path in part_paths(store, "documents", batch)
        for table in iter_tables(store, path, ["doc_id", "domain", "text"])
        for row in table.to_pylist()
        if row["doc_id"] in wanted
    ]


def _months(store: Store, batch: str) -> dict[str, str]:
    """The month of each link. Empty for a batch without links."""
    if find_manifest(store, "links", batch) is None:
        return {}
    return {
        row["doc_id"]: row["created"].strftime("%Y-%m")
        for path in part_paths(store, "links", batch)
        for table in iter_tables(store, path, ["doc_id", "created"])
        for row in table.to_pylist()
    }


def _labels(groups: Sequence[Sequence[tuple[str, int]]]) -> Iterator[tuple[str, bool]]:
    """Id and label of documents above or below the median of their group."""
    for group in groups:
        if len(group) < LEAST_GROUP:
            continue
        middle = median(score for _, score in group)
        yield from ((doc_id, score > middle) for doc_id, score in group if score != middle)


def of_file(path: str) -> list[Labelled]:
    """Labelled texts of JSON lines with `text` and `label` (0 or 1). Raises: InputError."""
    found = []
    try:
        # Of bytes: JSON may hold line separators of Unicode in its strings.
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"--labelled {path}: {error}; name a file of JSON lines") from error

    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            text, label = row["text"], row["label"]
            if not isinstance(text, str) or label not in (0, 1):
                raise ValueError(f"label {label!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f'--labelled {path}: line {number}: expected {{"text": "...", "label": 0 or 1}} '
                f"({type(error).__name__}: {error})"
            ) from error
        found.append(Labelled(text, bool(label), str(row.get("group", number))))
    return found
