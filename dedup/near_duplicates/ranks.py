"""The rank of a page among near-duplicates: pages of higher rank come first within their batch.

A rank is one number, made of the values that the policy names, the first one on top.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, read_manifest
from corpus.tables.schemas import SIGNATURES, VERDICTS
from dedup import doc_ids, document_rows

# Bits of each value; scores are shifted to be positive.
BITS = {"clean": 1, "score": 32, "length": 24}
_SHIFT = 1 << 31


def ranks(
    prefer: Sequence[str], score: np.ndarray, is_clean: np.ndarray, num_shingles: np.ndarray
) -> np.ndarray:
    """The rank of each page. Shapes (n,) each to (n,) int64."""
    values = {
        "clean": is_clean.astype(np.int64),
        "score": score.astype(np.int64) + _SHIFT,
        "length": np.minimum(num_shingles.astype(np.int64), (1 << BITS["length"]) - 1),
    }
    rank = np.zeros(score.size, np.int64)
    for name in prefer:
        rank = (rank << BITS[name]) | values[name]
    return rank


def ranks_of_batch(
    store: Store, documents: Manifest, wanted: np.ndarray, prefer: Sequence[str]
) -> np.ndarray:
    """The ranks of pages of a finished batch; of a page that is not there, as if all was 0.

    Shapes: wanted (n,) S16, ascending and distinct, to (n,) int64.
    """
    if not wanted.size:
        return np.zeros(0, np.int64)
    score = _column(store, documents, wanted, "score")
    overlap = num_shingles = np.zeros(wanted.size, np.int64)
    if "clean" in prefer:
        verdicts = read_manifest(store, VERDICTS.name, documents.batch)
        overlap = _column(store, verdicts, wanted, "overlap_ngrams")
    if "length" in prefer:
        signatures = read_manifest(store, SIGNATURES.name, documents.batch)
        num_shingles = _column(store, signatures, wanted, "num_shingles")

    return ranks(prefer, score, overlap == 0, num_shingles)


def _column(store: Store, manifest: Manifest, wanted: np.ndarray, name: str) -> np.ndarray:
    """The values of a column; 0 for a page that is not there."""
    values = np.zeros(wanted.size, np.int64)
    for rows in document_rows.rows_by_id(store, manifest, wanted, ("doc_id", name)):
        values[np.searchsorted(wanted, doc_ids.pack(rows["doc_id"]))] = rows[name].to_numpy()
    return values
