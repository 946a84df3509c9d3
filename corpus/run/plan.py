"""A run of a stage and its plan: the fingerprints of all steps, from config and inputs alone.

So "up to date", "built with other settings" and "interrupted" are told apart before any work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from corpus.config import Section, given
from corpus.errors import InputError
from corpus.run.executors.interface import Executor
from corpus.run.step import AnyStep, Context, Gather, Map
from corpus.run.stragglers import Limits
from corpus.storage.store import Store
from corpus.tables.manifest import (
    OUTSIDE_INPUTS,
    Input,
    Manifest,
    find_manifest,
    fingerprint,
    read_manifest,
)
from corpus.tables.schemas import Table
from corpus.tables.staleness import require_current

# Differences that one message lists.
MOST_DIFFERENCES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a stage on one batch."""

    stage: str
    config: Any
    store: Store
    batch: str
    executor: Executor
    num_parts: int
    files: tuple[str, ...] = ()
    rebuild: bool = False
    limits: Limits = field(default_factory=Limits)
    """On the time of tasks."""
    usage: dict[str, float] = field(default_factory=lambda: {"cpu_s": 0.0})
    """What the tasks of the run used so far."""

    def context(self) -> Context:
        """The context that `depends` gets."""
        return Context(
            store=self.store, batch=self.batch, num_parts=self.num_parts, files=self.files
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """A step with everything that its fingerprint covers."""

    step: AnyStep
    fingerprint: str
    inputs: list[Input]
    """Direct inputs, scratch tables among them."""
    origins: list[Input]
    """Inputs for the manifest: each scratch table is replaced by its own inputs."""
    settings: dict[str, Any]
    """Settings for the manifest: the step's own, and those of the scratch tables that it reads."""


def make_plan(run: Run, steps: Sequence[AnyStep]) -> list[Planned]:
    """Compute the fingerprints of all steps.

    Raises: InputError for a missing input table; StaleError for one that was made from another than
    the committed ones.
    """
    makers: dict[str, Planned] = {}
    plan = []

    for step in steps:
        inputs = [_input(run, table, makers) for table in tables_read(step)]
        inputs.extend(step.depends(run.config, run.context()))

        planned = _planned(run, step, inputs, makers)
        makers.update({table.name: planned for table in step.writes})
        plan.append(planned)

    outside = {
        (given.table, given.batch)
        for planned in plan
        for given in planned.inputs
        if given.batch != run.batch or given.table not in makers
    }
    require_current(run.store, outside, f"{run.stage} of batch {run.batch!r}")
    return plan


def matches(manifest: Manifest | None, planned: Planned) -> bool:
    """True if a table is committed as planned."""
    return manifest is not None and manifest.fingerprint == planned.fingerprint


def tables_read(step: AnyStep) -> list[Table]:
    """The tables of this batch that a step reads, the main one first."""
    if isinstance(step, Map):
        return [step.reads, *step.joins]
    if isinstance(step, Gather):
        return list(step.reads)
    return [step.reads, *step.also_reads] if step.reads is not None else []


def refuse_other(
    run: Run, planned: Planned, manifest: Manifest | None, made: Set[str] = frozenset()
) -> None:
    """Refuse to replace a committed table that was built with other settings or inputs.

    `made` are the tables of this stage. They differ because something before them does, so they
    are named only if nothing else is.

    Raises: InputError with what differs and the two ways to continue.
    """
    if manifest is None or manifest.fingerprint == planned.fingerprint:
        return

    differences = [
        *_settings_that_differ(run, planned, manifest),
        *_inputs_that_differ(planned, manifest, without=made),
    ] or [*_inputs_that_differ(planned, manifest)]
    what = (
        "; ".join(differences[:MOST_DIFFERENCES])
        or "another version of the step, or another number of parts"
    )
    raise InputError(
        f"{run.store.root}: table {manifest.table} of batch {run.batch!r} was built with other "
        f"settings or inputs: {what}. "
        f"Run the same command with --rebuild to replace it, or with the old settings to keep it; "
        f"later stages follow with `webtext rebuild --corpus {run.store.root} --from {run.stage}`"
    )


def refuse_given(
    store: Store, batch: str, stage: str, config: Section, step: AnyStep, remedy: str
) -> None:
    """Refuse given settings that differ from those of a table that is read here, not built.

    Raises: InputError with both values and `remedy`.
    """
    asked = {key for key, _, _ in given(config, stage)}
    for table in step.writes:
        manifest = find_manifest(store, table.name, batch)
        if manifest is None:
            continue

        for name in step.sections:
            section = getattr(config, name)
            built = manifest.config.get(name, {})
            for key, ours, theirs in _differences(section.model_dump(mode="json"), built):
                full = f"{stage}.{name}.{key}"
                if full in asked and key not in section.outside_identity:
                    raise InputError(
                        f"{store.root}: table {table.name} of batch {batch!r} was built with "
                        f"{full} = {theirs!r}; this command does not build it with {ours!r}: {remedy}"
                    )


def _input(run: Run, table: Table, makers: Mapping[str, Planned]) -> Input:
    """A table read, with the fingerprint that it has or will have."""
    maker = makers.get(table.name)
    found = (
        maker.fingerprint if maker else read_manifest(run.store, table.name, run.batch).fingerprint
    )
    return Input(table=table.name, batch=run.batch, fingerprint=found)


def _planned(
    run: Run, step: AnyStep, inputs: list[Input], makers: Mapping[str, Planned]
) -> Planned:
    config = run.config.effective() if isinstance(run.config, Section) else run.config
    sections = {name: getattr(config, name) for name in step.sections}
    settings = {
        name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        for name, value in sections.items()
    }
    identity = settings | {
        name: value.identity() for name, value in sections.items() if isinstance(value, Section)
    }
    versions = {table.name: table.version for table in step.writes}
    print_ = fingerprint(
        step.name,
        step.revision,
        versions,
        identity,
        [each.model_dump() for each in inputs],
        run.num_parts,
    )

    scratch = [
        makers[table.name] for table in tables_read(step) if table.scratch and table.name in makers
    ]
    names = {table.name for table in tables_read(step) if table.scratch}
    direct = [each for each in inputs if each.batch != run.batch or each.table not in names]
    origins = dict.fromkeys([*direct, *(each for maker in scratch for each in maker.origins)])
    for maker in scratch:
        settings = maker.settings | settings

    return Planned(step, print_, inputs, list(origins), settings)


def _settings_that_differ(run: Run, planned: Planned, manifest: Manifest) -> Iterator[str]:
    for key, ours, theirs in _differences(planned.settings, manifest.config):
        section, _, name = key.partition(".")
        # Settings such as tolerance flags are no part of the fingerprint, so they explain nothing.
        if name not in getattr(getattr(run.config, section, None), "outside_identity", ()):
            yield f"{run.stage}.{key} was {theirs!r}, is now {ours!r}"


def _inputs_that_differ(
    planned: Planned, manifest: Manifest, without: Set[str] = frozenset()
) -> Iterator[str]:
    theirs = {(each.table, each.batch): each.fingerprint for each in manifest.inputs}
    ours = {(each.table, each.batch): each.fingerprint for each in planned.origins}
    for table, batch in sorted(theirs.keys() | ours.keys()):
        if table in without and batch == manifest.batch:
            continue
        name = f"{OUTSIDE_INPUTS.get(table, f'table {table} of batch')} {batch}".rstrip()
        if (table, batch) not in theirs:
            yield f"{name} was added"
        elif (table, batch) not in ours:
            yield f"{name} is missing now"
        elif ours[table, batch] != theirs[table, batch]:
            yield f"{name} changed since"


def _differences(ours: Any, theirs: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(key, ours, theirs) of every value that differs, nested ones by their full key."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return [
            difference
            for key in sorted(ours.keys() | theirs.keys())
            for difference in _differences(
                ours.get(key), theirs.get(key), f"{prefix}.{key}" if prefix else str(key)
            )
        ]
    return [] if ours == theirs else [(prefix, ours, theirs)]
