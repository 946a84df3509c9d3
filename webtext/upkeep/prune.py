"""Deletes old snapshots and the files that only they reference.

    webtext prune --corpus C [--snapshot NAME ...] [--withdrawn] [--keep N] [--delete]

Lists what would be deleted; `--delete` does it. Without a choice of snapshots, only files without a
manifest or snapshot are deleted. A pruned snapshot's name stays taken. Snapshots used by a training
run are skipped unless named by `--snapshot`; active batches are skipped as a whole.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from corpus.bulk import read_many
from corpus.errors import BusyError, InputError
from corpus.run import command
from corpus.run.funnel import size
from corpus.snapshots.file_lists import FOLDER, list_path
from corpus.snapshots.retirement import retire, retirements
from corpus.snapshots.snapshot import read_head, read_heads, snapshot_path, snapshots
from corpus.storage import lease
from corpus.storage.interface import is_leftover
from corpus.storage.store import Store, open_corpus, table_dir, work_dir
from corpus.tables.generations import earlier_path, first_path, lists_of, pinned_files
from corpus.tables.manifest import EXTRA_TABLES, find_manifests
from corpus.tables.schemas import TABLES
from corpus.tables.segments import SEGMENTS
from webtext.takedown.snapshots import runs_by_snapshot

log = logging.getLogger(__name__)

LEASE = "work/prune.json"
PRUNED = (*TABLES, *EXTRA_TABLES, SEGMENTS)

# (path, bytes) of files, by table and batch.
Listing = dict[tuple[str, str], list[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """The snapshots and files to delete."""

    snapshots: list[str]
    files: list[tuple[str, int]]
    """(path, bytes)"""

    @property
    def num_bytes(self) -> int:
        """Bytes to be freed."""
        return sum(num_bytes for _, num_bytes in self.files)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.prune")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    chosen = choose(store, args.snapshot, withdrawn=args.withdrawn, keep=args.keep)

    if args.delete:
        with lease.hold(store, LEASE, what="webtext.prune"), command.interruptible():
            plan = make_plan(store, chosen)
            _print_names("will delete", plan)
            plan = carry_out(store, plan)
    else:
        plan = make_plan(store, chosen)

    verb = "deleted" if args.delete else "would delete"
    _print_names(verb, plan)
    hint = (
        ""
        if args.delete or not (plan.files or plan.snapshots)
        else "; the same command with --delete does it"
    )
    print(
        f"{verb} {len(plan.snapshots)} snapshots, {len(plan.files):,} files, "
        f"{size(plan.num_bytes)}{hint}"
    )

    if args.json:
        print(
            json.dumps(
                {
                    "deleted": args.delete,
                    "snapshots": plan.snapshots,
                    "files": len(plan.files),
                    "bytes": plan.num_bytes,
                }
            )
        )

    return 0


def _print_names(verb: str, plan: PrunePlan) -> None:
    """Name everything, before a deletion and after it."""
    for name in plan.snapshots:
        print(f"{verb} snapshot {name}")
    for path, num_bytes in plan.files:
        print(f"{verb} {path} ({size(num_bytes)})", flush=True)


def choose(store: Store, named: Sequence[str], *, withdrawn: bool, keep: int | None) -> list[str]:
    """Choose the snapshots to delete. Raises: InputError for an unknown name."""
    present = snapshots(store)
    if unknown := set(named) - set(present):
        raise InputError(
            f"{store.root}: no snapshot {sorted(unknown)}; present: {', '.join(present) or 'none'}"
        )

    retired = retirements(store)
    # A stopped run may have marked some already: these are completed for any arguments.
    found = [
        name
        for name in present
        if name in retired and (withdrawn or retired[name].kind == "pruned")
    ]

    if keep is not None:
        standing = [head for head in read_heads(store) if head.name not in retired]
        by_age = sorted(standing, key=lambda head: (len(head.batches), _natural(head.name)))
        found += [head.name for head in by_age[: max(0, len(by_age) - keep)]]

    runs = runs_by_snapshot(store)
    used = [name for name in found if name not in named and name in runs]
    for name in used:
        log.info("snapshot %s stays: run %s was made on it", name, ", ".join(runs[name]))

    return sorted({*named, *found} - set(used))


def _natural(name: str) -> list[tuple[int, str]]:
    """The order of revisions: `2024-02.10` after `2024-02.9`."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in re.split(r"(\d+)", name)]


def make_plan(store: Store, chosen: Sequence[str]) -> PrunePlan:
    """Plan the deletion of these snapshots, for batches at rest."""
    pinned = _pinned(store, chosen)
    listed = _list(store, [folder for table in PRUNED for folder in (table, earlier_path(table))])
    batches = {batch for _, batch in listed}
    at_work = [batch for batch in store.folders("work") if batch in batches]
    busy = read_many(store, at_work, lambda batch: _is_at_work(store, batch))
    left_out = {batch for batch, each in zip(at_work, busy, strict=True) if each}

    resting = {key: files for key, files in listed.items() if key[1] not in left_out}
    return PrunePlan(sorted(chosen), sorted(_unnamed(store, resting, pinned)))


def carry_out(store: Store, plan: PrunePlan) -> PrunePlan:
    """Delete the marker first, then the snapshot, then its files; return the deleted ones.

    A rerun completes. A batch's files are deleted under its lease, and only if they are still
    unreferenced: a run started after the plan writes files before its manifest names them.
    """

    def give_up(name: str) -> None:
        retire(store, name, "pruned", "webtext.prune")
        store.delete(snapshot_path(name))

    read_many(store, plan.snapshots, give_up)

    planned = dict(plan.files)
    gone: list[tuple[str, int]] = []
    for batch in sorted({first_path(path).split("/")[1] for path in planned}):
        try:
            with lease.hold(store, _lock_path(batch), what="webtext.prune"):
                files = [each for each in _unnamed_now(store, batch, plan) if each[0] in planned]
                read_many(store, [path for path, _ in files], store.delete)
                gone += files
        except BusyError as error:
            log.warning("%s; its files stay", error)

    _delete_unused_lists(store)
    return PrunePlan(plan.snapshots, gone)


def _delete_unused_lists(store: Store) -> None:
    """Delete the lists of files that no snapshot refers to."""
    present = {path for path, _ in store.files(FOLDER)}
    unused = sorted(present - {list_path(digest) for digest in lists_of(store, _paths(store))})
    kept = dict(zip(unused, read_many(store, unused, store.read_bytes), strict=True))
    read_many(store, unused, store.delete)

    # A snapshot written meanwhile found its lists there, and must keep them.
    if unused:
        needed = {list_path(digest) for digest in lists_of(store, _paths(store))}
        for path in needed.intersection(unused):
            store.write_bytes(path, kept[path])


def _paths(store: Store) -> list[str]:
    return [snapshot_path(name) for name in snapshots(store)]


def _pinned(store: Store, chosen: Sequence[str]) -> set[str]:
    """Files of other snapshots, by their first places.

    Raises: SchemaError for a snapshot that is damaged: its files cannot be told.
    """
    others = [name for name in snapshots(store) if name not in chosen]
    read_many(store, others, lambda name: read_head(store, name))
    return pinned_files(store, without=chosen)


def _lock_path(batch: str) -> str:
    return f"{work_dir(batch)}/lock.json"


def _is_at_work(store: Store, batch: str) -> bool:
    """True if a run holds the batch, or left unfinished steps: files may be theirs."""
    return lease.owner(store, _lock_path(batch)) is not None or _is_unfinished(store, batch)


def _is_unfinished(store: Store, batch: str) -> bool:
    return bool(store.folders(work_dir(batch)))


def _list(store: Store, folders: Sequence[str]) -> Listing:
    """All files below some folders of tables, by table and batch: one listing for each folder."""
    found = read_many(
        store, folders, lambda folder: store.files(folder, recursive=True, leftovers=True)
    )
    listing: Listing = {}
    for path, num_bytes in (entry for each in found for entry in each):
        table, *rest = first_path(path).split("/")
        if len(rest) > 1:
            listing.setdefault((table, rest[0]), []).append((path, num_bytes))
    return listing


def _unnamed_now(store: Store, batch: str, plan: PrunePlan) -> Iterator[tuple[str, int]]:
    """Unreferenced files of a batch under its lease; none if it has unfinished steps."""
    if _is_unfinished(store, batch):
        return

    places = [table_dir(table, batch) for table in PRUNED]
    listed = _list(store, [folder for place in places for folder in (place, earlier_path(place))])
    yield from _unnamed(store, listed, _pinned(store, plan.snapshots))


def _unnamed(store: Store, listing: Listing, pinned: Set[str]) -> Iterator[tuple[str, int]]:
    """Listed files that neither a manifest nor a snapshot refers to."""
    manifests = find_manifests(store, listing)
    for (table, batch), files in listing.items():
        manifest = manifests[table, batch]
        folder = table_dir(table, batch)
        named = {f"{folder}/{part.file}" for part in manifest.parts} if manifest else set()

        for path, num_bytes in files:
            if path != first_path(path):
                unneeded = first_path(path) not in pinned
            else:
                # Without a manifest, files belong to a run that has not committed them yet.
                unneeded = bool(manifest) and path.endswith(".parquet")
                unneeded = unneeded and path not in named and path not in pinned
            if unneeded or is_leftover(path):
                yield path, num_bytes


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.prune", __doc__ or "")
    parser.add_argument(
        "--snapshot",
        action="append",
        default=[],
        metavar="NAME",
        help="give up this snapshot; may be repeated",
    )
    parser.add_argument("--withdrawn", action="store_true", help="give up all withdrawn snapshots")
    parser.add_argument(
        "--keep", type=command.positive, metavar="N", help="give up all but the N latest snapshots"
    )
    parser.add_argument(
        "--delete", action="store_true", help="do it; without this nothing is changed"
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
