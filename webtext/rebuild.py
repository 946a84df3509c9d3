"""Makes the later tables of batches new, under a changed config, from a stage on.

    webtext rebuild --corpus C --from clean --config webtext.toml [--batch B ...] [--snapshot NAME]

The old tables stay readable until the new ones commit, one after the other; old snapshots keep their files until
`webtext.prune`. Batches are made in their order. What is new already is left alone, so after an interruption the same
command goes on. At the end a snapshot of all batches is written, under the first free name.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence

from corpus.errors import InputError, Interrupted, StageError
from corpus.run import command
from corpus.storage import lease
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.inventory import batch_names, entries
from corpus.tables.manifest import batches, find_manifest
from corpus.tables.snapshot import write_revision
from webtext.stages import stage_main

log = logging.getLogger(__name__)

STAGES = ("clean", "dedup", "shards")
NEEDS = {"clean": "pages", "dedup": "documents", "shards": "verdicts"}
"""What a stage begins with."""
LEASE = "work/refresh.json"
"""The refresh's: the two must not meet."""


def main(argv: Sequence[str] | None = None) -> int:
    """The door."""
    return command.door(_main, argv, stage="webtext.rebuild")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    chosen = choose(store, args.batch, args.first)
    stages = STAGES[STAGES.index(args.first) :]
    if args.snapshot:
        check_name("--snapshot", args.snapshot)
    if args.dry_run:
        for batch in chosen:
            print(f"would make {', '.join(stages)} of batch {batch} anew")
        return 0
    with lease.hold(store, LEASE, what="webtext.rebuild"), command.interruptible():
        for batch in chosen:
            for stage in stages:
                _run(args, stage, batch)
        names = [manifest.batch for manifest in batches(store, "tokens")]
        snapshot = write_revision(store, args.snapshot or names[-1], names)
    print(
        f"{store.root}: {', '.join(stages)} of {', '.join(chosen)} are new; snapshot {snapshot.name}"
    )
    stale = sorted({entry.batch for entry in entries(store) if entry.state == "stale"})
    if stale:
        print(
            f"made from what is no longer there: {', '.join(stale)}; see `webtext status --corpus {store.root}`"
        )
    if args.json:
        print(
            json.dumps(
                {
                    "corpus": store.root,
                    "batches": chosen,
                    "stages": list(stages),
                    "snapshot": snapshot.name,
                    "stale": stale,
                }
            )
        )
    return 0


def choose(store: Store, named: Sequence[str] | None, first: str) -> list[str]:
    """The batches, in their order. Raises: InputError for one that is not there or lacks what the stage begins with."""
    present = batch_names(store)
    if unknown := set(named or ()) - set(present):
        raise InputError(
            f"{store.root}: no batch {sorted(unknown)}; present: {', '.join(present) or 'none'}"
        )
    chosen = [batch for batch in present if not named or batch in named]
    if not chosen:
        raise InputError(
            f"{store.root}: no batch is committed yet; begin with `python -m crawl.run`"
        )
    for batch in chosen:
        if find_manifest(store, NEEDS[first], batch) is None:
            raise InputError(
                f"{store.root}: batch {batch!r} has no {NEEDS[first]} yet; begin with an earlier stage, or finish it by `webtext refresh`"
            )
    return chosen


def _run(args: argparse.Namespace, stage: str, batch: str) -> None:
    words = ["--corpus", args.corpus, "--batch", batch, "--executor", args.executor, "--rebuild"]
    words += ["--config", args.config] if args.config else []
    words += ["--workers", str(args.workers)] if args.workers else []
    words += [word for setting in args.sets for word in ("--set", setting)]
    words += ["--no-snapshot"] if stage == "shards" else []
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
        help="the first stage to run again; the later ones follow",
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
    parser.add_argument("--dry-run", action="store_true", help="say what would be made anew")
    command.add_run_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
