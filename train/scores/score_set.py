"""Scoring of one set: resumable, shared by all ranks, with an outcome kept for every entry.

    runs/<run>/scores/step-<step>/<set>-<fingerprint>/part-00000.parquet     outcomes of some entries, in their order

A part is written when its entries are done, so an interrupted run goes on where it was. The
fingerprint covers the file, the options, the task's revision and the weights. Ranks take the parts
in turn.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from corpus.errors import InputError
from corpus.evaluation_sets.official import SetFile
from corpus.run import progress, screen
from corpus.storage.store import Store
from corpus.tables.dedup_reports import read_overlap
from corpus.tables.manifest import fingerprint
from corpus.tables.parquet import read_data
from train.checkpoints.load import LoadedModel
from train.machine.distributed import World, dtype_name
from train.scores.tasks import choices, few_shot, generation, lambada, language, written_answers
from train.scores.tasks.task import Figures, Options, Row, ScoreTask

# In the order of the paper's table 3 and section 3.
TASKS: Mapping[str, ScoreTask] = {
    task.name: task
    for task in (
        lambada.TASK,
        choices.CBT_CN,
        choices.CBT_NE,
        language.WIKITEXT2,
        language.PENN,
        language.ENWIK8,
        language.TEXT8,
        language.WIKITEXT103,
        language.BILLION,
        choices.WINOGRAD,
        choices.HELLASWAG,
        generation.COQA,
        generation.CNN_DM,
        generation.WMT14_EN_FR,
        generation.WMT14_FR_EN,
        generation.NATURAL_QUESTIONS,
        *few_shot.FEW_SHOT,
        *written_answers.WRITTEN_ANSWERS,
    )
}


@dataclass(frozen=True)
class Overlap:
    """Dedup's measurements of a set in the batches of the training."""

    share: float
    """Of the set's distinct 8-grams, those that are left in the corpus to train on."""
    entries: frozenset[int]
    """Entries of the file of which something is left in it."""
    num_entries: int
    """Entries that the set had there."""


@dataclass(frozen=True)
class Scores:
    """A set's figures and how they came about."""

    figures: Figures
    about: dict[str, Any]


def run_task(
    task: ScoreTask,
    file: SetFile,
    loaded: LoadedModel,
    world: World,
    options: Options,
    store: Store,
    folder: str,
    *,
    weights: str,
    limit: int = 0,
    overlap: Overlap | None = None,
) -> Scores:
    """Score a set.

    `folder` keeps outcomes of this step; `weights` identifies the model; `limit` is the number of
    the file's entries, 0 for all.

    Raises: InputError for a file in another format, or without an entry.
    """
    entries = _entries(task, file, loaded, options)
    some = task.first(entries, limit) if limit else entries
    cut = len(some) < len(entries)
    parts: list[Any] = [task.name, file.digest, asdict(options), task.revision, weights]
    # float32 is left out: outcomes of earlier versions are of it.
    narrow = [] if world.dtype == torch.float32 else [dtype_name(world)]
    print_ = fingerprint(*parts, len(some) if cut else 0, *narrow)
    path = f"{folder}/{task.name}-{print_[:12]}"
    rows = _outcomes(task, some, loaded, world, options, store, path)
    about: dict[str, Any] = {
        "file": file.path.name,
        "sha256": file.digest,
        "official": file.is_official,
        "licence": file.official.licence,
        "outcomes": path,
    }
    if cut:
        about["limit"] = limit

    if task.document is not None:
        about["windows"] = {
            "tokens": loaded.model.shape.block_size,
            "stride": options.stride or loaded.model.shape.block_size,
        }
        about["detokenized"] = options.detokenize
    else:
        about["begin"], about["seed"] = options.begin, options.seed

    if overlap is not None:
        about["overlap_share"] = overlap.share
        rest = [row for place, row in enumerate(rows) if place not in overlap.entries]
        if task.document is None and not cut and overlap.num_entries == len(rows) and rest:
            about["overlapping_entries"] = len(rows) - len(rest)
            about["without_overlap"] = task.figures(rest)

    return Scores(task.figures(rows), about)


def _entries(task: ScoreTask, file: SetFile, loaded: LoadedModel, options: Options) -> list[Any]:
    try:
        entries = task.read(file.data, loaded, options)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"test set {task.name} ({file.path}): {type(error).__name__}: {error}; expected {file.official.format}"
        ) from error

    if not entries:
        raise InputError(
            f"test set {task.name} ({file.path}): no entries; expected {file.official.format}"
        )

    return entries


def _outcomes(
    task: ScoreTask,
    entries: Sequence[Any],
    loaded: LoadedModel,
    world: World,
    options: Options,
    store: Store,
    path: str,
) -> list[Row]:
    """All outcomes, including those kept from an earlier run."""
    starts = range(0, len(entries), task.chunk)
    paths = [f"{path}/part-{number:05}.parquet" for number in range(len(starts))]
    mine = range(world.rank, len(starts), world.size)
    num_rows = sum(min(task.chunk, len(entries) - starts[number]) for number in mine)
    meter = progress.Meter(f"scores/{task.name}", len(mine), num_rows)

    # One rank's share speaks for all: they are equal but for a part.
    with screen.show(meter) if world.is_main else contextlib.nullcontext() as display:
        for number in mine:
            some = entries[starts[number] : starts[number] + task.chunk]
            if not store.exists(paths[number]):
                rows = task.outcomes(loaded, some, world, options)
                _write(store, paths[number], rows)
            else:
                meter.rows_before += len(some)
            meter.parts_done += 1
            meter.rows_done += len(some)
            if display is not None:
                display.update()

    world.barrier()
    tables = [read_data(store.read_bytes(each), f"{store.root}/{each}") for each in paths]
    return [row for table in tables for row in table.to_pylist()]


def _write(store: Store, path: str, rows: Sequence[Row]) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer, compression="zstd")
    store.write_bytes(path, buffer.getvalue())


def overlap_of(file: SetFile, measured: Mapping[str, Overlap]) -> Overlap | None:
    """The overlap of a file's set, or None. Dedup names a set by its file without suffixes.

    Two files of one name (WikiText-2 and -103 both have a wiki.test.tokens) are told apart by the
    folder.
    """
    official = file.official
    names = {_plain(each) for each in (*official.files, file.path.name)}
    found = [name for name in measured if _plain(name.rpartition("/")[2]) in names]

    if official.folder:
        found = [
            name
            for name in found
            if official.folder in re.sub(r"[-_]", "", name.rpartition("/")[0])
        ]

    return measured[found[0]] if len(found) == 1 else None


def _plain(name: str) -> str:
    """A file's name without the suffixes of packer and kind, however many."""
    return re.sub(r"(\.(gz|bz2|zst|jsonl?|ndjson|parquet|txt|text|tokens|tsv))+$", "", name)


def overlaps(store: Store, batches: Sequence[str]) -> dict[str, Overlap]:
    """Overlaps of sets by dedup's names, from the reports of all `batches` with one.

    Text that dedup has removed was not trained on, so it does not count. Reports written before
    both were counted have only the shares before removal.
    """
    shares: dict[str, float] = {}
    entries: dict[str, set[int]] = {}
    counts: dict[str, int] = {}

    for batch in batches:
        report = read_overlap(store, batch)
        if report is None:
            continue

        for row in report.table:
            share = row.share_so_far if row.share_left_so_far is None else row.share_left_so_far
            if row.n == 8 and share is not None:
                shares[row.testset] = share
        for name, found in report.entries.items():
            left = report.entries_left.get(name, found.overlapping)
            entries.setdefault(name, set()).update(left)
            counts[name] = found.entries

    return {
        name: Overlap(share, frozenset(entries.get(name, ())), counts.get(name, 0))
        for name, share in shares.items()
    }
