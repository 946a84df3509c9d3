"""A toy stage over the real tables: small enough to read, shaped like the real ones.

It lies in an importable file, because steps travel to other processes by name.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128_hexdigest

from corpus.config import Section
from corpus.run import command
from corpus.run.executors import SerialExecutor
from corpus.run.plan import Run
from corpus.run.step import Context, Exchange, Gather, Map, Output, Scattered
from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import write_part
from corpus.tables.schemas import LINKS, Table, part_of, part_of_id

ROWS = Table(
    name="rows", schema=pa.schema([pa.field("doc_id", pa.string()), pa.field("length", pa.int64())])
)
SHORT = Table(name="short", schema=ROWS.schema)
BY_DOMAIN = Table(
    name="by_domain",
    schema=pa.schema([pa.field("domain", pa.string()), pa.field("rows", pa.int64())]),
    scratch=True,
)
TOTAL = Table(name="total", schema=ROWS.schema)


class ToyConfig(Section):
    """Settings of the toy."""

    least: int = 20
    """Shortest URL kept, characters."""
    slow_s: float = 0.0
    """Sleep per batch, seconds."""
    crash_part: int = -1
    """The part whose task ends its process; -1 for none."""
    lose_row: bool = False
    """Break the law of conservation on purpose."""
    log_dir: str = ""
    """Where every task that runs leaves a file; empty for nowhere."""


def load_split(config: ToyConfig, context: Context) -> Any:
    def apply(table: pa.Table, joins: Mapping[str, pa.Table]) -> Output:
        if config.log_dir:
            part = part_of_id(table["doc_id"][0].as_py(), context.num_parts)
            Path(config.log_dir, f"{part}-{time.monotonic_ns()}").touch()
            if part == config.crash_part:
                os._exit(7)
        time.sleep(config.slow_s)
        lengths = pa.compute.cast(pa.compute.utf8_length(table["url"]), pa.int64())
        rows = pa.table({"doc_id": table["doc_id"], "length": lengths})
        long = pa.compute.greater_equal(lengths, config.least)
        kept, dropped = rows.filter(long), rows.filter(pa.compute.invert(long))
        if config.lose_row:
            dropped = dropped.slice(1)
        return Output(
            {"rows": kept, "short": dropped},
            Counter(kept=kept.num_rows, too_short=dropped.num_rows),
        )

    return apply


def load_scatter(config: ToyConfig, context: Context) -> Any:
    def scatter(table: pa.Table) -> Scattered:
        bucket = np.array([hash_of(d) % 3 for d in table["domain"].to_pylist()], np.int64)
        return Scattered(table.select(["domain"]), bucket)

    return scatter


def load_reduce(config: ToyConfig, context: Context) -> Any:
    def reduce(bucket: int, table: pa.Table) -> Output:
        counted = table.group_by("domain").aggregate([([], "count_all")]).sort_by("domain")
        return Output(
            {"by_domain": pa.table({"domain": counted["domain"], "rows": counted["count_all"]})}
        )

    return reduce


def load_total(config: ToyConfig, context: Context) -> Any:
    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        rows = pa.concat_tables(list(tables["by_domain"]))
        ids = [xxh3_128_hexdigest(domain.encode()) for domain in rows["domain"].to_pylist()]
        return Output(
            {"total": pa.table({"doc_id": ids, "length": rows["rows"]})},
            Counter(domains=rows.num_rows),
        )

    return gather


def three(config: Any, context: Context) -> int:
    return 3


STEPS = (
    Map(
        name="toy/split",
        reads=LINKS,
        columns=("doc_id", "url"),
        writes=(ROWS, SHORT),
        conserves=(ROWS, SHORT),
        sections=("least",),
        load=load_split,
    ),
    Exchange(
        name="toy/domains",
        reads=LINKS,
        columns=("domain",),
        scattered=pa.schema([("domain", pa.string())]),
        writes=(BY_DOMAIN,),
        load_scatter=load_scatter,
        load_reduce=load_reduce,
        num_buckets=three,
    ),
    Gather(
        name="toy/total", reads={BY_DOMAIN: ("domain", "rows")}, writes=(TOTAL,), load=load_total
    ),
)


def hash_of(text: str) -> int:
    return int(xxh3_128_hexdigest(text.encode())[:8], 16)


def links(num_rows: int, seed: int = 0) -> pa.Table:
    rows = [
        {
            "doc_id": xxh3_128_hexdigest(f"{seed} {i}".encode()),
            "url": f"http://d{i % 17}.test/{'x' * (i % 13)}",
            "url_key": f"d{i % 17}.test/{i}",
            "domain": f"d{i % 17}.test",
            "score": 3 + i % 40,
            "score_sum": 3 + i % 40,
            "num_submissions": 1,
            "submission_id": f"a{i}",
            "subreddit": "test",
            "title": f"title {i}",
            "created": 1_500_000_000 + i,
            "over_18": False,
        }
        for i in range(num_rows)
    ]
    rows.sort(key=lambda row: str(row["doc_id"]))
    return pa.Table.from_pylist(rows, LINKS.schema)


def make_corpus(
    root: str, *, num_rows: int = 500, num_parts: int = 5, batch: str = "b", seed: int = 0
) -> Store:
    """A corpus with one committed batch of links."""
    store = open_corpus(root, create=True)
    table = links(num_rows, seed)
    parts = part_of(table["doc_id"], num_parts)
    written = [
        write_part(
            store,
            LINKS.folder(batch),
            f"part-{i:05}.parquet",
            LINKS,
            [table.filter(pa.array(parts == i))],
            i,
            num_parts,
        )
        for i in range(num_parts)
    ]
    commit_table(store, LINKS, batch, written, num_parts=num_parts)
    return store


def run_of(store: Store, num_parts: int = 5) -> Run:
    """A run of the stage with its own settings, in this process."""
    return Run(
        stage="toy",
        config=ToyConfig(),
        store=store,
        batch="b",
        executor=SerialExecutor(),
        num_parts=num_parts,
    )


def committed_bytes(
    store: Store, tables: tuple[str, ...] = ("rows", "short", "total"), batch: str = "b"
) -> dict[str, bytes]:
    """Every file of the tables but the manifests (they hold the time)."""
    return {
        path: store.read_bytes(path)
        for table in tables
        for path, _ in store.files(f"{table}/{batch}")
        if path.endswith(".parquet")
    }


if __name__ == "__main__":
    # Under the module's importable name, as a stage's own door has it: steps travel by that name.
    from tests.support import toy_stage as toy

    raise SystemExit(
        command.run_stage_command("clean", toy.ToyConfig, toy.STEPS, None, "a toy stage")
    )
