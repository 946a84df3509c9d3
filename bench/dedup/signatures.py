"""Signatures alone, of pages of 2 KB: ours, datasketch, rensa and datatrove."""

from __future__ import annotations

import tempfile

import pyarrow as pa

from bench.dedup.material import BANDS, ROWS, SHINGLE_WORDS, pages, shingles
from bench.measure import Contestant, Turn, Work

SLOW_PAGES = 2_000  # pages that the slow contestants sign


def sign_ours(folder: str, most: int | None = None) -> Work:
    """Signatures with ours."""
    from dedup.near_duplicates import lsh, minhash

    column = pa.array(pages(folder)[:most], pa.large_string())
    perms = minhash.permutations(lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS).num_perm, 1)
    minhash.sign(column.slice(0, 2), SHINGLE_WORDS, perms)

    def work() -> Turn:
        minhash.sign(column, SHINGLE_WORDS, perms)
        return Turn(len(column))

    return work


def sign_datasketch(folder: str) -> Work:
    """Signatures with `MinHash`."""
    from datasketch import MinHash

    texts = pages(folder)[:SLOW_PAGES]

    def work() -> Turn:
        for page in texts:
            MinHash(num_perm=BANDS * ROWS).update_batch(
                [shingle.encode() for shingle in shingles(page)]
            )
        return Turn(len(texts))

    return work


def sign_rensa(folder: str) -> Work:
    """Signatures with `RMinHash`."""
    from rensa import RMinHash

    texts = pages(folder)

    def work() -> Turn:
        for page in texts:
            sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
            sketch.update(shingles(page))
            sketch.digest()
        return Turn(len(texts))

    return work


def sign_datatrove(folder: str) -> Work:
    """Signatures with its first stage."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    documents = [
        Document(text=text, id=str(place)) for place, text in enumerate(pages(folder)[:SLOW_PAGES])
    ]
    config = MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def work() -> Turn:
        with tempfile.TemporaryDirectory() as place:
            MinhashDedupSignature(place, config).run(documents, 0, 1)
        return Turn(len(documents))

    return work


CONTESTANTS = (
    Contestant("ours", sign_ours),
    Contestant("datasketch", sign_datasketch, "datasketch"),
    Contestant("rensa", sign_rensa, "rensa"),
    Contestant("datatrove", sign_datatrove, "datatrove"),
)
