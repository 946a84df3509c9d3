"""Runs the steps of a stage: skip what is done, try again what failed, account for every row,
commit.

Nothing here knows what a step computes. A stage's outputs have fingerprints that follow from config
and inputs alone, so "up to date", "made with another config" and "interrupted" are told apart
before any work. A task that fails `ATTEMPTS` times, or says itself that it cannot succeed, is
quarantined: the rest goes on, the batch stays uncommitted, the run ends with exit code 1.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus.errors import FatalError, PartitionError, RetryableError
from corpus.run import progress
from corpus.run.executors.interface import Attempt, Executor, Status, TaskFunction
from corpus.run.plan import Planned, Run, make_plan, refuse_other, tables_read
from corpus.run.step import AnyStep, Exchange, Gather, Map
from corpus.run.task import Receipt, Task, run_gather, run_map, run_reduce, run_scatter
from corpus.storage.store import Store, work_dir
from corpus.tables.checksums import find_damage
from corpus.tables.commit import commit_table
from corpus.tables.generations import settle
from corpus.tables.manifest import (
    Manifest,
    find_manifest,
    find_manifest_in,
    read_manifest,
)
from corpus.tables.schemas import Table

log = logging.getLogger(__name__)

__all__ = ["Run", "StageResult", "run_steps", "run_tasks"]

ATTEMPTS = 3


@dataclass(slots=True)
class StageResult:
    """What a run of a stage came to."""

    up_to_date: bool
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per table written: `rows`, `bytes` and its counts by reason."""


def run_steps(run: Run, steps: Sequence[AnyStep]) -> StageResult:
    """Bring the stage's tables of this batch up to date.

    Raises: InputError when the batch was made with another config or other inputs and `rebuild` is
    not set; PartitionError when parts failed three times; FatalError when a law is broken.
    """
    plan = make_plan(run, steps)
    kept = [
        (planned, table) for planned in plan for table in planned.step.writes if not table.scratch
    ]
    standing = {table.name: find_manifest(run.store, table.name, run.batch) for _, table in kept}
    damaged = _damaged(run, kept) if run.rebuild else frozenset()
    if not damaged and all(_matches(standing[table.name], planned) for planned, table in kept):
        _clean_up_late(run, plan)
        return StageResult(True, _summary(m for m in standing.values() if m is not None))
    if not run.rebuild:
        for planned, table in kept:
            refuse_other(run, planned, standing[table.name])
    for planned in plan:
        _run_step(run, planned, again=planned.step.name in damaged)
    manifests = [read_manifest(run.store, table.name, run.batch) for _, table in kept]
    _clean_up(run, plan)
    return StageResult(False, _summary(manifests))


def run_tasks(
    executor: Executor,
    tasks: Iterable[tuple[int, TaskFunction, Any]],
    meter: progress.Meter,
    on_done: Any = None,
) -> tuple[dict[int, Any], dict[int, Attempt]]:
    """Run tasks with a bounded window, each up to `ATTEMPTS` times: (values, last attempts of the
    failed).

    Raises: InputError or FatalError that a task raised: those concern the whole run.
    """
    waiting = deque(tasks)
    running: dict[int, tuple[TaskFunction, Any]] = {}
    failures: Counter[int] = Counter()
    values: dict[int, Any] = {}
    failed: dict[int, Attempt] = {}
    with progress.show(meter) as display:
        while waiting or running:
            while waiting and len(running) < executor.slots + 1:
                key, function, payload = waiting.popleft()
                running[key] = (function, payload)
                executor.submit(key, function, payload)
            for attempt in executor.wait(0.5):
                function, payload = running.pop(attempt.key)
                if attempt.status is Status.OK:
                    values[attempt.key] = attempt.value
                    meter.parts_done += 1
                    if on_done is not None:
                        on_done(attempt.value, meter)
                    continue
                if isinstance(attempt.exception, FatalError):
                    raise attempt.exception
                failures[attempt.key] += 1
                log.warning(
                    "%s part %d: %s: %s (attempt %d of %d)",
                    meter.label,
                    attempt.key,
                    attempt.status,
                    attempt.error,
                    failures[attempt.key],
                    ATTEMPTS,
                )
                if failures[attempt.key] < ATTEMPTS and not _is_final(attempt):
                    waiting.append((attempt.key, function, payload))
                else:
                    failed[attempt.key] = attempt
            meter.rows_reported += executor.progress()
            display.update()
    return values, failed


def _is_final(attempt: Attempt) -> bool:
    """Whether trying again cannot help: the task itself said that its partition fails."""
    return isinstance(attempt.exception, PartitionError) and not isinstance(
        attempt.exception, RetryableError
    )


def _matches(manifest: Manifest | None, planned: Planned) -> bool:
    return manifest is not None and manifest.fingerprint == planned.fingerprint


def _damaged(run: Run, kept: Sequence[tuple[Planned, Table]]) -> frozenset[str]:
    """Names of steps whose committed tables would stand, but for files that are missing or hold
    other bytes.
    """
    found = set()
    for planned, table in kept:
        folder = table.folder(run.batch)
        manifest = find_manifest_in(run.store, folder)
        if manifest is None or not planned.step.repeatable or not _matches(manifest, planned):
            continue
        for part in manifest.parts:
            if (damage := find_damage(run.store, folder, part)) is not None:
                log.warning("%s: made again", damage)
                found.add(planned.step.name)
                break
    return frozenset(found)


def _run_step(run: Run, planned: Planned, *, again: bool) -> None:
    """Run what is missing of one step and commit its tables; with `again` also where they stand."""
    step = planned.step
    for table in step.writes:
        run.store.sweep(table.folder(run.batch))
    if not again and all(
        _matches(find_manifest_in(run.store, table.folder(run.batch)), planned)
        for table in step.writes
    ):
        return
    started = time.monotonic()
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
    for table in reversed(
        step.writes
    ):  # the first table named is the step's main one: committed last
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
            details={"rows_read": rows_read, "step": step.name},
        )
    run.store.delete_dir(_folder(run, planned))


def _run_exchange(run: Run, planned: Planned, step: Exchange) -> list[Receipt]:
    """Scatter every input, then reduce every bucket.

    The counts of both halves belong to the step.
    """
    inputs = _input_paths(run, step) if step.reads is not None else {}
    num_inputs = len(inputs[step.reads.name]) if step.reads is not None else len(run.files)
    scattered = _run_phase(run, planned, "scatter", run_scatter, range(num_inputs), inputs)
    files = tuple(
        f"{_folder(run, planned)}/{part.file}"
        for receipt in scattered
        for part in receipt.outputs["scattered"]
    )
    num_buckets = step.num_buckets(run.config, run.context())
    reduced = _run_phase(
        run, planned, "reduce", run_reduce, range(num_buckets), {"scattered": files}
    )
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
) -> list[Receipt]:
    """All tasks of one phase, those with a receipt skipped: the receipts in order of index.

    Raises: PartitionError when tasks were quarantined.
    """
    folder = _folder(run, planned)
    generation = _generation(run, planned)
    receipts = _finished(run.store, f"{folder}/{phase}")
    label = planned.step.name if phase in ("map", "gather") else f"{planned.step.name} ({phase})"
    meter = progress.Meter(label, len(indices), _rows_expected(run, planned.step, phase))
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
    values, failed = run_tasks(run.executor, tasks, meter, _count)
    if failed:
        first = min(failed)
        shown = ", ".join(str(index) for index in sorted(failed)[:8])
        raise PartitionError(
            f"{label}: {len(failed)} of {len(indices)} parts failed and are quarantined (part {shown}); "
            f"part {first}: {failed[first].status}: {failed[first].error}. What is done is kept; run the same command to try them again"
        )
    receipts.update(values)
    return [receipts[index] for index in indices]


def _count(receipt: Receipt, meter: progress.Meter) -> None:
    meter.rows_done += receipt.rows_read
    kept = next(iter(receipt.outputs.values()), [])
    meter.rows_kept += sum(part.rows for part in kept)


def _finished(store: Store, folder: str) -> dict[int, Receipt]:
    """Receipts of an interrupted run: these tasks need not run again."""
    found = {}
    for path, _ in store.files(folder):
        index = int(path.rpartition("/")[2].removesuffix(".json"))
        found[index] = Receipt.model_validate_json(store.read_bytes(path))
    return found


def _rows_expected(run: Run, step: AnyStep, phase: str) -> int | None:
    if phase == "reduce":
        return None
    manifests = [
        find_manifest_in(run.store, table.folder(run.batch)) for table in tables_read(step)[:1]
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


def _folder(run: Run, planned: Planned) -> str:
    """Receipts and scattered rows of one step.

    The fingerprint keeps those of another config apart.
    """
    return f"{work_dir(run.batch)}/{_prefix(planned)}{planned.fingerprint[:12]}"


def _prefix(planned: Planned) -> str:
    """How the folders of one step begin below the batch's work, under whatever config."""
    return f"{planned.step.name.replace('/', '.')}-"


def _generation(run: Run, planned: Planned) -> str:
    """Part names of a rebuild differ from those it replaces, which stay readable until the commit.

    A damaged part is made again under the name that it has.
    """
    for table in planned.step.writes:
        manifest = find_manifest_in(run.store, table.folder(run.batch))
        if manifest is None:
            continue
        mark = planned.fingerprint[:12]
        if manifest.fingerprint != planned.fingerprint or any(
            mark in part.file for part in manifest.parts
        ):
            return mark
    return ""


def _summary(manifests: Iterable[Manifest]) -> dict[str, dict[str, int]]:
    return {m.table: {"rows": m.rows, "bytes": m.bytes, **m.counts} for m in manifests}


def _clean_up(run: Run, plan: Sequence[Planned]) -> None:
    """Scratch tables and leftovers of other configs go once the stage's tables stand."""
    left = run.store.folders(work_dir(run.batch))
    for planned in plan:
        for table in planned.step.writes:
            if table.scratch:
                run.store.delete_dir(table.folder(run.batch))
            else:
                _settle(run, table)
        for name in left:
            if name.startswith(_prefix(planned)):
                run.store.delete_dir(f"{work_dir(run.batch)}/{name}")


def _clean_up_late(run: Run, plan: Sequence[Planned]) -> None:
    """What a run left that was killed behind its last commit; an unfinished rebuild under other
    settings stays.
    """
    left = set(run.store.folders(work_dir(run.batch)))
    for planned in plan:
        receipts = f"{_prefix(planned)}{planned.fingerprint[:12]}"
        if receipts in left:
            run.store.delete_dir(_folder(run, planned))
        rebuilt = any(name.startswith(_prefix(planned)) and name != receipts for name in left)
        for table in planned.step.writes:
            folder = table.folder(run.batch)
            run.store.sweep(folder)
            if not table.scratch and not rebuilt:
                _settle(run, table)
            if table.scratch and table.name in left:
                manifest = find_manifest_in(run.store, folder)
                if _matches(manifest, planned) or (manifest is None and not rebuilt):
                    run.store.delete_dir(folder)


def _settle(run: Run, table: Table) -> None:
    folder = table.folder(run.batch)
    manifest = find_manifest_in(run.store, folder)
    if manifest is not None:
        settle(run.store, folder, manifest)
