"""Remove a batch that should not be part of the corpus, such as one that an interrupted run left.

    webtext drop-batch --corpus C --batch B          asks before it acts
    webtext drop-batch --corpus C --batch B --yes

Every table, WARC segment and unfinished step of the batch is deleted. Pages fetched by this
batch alone are lost: a crawl cannot be repeated. A batch is refused if a snapshot names it, or if a
later batch was linked after it or deduplicated against it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from corpus.errors import InputError
from corpus.run import command
from corpus.snapshots.retirement import retirements
from corpus.snapshots.snapshot import read_heads
from corpus.storage import lease
from corpus.storage.store import Store, check_name, open_corpus, work_dir
from corpus.tables.generations import EARLIER
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import EXTRA_TABLES, batches, find_manifest, find_manifests
from corpus.tables.schemas import TABLES
from corpus.tables.staleness import is_table
from webtext.confirm import confirm
from webtext.reports.of_batch import delete_reports

FOLDERS = (*reversed((*TABLES, *EXTRA_TABLES)), "warc")
"""Folders with one folder per batch. Last tables go first: what an interruption leaves is a batch
that later stages have not run on, and WARC segments outlive the table that names them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.drop-batch")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.drop-batch", __doc__ or "")
    parser.add_argument("--batch", required=True, metavar="B", help="the batch to remove")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)

    store = open_corpus(args.corpus)
    batch = check_name("--batch", args.batch)
    folders = batch_folders(store, batch)
    if not folders:
        raise InputError(f"{store.root}: no batch {batch!r}; `webtext status` lists the batches")
    refuse_needed(store, batch)

    confirm(
        f"batch {batch}: {', '.join(folders)} will be deleted for good",
        yes=args.yes,
        command=f"webtext drop-batch --corpus {args.corpus} --batch {batch} --yes",
    )
    drop(store, batch)
    print(f"batch {batch} is removed: {', '.join(folders)}")
    if args.json:
        print(json.dumps({"corpus": args.corpus, "batch": batch, "removed": folders}))
    return 0


def batch_folders(store: Store, batch: str) -> list[str]:
    """The folders that hold something of the batch."""
    tables = [table for table in FOLDERS if batch in store.folders(table)]
    work = ["work"] if any(_unfinished(store, batch)) else []
    return [f"{table}/{batch}" for table in (*tables, *work)]


def _unfinished(store: Store, batch: str) -> list[str]:
    steps = [name for name in store.folders(work_dir(batch)) if name]
    lock = f"{work_dir(batch)}/lock.json"
    return [*steps, *(path for path, _ in store.files(work_dir(batch)) if path != lock)]


def refuse_needed(store: Store, batch: str) -> None:
    """Raise InputError if a later batch or a snapshot needs the batch."""
    judged = [manifest.batch for manifest in batches(store, "verdicts")]
    if batch in judged and (later := judged[judged.index(batch) + 1 :]):
        raise InputError(
            f"batch {batch!r} is needed: {', '.join(later)} was deduplicated against it; "
            f"drop {later[-1]} first"
        )
    if users := _built_on(store, batch):
        raise InputError(
            f"batch {batch!r} is needed: tables of {', '.join(users)} were built from its tables, "
            f"such as links without its pages, and would be stale; finish it, or drop {users[-1]} "
            "first"
        )

    retired = retirements(store)
    for head in read_heads(store):
        if head.name not in retired and batch in {each.batch for each in head.batches}:
            raise InputError(
                f"batch {batch!r} is part of snapshot {head.name!r}; a snapshot stays readable. "
                f"To take pages out of it: `webtext forget`; to delete old ones: `webtext prune`"
            )


def _built_on(store: Store, batch: str) -> list[str]:
    """The other batches with a table of this one among their inputs, in their order."""
    others = [name for name in batch_names(store) if name != batch]
    keys = [(table, name) for name in others for table in (*TABLES, *EXTRA_TABLES)]
    users = {
        name
        for (_, name), manifest in find_manifests(store, keys).items()
        if manifest is not None
        and any(given.batch == batch and is_table(given.table, batch) for given in manifest.inputs)
    }
    return [name for name in others if name in users]


def drop(store: Store, batch: str) -> None:
    """Delete a whole batch, its last table first. Raises BusyError while a run works on it."""
    with lease.hold(store, f"{work_dir(batch)}/lock.json", what="webtext.drop-batch"):
        for table in FOLDERS:
            if find_manifest(store, table, batch) is not None:
                store.delete(f"{table}/{batch}/_manifest.json")
            store.delete_dir(f"{table}/{batch}")
            store.delete_dir(f"{EARLIER}/{table}/{batch}")

        delete_reports(store, batch)
        store.delete(f"refresh/begun-{batch}.json")
        for name in store.folders(work_dir(batch)):
            store.delete_dir(f"{work_dir(batch)}/{name}")
    store.delete_dir(work_dir(batch))


if __name__ == "__main__":
    raise SystemExit(main())
