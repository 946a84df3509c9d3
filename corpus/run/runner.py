"""Runs the steps of a stage: skips finished work, accounts for every row, commits the tables.

The runner does not know what a step computes. It compares fingerprints before any work, runs the
tasks that have no receipt yet, and writes each table's manifest once all of its parts are there.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from corpus.errors import PartitionError, WebtextError, first_line
from corpus.run import leftovers, metrics, progress
from corpus.run.attempts import run_tasks
from corpus.run.executors.interface import TaskFunction
from corpus.run.plan import Planned, Run, make_plan, matches, refuse_other, tables_read
from corpus.run.step import AnyStep, Exchange, Gather, Map
from corpus.run.task import Receipt, Task, run_gather, run_map, run_reduce, run_scatter
from corpus.storage.store import Store
from corpus.tables.checksums import find_damage
from corpus.tables.commit import commit_table
from corpus.tables.manifest import (
    Manifest,
    Part,
    find_manifest,
    find_manifest_in,
    read_manifest,
)
from corpus.tables.schemas import Table

log = logging.getLogger(__name__)

__all__ = ["Run", "StageResult", "run_steps"]


@dataclass(slots=True)
class StageResult:
    """The result of a run of a stage."""

    up_to_date: bool
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per table written: `rows`, `bytes` and its counts by reason."""


def run_steps(run: Run, steps: Sequence[AnyStep]) -> StageResult:
    """Bring the stage's tables of this batch up to date.

    Raises: StaleError for inputs that do not belong together; InputError if the batch was built
    with other settings or inputs and `rebuild` is not set; PartitionError if tasks failed in every
    attempt; FatalError if rows were lost or added.
    """
    plan = make_plan(run, steps)
    kept = [
        (planned, table) for planned in plan for table in planned.step.writes if not table.scratch
    ]
    present = {table.name: find_manifest(run.store, table.name, run.batch) for _, table in kept}
    damaged = _damaged_steps(run, kept) if run.rebuild else frozenset()

    if not damaged and all(matches(present[table.name], planned) for planned, table in kept):
        leftovers.clean_after_kill(run, plan)
        return StageResult(True, _summary(m for m in present.values() if m is not None))

    if not run.rebuild:
        made = {table.name for planned in plan for table in planned.step.writes}
        for planned, table in kept:
            refuse_other(run, planned, present[table.name], made)

    for planned in plan:
        _run_step(run, planned, again=planned.step.name in damaged)

    manifests = [read_manifest(run.store, table.name, run.batch) for _, table in kept]
    leftovers.clean(run, plan)
    return StageResult(False, _summary(manifests))


def _damaged_steps(run: Run, kept: Sequence[tuple[Planned, Table]]) -> frozenset[str]:
    """Names of steps whose committed tables are right, except for missing or damaged files."""
    found = set()

    for planned, table in kept:
        folder = table.folder(run.batch)
        manifest = find_manifest_in(run.store, folder)
        if manifest is None or not planned.step.repeatable or not matches(manifest, planned):
            continue

        for part in manifest.parts:
            if (damage := find_damage(run.store, folder, part)) is not None:
                log.warning("%s: rebuilding it", damage)
                found.add(planned.step.name)
                break

    return frozenset(found)


def _run_step(run: Run, planned: Planned, *, again: bool) -> None:
    """Run the missing tasks of one step and commit its tables.

    Steps whose tables are committed are skipped, unless `again` is set.
    """
    step = planned.step
    for table in step.writes:
        run.store.sweep(table.folder(run.batch))
    if not again and all(
        matches(find_manifest_in(run.store, table.folder(run.batch)), planned)
        for table in step.writes
    ):
        return

    started, used = time.monotonic(), run.usage["cpu_s"]
    if isinstance(step, Map):
        receipts = _run_phase(
            run, planned, "map", run_map, range(run.num_parts), _input_paths(run, step)
        )
    elif isinstance(step, Gather):
        receipts = _run_phase(run, planned, "gather", run_gather, range(1), _input_paths(run, step))
    else:
        receipts = _run_exchange(run, planned, step)

    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
    rows_read = sum(receipt.rows_read for receipt in receipts)

    _accept(run, planned, receipts)

    # The first table is the step's main one: committed last, it vouches for the others.
    for table in reversed(step.writes):
        parts = [part for receipt in receipts for part in receipt.outputs.get(table.name, [])]
        commit_table(
            run.store,
            table,
            run.batch,
            parts,
            stage=run.stage,
            counts=counts if table is step.writes[0] else None,
            num_parts=run.num_parts,
            config=planned.settings,
            inputs=planned.origins,
            given_fingerprint=planned.fingerprint,
            wall_s=time.monotonic() - started,
            details={
                "rows_read": rows_read,
                "step": step.name,
                "who": _who(),
                "cpu_s": round(run.usage["cpu_s"] - used, 3),
            },
        )
        _publish(table, run.batch, parts, counts if table is step.writes[0] else Counter())

    run.store.delete_dir(leftovers.step_folder(run, planned))


def _who() -> str:
    """User and host of the driver, for `webtext history`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"{os.getuid()}@{socket.gethostname()}"


def _publish(table: Table, batch: str, parts: Sequence[Part], counts: Counter[str]) -> None:
    """Put a committed table into the metrics."""
    if table.scratch:
        return
    labels = {"table": table.name, "batch": batch}
    rows = {"all": sum(part.rows for part in parts)}
    rows |= {reason: count for reason, count in counts.items() if ":" not in reason}
    metrics.CURRENT.set_all("webtext_table_rows", "reason", rows, **labels)
    metrics.CURRENT.set("webtext_table_bytes", sum(part.bytes for part in parts), **labels)


def _accept(run: Run, planned: Planned, receipts: Sequence[Receipt]) -> None:
    """Let the step look at its parts; without receipts, the tasks of a refused one run again."""
    step = planned.step
    if step.accept is None:
        return

    written = {
        table.name: [
            f"{table.folder(run.batch)}/{part.file}"
            for receipt in receipts
            for part in receipt.outputs.get(table.name, [])
        ]
        for table in step.writes
    }
    try:
        step.accept(run.config, run.context(), written)
    except WebtextError:
        run.store.delete_dir(leftovers.step_folder(run, planned))
        raise


def _run_exchange(run: Run, planned: Planned, step: Exchange) -> list[Receipt]:
    """Scatter every input, then reduce every bucket. The counts of both halves are the step's."""
    inputs = _input_paths(run, step) if step.reads is not None else {}
    num_inputs = sum(map(len, inputs.values())) if step.reads is not None else len(run.files)
    scattered = _run_phase(run, planned, "scatter", run_scatter, range(num_inputs), inputs)
    files = tuple(
        f"{leftovers.step_folder(run, planned)}/{part.file}"
        for receipt in scattered
        for part in receipt.outputs["scattered"]
    )

    num_buckets = step.num_buckets(run.config, run.context())
    num_scattered = sum(part.rows for receipt in scattered for part in receipt.outputs["scattered"])
    reduced = _run_phase(
        run,
        planned,
        "reduce",
        run_reduce,
        range(num_buckets),
        {"scattered": files},
        # Receipts of earlier versions do not count the rows.
        num_scattered or None,
    )

    # A row is read once, by the scatter: rows that reach a bucket are not counted again.
    counts: Counter[str] = Counter()
    for receipt in scattered:
        counts.update(receipt.counts)
    rows_read = sum(receipt.rows_read for receipt in scattered)
    return [
        Receipt(outputs={}, rows_read=rows_read, counts=dict(counts)),
        *(receipt.model_copy(update={"rows_read": 0}) for receipt in reduced),
    ]


def _run_phase(
    run: Run,
    planned: Planned,
    phase: str,
    function: TaskFunction,
    indices: range,
    inputs: Mapping[str, tuple[str, ...]],
    num_rows: int | None = None,
) -> list[Receipt]:
    """Run the tasks of one phase that have no receipt; all receipts, in order of index.

    Raises: PartitionError if tasks were quarantined.
    """
    folder = leftovers.step_folder(run, planned)
    generation = _generation(run, planned)
    receipts = _read_receipts(run.store, f"{folder}/{phase}")

    label = planned.step.name if phase in ("map", "gather") else f"{planned.step.name} ({phase})"
    total = num_rows if num_rows is not None else _rows_expected(run, planned.step, phase)
    meter = progress.Meter(label, len(indices), total)
    for receipt in receipts.values():
        _count(receipt, meter)
        meter.parts_done += 1
    meter.rows_before = meter.rows_done

    tasks = [
        (
            index,
            function,
            Task(
                step=planned.step,
                config=run.config,
                root=run.store.root,
                batch=run.batch,
                num_parts=run.num_parts,
                files=run.files,
                index=index,
                inputs=dict(inputs),
                generation=generation,
                receipt=f"{folder}/{phase}/{index:05}.json",
                scratch=folder,
            ),
        )
        for index in indices
        if index not in receipts
    ]
    if not tasks:
        return [receipts[index] for index in indices]

    limits = run.limits if planned.step.limited else replace(run.limits, enabled=False)
    values, failed = run_tasks(run.executor, tasks, meter, _count, limits)
    run.usage["cpu_s"] += meter.cpu_s
    if failed:
        first = min(failed)
        shown = ", ".join(str(index) for index in sorted(failed)[:8])
        raise PartitionError(
            f"{label}: {len(failed)} of {len(indices)} parts failed and are quarantined "
            f"(part {shown}); part {first}: {failed[first].status}: {failed[first].error}. "
            "Finished parts are kept; run the same command to try the others again"
        )

    receipts.update(values)
    return [receipts[index] for index in indices]


def _count(receipt: Receipt, meter: progress.Meter) -> None:
    meter.rows_done += receipt.rows_read


def _read_receipts(store: Store, folder: str) -> dict[int, Receipt]:
    """Receipts of an interrupted run: these tasks are finished.

    A damaged one, or one of another version, counts for nothing: its task runs again.
    """
    found = {}
    for path, _ in store.files(folder):
        try:
            index = int(path.rpartition("/")[2].removesuffix(".json"))
            found[index] = Receipt.model_validate_json(store.read_bytes(path))
        except ValueError as error:
            log.warning(
                "%s/%s is not a receipt (%s); its task runs again",
                store.root, path, first_line(error),
            )  # fmt: skip
    return found


def _rows_expected(run: Run, step: AnyStep, phase: str) -> int | None:
    """Rows that a phase will read; None if they are not known beforehand."""
    if phase == "reduce":
        return None

    manifests = [
        find_manifest_in(run.store, table.folder(run.batch))
        for table in (tables_read(step) if isinstance(step, Exchange) else tables_read(step)[:1])
    ]
    return sum(m.rows for m in manifests if m is not None) or None


def _input_paths(run: Run, step: AnyStep) -> dict[str, tuple[str, ...]]:
    paths = {}
    for table in tables_read(step):
        folder = table.folder(run.batch)
        manifest = find_manifest_in(run.store, folder)
        assert manifest is not None, f"{folder} is committed before the step that reads it"
        paths[table.name] = tuple(f"{folder}/{part.file}" for part in manifest.parts)
    return paths


def _generation(run: Run, planned: Planned) -> str:
    """The mark in the names of a rebuild's parts: the old ones stay readable until the commit.

    Empty for a first build. A damaged part is rebuilt under the name that it has.
    """
    mark = planned.fingerprint[:12]
    for table in planned.step.writes:
        manifest = find_manifest_in(run.store, table.folder(run.batch))
        if manifest is None:
            continue

        if manifest.fingerprint != planned.fingerprint or any(
            mark in part.file for part in manifest.parts
        ):
            return mark

    return ""


def _summary(manifests: Iterable[Manifest]) -> dict[str, dict[str, int]]:
    return {m.table: {"rows": m.rows, "bytes": m.bytes, **m.counts} for m in manifests}
