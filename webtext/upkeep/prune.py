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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpus.errors import BusyError, InputError
from corpus.run import command
from corpus.run.funnel import size
from corpus.snapshots.file_lists import FOLDER, list_path
from corpus.snapshots.retirement import retire, retirement
from corpus.snapshots.snapshot import read_head, snapshot_path, snapshots
from corpus.storage import lease
from corpus.storage.interface import is_leftover
from corpus.storage.store import Store, open_corpus, table_dir, work_dir
from corpus.tables.generations import earlier_path, first_path, lists_of, pinned_files
from corpus.tables.manifest import EXTRA_TABLES, find_manifest, find_manifests
from corpus.tables.schemas import TABLES
from webtext.takedown.snapshots import runs_on

log = logging.getLogger(__name__)

LEASE = "work/prune.json"
PRUNED = (*TABLES, *EXTRA_TABLES)


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

    standing = [name for name in present if retirement(store, name) is None]
    # A stopped run may have marked some already: these are completed for any arguments.
    found = [
        name for name in present if name not in standing and (withdrawn or _is_pruned(store, name))
    ]

    if keep is not None:
        by_age = sorted(
            standing, key=lambda name: (len(read_head(store, name).batches), _natural(name))
        )
        found += by_age[: max(0, len(by_age) - keep)]

    used = [name for name in found if name not in named and runs_on(store, [name])]
    for name in used:
        log.info(
            "snapshot %s stays: run %s was made on it", name, ", ".join(runs_on(store, [name]))
        )

    return sorted({*named, *found} - set(used))


def _is_pruned(store: Store, name: str) -> bool:
    found = retirement(store, name)
    return found is not None and found.kind == "pruned"


def _natural(name: str) -> list[tuple[int, str]]:
    """The order of revisions: `2024-02.10` after `2024-02.9`."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in re.split(r"(\d+)", name)]


def make_plan(store: Store, chosen: Sequence[str]) -> PrunePlan:
    """Plan the deletion of these snapshots, for batches at rest."""
    pinned = _pinned(store, chosen)
    files: list[tuple[str, int]] = []
    names = {batch for table in PRUNED for batch in store.folders(table)}
    names |= {batch for table in PRUNED for batch in store.folders(earlier_path(table))}
    # Read in one go, they are at hand below.
    find_manifests(store, [(table, batch) for table in PRUNED for batch in names])
    for batch in sorted(names):
        if lease.owner(store, _lock_path(batch)) is None:
            files += _unnamed(store, batch, pinned)

    return PrunePlan(sorted(chosen), sorted(files))


def carry_out(store: Store, plan: PrunePlan) -> PrunePlan:
    """Delete the marker first, then the snapshot, then its files; return the deleted ones.

    A rerun completes. A batch's files are deleted under its lease, and only if they are still
    unreferenced: a run started after the plan writes files before its manifest names them.
    """
    for name in plan.snapshots:
        retire(store, name, "pruned", "webtext.prune")
        store.delete(snapshot_path(name))

    planned, gone = dict(plan.files), []
    for batch in sorted({first_path(path).split("/")[1] for path in planned}):
        try:
            with lease.hold(store, _lock_path(batch), what="webtext.prune"):
                for path, num_bytes in _unnamed(store, batch, _pinned(store, plan.snapshots)):
                    if path in planned:
                        store.delete(path)
                        gone.append((path, num_bytes))
        except BusyError as error:
            log.warning("%s; its files stay", error)

    _delete_unused_lists(store)
    return PrunePlan(plan.snapshots, gone)


def _delete_unused_lists(store: Store) -> None:
    """Delete the lists of files that no snapshot refers to."""
    present = {path for path, _ in store.files(FOLDER)}
    unused = present - {list_path(digest) for digest in lists_of(store, _paths(store))}
    kept = {path: store.read_bytes(path) for path in unused}
    for path in unused:
        store.delete(path)

    # A snapshot written meanwhile found its lists there, and must keep them.
    if unused:
        needed = {list_path(digest) for digest in lists_of(store, _paths(store))}
        for path in unused & needed:
            store.write_bytes(path, kept[path])


def _paths(store: Store) -> list[str]:
    return [snapshot_path(name) for name in snapshots(store)]


def _pinned(store: Store, chosen: Sequence[str]) -> set[str]:
    """Files of other snapshots, by their first places."""
    for name in snapshots(store):
        if name not in chosen:
            read_head(store, name)  # refuses one that is damaged: its files cannot be told
    return pinned_files(store, without=chosen)


def _lock_path(batch: str) -> str:
    return f"{work_dir(batch)}/lock.json"


def _unnamed(store: Store, batch: str, pinned: set[str]) -> Iterator[tuple[str, int]]:
    """Unreferenced files of a batch's tables.

    None while it has unfinished steps: the files may be theirs.
    """
    if store.folders(work_dir(batch)):
        return

    for table in PRUNED:
        folder = table_dir(table, batch)
        for path, num_bytes in store.files(earlier_path(folder), recursive=True):
            if first_path(path) not in pinned:
                yield path, num_bytes

        manifest = find_manifest(store, table, batch)
        named = {f"{folder}/{part.file}" for part in manifest.parts} if manifest else set()
        for path, num_bytes in store.files(folder, recursive=True, leftovers=True):
            if is_leftover(path) or (
                manifest and path.endswith(".parquet") and path not in named and path not in pinned
            ):
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
