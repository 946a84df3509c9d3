"""The difference of two snapshots: documents added and removed, reasons, tokens by batch and domain.

    webtext diff --corpus C OLD NEW [--json]

Common files are skipped unread, so the cost of neighbouring months is the cost of their difference.
The reason of a removed page is read from the tables as they are now.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import SchemaError
from corpus.run import command
from corpus.snapshots.snapshot import SPLITS, Snapshot, TokenFile, read_snapshot
from corpus.snapshots.snapshot_remarks import warn_of_remarks
from corpus.storage.store import Store, check_name, open_corpus, table_dir
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import iter_tables, read_file
from corpus.tables.takedown_list import load_forgotten

MOST_DOMAINS = 15


@dataclass(slots=True)
class Difference:
    """The differences of the second snapshot from the first."""

    old: str
    new: str
    came: Counter[str] = field(default_factory=Counter)
    """Documents by reason."""
    went: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    """Documents in both, with another number of tokens or another side of train and validation."""
    same_files: int = 0
    tokens_by_batch: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Batch to tokens in the old and in the new one."""
    tokens_by_domain: dict[str, int] = field(default_factory=dict)
    """Domain to tokens more (or less) in the new one; those that differ."""
    gone_ids: list[str] = field(default_factory=list)
    came_ids: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.diff")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.diff", __doc__ or "")
    parser.add_argument("old", metavar="OLD", help="a snapshot")
    parser.add_argument("new", metavar="NEW", help="another one")
    args = parser.parse_args(argv)
    store = open_corpus(args.corpus)
    check_name("OLD", args.old)
    check_name("NEW", args.new)
    found = compare(store, args.old, args.new)
    print(render(found))
    for name in (args.old, args.new):
        warn_of_remarks(store, name)

    if args.json:
        print(
            json.dumps(
                {name: getattr(found, name) for name in Difference.__dataclass_fields__},
                sort_keys=True,
            )
        )

    return 0


def compare(store: Store, old: str, new: str) -> Difference:
    """Compare two snapshots.

    Raises: InputError for an unknown name, SchemaError for missing files.
    """
    left, right = read_snapshot(store, old), read_snapshot(store, new)
    found = Difference(old, new)
    for batch in dict.fromkeys(each.batch for each in (*left.batches, *right.batches)):
        found.tokens_by_batch[batch] = (_tokens(left, batch), _tokens(right, batch))
        _compare_batch(store, batch, left, right, found)

    found.tokens_by_domain = {
        name: tokens for name, tokens in found.tokens_by_domain.items() if tokens
    }

    return found


def render(found: Difference) -> str:
    """The difference for people."""
    old, new = (sum(pair[side] for pair in found.tokens_by_batch.values()) for side in (0, 1))
    lines = [
        f"{found.old} to {found.new}: {old:,} tokens to {new:,} ({new - old:+,})",
        f"  came     {found.came.total():>10,} documents{_reasons(found.came)}",
        f"  went     {found.went.total():>10,} documents{_reasons(found.went)}",
        f"  changed  {found.changed:>10,} documents; {found.same_files:,} files are the same",
        "tokens by batch",
    ]
    lines += [
        f"  {batch:<28}{a:>14,} {b:>14,} {b - a:>+14,}"
        for batch, (a, b) in found.tokens_by_batch.items()
    ]
    ranked = sorted(found.tokens_by_domain.items(), key=lambda item: (-abs(item[1]), item[0]))

    if ranked:
        lines.append(
            f"tokens by domain, the {min(len(ranked), MOST_DOMAINS)} largest of {len(ranked):,} changes"
        )
        lines += [f"  {domain:<28}{tokens:>+14,}" for domain, tokens in ranked[:MOST_DOMAINS]]

    return "\n".join(lines)


def _reasons(counts: Counter[str]) -> str:
    words = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common())
    return f": {words}" if words else ""


def _tokens(snapshot: Snapshot, batch: str) -> int:
    return sum(
        totals.num_tokens
        for each in snapshot.batches
        if each.batch == batch
        for totals in each.splits.values()
    )


def _compare_batch(
    store: Store, batch: str, left: Snapshot, right: Snapshot, found: Difference
) -> None:
    old, new = _files(left, batch), _files(right, batch)
    same = {file.content for file in old} & {file.content for file in new}
    found.same_files += len(same)
    before = _documents(store, [file for file in old if file.content not in same])
    after = _documents(store, [file for file in new if file.content not in same])
    came, went = after.keys() - before.keys(), before.keys() - after.keys()
    found.changed += sum(before[doc_id] != after[doc_id] for doc_id in before.keys() & after.keys())
    found.came.update({_came(batch, left, found): len(came)} if came else {})
    found.went.update(_why_gone(store, batch, went, right))
    found.gone_ids += sorted(went)
    found.came_ids += sorted(came)
    changes = {
        doc_id: after.get(doc_id, ("", 0))[1] - before.get(doc_id, ("", 0))[1]
        for doc_id in before.keys() | after.keys()
    }
    _add_domains(store, batch, changes, found)


def _came(batch: str, left: Snapshot, found: Difference) -> str:
    return "kept now" if batch in {each.batch for each in left.batches} else f"batch {batch}"


def _files(snapshot: Snapshot, batch: str) -> list[TokenFile]:
    return [
        file for split in SPLITS for file in snapshot.splits[split].files if file.batch == batch
    ]


def _documents(store: Store, files: Iterable[TokenFile]) -> dict[str, tuple[str, int]]:
    """`doc_id` to its split and number of tokens."""
    found: dict[str, tuple[str, int]] = {}
    for file in files:
        split = next(name for name in SPLITS if f"/{name}/" in file.path)
        try:
            rows = read_file(store, file.spans_path, ["doc_id", "num_tokens"])
        except SchemaError as error:
            raise SchemaError(
                f"{error} (a withdrawn or pruned snapshot has no files to compare)"
            ) from error
        for doc_id, num_tokens in zip(
            rows["doc_id"].to_pylist(), rows["num_tokens"].to_pylist(), strict=True
        ):
            found[doc_id] = (split, num_tokens)

    return found


def _why_gone(store: Store, batch: str, went: set[str], right: Snapshot) -> Counter[str]:
    """Reasons of documents of a batch for not being in the new snapshot."""
    if not went:
        return Counter()
    if batch not in {each.batch for each in right.batches}:
        return Counter({f"batch {batch} is left out": len(went)})

    reasons: dict[str, str] = {}
    taken_down = load_forgotten(store).doc_ids
    reasons |= {doc_id: "taken down" for doc_id in went if doc_id in taken_down}

    for table in ("documents_dropped", "verdicts"):
        for row in _rows(store, table, batch, ["doc_id", "reason"], went):
            if row["reason"] is not None:
                reasons.setdefault(row["doc_id"], row["reason"])

    return Counter(reasons.get(doc_id, "not in the tables any more") for doc_id in went)


def _add_domains(store: Store, batch: str, changes: dict[str, int], found: Difference) -> None:
    wanted = {doc_id for doc_id, tokens in changes.items() if tokens}
    totals: dict[str, int] = defaultdict(int, found.tokens_by_domain)
    known: set[str] = set()
    for row in _rows(store, "links", batch, ["doc_id", "domain"], wanted):
        totals[row["domain"]] += changes[row["doc_id"]]
        known.add(row["doc_id"])

    if rest := sum(changes[doc_id] for doc_id in wanted - known):
        totals["(taken down)"] += rest
    found.tokens_by_domain = dict(totals)


def _rows(
    store: Store, table: str, batch: str, columns: Sequence[str], wanted: set[str]
) -> Iterable[dict[str, Any]]:
    manifest = find_manifest(store, table, batch)
    ids = pa.array(sorted(wanted), pa.string())
    for part in manifest.parts if manifest is not None and wanted else []:
        for piece in iter_tables(store, f"{table_dir(table, batch)}/{part.file}", columns):
            yield from piece.filter(pc.is_in(piece["doc_id"], ids)).to_pylist()


if __name__ == "__main__":
    raise SystemExit(main())
