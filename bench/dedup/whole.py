"""Texts to removed near-duplicates: ours, datasketch, rensa and datatrove on the same chapters."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bench.dedup.material import BANDS, ROWS, SHINGLE_WORDS, THRESHOLD, material, shingles
from bench.measure import Contestant, Turn, Work


def ours(folder: str) -> Work:
    """Signatures, bands, exact verification of every candidate pair, greedy choice."""
    from dedup import words
    from dedup.near_duplicates import greedy, lsh, minhash

    texts, pairs = material(folder)
    config = lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS)
    perms = minhash.permutations(config.num_perm, 1)
    column = pa.array(texts, pa.large_string())
    minhash.sign(
        column.slice(0, 2), SHINGLE_WORDS, perms
    )  # compiled code is read from its cache here

    def work() -> Turn:
        signed = minhash.sign(column, SHINGLE_WORDS, perms)
        keys = np.column_stack(
            [lsh.band_keys(signed.values, config), lsh.content_keys(signed.content)]
        )
        pages = np.repeat(np.arange(len(texts)), keys.shape[1])
        zero = np.zeros(pages.size, np.int32)
        names = np.array([b"%016d" % page for page in range(len(texts))], "S16")
        content = np.frombuffer(signed.content.tobytes(), "S16")
        members = lsh.Members(keys.ravel(), zero, zero, names[pages], content[pages])
        found = lsh.candidates(members, 0)
        met = np.unique(pages[found.pairs], axis=0)
        wanted = np.unique(met)
        sets = words.shingle_sets(words.word_hashes(column.take(pa.array(wanted))), SHINGLE_WORDS)
        rows = np.searchsorted(wanted, met)
        similarity = np.array([words.jaccard(sets.row(a), sets.row(b)) for a, b in rows])
        near = similarity >= THRESHOLD
        edges = greedy.Edges(
            met[near, 1], met[near, 0], similarity[near], np.zeros(int(near.sum()), bool)
        )
        copies = np.unique(pages[found.copies], axis=0)
        choice = greedy.follow_copies(greedy.choose(len(texts), edges), copies[:, 0], copies[:, 1])

        return _turn(texts, pairs, np.flatnonzero(choice.duplicate_of >= 0).tolist())

    return work


def datasketch(folder: str) -> Work:
    """`MinHash` (its default hash function) and `MinHashLSH`."""
    from datasketch import MinHash, MinHashLSH

    texts, pairs = material(folder)

    def sign(text: str) -> Any:
        sketch = MinHash(num_perm=BANDS * ROWS)
        sketch.update_batch([shingle.encode() for shingle in shingles(text)])
        return sketch

    def work() -> Turn:
        index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        removed = []
        for page, text in enumerate(texts):
            sketch = sign(text)
            if index.query(sketch):
                removed.append(page)
            else:
                index.insert(page, sketch)

        return _turn(texts, pairs, removed)

    return work


def rensa(folder: str) -> Work:
    """`RMinHash` and `RMinHashLSH`, all shingles (not the sampling pipeline)."""
    from rensa import RMinHash, RMinHashLSH

    texts, pairs = material(folder)

    def sign(text: str) -> Any:
        sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
        sketch.update(shingles(text))
        return sketch

    def work() -> Turn:
        index = RMinHashLSH(threshold=THRESHOLD, num_perm=BANDS * ROWS, num_bands=BANDS)
        removed = []
        for page, text in enumerate(texts):
            sketch = sign(text)
            if index.query(sketch):
                removed.append(page)
            else:
                index.insert(page, sketch)

        return _turn(texts, pairs, removed)

    return work


def datatrove(folder: str) -> Work:
    """Its MinHash pipeline: signatures, buckets, clusters, filter."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    texts, pairs = material(folder)
    config = MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def documents() -> list[Any]:
        return [Document(text=text, id=str(page)) for page, text in enumerate(texts)]

    def work() -> Turn:
        with tempfile.TemporaryDirectory() as place:
            MinhashDedupSignature(f"{place}/signatures", config).run(documents(), 0, 1)
            for bucket in range(BANDS):
                MinhashDedupBuckets(f"{place}/signatures", f"{place}/buckets", config=config).run(
                    None, bucket, BANDS
                )
            MinhashDedupCluster(f"{place}/buckets", f"{place}/removed", config=config).run(
                None, 0, 1
            )
            kept = {
                int(each.id)
                for each in MinhashDedupFilter(f"{place}/removed").run(documents(), 0, 1)
            }

        return _turn(texts, pairs, [page for page in range(len(texts)) if page not in kept])

    return work


def _turn(texts: Sequence[str], pairs: set[tuple[int, int]], removed: Sequence[int]) -> Turn:
    """Quality against the exact pairs."""
    gone = set(removed)
    near = {page for pair in pairs for page in pair}
    quality = {
        "removed": float(len(gone)),
        "recall": round(sum(bool(gone & set(pair)) for pair in pairs) / max(1, len(pairs)), 4),
        "precision": round(len(gone & near) / max(1, len(gone)), 4),
    }
    return Turn(len(texts), quality)


CONTESTANTS = (
    Contestant("ours", ours),
    Contestant("datasketch", datasketch, "datasketch"),
    Contestant("rensa", rensa, "rensa"),
    Contestant("datatrove", datatrove, "datatrove"),
)
