"""Answers of a person to pages and pairs, and the precision computed from them.

Each window writes one file, `reports/labels/<window>.parquet`, whole at every answer. Windows of
several people never write the same file, so no answer is lost; readers merge all of them.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.parquet import read_data
from corpus.tables.takedown_list import load_forgotten

FOLDER = "reports/labels"
# Questions with their answers.
ANSWERS = {
    "pair": ("yes", "no"),
    "extraction": ("right", "too_much", "too_little"),
    "soft_failure": ("page", "failure"),
}
KEYS = {
    "yes": "y",
    "no": "n",
    "right": "r",
    "too_much": "m",
    "too_little": "l",
    "page": "g",
    "failure": "f",
}
"""The key of each answer. A page's view has `p`, `n`, `a` and `c` for links."""
SCHEMA = pa.schema(
    [
        ("question", pa.string()),
        ("doc_id", pa.string()),
        ("other", pa.string()),
        ("similarity", pa.float32()),
        ("answer", pa.string()),
        ("labelled_at", pa.timestamp("ms", tz="UTC")),
    ]
)
# The normal quantile of a 95 % interval.
Z = 1.96
NUM_BINS = 20


class Labels:
    """The answers of a corpus; those of this window are written to its own file."""

    def __init__(self, store: Store, window: str) -> None:
        self._store = store
        self._path = f"{FOLDER}/{window}.parquet"
        self._lock = threading.Lock()

    def add(
        self,
        question: str,
        doc_id: str,
        answer: str,
        other: str = "",
        similarity: float | None = None,
    ) -> None:
        """Keep an answer.

        Raises: InputError for an answer unknown to the question, an answer to a pair without its
        similarity, and a page that was taken down.
        """
        if answer not in ANSWERS.get(question, ()):
            raise InputError(f"{answer!r}: expected {', '.join(ANSWERS.get(question, ANSWERS))}")
        is_pair = question == "pair"
        # Every window reads the answers of all: one that it cannot count would break them.
        if is_pair != (similarity is not None and 0 <= similarity <= 1) or is_pair != bool(other):
            raise InputError(
                f"question {question!r}, other page {other!r}, similarity {similarity}: expected "
                "both for a pair, with a similarity from 0 to 1, and neither for a page"
            )
        if not load_forgotten(self._store).doc_ids.isdisjoint({doc_id, other}):
            raise InputError(f"{doc_id}: the page was taken down; its answers are not kept")

        row = {
            "question": question,
            "doc_id": doc_id,
            "other": other,
            "similarity": similarity,
            "answer": answer,
            "labelled_at": datetime.now(UTC),
        }

        # The file is read again: a take-down may have removed rows since the last answer.
        with self._lock:
            try:
                present = _read(self._store, self._path)
            except FileNotFoundError:
                present = SCHEMA.empty_table()
            added = pa.Table.from_pylist([row], SCHEMA)
            _write(self._store, self._path, pa.concat_tables([present, added]))

    def latest(self, question: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The last answer for each page or pair, over all windows."""
        rows = []
        for path in _files(self._store):
            rows += _read(self._store, path).to_pylist()
        rows.sort(key=lambda row: row["labelled_at"])
        return {(row["doc_id"], row["other"]): row for row in rows if row["question"] == question}


def remove_answers(store: Store, doc_ids: Iterable[str]) -> int:
    """Remove the answers about pages that are taken down; return their number."""
    gone = pa.array(sorted(doc_ids), pa.string())
    removed = 0
    for path in _files(store):
        rows = _read(store, path)
        left = rows.filter(
            pc.invert(pc.or_(pc.is_in(rows["doc_id"], gone), pc.is_in(rows["other"], gone)))
        )
        if left.num_rows == rows.num_rows:
            continue

        removed += rows.num_rows - left.num_rows
        if left.num_rows:
            _write(store, path, left)
        else:
            store.delete(path)
    return removed


def _files(store: Store) -> list[str]:
    return [path for path, _ in store.files(FOLDER) if path.endswith(".parquet")]


def _read(store: Store, path: str) -> pa.Table:
    return read_data(store.read_bytes(path), f"{store.root}/{path}")


def _write(store: Store, path: str, rows: pa.Table) -> None:
    stream = io.BytesIO()
    pq.write_table(rows, stream)
    store.write_bytes(path, stream.getvalue())


class Precision(NamedTuple):
    """The share of same-page pairs between two similarities, with its interval."""

    low: float
    high: float
    yes: int
    total: int
    least: float
    most: float


def precision_by_similarity(answers: Iterable[dict[str, Any]]) -> list[Precision]:
    """Precision in steps of 0.05 of similarity, with Wilson's interval of 95 %."""
    bins: dict[int, list[int]] = {}
    for row in answers:
        number = min(NUM_BINS - 1, int(row["similarity"] * NUM_BINS + 1e-6))
        bins.setdefault(number, []).append(row["answer"] == "yes")

    return [
        Precision(
            number / NUM_BINS,
            (number + 1) / NUM_BINS,
            sum(hits),
            len(hits),
            *wilson(sum(hits), len(hits)),
        )
        for number, hits in sorted(bins.items())
    ]


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share: also right for few answers and shares near 1."""
    share, weight = hits / total, Z * Z / total
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / total + weight / total / 4) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
