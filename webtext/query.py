"""SQL over all committed tables of a corpus, by DuckDB: a view per table, all batches together.

    webtext query --corpus C "SELECT batch, reason, count(*) FROM pages GROUP BY ALL" [--json | --csv]

Every view has the columns of its table and `batch`; `spans` and `tokens` have `split` too. Only committed parts are
seen, in the generation that is current. Files are read through the corpus' own file system, so `s3://` needs nothing
more. The database itself is empty and in memory; what the statement writes (`COPY ... TO`) goes where it says.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store, open_corpus, table_dir
from corpus.tables.manifest import EXTRA_TABLES, Manifest, batches
from corpus.tables.schemas import TABLES
from corpus.tables.staleness import stale_among

log = logging.getLogger(__name__)

MOST_ROWS = 1000
"""Rows shown as a table; --json and --csv give all."""


def main(argv: Sequence[str] | None = None) -> int:
    """The door."""
    return command.door(_main, argv, stage="webtext.query")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    result = query(store, args.sql)
    if args.json:
        for batch in result.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                print(json.dumps(row, default=_plain, ensure_ascii=False))
    elif args.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(result.column_names)
        for batch in result.to_batches(max_chunksize=10_000):
            writer.writerows(list(row.values()) for row in batch.to_pylist())
    else:
        print(as_text(result))
    return 0


def query(store: Store, sql: str) -> pa.Table:
    """The rows that a statement gives. Raises: InputError where DuckDB refuses it or is not installed."""
    try:
        import duckdb
    except ImportError as error:
        raise InputError("webtext.query needs DuckDB; pip install webtext[query]") from error
    connection = duckdb.connect(config={"python_enable_replacements": False})
    connection.execute("SET TimeZone = 'UTC'")
    known = views(store)
    _warn_of_stale(store, sql, known)
    for name, dataset in known.items():
        connection.register(name, dataset)
    try:
        relation = connection.sql(sql)
        result = relation.to_arrow_table() if relation is not None else pa.table({})
        return result.rename_columns(_distinct(result.column_names))
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{first}; tables here: {', '.join(known) or 'none, no batch is committed yet'}"
        ) from error
    finally:
        connection.close()


def _warn_of_stale(store: Store, sql: str, known: Iterable[str]) -> None:
    """Log every stale table that a statement names."""
    words = set(re.findall(r"\w+", sql.lower()))
    named = [table for table in known if table in words]
    keys = {
        (manifest.table, manifest.batch) for table in named for manifest in batches(store, table)
    }
    for each in stale_among(store, keys) if keys else []:
        if (each.table, each.batch) in keys:
            log.warning("table %s of batch %s is stale: %s", each.table, each.batch, each.why)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of columns with a number behind those that were there before: a row becomes a dictionary."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        found.append(
            name
            if name not in found
            else next(new for new in numbered if new not in {*names, *found})
        )
    return found


def views(store: Store) -> dict[str, Any]:
    """A dataset per table that has a committed batch."""
    found = {}
    for table in (*TABLES, *EXTRA_TABLES):
        manifests = batches(store, table)
        if manifests:
            found[table] = _dataset(store, table, manifests)
    return found


def _dataset(store: Store, table: str, manifests: Sequence[Manifest]) -> Any:
    """The parts of all batches as one dataset; what their places say becomes columns."""
    paths, places = [], []
    with_split = table in ("spans", "tokens")
    for manifest in manifests:
        for part in manifest.parts:
            paths.append(store.full_path(f"{table_dir(table, manifest.batch)}/{part.file}"))
            place = ds.field("batch") == manifest.batch
            places.append(
                place & (ds.field("split") == part.file.partition("/")[0]) if with_split else place
            )
    with store.open_input(
        f"{table_dir(table, manifests[0].batch)}/{manifests[0].parts[0].file}"
    ) as stream:
        schema = pq.read_schema(stream).remove_metadata()
    for name in ("batch", "split") if with_split else ("batch",):
        schema = schema.append(pa.field(name, pa.string()))
    return ds.FileSystemDataset.from_paths(
        paths,
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=store.filesystem,
        partitions=places,
    )


def as_text(table: pa.Table) -> str:
    """Rows in aligned columns."""
    shown = [
        [_cell(value) for value in row.values()] for row in table.slice(0, MOST_ROWS).to_pylist()
    ]
    names = table.column_names
    widths = [
        max([len(name), *(len(row[column]) for row in shown)]) for column, name in enumerate(names)
    ]
    numeric = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in table.schema.types
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [names, ["-" * width for width in widths], *shown]
    ]
    if table.num_rows > MOST_ROWS:
        lines.append(f"... {table.num_rows:,} rows; --json or --csv for all")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= 80 else text[:79] + "…"


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.query", __doc__ or "", json_help="a JSON object a row")
    parser.add_argument(
        "sql", metavar="SQL", help="one statement; tables are named as in the corpus"
    )
    parser.add_argument("--csv", action="store_true", help="comma-separated values")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
