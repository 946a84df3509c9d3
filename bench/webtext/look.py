"""Speed of `webtext look` on a made corpus: views, samples, search and memory.

    python -m bench.webtext.look [--pages 1000000]

Pages are short, since the views read columns: 100 words of text each. Their 50,000 domains have
links in proportion to 1/rank, as those of WebText nearly do. Prints one line a view, the median of
five, and the peak memory of this process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from starlette.testclient import TestClient

from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import ROW_GROUP_ROWS, write_part
from corpus.tables.schemas import DOCUMENTS, LINKS, PAGES, VERDICTS, Table
from webtext.look.app import Origins, look_app
from webtext.look.full_text import FullTextIndex

BATCH = "made"
WORDS = np.array([f"word{number}" for number in range(20_000)])
REPEATS = 5
NUM_DOMAINS = 50_000


def main() -> None:
    """Make the corpus and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=1_000_000)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that its memory is not counted.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            some_id = pool.submit(make_at, f"{folder}/corpus", args.pages).result()
        store = open_corpus(f"{folder}/corpus")
        begin = time.perf_counter()
        client = TestClient(
            look_app(store, Origins("http://127.0.0.1:1", "s")), base_url="http://127.0.0.1"
        )
        client.get("/")
        print(f"start and first funnel: {time.perf_counter() - begin:.2f} s")

        paths = {
            "funnel": "/",
            "sample of a reason": "/sample/verdicts/near_duplicate?seed=1",
            "page": f"/page/{some_id}",
            "next page": f"/page/{some_id}/next",
            "pairs": "/pairs",
            "domains": "/domains",
        }
        for name, path in paths.items():
            print(f"{name}: {_median_ms(client, path):.0f} ms")

        print(f"memory before the index: {_peak_mb():.0f} MB")
        index = FullTextIndex(store, Path(folder) / "index")
        begin = time.perf_counter()
        index.make()
        print(
            f"index: {time.perf_counter() - begin:.1f} s, {index.path.stat().st_size / 1e6:.0f} MB"
        )
        begin = time.perf_counter()
        index.search("word17 word42")
        print(f"search: {1000 * (time.perf_counter() - begin):.0f} ms")
    print(f"peak memory: {_peak_mb():.0f} MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _median_ms(client: TestClient, path: str) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        answer = client.get(path, follow_redirects=False)
        times.append(1000 * (time.perf_counter() - begin))
        assert answer.status_code in (200, 303), (path, answer.text[:300])
    return statistics.median(times)


def make_at(root: str, pages: int) -> str:
    """Make the corpus in a folder; the doc_id of a page in its middle."""
    return make(open_corpus(root, create=True), pages)[pages // 2]


def make(store: Store, pages: int) -> list[str]:
    """Commit four tables of one batch; return the doc_ids."""
    rng = np.random.default_rng(0)
    ids = [f"{number:032x}" for number in np.sort(rng.integers(0, 2**63, pages)).tolist()]
    ids = [f"{int(2**32 * at / pages):08x}{doc_id[8:]}" for at, doc_id in enumerate(ids)]
    for table in (LINKS, PAGES, DOCUMENTS, VERDICTS):
        part = write_part(
            store, table.folder(BATCH), "part-00000.parquet", table, _rows(table, ids, rng)
        )
        commit_table(store, table, BATCH, [part], counts=_counts(table, pages))
    return ids


def _counts(table: Table, pages: int) -> dict[str, int]:
    """The counts of a manifest: every tenth document is a duplicate."""
    gone = pages // 10
    found = {
        PAGES.name: {"fetched": pages},
        DOCUMENTS.name: {"kept": pages},
        VERDICTS.name: {"kept": pages - gone, "near_duplicate": gone},
    }
    return found.get(table.name, {})


def _rows(table: Table, ids: list[str], rng: np.random.Generator) -> Iterator[pa.Table]:
    for start in range(0, len(ids), ROW_GROUP_ROWS):
        chosen = ids[start : start + ROW_GROUP_ROWS]
        rows = [_row(table, ids, start + at, rng) for at in range(len(chosen))]
        yield pa.Table.from_pylist(rows, table.schema)


def _row(table: Table, ids: list[str], at: int, rng: np.random.Generator) -> dict[str, Any]:
    doc_id = ids[at]
    row: dict[str, Any] = {field.name: _blank(field) for field in table.schema}
    row["doc_id"] = doc_id
    if table is LINKS:
        # A rank whose logarithm is uniform: its density is 1/rank.
        domain = f"site{int(NUM_DOMAINS ** rng.random())}.test"
        row |= {"url": f"http://{domain}/{doc_id}", "domain": domain}
    elif table is DOCUMENTS:
        row |= {
            "text": " ".join(WORDS[rng.integers(0, WORDS.size, 100)]),
            "url": f"http://{doc_id}",
        }
    elif table is VERDICTS:
        gone = at % 10 == 9
        row |= {"kept": not gone, "reason": "near_duplicate" if gone else None}
        row |= {"duplicate_of": ids[0], "similarity": float(rng.uniform(0.8, 1))} if gone else {}
    return row


def _blank(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_string(field.type):
        return ""
    return False if pa.types.is_boolean(field.type) else 0


if __name__ == "__main__":
    main()
