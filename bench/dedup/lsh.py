"""Signatures to survivors, without verification: ours, datasketch, rensa and datatrove."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.dedup.material import BANDS, ROWS, SHINGLE_WORDS, THRESHOLD
from bench.measure import Contestant, Turn, Work

SLOW_SIGNATURES = 50_000  # signatures of the slow contestants
NUM_RANGES = 16
SLICE = 50_000


def lsh_ours(num_pages: int) -> Work:
    """Bands, candidates and the greedy choice, a range of keys at a time as in the stage.

    Similarities are estimates from signatures instead of exact ones.
    """
    from dedup import index
    from dedup.near_duplicates import greedy, lsh

    config = lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS)
    signatures = _signatures(num_pages)

    def work() -> Turn:
        content = signatures[:, :4].copy().view(np.uint64)
        keys = np.empty((num_pages, BANDS + 1), np.uint64)
        for first in range(0, num_pages, SLICE):
            these = slice(first, first + SLICE)
            keys[these, :BANDS] = lsh.band_keys(signatures[these], config)
            keys[these, BANDS] = lsh.content_keys(content[these])

        part = index.part_of_keys(keys.ravel(), NUM_RANGES).astype(np.uint8)
        met = []
        for number in range(NUM_RANGES):
            rows = np.flatnonzero(part == number)
            pages = rows // (BANDS + 1)
            zero = np.zeros(rows.size, np.int32)
            names = pages.astype(">u8").view("S8").astype("S16")
            text = content[pages].view("S16").ravel()
            found = lsh.candidates(lsh.Members(keys.ravel()[rows], zero, zero, names, text), 0)
            met.append(pages[np.concatenate([found.pairs, found.copies])])

        pairs = np.unique(np.concatenate(met), axis=0)
        similarity = np.concatenate(
            [
                (
                    signatures[pairs[at : at + SLICE, 0]] == signatures[pairs[at : at + SLICE, 1]]
                ).mean(1)
                for at in range(0, len(pairs), SLICE)
            ]
        )
        near = similarity >= THRESHOLD
        edges = greedy.Edges(
            pairs[near, 1], pairs[near, 0], similarity[near], np.zeros(int(near.sum()), bool)
        )
        choice = greedy.choose(num_pages, edges)

        return Turn(num_pages, {"removed_frac": float((choice.duplicate_of >= 0).mean())})

    return work


def lsh_datasketch(num_pages: int) -> Work:
    """`MinHashLSH`: a query and, where nothing is near, an insertion for every page."""
    from datasketch import LeanMinHash, MinHashLSH

    signatures = _signatures(min(num_pages, SLOW_SIGNATURES))
    sketches = [LeanMinHash(seed=1, hashvalues=row, scheme="affine32") for row in signatures]

    def work() -> Turn:
        lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        return _one_by_one(lsh, sketches)

    return work


def lsh_rensa(num_pages: int) -> Work:
    """`RMinHashLSH` in the same way, with sketches of a few tokens per page made before."""
    from rensa import RMinHash, RMinHashLSH

    signatures = _signatures(min(num_pages, SLOW_SIGNATURES))
    sketches = []
    for row in signatures[:, :20]:
        sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
        sketch.update([str(value) for value in row])
        sketches.append(sketch)

    def work() -> Turn:
        lsh = RMinHashLSH(threshold=THRESHOLD, num_perm=BANDS * ROWS, num_bands=BANDS)
        return _one_by_one(lsh, sketches)

    return work


def lsh_datatrove(num_pages: int) -> Work:
    """Buckets and clusters of datatrove; a cluster merges all pages of a common bucket."""
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    signatures = _signatures(min(num_pages, SLOW_SIGNATURES))
    config = MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)
    place = tempfile.mkdtemp()
    fields = [(f"field{number}", "<u8") for number in range(ROWS)]

    for band in range(BANDS):
        records = np.zeros(len(signatures), [*fields, ("page", "<u4")])
        for number, (name, _) in enumerate(fields):
            records[name] = signatures[:, band * ROWS + number]
        records["page"] = np.arange(len(signatures))
        file = Path(place) / "signatures" / f"bucket_{band:03d}" / "00000.minhash.sig"
        file.parent.mkdir(parents=True)
        file.write_bytes(np.sort(records).tobytes())

    def work() -> Turn:
        for band in range(BANDS):
            MinhashDedupBuckets(f"{place}/signatures", f"{place}/buckets", config=config).run(
                None, band, BANDS
            )

        MinhashDedupCluster(f"{place}/buckets", f"{place}/removed", config=config).run(None, 0, 1)
        removed = (Path(place) / "removed" / "000000.remove").stat().st_size / 4
        shutil.rmtree(place)
        return Turn(len(signatures), {"removed_frac": removed / len(signatures)})

    return work


def _one_by_one(lsh: Any, sketches: Sequence[Any]) -> Turn:
    """Remove a page if the index returns one, else insert it."""
    removed = 0
    for page, sketch in enumerate(sketches):
        if lsh.query(sketch):
            removed += 1
        else:
            lsh.insert(page, sketch)

    return Turn(len(sketches), {"removed_frac": removed / len(sketches)})


def _signatures(num_pages: int) -> np.ndarray:
    """Synthetic signatures: three quarters random, the others copies with some values redrawn."""
    generator = np.random.default_rng(1)
    whole = num_pages - num_pages // 4
    made = generator.integers(0, 1 << 32, (num_pages, BANDS * ROWS), np.uint32)

    for first in range(whole, num_pages, SLICE):
        last = min(first + SLICE, num_pages)
        keeps = generator.random((last - first, BANDS * ROWS)) < generator.uniform(
            0.7, 1, (last - first, 1)
        )
        made[first:last] = np.where(
            keeps, made[generator.integers(0, whole, last - first)], made[first:last]
        )

    return made


CONTESTANTS = (
    Contestant("ours", lsh_ours),
    Contestant("datasketch", lsh_datasketch, "datasketch"),
    Contestant("rensa", lsh_rensa, "rensa"),
    Contestant("datatrove", lsh_datatrove, "datatrove"),
)
