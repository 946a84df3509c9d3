"""Removes what runs leave behind: receipts, scratch tables, and files that no manifest names."""

from __future__ import annotations

from collections.abc import Sequence

from corpus.run.plan import Planned, Run, matches
from corpus.storage.store import work_dir
from corpus.tables.generations import settle
from corpus.tables.manifest import find_manifest_in
from corpus.tables.schemas import Table


def step_folder(run: Run, planned: Planned) -> str:
    """The folder of a step's receipts and scattered rows; the fingerprint keeps settings apart."""
    return f"{work_dir(run.batch)}/{_prefix(planned)}{planned.fingerprint[:12]}"


def clean(run: Run, plan: Sequence[Planned]) -> None:
    """Clean up once all of a stage's tables are committed, unfinished rebuilds included."""
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


def clean_after_kill(run: Run, plan: Sequence[Planned]) -> None:
    """Clean up after a run that was killed behind its last commit.

    An unfinished rebuild under other settings keeps its receipts and parts: it may be continued.
    """
    left = set(run.store.folders(work_dir(run.batch)))

    for planned in plan:
        receipts = f"{_prefix(planned)}{planned.fingerprint[:12]}"
        if receipts in left:
            run.store.delete_dir(step_folder(run, planned))

        rebuilt = any(name.startswith(_prefix(planned)) and name != receipts for name in left)
        for table in planned.step.writes:
            folder = table.folder(run.batch)
            run.store.sweep(folder)
            if not table.scratch:
                if not rebuilt:
                    _settle(run, table)
            elif table.name in left:
                manifest = find_manifest_in(run.store, folder)
                if matches(manifest, planned) or (manifest is None and not rebuilt):
                    run.store.delete_dir(folder)


def _prefix(planned: Planned) -> str:
    """The beginning of a step's folder names below the batch's work, under any settings."""
    return f"{planned.step.name.replace('/', '.')}-"


def _settle(run: Run, table: Table) -> None:
    folder = table.folder(run.batch)
    manifest = find_manifest_in(run.store, folder)
    if manifest is not None:
        settle(run.store, folder, manifest)
