"""Lists what was run on a corpus: when, which stage, by whom, its time, rows and bytes.

    webtext history --corpus C [--batch B] [--json]

Read from the manifests, so it covers the steps behind the tables as they are now: a rebuild
replaces its predecessor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corpus.errors import InputError
from corpus.run import command
from corpus.run.funnel import size
from corpus.run.progress import duration
from corpus.storage.store import Store, open_corpus
from corpus.tables.conservation import REQUESTS
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import EXTRA_TABLES, Manifest, find_manifests
from corpus.tables.schemas import TABLES


@dataclass(frozen=True, slots=True)
class StageRun:
    """The tables of one stage of one batch, committed together."""

    batch: str
    stage: str
    ended: str
    """Time of the last commit, UTC."""
    wall_s: float
    cpu_s: float | None
    """CPU time of all tasks, on every node; None for tables of earlier versions."""
    cpu_ms_a_row: dict[str, float]
    """By step, CPU time for each row that it read."""
    rows: dict[str, int]
    bytes: int
    requests: int | None
    """Requests for pages of a crawl; None for other stages and for imports."""
    who: str
    version: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.history")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.history", __doc__ or "")
    parser.add_argument("--batch", metavar="B", help="only this batch (default: all)")
    args = parser.parse_args(argv)

    store = open_corpus(args.corpus)
    found = stage_runs(store)
    if args.batch:
        names = batch_names(store)
        if args.batch not in names:
            raise InputError(
                f"{store.root}: no batch {args.batch!r}; present: {', '.join(names) or 'none'}"
            )
        found = [run for run in found if run.batch == args.batch]
    print(render(found))
    if args.json:
        print(json.dumps([asdict(run) for run in found]))
    return 0


def stage_runs(store: Store) -> list[StageRun]:
    """The runs behind all committed tables, oldest first."""
    names = batch_names(store)
    keys = [(table, batch) for batch in names for table in (*TABLES, *EXTRA_TABLES)]
    groups: dict[tuple[str, str], list[Manifest]] = {}
    for manifest in find_manifests(store, keys).values():
        if manifest is not None and manifest.stage:
            groups.setdefault((manifest.batch, manifest.stage), []).append(manifest)

    found = [_stage_run(batch, stage, group) for (batch, stage), group in groups.items()]
    return sorted(found, key=lambda run: (run.ended, run.batch, run.stage))


def _stage_run(batch: str, stage: str, manifests: Sequence[Manifest]) -> StageRun:
    last = max(manifests, key=lambda manifest: manifest.created)
    # Tables of one step were written together: each step counts once.
    steps: dict[Any, Manifest] = {}
    for manifest in manifests:
        steps.setdefault(manifest.details.get("step", manifest.table), manifest)
    cpu = [m.details["cpu_s"] for m in steps.values() if "cpu_s" in m.details]
    requests = [m.counts[REQUESTS] for m in manifests if REQUESTS in m.counts]
    return StageRun(
        batch=batch,
        stage=stage,
        ended=last.created,
        wall_s=round(sum(m.wall_s for m in steps.values()), 1),
        cpu_s=round(sum(cpu), 3) if cpu else None,
        cpu_ms_a_row={
            str(step): round(1000 * m.details["cpu_s"] / m.details["rows_read"], 3)
            for step, m in steps.items()
            if m.details.get("rows_read") and "cpu_s" in m.details
        },
        rows={manifest.table: manifest.rows for manifest in manifests},
        bytes=sum(manifest.bytes for manifest in manifests),
        requests=sum(requests) if requests else None,
        who=str(last.details.get("who", "")),
        version=last.code_version,
    )


def render(found: Sequence[StageRun]) -> str:
    """The runs for people, with the sums of each batch's work."""
    if not found:
        return "nothing was run yet"

    lines = [
        f"{'ended':<26}{'batch':<14}{'stage':<8}{'wall':>9}{'CPU':>10}{'ms/row':>9}{'requests':>12}"
        f"{'bytes':>11}  by"
    ]
    for run in found:
        cpu = duration(run.cpu_s) if run.cpu_s is not None else "-"
        requests = f"{run.requests:,}" if run.requests is not None else "-"
        lines.append(
            f"{run.ended:<26}{run.batch:<14}{run.stage:<8}{duration(run.wall_s):>9}{cpu:>10}"
            f"{_of_a_row(run):>9}{requests:>12}{size(run.bytes):>11}  {run.who or '-'}"
        )
    hours = sum(run.cpu_s or 0.0 for run in found) / 3600
    total = sum(run.requests or 0 for run in found)
    lines.append(f"{len(found)} runs, {total:,} requests for pages, {hours:,.2f} CPU hours")
    return "\n".join(lines)


def _of_a_row(run: StageRun) -> str:
    """CPU time of a row through all steps of a stage, milliseconds."""
    return f"{sum(run.cpu_ms_a_row.values()):.2f}" if run.cpu_ms_a_row else "-"


if __name__ == "__main__":
    raise SystemExit(main())
