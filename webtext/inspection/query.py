"""Runs SQL over the committed tables of a corpus with DuckDB: one view per table, all batches together.

    webtext query --corpus C "SELECT batch, reason, count(*) FROM pages GROUP BY ALL" [--json | --csv]

Every view has the columns of its table and `batch`; `spans` and `tokens` have `split` as well. Only
committed parts of the current generation are seen. Files are read through the corpus' own file
system, so `s3://` needs nothing more.

A statement sees these views and nothing else: no files, no network, no extensions. `--allow-files`
lets it read and write files (`COPY ... TO`, `read_csv`), attach databases and load extensions, with
your permissions.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import logging
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from numbers import Number
from typing import Any

import pyarrow as pa

from corpus.errors import InputError, first_line
from corpus.printable import printable, spreadsheet_cell
from corpus.run import command
from corpus.storage.store import Store, open_corpus, table_dir
from corpus.tables.manifest import EXTRA_TABLES, Manifest, batches
from corpus.tables.parquet import open_file
from corpus.tables.schemas import TABLES
from corpus.tables.staleness import stale_among
from webtext.inspection.part_scan import PartDataset, ScannedPart, part_dataset

log = logging.getLogger(__name__)

# Rows shown as a table; --json and --csv give all.
MAX_ROWS = 1000
MAX_CELL_CHARS = 80
# Rows of a result that are held at once.
PIECE_ROWS = 10_000

# Settings of DuckDB limiting a statement to the registered views.
CLOSED = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return command.run_command(_main, argv, stage="webtext.query")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    on_terminal = sys.stdout is not None and sys.stdout.isatty()

    with opened(store, args.sql, allow_files=args.allow_files) as (schema, tables):
        if args.json:
            for row in _rows(tables):
                print(json.dumps(row, default=_as_word, ensure_ascii=on_terminal))
        elif args.csv or args.csv_safe:
            writer = csv.writer(sys.stdout)
            for values in itertools.chain([schema.names], (row.values() for row in _rows(tables))):
                writer.writerow(
                    _csv_cell(value, safe=args.csv_safe, on_terminal=on_terminal)
                    for value in values
                )
        else:
            print(as_text(schema, tables))

    return 0


def query(store: Store, sql: str, *, allow_files: bool = False) -> pa.Table:
    """Run a statement and return its rows. It sees only the corpus' views unless `allow_files`.

    Raises: InputError if DuckDB refuses it or is not installed.
    """
    with opened(store, sql, allow_files=allow_files) as (schema, tables):
        return pa.concat_tables([schema.empty_table(), *tables])


@contextmanager
def opened(
    store: Store, sql: str, *, allow_files: bool = False
) -> Iterator[tuple[pa.Schema, Iterator[pa.Table]]]:
    """Run a statement and yield its columns and its rows in pieces. Raises: as `query`.

    Rows are made while they are read, so that a large result takes little memory.
    """
    try:
        import duckdb
    except ImportError as error:
        raise InputError("webtext query needs DuckDB; pip install webtext[query]") from error

    known = views(store)
    _warn_of_stale(store, sql, known)

    with ExitStack() as stack:
        # Sorts and joins beyond DuckDB's memory go to files, which would be left in the user's
        # folder.
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="webtext-query-"))
        config = {
            "python_enable_replacements": False,
            "temp_directory": scratch,
            **({} if allow_files else CLOSED),
        }
        connection = stack.enter_context(closing(duckdb.connect(config=config)))
        connection.execute("SET TimeZone = 'UTC'")
        # Later SET statements cannot open what is closed.
        connection.execute("SET lock_configuration = true")
        for name, dataset in known.items():
            connection.register(name, dataset)

        try:
            relation = connection.sql(sql)
            if relation is None:
                yield pa.schema([]), iter(())
                return
            reader = relation.to_arrow_reader(PIECE_ROWS)
            names = _distinct(reader.schema.names)
            schema = pa.schema(
                [field.with_name(name) for field, name in zip(reader.schema, names, strict=True)]
            )
            yield schema, (pa.Table.from_batches([batch]).rename_columns(names) for batch in reader)
        except duckdb.PermissionException as error:
            raise InputError(
                f"{first_line(error)}; a statement sees the corpus' tables only, "
                "--allow-files lets it read and write files and load extensions"
            ) from error
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            for failure in (each for dataset in known.values() for each in dataset.failures):
                raise failure from error
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(
                f"{first_line(error)}; tables here: {', '.join(known) or 'none, no batch is committed yet'}"
            ) from error


def _rows(tables: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield from table.to_pylist()


def _warn_of_stale(store: Store, sql: str, known: Iterable[str]) -> None:
    """Log every stale table of a statement."""
    words = set(re.findall(r"\w+", sql.lower()))
    named = [table for table in known if table in words]
    keys = {
        (manifest.table, manifest.batch) for table in named for manifest in batches(store, table)
    }
    for each in stale_among(store, keys) if keys else []:
        if (each.table, each.batch) in keys:
            log.warning("table %s of batch %s is stale: %s", each.table, each.batch, each.why)


def _distinct(names: Sequence[str]) -> list[str]:
    """Make column names unique by a number, since a row becomes a dictionary."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        found.append(
            name
            if name not in found
            else next(new for new in numbered if new not in {*names, *found})
        )

    return found


def views(store: Store) -> dict[str, PartDataset]:
    """A dataset per table with a committed batch."""
    found = {}
    for table in (*TABLES, *EXTRA_TABLES):
        manifests = [manifest for manifest in batches(store, table) if manifest.parts]
        if manifests:
            found[table] = _dataset(store, table, manifests)
    return found


def _dataset(store: Store, table: str, manifests: Sequence[Manifest]) -> PartDataset:
    """The parts of all batches as one dataset, with columns for batch and part."""
    with_split = table in ("spans", "tokens")
    parts = []
    for manifest in manifests:
        for part in manifest.parts:
            place = {"batch": manifest.batch}
            if with_split:
                place["split"] = part.file.partition("/")[0]
            parts.append(ScannedPart(f"{table_dir(table, manifest.batch)}/{part.file}", place))

    with open_file(store, parts[0].path) as file:
        # Later columns are null for files of earlier versions.
        schema = file.schema_arrow.remove_metadata()

    for name in parts[0].place:
        schema = schema.append(pa.field(name, pa.string()))
    return part_dataset(store, schema, parts)


def as_text(schema: pa.Schema, tables: Iterable[pa.Table]) -> str:
    """Rows in aligned columns, the first `MAX_ROWS` of them."""
    shown: list[list[str]] = []
    num_rows = 0
    for table in tables:
        wanted = table.slice(0, max(0, MAX_ROWS - num_rows))
        shown += [[_cell(value) for value in row.values()] for row in wanted.to_pylist()]
        num_rows += table.num_rows

    names = [_cell(name) for name in schema.names]
    widths = [
        max([len(name), *(len(row[column]) for row in shown)]) for column, name in enumerate(names)
    ]
    numeric = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in schema.types]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [names, ["-" * width for width in widths], *shown]
    ]
    if num_rows > MAX_ROWS:
        lines.append(f"... {num_rows:,} rows; --json or --csv for all")

    return "\n".join(lines)


def _cell(value: Any) -> str:
    return printable("" if value is None else _as_word(value), max_chars=MAX_CELL_CHARS)


def _csv_cell(value: Any, *, safe: bool, on_terminal: bool) -> Any:
    """A value as CSV: exact in a file, escaped on a terminal, and no formula if `safe`.

    Numbers stay numbers.
    """
    if value is None or isinstance(value, Number):
        return value
    text = _as_word(value)
    if on_terminal:
        text = printable(text)
    return spreadsheet_cell(text) if safe else text


def _as_word(value: Any) -> str:
    """A value as text; bytes as hex digits, in every form of output."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.query", __doc__ or "", json_help="a JSON object a row")
    parser.add_argument(
        "sql", metavar="SQL", help="one statement; tables are named as in the corpus"
    )
    parser.add_argument("--csv", action="store_true", help="comma-separated values")
    parser.add_argument(
        "--csv-safe",
        action="store_true",
        help="comma-separated values, with an apostrophe before cells that a spreadsheet would run as a formula",
    )
    parser.add_argument(
        "--allow-files",
        action="store_true",
        help="let the statement read and write files, use the network and load extensions",
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
