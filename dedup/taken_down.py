"""Copies of taken-down pages: matched by content and by MinHash, and left out.

The list holds no text: the hash of a page's words, and its signature. A page matches if its words
are the same, or if the share of equal MinHash values, which estimates the Jaccard similarity of the
shingles, comes up to the threshold of duplicates less the estimate's standard error. That errs
towards leaving out. Like the list of addresses, it is no part of a fingerprint: a take-down makes
no batch stale.
"""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus.storage.store import Store
from corpus.tables.takedown_list import TakenContent, taken_contents
from dedup import doc_ids
from dedup.config import DedupConfig
from dedup.near_duplicates import lsh

log = logging.getLogger(__name__)

REASON = "taken_down"


@dataclass(frozen=True, slots=True)
class TakenPages:
    """Contents on the list, ready to be compared."""

    hashes: np.ndarray
    """(n,) S16: content hashes."""
    signatures: np.ndarray
    """(m, num_perm) uint32: of those that were made with this batch's settings."""
    keys: np.ndarray
    """(k,) uint64, ascending: their band keys."""
    threshold: float
    """Share of equal values from which a page matches."""

    def match(self, content: np.ndarray, signatures: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Mask of the pages that match. Shapes (p,) S16, (p, num_perm) and (p, bands)."""
        matches = np.isin(content, self.hashes)
        if not self.signatures.size:
            return matches

        # A page that is similar enough shares a band with the one on the list, as in `lsh`.
        near = np.flatnonzero(np.isin(keys, self.keys).any(axis=1) & ~matches)
        for row in near.tolist():
            shares = (self.signatures == signatures[row]).mean(axis=1)
            matches[row] = bool((shares >= self.threshold).any())

        return matches


def load_taken_pages(store: Store, config: DedupConfig) -> TakenPages | None:
    """The list as it is now; None if it has no contents."""
    contents = taken_contents(store)
    if not contents:
        return None

    alike = [each for each in contents if _is_alike(each, config)]
    if len(alike) < sum(bool(each.signature) for each in contents):
        log.warning(
            "some taken-down pages were signed with other settings of dedup.shingles or "
            "dedup.minhash: only exact copies of them are found"
        )

    return taken_pages(contents, alike, config)


def taken_pages(
    contents: Sequence[TakenContent], alike: Sequence[TakenContent], config: DedupConfig
) -> TakenPages:
    """Contents of which `alike` have signatures that can be compared."""
    num_perm = config.lsh.num_perm
    values = [np.frombuffer(base64.b64decode(each.signature), "<u4") for each in alike]
    signatures = np.array(values, np.uint32).reshape(len(values), num_perm)
    error = math.sqrt(config.threshold * (1 - config.threshold) / num_perm)
    return TakenPages(
        doc_ids.pack(pa.array([each.content_hash for each in contents], pa.string())),
        signatures,
        np.unique(lsh.band_keys(signatures, config.lsh)),
        config.threshold - error,
    )


def encode_signature(values: Sequence[int]) -> str:
    """A signature as the list keeps it."""
    return base64.b64encode(np.asarray(values, "<u4").tobytes()).decode("ascii")


def _is_alike(content: TakenContent, config: DedupConfig) -> bool:
    """True if a signature was made with these settings."""
    return (
        bool(content.signature)
        and content.shingles == config.shingles.n
        and content.seed == config.minhash.seed
        and len(base64.b64decode(content.signature)) == 4 * config.lsh.num_perm
    )
