"""Publish a snapshot as a data set: Parquet that data set libraries open, a card, sums.

    webtext publish --corpus C --snapshot S --to FOLDER
    webtext publish --corpus C --snapshot S --to FOLDER --where "rights = 'yes'" --columns text,url,date
    webtext publish --corpus C --snapshot S --to FOLDER --no-text

The folder has configurations `documents` and `tokens` (train and validation), `links` and `removed`;
README.md, a data card whose every figure is read from the tables; croissant.json; SHA256SUMS. It
becomes a repository of the hub as it is: `hf upload-large-folder OWNER/NAME FOLDER --repo-type dataset`.

`--no-text` publishes identifiers and links only, for those who may not redistribute pages.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.export_log import note_export
from corpus.tables.retirement import retirement
from corpus.tables.snapshot import SPLITS, read_snapshot
from corpus.tables.snapshot_remarks import warn_of_remarks
from shards.reader import TokenSplit, open_split
from shards.tokenizer.encode import load_tokenizer
from webtext.inspection.query import CLOSED
from webtext.publish import card, croissant, documents, others
from webtext.publish.facts import Facts, gather
from webtext.publish.files import Written, write_rows, write_text

HUB_NAMES = {"train": "train", "val": "validation"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.publish")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store, target = open_corpus(args.corpus), open_store(args.to)
    schema = _schema(args.columns, with_text=not args.no_text)
    _refuse(store, target, args)
    warn_of_remarks(store, args.snapshot)

    facts, written = publish(
        store,
        target,
        args.snapshot,
        schema=schema,
        where=args.where,
        max_bytes=args.shard_mb * 1_000_000,
        with_tokens=not (args.no_text or args.where),
    )
    describe(facts, written, target, schema, args)
    note_export(store, args.snapshot, "publish", args.to)

    for (config, split), rows in written.rows.items():
        print(f"{config:<10} {split:<11}{rows:>12,} rows {written.bytes[config, split]:>15,} bytes")
    print(f"{args.to}: {len(written.digests)} files; open README.md")
    if args.json:
        counts = {"/".join(key): count for key, count in written.rows.items()}
        record = {"to": args.to, "snapshot": args.snapshot, "rows": counts}
        print(json.dumps(record, sort_keys=True))
    return 0


def publish(
    store: Store,
    target: Store,
    snapshot: str,
    *,
    schema: pa.Schema,
    where: str | None,
    max_bytes: int,
    with_tokens: bool,
) -> tuple[Facts, Written]:
    """Write all rows of a snapshot below `data/`. Raises InputError for a filter that DuckDB refuses."""
    facts, written = gather(store, read_snapshot(store, snapshot)), Written()
    tokenizer = load_tokenizer(store)
    duplicates = documents.copies(store, facts.batches)
    splits = [open_split(store.root, snapshot, name) for name in SPLITS]
    for split in splits:
        rows = documents.documents(store, split, tokenizer, duplicates)
        chosen = (facts.count(_filtered(table, where)).select(schema.names) for table in rows)
        name = HUB_NAMES[split.name]
        write_rows(target, written, "documents", name, schema, chosen, max_bytes)
    facts.finish()

    for split in splits if with_tokens else []:
        _write_tokens(target, written, split, max_bytes)
    link_rows = others.links(store, facts.batches)
    write_rows(target, written, "links", "train", others.LINK_ROWS, link_rows, max_bytes)
    gone = others.removed(store, facts.batches)
    write_rows(target, written, "removed", "train", others.REMOVED, gone, max_bytes)
    return facts, written


def _write_tokens(target: Store, written: Written, split: TokenSplit, max_bytes: int) -> None:
    name, schema = HUB_NAMES[split.name], others.token_schema(split)
    write_rows(target, written, "tokens", name, schema, others.tokens(split), max_bytes)


def describe(
    facts: Facts, written: Written, target: Store, schema: pa.Schema, args: argparse.Namespace
) -> None:
    """Write croissant.json, README.md and, last, SHA256SUMS."""
    tokens = pa.schema([("input_ids", pa.list_(pa.uint32()))])
    schemas = {"documents": schema, "tokens": tokens}
    schemas |= {"links": others.LINK_ROWS, "removed": others.REMOVED}
    text = croissant.croissant(
        facts,
        written,
        schemas,
        title=args.title,
        license_url=args.license_url,
        url=args.url,
        published=datetime.now(UTC).date().isoformat(),
    )
    write_text(target, written, "croissant.json", text)
    text = card.card(
        facts, written, title=args.title, license_name=args.license, contact=args.contact
    )
    write_text(target, written, "README.md", text)

    sums = "".join(f"{digest}  {path}\n" for path, digest in sorted(written.digests.items()))
    target.write_bytes("SHA256SUMS", sums.encode())


def _filtered(rows: pa.Table, where: str | None) -> pa.Table:
    """The rows that a condition of SQL holds for; it sees the published columns alone."""
    if where is None:
        return rows
    try:
        import duckdb
    except ImportError as error:
        raise InputError("--where needs DuckDB; pip install webtext[query]") from error

    connection = duckdb.connect(config={"python_enable_replacements": False, **CLOSED})
    connection.execute("SET lock_configuration = true")
    connection.register("documents", rows)
    try:
        found: Any = connection.sql(f"SELECT * FROM documents WHERE ({where})").to_arrow_table()
    except duckdb.Error as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"--where {where!r}: {line}; columns: {', '.join(rows.column_names)}"
        ) from error
    finally:
        connection.close()
    return pa.Table.from_batches(_as(rows.schema, found), rows.schema)


def _as(schema: pa.Schema, table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from table.select(schema.names).cast(schema).to_batches()


def _schema(columns: str | None, *, with_text: bool) -> pa.Schema:
    """The published columns. Raises InputError for an unknown one."""
    names = documents.SCHEMA.names if columns is None else columns.split(",")
    if unknown := [name for name in names if name not in documents.SCHEMA.names]:
        raise InputError(
            f"--columns {unknown[0]}: no such column; there are {', '.join(documents.SCHEMA.names)}"
        )
    if not with_text:
        names = [name for name in names if name != "text"]
    return pa.schema([documents.SCHEMA.field(name) for name in dict.fromkeys(names)])


def _refuse(store: Store, target: Store, args: argparse.Namespace) -> None:
    """Raise InputError for a target with files, and for a snapshot that was withdrawn."""
    if args.to.startswith("hf://"):
        raise InputError(
            f"--to {args.to}: publish to a folder first, read its README.md, then "
            "`hf upload-large-folder OWNER/NAME FOLDER --repo-type dataset`"
        )
    if any(True for _ in target.files("")):
        raise InputError(
            f"--to {args.to}: has files already; expected an empty or a new folder, so that "
            "nothing of an earlier publication stays in this one"
        )
    found = retirement(store, args.snapshot)
    if found is not None and found.kind == "withdrawn":
        raise InputError(
            f"--snapshot {args.snapshot}: withdrawn on {found.when[:10]} ({found.why}); publish a "
            "later snapshot (`webtext status` lists them)"
        )


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.publish", __doc__ or "")
    parser.add_argument("--snapshot", required=True, metavar="NAME", help="the snapshot")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="an empty folder, or a URI of one"
    )

    # Less than everything.
    parser.add_argument("--columns", metavar="A,B", help="columns of documents (default: all)")
    parser.add_argument(
        "--no-text", action="store_true", help="no texts and no tokens: identifiers and links only"
    )
    parser.add_argument(
        "--where", metavar="SQL", help="only documents for which this holds; no tokens then"
    )
    parser.add_argument(
        "--shard-mb",
        type=command.positive,
        default=300,
        metavar="N",
        help="megabytes of a file at most, about (default: 300)",
    )

    # What the tables cannot know.
    parser.add_argument("--title", default="WebText", help="the name of the data set")
    parser.add_argument(
        "--license",
        default="other",
        metavar="ID",
        help="licence by the hub's name (default: other)",
    )
    parser.add_argument(
        "--license-url",
        default="https://choosealicense.com/no-permission/",
        metavar="URL",
        help="the licence for croissant.json",
    )
    parser.add_argument(
        "--url",
        default="https://example.org/replace-me",
        metavar="URL",
        help="where it will be found, for croissant.json",
    )
    parser.add_argument(
        "--contact", required=True, help="an address for take-downs, printed in the card"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
