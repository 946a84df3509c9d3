"""Train or validation, by a hash of `doc_id`: the same page is on the same side in every batch and every run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xxhash import xxh3_64_intdigest

# Any number would do; this one keeps the split apart from every other hash of `doc_id`.
SPLIT_SEED = 20190214


def fractions(doc_ids: Sequence[str], seed: int) -> np.ndarray:
    """A uniform number per document. Shape (n,) float64, range [0, 1)."""
    hashes = np.array([xxh3_64_intdigest(doc_id.encode(), seed) for doc_id in doc_ids], np.uint64)
    return (hashes >> np.uint64(11)) * 2.0**-53


def is_validation(doc_ids: Sequence[str], val_frac: float) -> np.ndarray:
    """Mask of the documents held out. Shape (n,) bool."""
    return fractions(doc_ids, SPLIT_SEED) < val_frac
