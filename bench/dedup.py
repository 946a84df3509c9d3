"""Texts to removed near-duplicates: ours, datasketch, rensa, datatrove, on the same chapters: `python -m bench.dedup [--json]`.

The input: chapters of ten books in up to 13 editions, with every pair's exact Jaccard similarity of 5-word shingles. All
use 14 bands of 8 and shingles of 5 words, one core, and remove all but one of what they take for near-duplicates.
`ours` includes exact verification and the greedy choice, which the others do not have; `ours-numpy` is the path without
compiled code. datasketch and rensa keep a page unless the index of kept pages returns one; datatrove runs its four stages.

recall: share of the pairs at or above .75 of which at least one page is removed; precision: share of removed pages that
are at or above .75 with some other page.

With --part signatures: signatures alone, of the same texts cut into pages of 2 KB; the slow ones sign fewer of them.
With --part lsh: from signatures to who stays, without verification: a million made signatures, a quarter of them near others;
the slow ones get fewer. datatrove reads them from its files, which are written before.

With --part stage: ours alone, tables on disk to committed verdicts through the door in this one process: real prose in pages of
2 KB, a quarter of them near copies; `tenth_frac` is the CPU time of a second batch of a tenth as a share of the first's, and
`hundredth_frac` that of a third one of a hundredth.

With --part frame: ours alone through the door, pages of 300 words of which 247 are one frame that all share: similarity .7,
so that they meet by the thousand and all stay: the dearest case for a threshold of .75.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from bench.material import prose, shared
from bench.measure import Contestant, Turn, Work, arguments, compare, cpu_s, show
from corpus.tables.manifest import read_manifest

THRESHOLD = 0.75
BANDS, ROWS, SHINGLE_WORDS = 14, 8, 5
PAGE_CHARS = 2_000
SLOW_PAGES = 2_000
"""Pages that the slow contestants sign."""
LSH_SLOW = 50_000
"""Signatures that the slow contestants get."""
LSH_RANGES = 16
STAGE_PAGES = 50_000
FRAME_PAGES = 20_000
FRAME_WORDS, PAGE_WORDS = 247, 300
PART_PAGES = 8_000
LSH_SLICE = 50_000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--part",
        choices=("whole", "signatures", "lsh", "stage", "frame"),
        default="whole",
        help="what is measured (default: whole)",
    )
    parser.add_argument(
        "--pages", type=int, default=1_000_000, help="lsh: signatures (default: 1,000,000)"
    )
    parser.add_argument(
        "--only", nargs="*", help="contestants to run (default: all that are installed)"
    )
    args = parser.parse_args()
    contestants = {
        "whole": WHOLE,
        "signatures": SIGNATURES,
        "lsh": LSH,
        "stage": STAGE,
        "frame": FRAME,
    }[args.part]
    chosen = [each for each in contestants if not args.only or each.name in args.only]
    source, description = (
        (args.pages, f"{args.pages:,} made signatures") if args.part == "lsh" else _chapters()
    )

    if args.part == "stage":
        source, description = (
            STAGE_PAGES,
            f"{STAGE_PAGES:,} pages of 2 KB of prose/dev, a quarter near copies",
        )

    if args.part == "frame":
        source, description = (
            FRAME_PAGES,
            f"{FRAME_PAGES:,} pages of {PAGE_WORDS} words, {FRAME_WORDS} of them the same on all",
        )

    if args.part == "signatures":
        description = f"pages of 2 KB of {description}"
    result = compare(
        "dedup", chosen, source, description=description, unit="docs/s", rounds=args.rounds
    )
    show(result, as_json=args.json)


def _chapters() -> tuple[str, str]:
    folder = shared() / "prose" / "neardup"
    texts, pairs = _material(str(folder))
    size = sum(len(text.encode()) for text in texts)
    return str(
        folder
    ), f"{len(texts):,} chapters, {size / 1e6:.0f} MB, {len(pairs):,} pairs at or above {THRESHOLD}"


def ours(folder: str, engine: Any = "numba") -> Work:
    """Signatures, bands, exact verification of every candidate pair, greedy choice."""
    from dedup import greedy, lsh, minhash, words

    texts, pairs = _material(folder)
    config = lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS)
    perms = minhash.permutations(config.num_perm, 1)
    column = pa.array(texts, pa.large_string())
    minhash.sign(
        column.slice(0, 2), SHINGLE_WORDS, perms, engine
    )  # compiled code is read from its cache here

    def work() -> Turn:
        signed = minhash.sign(column, SHINGLE_WORDS, perms, engine)
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
        sets = words.shingle_sets(
            words.word_hashes(column.take(pa.array(wanted)), engine), SHINGLE_WORDS, engine
        )
        rows = np.searchsorted(wanted, met)
        similarity = np.array([words.jaccard(sets.row(a), sets.row(b), engine) for a, b in rows])
        near = similarity >= THRESHOLD
        edges = greedy.Edges(
            met[near, 1], met[near, 0], similarity[near], np.zeros(int(near.sum()), bool)
        )
        copies = np.unique(pages[found.copies], axis=0)
        choice = greedy.follow_copies(greedy.choose(len(texts), edges), copies[:, 0], copies[:, 1])

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
            MinhashDedupCluster(f"{place}/buckets", f"{place}/removed", config=config).run(
                None, 0, 1
            )
            kept = {
                int(each.id)
                for each in MinhashDedupFilter(f"{place}/removed").run(documents(), 0, 1)
            }

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
            MinHash(num_perm=BANDS * ROWS).update_batch(
                [shingle.encode() for shingle in _shingles(page)]
            )
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
    pages = [
        Document(text=text, id=str(place)) for place, text in enumerate(_pages(folder)[:SLOW_PAGES])
    ]
    config = MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def work() -> Turn:
        with tempfile.TemporaryDirectory() as place:
            MinhashDedupSignature(place, config).run(pages, 0, 1)
        return Turn(len(pages))

    return work


def lsh_ours(num_pages: int) -> Work:
    """Bands, candidates and the greedy choice, a range of keys at a time as the stage does; estimates instead of verification."""
    from dedup import greedy, index, lsh

    config = lsh.LshConfig(num_bands=BANDS, rows_per_band=ROWS)
    signatures = _signatures(num_pages)

    def work() -> Turn:
        content = signatures[:, :4].copy().view(np.uint64)
        keys = np.empty((num_pages, BANDS + 1), np.uint64)
        for first in range(0, num_pages, LSH_SLICE):
            these = slice(first, first + LSH_SLICE)
            keys[these, :BANDS] = lsh.band_keys(signatures[these], config)
            keys[these, BANDS] = lsh.content_keys(content[these])

        part = index.part_of_keys(keys.ravel(), LSH_RANGES).astype(np.uint8)
        met = []
        for number in range(LSH_RANGES):
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
                    signatures[pairs[at : at + LSH_SLICE, 0]]
                    == signatures[pairs[at : at + LSH_SLICE, 1]]
                ).mean(1)
                for at in range(0, len(pairs), LSH_SLICE)
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

    signatures = _signatures(min(num_pages, LSH_SLOW))
    sketches = [LeanMinHash(seed=1, hashvalues=row, scheme="affine32") for row in signatures]

    def work() -> Turn:
        lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        return _one_by_one(lsh, sketches)

    return work


def _one_by_one(lsh: Any, sketches: Sequence[Any]) -> Turn:
    """A page that meets one that was inserted is removed, any other inserted."""
    removed = 0
    for page, sketch in enumerate(sketches):
        if lsh.query(sketch):
            removed += 1
        else:
            lsh.insert(page, sketch)

    return Turn(len(sketches), {"removed_frac": removed / len(sketches)})


def lsh_rensa(num_pages: int) -> Work:
    """`RMinHashLSH` in the same way; its sketches are made before, of a few tokens per page."""
    from rensa import RMinHash, RMinHashLSH

    signatures = _signatures(min(num_pages, LSH_SLOW))
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
    """Its stages of buckets and clusters; clusters merge whatever shares a bucket."""
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    signatures = _signatures(min(num_pages, LSH_SLOW))
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


def stage_ours(num_pages: int) -> Work:
    """The door over one batch, then over one of a tenth, then over one of a hundredth."""
    from corpus.storage.store import open_corpus

    logging.disable(logging.INFO)
    root = tempfile.mkdtemp()
    store = open_corpus(f"{root}/corpus", create=True)
    texts = _near_copies(num_pages + num_pages // 10 + num_pages // 100)
    _write_batch(store, "one", texts[:num_pages])

    def work() -> Turn:
        first_s = _door_cpu_s(f"{root}/corpus", "one")
        _write_batch(store, "two", texts[num_pages : num_pages + num_pages // 10])
        tenth_s = _door_cpu_s(f"{root}/corpus", "two")
        _write_batch(store, "three", texts[num_pages + num_pages // 10 :])
        hundredth_s = _door_cpu_s(f"{root}/corpus", "three")
        counts = read_manifest(store, "verdicts", "one").counts
        index_bytes = sum(part.bytes for part in read_manifest(store, "bands", "one").parts)
        shutil.rmtree(root)

        return Turn(
            num_pages,
            {
                "first_cpu_s": first_s,
                "tenth_frac": tenth_s / first_s,
                "hundredth_frac": hundredth_s / first_s,
                "removed_frac": 1 - counts["kept"] / num_pages,
                "index_bytes_per_page": index_bytes / counts["kept"],
            },
        )

    return work


def frame_ours(num_pages: int) -> Work:
    """The door over pages of one frame; those of another frame before, so that compiled code is there."""
    from corpus.storage.store import open_corpus

    logging.disable(logging.INFO)
    root = tempfile.mkdtemp()
    store = open_corpus(f"{root}/corpus", create=True)
    generator = random.Random(1)

    def pages(count: int, name: str) -> list[str]:
        frame = [f"{name}{number}" for number in range(FRAME_WORDS)]
        rest = PAGE_WORDS - FRAME_WORDS
        return [
            " ".join([*frame, *(f"w{generator.randrange(10**9)}" for _ in range(rest))])
            for _ in range(count)
        ]

    _write_batch(store, "before", pages(200, "b"))
    _door_cpu_s(f"{root}/corpus", "before")
    _write_batch(store, "one", pages(num_pages, "f"))

    def work() -> Turn:
        _door_cpu_s(f"{root}/corpus", "one")
        kept = read_manifest(store, "verdicts", "one").counts["kept"]
        shutil.rmtree(root)
        return Turn(num_pages, {"kept_frac": kept / num_pages})

    return work


def _door_cpu_s(corpus: str, batch: str) -> float:
    """CPU seconds of the stage on one batch, in this process."""
    from dedup import run

    started = cpu_s()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = run.main(["--corpus", corpus, "--batch", batch, "--executor", "serial"])
    if code:
        raise SystemExit(f"the stage ended with exit code {code}")

    return cpu_s() - started


def _write_batch(store: Any, batch: str, texts: list[str]) -> None:
    """Links and documents of these texts, committed as the stages before would."""
    from xxhash import xxh3_128_hexdigest

    from corpus.tables.commit import commit_table
    from corpus.tables.parquet import write_part
    from corpus.tables.schemas import DOCUMENTS, LINKS, part_of_id

    rows: list[list[dict[str, Any]]] = [[] for _ in range(max(1, len(texts) // PART_PAGES))]
    for place, text in enumerate(texts):
        name = xxh3_128_hexdigest(f"{batch} {place}".encode())
        row = {
            "doc_id": name, "url": "", "domain": "", "text": text, "language": "en", "language_score": 1.0,
            "num_words": 0, "extractor": "", "score": 3 + place % 7, "subreddit": "",
        }  # fmt: skip
        rows[part_of_id(name, len(rows))].append(row)

    parts = []
    for number, here in enumerate(rows):
        here.sort(key=lambda row: str(row["doc_id"]))
        table = pa.Table.from_pylist(here, DOCUMENTS.schema)
        name = f"part-{number:05}.parquet"
        parts.append(
            write_part(store, DOCUMENTS.folder(batch), name, DOCUMENTS, [table], number, len(rows))
        )

    commit_table(store, LINKS, batch, [], num_parts=len(rows))
    commit_table(store, DOCUMENTS, batch, parts, num_parts=len(rows))


def _near_copies(num_pages: int) -> list[str]:
    """Pages of prose, every fourth a copy of one of the hundred before it with some words changed."""
    generator = random.Random(1)
    texts, _ = prose(2 * PAGE_CHARS * num_pages)
    whole = [text[at : at + PAGE_CHARS] for text in texts for at in range(0, len(text), PAGE_CHARS)]
    pages: list[str] = []

    while len(pages) < num_pages:
        if len(pages) % 4 == 3:
            spelled = generator.choice(pages[-100:]).split()
            for _ in range(generator.randrange(8)):
                spelled[generator.randrange(len(spelled))] = "another"
            pages.append(" ".join(spelled))
        else:
            pages.append(whole[len(pages) - len(pages) // 4])

    return pages


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
LSH = (
    Contestant("ours", lsh_ours),
    Contestant("datasketch", lsh_datasketch, "datasketch"),
    Contestant("rensa", lsh_rensa, "rensa"),
    Contestant("datatrove", lsh_datatrove, "datatrove"),
)
STAGE = (Contestant("ours", stage_ours),)
FRAME = (Contestant("ours", frame_ours),)


def _signatures(num_pages: int) -> np.ndarray:
    """Made signatures: three quarters at random, the others each a copy of one with some values drawn anew."""
    generator = np.random.default_rng(1)
    whole = num_pages - num_pages // 4
    made = generator.integers(0, 1 << 32, (num_pages, BANDS * ROWS), np.uint32)

    for first in range(whole, num_pages, LSH_SLICE):
        last = min(first + LSH_SLICE, num_pages)
        keeps = generator.random((last - first, BANDS * ROWS)) < generator.uniform(
            0.7, 1, (last - first, 1)
        )
        made[first:last] = np.where(
            keeps, made[generator.integers(0, whole, last - first)], made[first:last]
        )

    return made


def _pages(folder: str) -> list[str]:
    """The texts cut into pages of some 2 KB."""
    texts, _ = _material(folder)
    return [text[at : at + PAGE_CHARS] for text in texts for at in range(0, len(text), PAGE_CHARS)]


def _material(folder: str) -> tuple[list[str], set[tuple[int, int]]]:
    """The texts, and the pairs at or above the threshold as places among them."""
    data = (
        zstandard.ZstdDecompressor()
        .stream_reader((Path(folder) / "docs.jsonl.zst").read_bytes())
        .read()
    )
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
    return [
        " ".join(words[at : at + SHINGLE_WORDS])
        for at in range(max(1, len(words) - SHINGLE_WORDS + 1))
    ]


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
