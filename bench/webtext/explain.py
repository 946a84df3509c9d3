"""Time of `webtext explain` on one batch of a million pages, from process start to output.

    python -m bench.webtext.explain [--pages 1000000] [--json]

The batch is synthetic: real tables in real parts, with numbered addresses and pages of 3 KB of
random words. One page in ten is a duplicate of the first kept one, so that this one has many
copies. Half of the requested pages are kept; the others are duplicates, failures and unknown
addresses.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

from bench.measure import arguments
from corpus.snapshots.snapshot import write_snapshot
from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.manifest import Part
from corpus.tables.parquet import write_part
from corpus.tables.schemas import (
    DOCUMENTS,
    DOCUMENTS_DROPPED,
    LINKS,
    PAGES,
    SPANS,
    TOKENS,
    VERDICTS,
    Table,
    part_of,
)

NUM_PARTS = 32
ORDER = (LINKS, PAGES, DOCUMENTS, VERDICTS, SPANS, TOKENS)
BATCH = "2024-01"
# One page in so many is a copy of the first page.
DUPLICATES = 10
# One page in so many was not fetched.
FAILED = 7
NUM_WORDS = 500
TOKENS_EACH = 900
ROW_TOKENS = 1024
FOOTER_BYTES = 512


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument(
        "--pages", type=int, default=1_000_000, help="pages of the batch (default: 1000000)"
    )
    args = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as folder:
        asked = make(f"{folder}/corpus", args.pages)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        took = {
            what: [_ask(f"{folder}/corpus", url) for _ in range(args.rounds)]
            for what, url in asked.items()
        }

    print(
        f"explain, one batch of {args.pages:,} pages ({size / 2**30:.1f} GiB of tables), "
        f"medians of {args.rounds}, page cache warm"
    )
    rows = []

    for what, turns in took.items():
        wall_s, cpu_s = (median(turn[side] for turn in turns) for side in (0, 1))
        print(f"  {what:<18}{wall_s:>6.2f} s   cpu {cpu_s:.2f} s   longest {max(turns)[0]:.2f} s")
        rows.append(
            {
                "name": f"ours-{what}",
                "rate": 1 / wall_s,
                "unit": "answers/s",
                "wall_s": wall_s,
                "cpu_s": cpu_s,
                "quality": {},
            }
        )

    if args.json:
        machine = (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        described = f"one made batch of {args.pages} pages"
        print(
            json.dumps(
                {
                    "bench": "explain",
                    "input": described,
                    "machine": machine,
                    "contestants": rows,
                    "ratios": {},
                }
            )
        )

    return 0


def _ask(root: str, url: str) -> tuple[float, float]:
    """Wall and CPU seconds of one answer."""
    began, before = time.monotonic(), _cpu_of_children_s()
    command = [sys.executable, "-m", "webtext", "explain", "--corpus", root, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"explain of {url} ended with exit code {done.returncode}: {done.stderr}")
    return time.monotonic() - began, _cpu_of_children_s() - before


def _cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(root: str, num_pages: int) -> dict[str, str]:
    """Commit the batch and return addresses to ask for, by disposition."""
    store = open_corpus(root, create=True)
    keys = [f"site{n % 5000}.example/{n}" for n in range(num_pages)]
    ids = pa.array([xxh3_128_hexdigest(key.encode()) for key in keys])
    order = pc.sort_indices(ids)
    ids, keys = ids.take(order), pa.array(keys).take(order)
    numbers = np.arange(num_pages)
    fetched, copy = numbers % FAILED != 1, numbers % DUPLICATES == 3
    texts = pa.array(_texts())
    starts = np.searchsorted(part_of(ids, NUM_PARTS), np.arange(NUM_PARTS + 1))
    tables: dict[str, list[Part]] = {table.name: [] for table in ORDER}

    for index in range(NUM_PARTS):
        rows = slice(starts[index], starts[index + 1])
        got, twin = pa.array(fetched[rows]), copy[rows][fetched[rows]]
        mine, key = ids[rows], keys[rows]
        url = pc.binary_join_element_wise("http:/", key, "/")
        links = _links(mine, url, key)
        documents = _documents(mine.filter(got), url.filter(got), texts)
        verdicts = _verdicts(mine.filter(got), twin, ids[0].as_py())
        spans = _spans(mine.filter(got).filter(pa.array(~twin)))

        for table, made in (
            (LINKS, links),
            (PAGES, _pages(mine, url, fetched[rows])),
            (DOCUMENTS, documents),
            (VERDICTS, verdicts),
            (SPANS, spans),
        ):
            file = f"{'train/' if table is SPANS else ''}part-{index:05}.parquet"
            tables[table.name].append(
                write_part(store, table.folder(BATCH), file, table, [made], index, NUM_PARTS)
            )

        tables[TOKENS.name].append(_token_part(index, spans.num_rows))

    _commit(store, tables, int(fetched.sum()), int((fetched & ~copy).sum()))
    write_snapshot(store, BATCH, [BATCH])

    # Row 0 is the original of all copies; others are far from the ends of their parts.
    return {
        "kept": f"http://{keys[num_pages // 2 // 70 * 70].as_py()}",
        "has 100,000 copies": f"http://{keys[0].as_py()}",
        "duplicate": f"http://{keys[num_pages // 2 // 70 * 70 + 3].as_py()}",
        "not fetched": f"http://{keys[num_pages // 2 // 70 * 70 + 1].as_py()}",
        "never linked": "http://example.org/paper.pdf",
    }


def _texts() -> list[str]:
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"{number:x}{number % 7:b}" for number in range(20_000)])
    drawn = rng.zipf(1.3, (4096, NUM_WORDS)) % len(vocabulary)
    return [" ".join(vocabulary[row]) for row in drawn]


def _filled(table: Table, num_rows: int, **columns: object) -> pa.Table:
    """`table` with these columns, arrays or single values; absent columns are null."""
    made = []
    for field in table.schema:
        value = columns.get(field.name)
        whole = isinstance(value, pa.Array | pa.ChunkedArray)
        made.append(
            value.cast(field.type) if whole else pa.repeat(pa.scalar(value, field.type), num_rows)
        )

    return pa.table(made, schema=table.schema)


def _links(ids: pa.Array, url: pa.Array, key: pa.Array) -> pa.Table:
    created = datetime(2024, 1, 2, tzinfo=UTC)
    return _filled(
        LINKS, len(ids), doc_id=ids, url=url, url_key=key, domain=pc.list_element(pc.split_pattern(key, "/"), 0),
        score=12, score_sum=20, num_submissions=2, submission_id="abc", subreddit="books", title="A title of some length",
        created=created, over_18=False,
    )  # fmt: skip


def _pages(ids: pa.Array, url: pa.Array, fetched: np.ndarray) -> pa.Table:
    mask = pa.array(fetched)
    return _filled(
        PAGES, len(ids), doc_id=ids, url=url, final_url=url, redirects=[], attempts=1, truncated=False, ip="192.0.2.1",
        status=pc.if_else(mask, 200, 404), reason=pc.if_else(mask, pa.scalar(None, pa.string()), "http_status"),
        fetched_at=datetime(2024, 2, 2, tzinfo=UTC), content_type="text/html", body_bytes=40_000,
        warc_file=pc.if_else(mask, f"warc/{BATCH}/part-00000-00000.warc.gz", pa.scalar(None, pa.string())),
        warc_offset=pa.array(np.arange(len(ids)) * 10_000), warc_length=10_000, payload_digest="sha1:ABC",
    )  # fmt: skip


def _documents(ids: pa.Array, url: pa.Array, texts: pa.Array) -> pa.Table:
    text = texts.take(pa.array(np.arange(len(ids)) % len(texts)))
    return _filled(
        DOCUMENTS, len(ids), doc_id=ids, url=url, domain="example.org", title="A title", text=text, language="en",
        language_score=0.9, num_words=NUM_WORDS, extractor="learned", score=12, subreddit="books",
    )  # fmt: skip


def _verdicts(ids: pa.Array, copy: np.ndarray, original: str) -> pa.Table:
    twin, none = pa.array(copy), pa.scalar(None, pa.string())
    return _filled(
        VERDICTS, len(ids), doc_id=ids, kept=pa.array(~copy), reason=pc.if_else(twin, "near_duplicate", none),
        duplicate_of=pc.if_else(twin, original, none), similarity=pc.if_else(twin, 0.9, pa.scalar(None, pa.float64())),
        testsets=[], overlap_ngrams=0, cuts=[],
    )  # fmt: skip


def _spans(ids: pa.Array) -> pa.Table:
    starts = np.arange(len(ids), dtype=np.int64) * TOKENS_EACH
    return _filled(SPANS, len(ids), doc_id=ids, start=pa.array(starts), num_tokens=TOKENS_EACH)


def _token_part(index: int, num_documents: int) -> Part:
    """The record of a token file. Explain reads it in place of the file itself."""
    num_rows = -(-num_documents * TOKENS_EACH // ROW_TOKENS)
    group = {
        "offset": 4,
        "bytes": num_rows * ROW_TOKENS * 2,
        "digest": "0" * 32,
        "rows": num_rows,
        "values_offset": 4,
    }
    metadata = {
        "split": "train", "num_documents": num_documents, "num_tokens": num_documents * TOKENS_EACH, "num_bytes": num_documents * 4000,
        "row_tokens": ROW_TOKENS, "dtype": "uint16", "content": f"{index:032x}", "row_groups": [group],
        "tokenizer": {"fingerprint": "0" * 32, "vocab_size": 50257, "end_of_text": 50256},
    }  # fmt: skip

    return Part(
        file=f"train/part-{index:05}.parquet",
        rows=num_rows,
        # Behind the only group of rows stands the footer, as in a file of Parquet.
        bytes=4 + group["bytes"] + FOOTER_BYTES,
        digest="0" * 32,
        metadata=metadata,
    )


def _commit(store: Store, tables: dict[str, list[Part]], num_fetched: int, num_kept: int) -> None:
    empty = [
        write_part(
            store,
            f"documents_dropped/{BATCH}",
            f"part-{n:05}.parquet",
            DOCUMENTS_DROPPED,
            [],
            n,
            NUM_PARTS,
        )
        for n in range(NUM_PARTS)
    ]
    counts = {PAGES.name: {"fetched": num_fetched}, VERDICTS.name: {"kept": num_kept}}

    for table in ORDER:
        if table is DOCUMENTS:
            commit_table(store, DOCUMENTS_DROPPED, BATCH, empty, num_parts=NUM_PARTS)
        commit_table(
            store,
            table,
            BATCH,
            tables[table.name],
            counts=counts.get(table.name),
            num_parts=NUM_PARTS,
        )


if __name__ == "__main__":
    raise SystemExit(main())
