"""Lists batches and tables: rows, bytes, age, fingerprint, missing and stale ones, and running work.

    webtext status --corpus C [--json]

Reads manifests, leases and snapshots; no table is opened. The exit code is always 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpus.bulk import read_many
from corpus.run import command
from corpus.run.funnel import size
from corpus.snapshots.snapshot import SnapshotHead, read_heads
from corpus.snapshots.snapshot_remarks import Reviewer
from corpus.storage import lease
from corpus.storage.store import Store, open_corpus, work_dir
from corpus.tables.inventory import Entry, batch_names, entries
from corpus.tables.manifest import manifests_read_once
from corpus.tables.takedown_list import takedowns, unfinished

# Of those who work on the whole corpus.
LEASES = ("work/refresh.json", "work/forget.json", "work/prune.json")
# Batches of a snapshot named in a line, and the number of last ones named of more.
MOST_NAMED, LAST_NAMED = 24, 2


@dataclass(frozen=True, slots=True)
class WorkInProgress:
    """A running command, or the steps left by an interrupted run."""

    batch: str
    """Empty for commands that work on the whole corpus, such as a refresh."""
    owner: dict[str, Any] | None
    steps: tuple[str, ...]
    """Steps with receipts or scratch tables."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.status")


def _main(argv: Sequence[str] | None) -> int:
    args = command.corpus_parser("webtext.status", __doc__ or "").parse_args(argv)
    store = open_corpus(args.corpus)
    with manifests_read_once(store):
        found = entries(store)
        print(render(store, found))
        if args.json:
            print(json.dumps(to_json(store, found), sort_keys=True))
    return 0


def render(store: Store, found: Sequence[Entry]) -> str:
    """Describe the corpus for people."""
    lines = [store.root]
    names = batch_names(store)
    if not names:
        lines.append(
            f"  no batch yet; begin with `webtext crawl --corpus {store.root} --batch B --dumps FILE`"
        )

    for batch in names:
        lines += ["", f"batch {batch}"]
        lines += [_line(entry) for entry in found if entry.batch == batch]

    heads = read_heads(store)
    reviewer = Reviewer(store, heads)
    lines += ["", *(_snapshot_line(reviewer, head) for head in heads)] if heads else []

    for work in at_work(store):
        lines.append(_work_line(work))
    lines += [
        f"take-down {each.id}: {what}"
        for each in takedowns(store)
        for what in (
            *(f"run {run} was trained on a snapshot with its pages" for run in each.runs),
            *(f"its pages were exported: {export}" for export in each.exports),
        )
    ]
    lines += [
        f"take-down {each.id}: unfinished; to continue: `webtext forget --corpus {store.root}`"
        for each in unfinished(store)
    ]

    return "\n".join(lines)


def to_json(store: Store, found: Sequence[Entry]) -> dict[str, Any]:
    """Describe the corpus for machines."""
    heads = read_heads(store)
    reviewer = Reviewer(store, heads)

    return {
        "corpus": store.root,
        "batches": batch_names(store),
        "tables": [
            {
                "table": entry.table,
                "batch": entry.batch,
                "state": entry.state,
                "why": entry.why,
                "rows": entry.manifest.rows if entry.manifest else None,
                "bytes": entry.manifest.bytes if entry.manifest else None,
                "fingerprint": entry.manifest.fingerprint if entry.manifest else None,
                "created": entry.manifest.created if entry.manifest else None,
            }
            for entry in found
        ],
        "snapshots": [_snapshot_document(reviewer, head) for head in heads],
        "work": [
            {"batch": w.batch, "owner": w.owner, "steps": list(w.steps)} for w in at_work(store)
        ],
        "unfinished_takedowns": [each.id for each in unfinished(store)],
        "takedowns": [
            {"id": each.id, "runs": each.runs, "exports": each.exports, "revoked": each.revoked}
            for each in takedowns(store)
        ],
    }


def at_work(store: Store) -> list[WorkInProgress]:
    """Leases in use, and batches with unfinished steps."""
    places = [("", path) for path in LEASES]
    places += [(batch, f"{work_dir(batch)}/lock.json") for batch in store.folders("work")]

    def look(place: tuple[str, str]) -> WorkInProgress:
        batch, path = place
        steps = tuple(store.folders(work_dir(batch))) if batch else ()
        return WorkInProgress(batch, lease.owner(store, path), steps)

    return [each for each in read_many(store, places, look) if each.owner or each.steps]


def age(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `9 days`."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _line(entry: Entry) -> str:
    if entry.manifest is None:
        return f"  {entry.table:<18} {'-':>12}  missing: {entry.why}"
    words = f"{entry.manifest.rows:>12,} rows {size(entry.manifest.bytes):>10} {age(entry.age_s or 0.0):>10} old"
    return f"  {entry.table:<18} {words}  {entry.manifest.fingerprint[:12]}" + (
        f"  stale: {entry.why}" if entry.why else ""
    )


def _snapshot_line(reviewer: Reviewer, head: SnapshotHead) -> str:
    tokens = sum(split.num_tokens for split in head.splits.values())
    names = _shortened([each.batch for each in head.batches])
    marks = "".join(f"  {line}" for line in reviewer.remarks(head))
    return f"snapshot {head.name}: {tokens:,} tokens of {names}{marks}"


def _shortened(names: Sequence[str]) -> str:
    """All names, or the first and the last few of many."""
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{names[0]}, ..., {', '.join(names[-LAST_NAMED:])} ({len(names)} batches)"


def _snapshot_document(reviewer: Reviewer, head: SnapshotHead) -> dict[str, Any]:
    retired = reviewer.retired(head)
    return {
        "name": head.name,
        "digest": head.digest,
        "batches": [each.batch for each in head.batches],
        "tokens": {split: totals.num_tokens for split, totals in head.splits.items()},
        "withdrawn": retired is not None and retired.kind == "withdrawn",
        "outdated": reviewer.outdated(head),
        "mixed_settings": reviewer.mixed(head),
    }


def _work_line(work: WorkInProgress) -> str:
    subject = f"batch {work.batch}" if work.batch else "corpus"
    if work.owner is None:
        return (
            f"{subject}: interrupted at {', '.join(work.steps)}; run the same command to continue, "
            "or remove the batch with `webtext drop-batch`"
        )

    owner = work.owner
    state = "at work" if owner["alive"] else "gone; the next run takes its lease over"
    return f"{subject}: {owner.get('what')}, process {owner.get('pid')} on {owner.get('host')}, {state}"


if __name__ == "__main__":
    raise SystemExit(main())
