"""Show examples of dropped pages, each with the setting to change the verdict.

    webtext why --corpus C --batch B
    webtext why --corpus C --batch B --reason too_short [--limit 20]

Reasons are listed by the number of pages. A detail names the measured value, the threshold and the
setting; `--set` with the value shown would keep that page at this rule, and later rules may still
drop it. The pages of an answer are the first by `doc_id`, a hash: a random sample.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.printable import printable
from corpus.run import command
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import iter_tables, part_paths

THRESHOLD = re.compile(
    r"(?P<value>[\d.]+) (?P<of>.*), (?P<rule>needs|allowed) (?P<limit>[\d.]+): (?P<key>[\w.]+)"
)
# Settings with one threshold for each n: the file of --config is the place for them.
PER_NGRAM = ("max_top_ngram_chars_frac", "max_dup_ngram_chars_frac")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.why")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.why", __doc__ or "")
    parser.add_argument("--batch", required=True, metavar="B", help="the batch")
    parser.add_argument("--reason", metavar="R", help="only pages dropped for this reason")
    parser.add_argument(
        "--limit",
        type=command.positive,
        default=3,
        metavar="N",
        help="examples for each reason (default: 3)",
    )
    args = parser.parse_args(argv)

    store = open_corpus(args.corpus)
    counts, examples = dropped_examples(
        store, check_name("--batch", args.batch), reason=args.reason, limit=args.limit
    )
    print(render(counts, examples))
    if args.json:
        print(json.dumps({"counts": counts, "examples": examples}, sort_keys=True))
    return 0


def dropped_examples(
    store: Store, batch: str, *, reason: str | None = None, limit: int
) -> tuple[dict[str, int], dict[str, list[dict[str, Any]]]]:
    """Count dropped pages by reason, most frequent first, and take the first `limit` of each.

    Raises: InputError for a reason without dropped pages.
    """
    read_manifest(store, "documents_dropped", batch)
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    columns = ["doc_id", "url", "step", "reason", "detail"]
    for path in part_paths(store, "documents_dropped", batch):
        for piece in iter_tables(store, path, columns):
            for entry in pc.value_counts(piece["reason"]).to_pylist():
                counts[entry["values"]] += entry["counts"]
            _take(piece, examples, limit)

    if reason is not None and reason not in counts:
        present = ", ".join(sorted(counts)) or "none"
        raise InputError(f"--reason {reason}: no page of batch {batch!r}; reasons: {present}")
    chosen = [name for name, _ in counts.most_common() if reason in (None, name)]
    return {name: counts[name] for name in chosen}, {name: examples[name] for name in chosen}


def _take(piece: Any, examples: dict[str, list[dict[str, Any]]], limit: int) -> None:
    """Add the rows of reasons still lacking examples."""
    for name in pc.unique(piece["reason"]).to_pylist():
        found = examples.setdefault(name, [])
        if len(found) < limit:
            rows = piece.filter(pc.equal(piece["reason"], name)).slice(0, limit - len(found))
            found.extend(row | {"change": change(row["detail"])} for row in rows.to_pylist())


def change(detail: str | None) -> str | None:
    """The setting to keep such a page, as an option; None if no setting decides."""
    found = THRESHOLD.fullmatch(detail or "")
    if found is None:
        key = (detail or "").rpartition(": ")[2]
        return key if re.fullmatch(r"clean\.[\w.]+", key) else None
    if found["key"].endswith(PER_NGRAM):
        return found["key"]
    return f"--set {found['key']}={found['value']}"


def render(counts: dict[str, int], examples: dict[str, list[dict[str, Any]]]) -> str:
    """The answer for people."""
    if not counts:
        return "no page was dropped"
    lines = []
    for reason, count in counts.items():
        lines.append(f"{reason}: {count:,} {'page' if count == 1 else 'pages'}")
        for row in examples[reason]:
            lines.append(f"  {printable(row['url'])}")
            lines.append(f"    {printable(row['detail'] or 'no further detail')}")
            if row["change"] is not None:
                kept = "would keep it here" if row["change"].startswith("--set") else "decides"
                lines.append(f"    {row['change']} {kept}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
