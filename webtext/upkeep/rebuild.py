"""Rebuilds tables of batches under a changed config, from a stage on.

    webtext rebuild --corpus C --from clean --config webtext.toml [--batch B ...] [--snapshot NAME]
    webtext rebuild --corpus C --from crawl --files RS_2024-01.zst ...

No stage of the chain is skipped, and batches are rebuilt in their order, since a later batch is
compared with earlier ones. The old tables stay readable until the new ones are committed, one after
the other; old snapshots keep their files until `webtext prune`. Tables that are up to date are left
alone, so after an interruption the same command continues. At the end a snapshot of all batches is
written, under the first free name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections.abc import Sequence

from corpus.errors import InputError, Interrupted, StageError
from corpus.run import command, screen
from corpus.snapshots.snapshot import write_revision
from corpus.snapshots.snapshot_remarks import warn_of_remarks
from corpus.storage import lease
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.external_files import identity
from corpus.tables.inventory import batch_names, entries
from corpus.tables.manifest import STAGES, batches, earlier_batches, find_manifest
from corpus.tables.staleness import require_current, stale_among, suggestion
from webtext.settings import check_settings, sets_of
from webtext.stages import stage_main

log = logging.getLogger(__name__)

# Input tables by stage.
NEEDS = {
    "crawl": ("links",),
    "clean": ("pages",),
    "dedup": ("documents",),
    "shards": ("documents", "verdicts"),
}
# Kinds of input files of a crawl, and the option for each.
FILE_OPTIONS = {"dump": "--dumps", "warc": "--warc"}
# The lease of `webtext refresh`: the two commands exclude each other.
LEASE = "work/refresh.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command.run_command(_main, argv, stage="webtext.rebuild")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    if args.snapshot:
        check_name("--snapshot", args.snapshot)

    chosen = choose(store, args.batch, args.first)
    stages = STAGES[STAGES.index(args.first) :]
    files = files_by_batch(store, chosen, args.files) if args.first == "crawl" else {}
    _check_inputs(store, chosen, stages)
    check_settings(store, stages, chosen[0], toml_path=args.config, sets=args.sets)
    if args.dry_run:
        for batch in chosen:
            print(f"would rebuild {', '.join(stages)} of batch {batch}")
        return 0

    with contextlib.ExitStack() as stack:
        stack.enter_context(lease.hold(store, LEASE, what="webtext.rebuild"))
        stack.enter_context(command.interruptible())
        chain = [f"{batch} {stage}" for batch in chosen for stage in stages]
        stack.enter_context(screen.stages(chain))
        for batch in chosen:
            for stage in stages:
                _run(args, stage, batch, files.get(batch, ()) if stage == "crawl" else ())
        snapshot = _write_snapshot(store, args.snapshot)

    _report(args, store, chosen, stages, snapshot)
    return 0


def choose(store: Store, named: Sequence[str] | None, first: str) -> list[str]:
    """The batches to rebuild, in their order.

    Raises: InputError for an unknown batch, or one without a table needed by the stage.
    """
    present = batch_names(store)
    if unknown := set(named or ()) - set(present):
        raise InputError(
            f"{store.root}: no batch {sorted(unknown)}; present: {', '.join(present) or 'none'}"
        )

    chosen = [batch for batch in present if not named or batch in named]
    if not chosen:
        raise InputError(f"{store.root}: no batch is committed yet; begin with `webtext crawl`")

    for batch in chosen:
        for table in NEEDS[first]:
            if find_manifest(store, table, batch) is None:
                raise InputError(
                    f"{store.root}: batch {batch!r} has no {table} yet; begin with an earlier "
                    "stage, "
                    "or finish the batch with `webtext refresh`"
                )

    return chosen


def files_by_batch(
    store: Store, chosen: Sequence[str], paths: Sequence[str]
) -> dict[str, list[str]]:
    """The options of each batch's crawl: its files and, if it has any, pages carried over.

    A file belongs to the batch with it in its manifest.

    Raises: InputError for a file of none of the batches, or a batch with files missing.
    """
    given = {
        (kind, found.batch, found.fingerprint): path
        for path in paths
        for kind in FILE_OPTIONS
        for found in [identity(path, "--files", kind)]
    }
    words: dict[str, list[str]] = {}
    used = set()

    for batch in chosen:
        links = find_manifest(store, "links", batch)
        inputs = [each for each in links.inputs if each.table in FILE_OPTIONS] if links else []
        missing = [
            each.batch for each in inputs if (each.table, each.batch, each.fingerprint) not in given
        ]
        if missing or not inputs:
            names = ", ".join(missing) or "files that its manifest does not name"
            raise InputError(
                f"{store.root}: batch {batch!r} was made from {names}; name them with --files FILE "
                "..., "
                "unchanged, or rebuild from a later stage with --from clean"
            )

        found = [given[each.table, each.batch, each.fingerprint] for each in inputs]
        words[batch] = [FILE_OPTIONS[inputs[0].table], *found]
        if links is not None and links.config.get("links", {}).get("carry_over"):
            words[batch] += ["--set", "crawl.links.carry_over=true"]
        used.update(found)

    if unused := set(paths) - used:
        raise InputError(
            f"--files {', '.join(sorted(unused))}: no batch was made from this file; leave it out, "
            "or crawl it as a new batch"
        )

    return words


def _check_inputs(store: Store, chosen: Sequence[str], stages: Sequence[str]) -> None:
    """Refuse stale inputs now, before any stage starts. Raises: StaleError."""
    if stages[0] == "crawl":
        return

    wanted = [(table, batch) for batch in chosen for table in NEEDS[stages[0]]]
    if "dedup" in stages:
        # Dedup compares a batch with the index of earlier ones, which may not be rebuilt here.
        earlier = {name for batch in chosen for name in earlier_batches(store, batch)}
        wanted += [("bands", name) for name in sorted(earlier - set(chosen))]

    require_current(store, wanted, f"webtext rebuild --from {stages[0]}")


def _write_snapshot(store: Store, name: str | None) -> str | None:
    """Write a snapshot of all batches; its name, or None while some of their tokens are stale."""
    names = [manifest.batch for manifest in batches(store, "tokens")]
    if stale_among(store, [(table, batch) for batch in names for table in ("tokens", "spans")]):
        return None
    snapshot = write_revision(store, name or names[-1], names).name
    warn_of_remarks(store, snapshot)
    return snapshot


def _report(
    args: argparse.Namespace,
    store: Store,
    chosen: Sequence[str],
    stages: Sequence[str],
    snapshot: str | None,
) -> None:
    """Print rebuilt and stale tables."""
    written = f"snapshot {snapshot}" if snapshot else "no snapshot was written"
    print(f"{store.root}: rebuilt {', '.join(stages)} of {', '.join(chosen)}; {written}")

    stale = [entry for entry in entries(store) if entry.state == "stale"]
    names = sorted({entry.batch for entry in stale})

    if stale:
        left = [(entry.table, entry.batch) for entry in stale]
        print(
            f"stale: {', '.join(names)}; rebuild with "
            f"{suggestion(store, stale_among(store, left))}, "
            f"see `webtext status --corpus {store.root}`"
        )

    if args.json:
        print(
            json.dumps(
                {
                    "corpus": store.root,
                    "batches": list(chosen),
                    "stages": list(stages),
                    "snapshot": snapshot,
                    "stale": names,
                }
            )
        )


def _run(args: argparse.Namespace, stage: str, batch: str, files: Sequence[str]) -> None:
    """Run one stage of one batch with --rebuild. Raises: StageError, Interrupted."""
    words = ["--corpus", args.corpus, "--batch", batch, "--executor", args.executor, "--rebuild"]
    words += ["--config", args.config] if args.config else []
    words += ["--workers", str(args.workers)] if args.workers else []
    words += sets_of(stage, args.sets)
    words += ["-v"] if args.verbose else []
    words += ["--no-snapshot"] if stage == "shards" else []
    words += files

    if not screen.is_live():
        log.info("batch %s: %s", batch, stage)
    code = stage_main(stage)(words)
    if code in (130, 143):
        raise Interrupted(code - 128)
    if code != 0:
        raise StageError(batch, stage, code)


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.rebuild", __doc__ or "")
    parser.add_argument(
        "--from",
        required=True,
        choices=STAGES,
        dest="first",
        help="the first stage to run again; the later ones follow (crawl fetches again)",
    )
    parser.add_argument(
        "--files",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --from crawl: the dumps or WARC files that the batches were made from",
    )
    parser.add_argument(
        "--batch",
        action="append",
        metavar="B",
        help="only this batch; may be repeated (default: all)",
    )
    parser.add_argument(
        "--snapshot",
        metavar="NAME",
        help="name of the new snapshot (default: the last batch's, with the first free number)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be rebuilt, and stop"
    )
    command.add_run_options(parser)

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
