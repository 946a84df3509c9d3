"""Publish a snapshot as a data set: Parquet that data set libraries open, a card, sums.

    webtext publish --corpus C --snapshot S --to FOLDER
    webtext publish --corpus C --snapshot S --to FOLDER --where "rights = 'yes'" --columns text,url,date
    webtext publish --corpus C --snapshot S --to FOLDER --no-text

The folder has configurations `documents` and `tokens` (train and validation), `links` and `removed`;
README.md, a data card whose every figure is read from the tables; datasheet.md; croissant.json;
SHA256SUMS.

    webtext publish --corpus C --snapshot S --to hf://datasets/OWNER/NAME --contact ME --dry-run

uploads such a folder as one revision of a data set of the hub: commits to a pull request, then one
merge. After a stop the same command continues.

`--no-text` publishes identifiers and links only, for those who may not redistribute pages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpus.errors import InputError, first_line
from corpus.run import command
from corpus.snapshots.export_log import note_export
from corpus.snapshots.retirement import retirement
from corpus.snapshots.snapshot import SPLITS, read_snapshot
from corpus.snapshots.snapshot_remarks import warn_of_remarks
from corpus.storage.store import Store, check_name, open_corpus, open_store
from shards.reader import TokenSplit, open_split
from shards.tokenizer.encode import load_tokenizer
from webtext.inspection.query import CLOSED
from webtext.publish import card, croissant, datasheet, documents, hub, others
from webtext.publish.facts import Facts, gather
from webtext.publish.files import Written, write_rows, write_text

NO_URL = "https://example.org/replace-me"
HUB_NAMES = {"train": "train", "val": "validation"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.publish")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    _refuse_snapshot(store, check_name("--snapshot", args.snapshot))
    if not args.to.startswith("hf://"):
        _refuse_hub_options(args)
        _write(store, args, args.to)
        return 0

    name, api = hub.repository(args.to), hub.connect()
    if args.url == NO_URL:
        args.url = f"{api.endpoint}/datasets/{name}"
    with _staging(args.staging) as folder:
        digest = _write(store, args, str(folder))
        if args.dry_run:
            planned = hub.compared(api, name, hub.Folder.read(folder))
            print(
                f"dry run: {args.to} would get {len(planned.added)} files "
                f"({planned.num_bytes:,} bytes) and lose {len(planned.removed)}"
            )
            return 0
        address = hub.upload(
            api,
            name,
            folder,
            digest,
            private=args.private,
            merge=not args.no_merge,
            squash=args.squash_history,
        )
    print(f"{address}: {'waits to be merged' if args.no_merge else 'merged'}")
    return 0


def _write(store: Store, args: argparse.Namespace, to: str) -> str:
    """Write the whole folder and print its contents. Returns the snapshot's digest."""
    target = open_store(to)
    if any(True for _ in target.files("")):
        option = "--staging" if args.to.startswith("hf://") else "--to"
        raise InputError(
            f"{option} {to}: has files already; expected an empty or a new folder, so that "
            "nothing of an earlier publication stays in this one"
        )
    schema = _schema(args.columns, with_text=not args.no_text)
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
    if not args.dry_run:
        note_export(store, args.snapshot, "publish", args.to)

    for (config, split), rows in written.rows.items():
        print(f"{config:<10} {split:<11}{rows:>12,} rows {written.bytes[config, split]:>15,} bytes")
    print(f"{to}: {len(written.digests)} files; open README.md")
    if args.json:
        counts = {"/".join(key): count for key, count in written.rows.items()}
        record = {"to": args.to, "snapshot": args.snapshot, "rows": counts}
        print(json.dumps(record, sort_keys=True))
    return facts.snapshot.digest


@contextmanager
def _staging(folder: str | None) -> Iterator[Path]:
    """The folder to upload from: the user's, kept afterwards, or a temporary one."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="webtext-publish-") as temporary:
        yield Path(temporary)


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
    """Write all rows of a snapshot below `data/`. Raises InputError for a filter refused by
    DuckDB."""
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
    """Write croissant.json, README.md, datasheet.md and, last, SHA256SUMS."""
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
    text = datasheet.datasheet(
        facts, written, title=args.title, license_name=args.license, contact=args.contact
    )
    write_text(target, written, "datasheet.md", text)

    sums = "".join(f"{digest}  {path}\n" for path, digest in sorted(written.digests.items()))
    target.write_bytes("SHA256SUMS", sums.encode())


def _filtered(rows: pa.Table, where: str | None) -> pa.Table:
    """The rows satisfying a condition of SQL. It sees the published columns alone."""
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
        raise InputError(
            f"--where {where!r}: {first_line(error)}; columns: {', '.join(rows.column_names)}"
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


def _refuse_snapshot(store: Store, snapshot: str) -> None:
    """Raise InputError for a withdrawn snapshot."""
    found = retirement(store, snapshot)
    if found is not None and found.kind == "withdrawn":
        raise InputError(
            f"--snapshot {snapshot}: withdrawn on {found.when[:10]} ({found.why}); publish a "
            "later snapshot (`webtext status` lists them)"
        )


def _refuse_hub_options(args: argparse.Namespace) -> None:
    """Raise InputError for options without effect on a folder."""
    for name in ("dry_run", "private", "no_merge", "squash_history", "staging"):
        if getattr(args, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: expected together with --to hf://datasets/OWNER/NAME")


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.publish", __doc__ or "")
    parser.add_argument("--snapshot", required=True, metavar="NAME", help="the snapshot")
    parser.add_argument(
        "--to",
        required=True,
        metavar="DIR",
        help="an empty folder, a URI of one, or hf://datasets/OWNER/NAME",
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
        default=NO_URL,
        metavar="URL",
        help="where it will be found, for croissant.json",
    )
    parser.add_argument(
        "--contact", required=True, help="an address for take-downs, printed in the card"
    )

    # At the hub.
    parser.add_argument("--dry-run", action="store_true", help="write, compare and send nothing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    merging = parser.add_mutually_exclusive_group()
    merging.add_argument(
        "--no-merge", action="store_true", help="leave the pull request open, to be read first"
    )
    merging.add_argument(
        "--squash-history",
        action="store_true",
        help="afterwards make the hub forget earlier revisions, as take-downs ask",
    )
    parser.add_argument(
        "--staging",
        metavar="DIR",
        help="where the folder is written before (default: a temporary folder)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
