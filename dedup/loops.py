"""Runs every compiled loop on a tiny input, so that later runs find it in the cache."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedup import words
from dedup.contamination import near_match, overlap
from dedup.near_duplicates import greedy, minhash


def run_loops() -> None:
    """Call each as the stage calls it: for arrays of another kind a loop would be compiled again."""
    texts = pa.array(["one two three"], pa.large_string())
    minhash.sign(texts, 2, minhash.permutations(1, 1))
    found = words.word_hashes(texts)
    pairs = words.shingle_sets(found, 2)
    words.jaccard(pairs.values, pairs.values)
    overlap.find(found, overlap.build_index(pairs.values, np.full(pairs.values.size, 2, np.int16)))
    longer = words.word_hashes(pa.array(["one two three four five"], pa.large_string()))
    passages = near_match.passages_of(
        longer, np.zeros(5, bool), near_match.word_weights([longer]), 1
    )
    near_match.find_near(longer, near_match.build_near_index(passages), 0.5)
    none, pages = np.zeros(0, np.int64), np.arange(2)
    greedy.open_pages(
        2,
        0,
        greedy.Edges(none, none, np.zeros(0), np.zeros(0, bool)),
        greedy.LargeBuckets(np.zeros(2, np.int64), pages, np.zeros(2, bool)),
    )
