"""Texts to removed near-duplicates: ours, datasketch, rensa, datatrove, on the same chapters: `python -m bench.dedup [--json]`.

The input: chapters of ten books in up to 13 editions, with every pair's exact Jaccard similarity of 5-word shingles. All
use 14 bands of 8 and shingles of 5 words, one core, and remove all but one of what they take for near-duplicates.
`ours` includes exact verification and the greedy choice, which the others do not have; `ours-numpy` is the path without
compiled code. datasketch and rensa keep a page unless the index of kept pages returns one; datatrove runs its four stages.

recall: share of the pairs at or above .75 of which at least one page is removed; precision: share of removed pages that
are at or above .75 with some other page.

With --signatures: signatures alone, of the same texts cut into pages of 2 KB; the slow ones sign fewer of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show

THRESHOLD = 0.75
BANDS, ROWS, SHINGLE_WORDS = 14, 8, 5
PAGE_CHARS = 2_000
SLOW_PAGES = 2_000
"""Pages that the slow contestants sign."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--signatures", action="store_true", help="signatures alone, of pages of 2 KB")
    parser.add_argument("--only", nargs="*", help="contestants to run (default: all that are installed)")
    args = parser.parse_args()
    folder = shared() / "prose" / "neardup"
    contestants = SIGNATURES if args.signatures else WHOLE
    chosen = [each for each in contestants if not args.only or each.name in args.only]
    texts, pairs = _material(str(folder))
    size = sum(len(text.encode()) for text in texts)
    result = compare(
        "dedup",
        chosen,
        str(folder),
        description=f"{'pages of 2 KB of ' if args.signatures else ''}{len(texts):,} chapters, {size / 1e6:.0f} MB, {len(pairs):,} pairs at or above {THRESHOLD}",
        unit="docs/s",
        rounds=args.rounds,
    )
    show(result, as_json=args.json)


def ours(folder: str, engine: Any = "numba") -> Work:
    """Signatures, bands, exact verification of every candidate pair, greedy choice."""
    from dedup import lsh, minhash, survivors, words

    texts, pairs = _material(folder)
    config = lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS)
    perms = minhash.permutations(config.num_perm, 1)
    column = pa.array(texts, pa.large_string())
    minhash.sign(
        column.slice(0, 2), SHINGLE_WORDS, perms, engine
    )  # compiled code is read from its cache here

    def work() -> Turn:
        signed = minhash.sign(column, SHINGLE_WORDS, perms, engine)
        keys = np.column_stack([lsh.band_keys(signed.values, config), lsh.content_keys(signed.content)])
        pages = np.repeat(np.arange(len(texts)), keys.shape[1])
        zero = np.zeros(pages.size, np.int32)
        names = np.array([b"%016d" % page for page in range(len(texts))], "S16")
        content = np.frombuffer(signed.content.tobytes(), "S16")
        members = lsh.Members(keys.ravel(), zero, zero, names[pages], content[pages])
        found = lsh.candidates(members, 0)
        met = np.unique(pages[found.pairs], axis=0)
        wanted = np.unique(met)
        sets = words.shingle_sets(
            words.word_hashes(column.take(pa.array(wanted)), engine), SHINGLE_WORDS, engine
        )
        rows = np.searchsorted(wanted, met)
        similarity = np.array([words.jaccard(sets.row(a), sets.row(b), engine) for a, b in rows])
        near = similarity >= THRESHOLD
        edges = survivors.Edges(met[near, 1], met[near, 0], similarity[near], np.zeros(int(near.sum()), bool))
        copies = np.unique(pages[found.copies], axis=0)
        choice = survivors.follow_copies(survivors.choose(len(texts), edges), copies[:, 0], copies[:, 1])
        return _turn(texts, pairs, np.flatnonzero(choice.duplicate_of >= 0).tolist())

    return work


def ours_numpy(folder: str) -> Work:
    """The same without compiled code."""
    return ours(folder, "numpy")


def datasketch(folder: str) -> Work:
    """`MinHash` (its default hash function) and `MinHashLSH`."""
    from datasketch import MinHash, MinHashLSH

    texts, pairs = _material(folder)

    def sign(text: str) -> Any:
        sketch = MinHash(num_perm=BANDS * ROWS)
        sketch.update_batch([shingle.encode() for shingle in _shingles(text)])
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

    texts, pairs = _material(folder)

    def sign(text: str) -> Any:
        sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
        sketch.update(_shingles(text))
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
    texts, pairs = _material(folder)
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
            MinhashDedupCluster(f"{place}/buckets", f"{place}/removed", config=config).run(None, 0, 1)
            kept = {int(each.id) for each in MinhashDedupFilter(f"{place}/removed").run(documents(), 0, 1)}
        return _turn(texts, pairs, [page for page in range(len(texts)) if page not in kept])

    return work


def sign_ours(folder: str, engine: Any = "numba", most: int | None = None) -> Work:
    """Signatures with ours."""
    from dedup import lsh, minhash

    pages = pa.array(_pages(folder)[:most], pa.large_string())
    perms = minhash.permutations(lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS).num_perm, 1)
    minhash.sign(pages.slice(0, 2), SHINGLE_WORDS, perms, engine)

    def work() -> Turn:
        minhash.sign(pages, SHINGLE_WORDS, perms, engine)
        return Turn(len(pages))

    return work


def sign_ours_numpy(folder: str) -> Work:
    """The same without compiled code."""
    return sign_ours(folder, "numpy", SLOW_PAGES)


def sign_datasketch(folder: str) -> Work:
    """Signatures with `MinHash`."""
    from datasketch import MinHash

    pages = _pages(folder)[:SLOW_PAGES]

    def work() -> Turn:
        for page in pages:
            MinHash(num_perm=BANDS * ROWS).update_batch([shingle.encode() for shingle in _shingles(page)])
        return Turn(len(pages))

    return work


def sign_rensa(folder: str) -> Work:
    """Signatures with `RMinHash`."""
    from rensa import RMinHash

    pages = _pages(folder)

    def work() -> Turn:
        for page in pages:
            sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
            sketch.update(_shingles(page))
            sketch.digest()
        return Turn(len(pages))

    return work


def sign_datatrove(folder: str) -> Work:
    """Signatures with its first stage."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    pages = [Document(text=text, id=str(place)) for place, text in enumerate(_pages(folder)[:SLOW_PAGES])]
    config = MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def work() -> Turn:
        with tempfile.TemporaryDirectory() as place:
            MinhashDedupSignature(place, config).run(pages, 0, 1)
        return Turn(len(pages))

    return work


WHOLE = (
    Contestant("ours", ours),
    Contestant("ours-numpy", ours_numpy),
    Contestant("datasketch", datasketch, "datasketch"),
    Contestant("rensa", rensa, "rensa"),
    Contestant("datatrove", datatrove, "datatrove"),
)
SIGNATURES = (
    Contestant("ours", sign_ours),
    Contestant("ours-numpy", sign_ours_numpy),
    Contestant("datasketch", sign_datasketch, "datasketch"),
    Contestant("rensa", sign_rensa, "rensa"),
    Contestant("datatrove", sign_datatrove, "datatrove"),
)


def _pages(folder: str) -> list[str]:
    """The texts cut into pages of some 2 KB."""
    texts, _ = _material(folder)
    return [text[at : at + PAGE_CHARS] for text in texts for at in range(0, len(text), PAGE_CHARS)]


def _material(folder: str) -> tuple[list[str], set[tuple[int, int]]]:
    """The texts, and the pairs at or above the threshold as places among them."""
    data = zstandard.ZstdDecompressor().stream_reader((Path(folder) / "docs.jsonl.zst").read_bytes()).read()
    rows = [json.loads(line) for line in data.splitlines()]
    place = {row["id"]: index for index, row in enumerate(rows)}
    pairs = set()
    for line in (Path(folder) / "pairs.tsv").read_text("utf-8").splitlines():
        left, right, similarity = line.split("\t")
        if float(similarity) >= THRESHOLD:
            pairs.add((place[left], place[right]))
    return [row["text"] for row in rows], pairs


def _shingles(text: str) -> list[str]:
    """What a user of a sketching library would write."""
    words = text.lower().split()
    return [" ".join(words[at : at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1))]


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


if __name__ == "__main__":
    main()
