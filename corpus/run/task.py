"""One task of a step inside a worker: from its input files to its own parts and a receipt.

A receipt is a small JSON written after the task's parts. A rerun finds it, and it has everything
for the commit, so a killed driver loses no finished work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import FatalError, SchemaError
from corpus.run.step import Context, Exchange, Gather, Map, Output, Scattered
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import Part
from corpus.tables.parquet import PartWriter, conform, iter_tables, open_part, read_file, write_part
from corpus.tables.record import Record
from corpus.tables.schemas import Table, part_of

# Rows on their way to buckets that a task holds in memory before it writes a round of them.
SCATTER_ROUND_BYTES = 16 << 20


class Receipt(Record):
    """The outputs of a finished task."""

    outputs: dict[str, list[Part]]
    rows_read: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a step, as it travels to a worker."""

    step: Map | Exchange | Gather
    config: Any
    root: str
    batch: str
    num_parts: int
    files: tuple[str, ...]
    index: int
    inputs: Mapping[str, tuple[str, ...]]
    """Per table read, the paths of its parts in order.

    Under `scattered` the files of an exchange's first half.
    """
    generation: str
    """Empty, or what distinguishes the files of a rebuild from the ones it will replace."""
    receipt: str
    scratch: str

    def context(self, report: Callable[[int], None]) -> Context:
        """The context for the step's `load`."""
        return Context(
            store=open_store(self.root),
            batch=self.batch,
            num_parts=self.num_parts,
            files=self.files,
            generation=self.generation,
            scratch=self.scratch,
            report=report,
        )

    def file(self, index: int) -> str:
        """Name of a part written by this task."""
        return f"part-{index:05}{'.' + self.generation if self.generation else ''}.parquet"


@dataclass(slots=True)
class _Tally:
    """Rows and reasons of a task so far."""

    rows_read: int = 0
    counts: Counter[str] = field(default_factory=Counter)


def run_map(task: Task, report: Callable[[int], None]) -> Receipt:
    """A part of the table read to the same part of the tables written."""
    step = task.step
    assert isinstance(step, Map)
    context = task.context(report)
    joins = {
        table.name: read_file(context.store, task.inputs[table.name][task.index], columns)
        for table, columns in step.joins.items()
    }
    pieces = iter_tables(context.store, task.inputs[step.reads.name][task.index], step.columns)
    if step.load_part is not None:
        written = step.load_part(task.config, context)(task.index, _selected(step, pieces), joins)
        return _finish(task, context.store, written.parts, written.rows_read, written.counts)

    assert step.load is not None
    apply = step.load(task.config, context)
    tally = _Tally()

    with ExitStack() as stack:
        writers = _open_writers(task, context.store, stack, task.index)
        for piece in _selected(step, pieces):
            if piece.num_rows == 0:
                continue
            output = apply(piece, joins)
            _check_conserved(step, piece.num_rows, output)
            _write(writers, output, tally)
            tally.rows_read += piece.num_rows
            report(piece.num_rows)
        parts = {name: [writer.finish()] for name, writer in writers.items()}

    return _finish(task, context.store, parts, tally.rows_read, tally.counts)


def run_scatter(task: Task, report: Callable[[int], None]) -> Receipt:
    """The first half of an exchange: one input part, or one file, to a file of buckets."""
    step = task.step
    assert isinstance(step, Exchange)
    context = task.context(report)
    num_buckets = step.num_buckets(task.config, context)
    tally = _Tally()
    path = f"{task.scratch}/{task.file(task.index).replace('.parquet', '.arrow')}"
    options = pa.ipc.IpcWriteOptions(compression="zstd")

    with (
        context.store.open_output(path) as stream,
        pa.ipc.new_file(stream, step.scattered, options=options) as writer,
    ):
        pending: list[Scattered] = []
        size = num_rows = 0
        for scattered in _scattered(task, step, context, tally):
            pending.append(scattered)
            num_rows += scattered.table.num_rows
            size += scattered.table.nbytes
            if size >= SCATTER_ROUND_BYTES:
                _write_round(writer, pending, step.scattered, num_buckets)
                pending, size = [], 0
        _write_round(writer, pending, step.scattered, num_buckets)

    part = Part(
        file=path.rpartition("/")[2], rows=num_rows, bytes=context.store.size(path), digest=""
    )
    return _finish(task, context.store, {"scattered": [part]}, tally.rows_read, tally.counts)


def run_reduce(task: Task, report: Callable[[int], None]) -> Receipt:
    """The second half of an exchange: one bucket out of every file, reduced."""
    step = task.step
    assert isinstance(step, Exchange)
    context = task.context(report)
    num_buckets = step.num_buckets(task.config, context)
    pieces = [
        piece
        for path in task.inputs["scattered"]
        for piece in _bucket(context.store, path, task.index, num_buckets)
    ]
    table = pa.Table.from_batches(pieces, step.scattered)
    output = step.load_reduce(task.config, context)(task.index, table)
    tally = _Tally(rows_read=table.num_rows)

    with ExitStack() as stack:
        writers = _open_writers(task, context.store, stack, task.index)
        _write(writers, output, tally)
        parts = {name: [writer.finish()] for name, writer in writers.items()}

    report(table.num_rows)
    return _finish(task, context.store, parts, tally.rows_read, tally.counts)


def read_bucket(store: Store, folder: str, index: int, num_buckets: int) -> pa.Table:
    """The rows of one bucket, as the first half of an exchange left them in its scratch folder.

    For a step whose workers take buckets from each other.
    """
    paths = [path for path, _ in store.files(folder) if path.endswith(".arrow")]
    pieces = [piece for path in paths for piece in _bucket(store, path, index, num_buckets)]
    if not pieces:
        raise FatalError(f"{store.root}/{folder}: no scattered rows; run the same command again")
    return pa.Table.from_batches(pieces)


def run_gather(task: Task, report: Callable[[int], None]) -> Receipt:
    """All parts of the tables read to one result, cut into parts if rows have a `doc_id`."""
    step = task.step
    assert isinstance(step, Gather)
    context = task.context(report)
    tally = _Tally()

    def stream(table: Table, columns: tuple[str, ...]) -> Iterator[pa.Table]:
        for path in task.inputs[table.name]:
            for piece in iter_tables(context.store, path, columns):
                tally.rows_read += piece.num_rows
                yield piece

    output = step.load(task.config, context)(
        {table.name: stream(table, columns) for table, columns in step.reads.items()}
    )
    parts = {}
    for table in step.writes:
        rows = conform(output.tables[table.name], table.schema)
        parts[table.name] = _write_gathered(task, context, table, rows)

    return _finish(task, context.store, parts, tally.rows_read, output.counts)


def _selected(step: Map, pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for piece in pieces:
        yield step.where(piece) if step.where is not None else piece


def _open_writers(task: Task, store: Store, stack: ExitStack, index: int) -> dict[str, PartWriter]:
    return {
        table.name: stack.enter_context(
            open_part(
                store,
                table.folder(task.batch),
                task.file(index),
                table,
                *_range(task, table, index),
            )
        )
        for table in task.step.writes
    }


def _range(task: Task, table: Table, index: int) -> tuple[int | None, int]:
    """The range of ids of a part, if the table is cut by id."""
    return (index, task.num_parts) if table.by_doc_id else (None, 1)


def _write(writers: Mapping[str, PartWriter], output: Output, tally: _Tally) -> None:
    if unknown := output.tables.keys() - writers.keys():
        raise SchemaError(
            f"the step gave tables {sorted(unknown)} that it does not declare in `writes`"
        )
    for name, table in output.tables.items():
        writers[name].write(table)
    tally.counts.update(output.counts)


def _check_conserved(step: Map, rows_read: int, output: Output) -> None:
    if not step.conserves:
        return

    made = sum(
        output.tables[table.name].num_rows
        for table in step.conserves
        if table.name in output.tables
    )
    if made != rows_read:
        names = " + ".join(table.name for table in step.conserves)
        raise FatalError(
            f"{step.name}: {rows_read:,} rows read, {made:,} written to {names}; a step may not "
            "lose or add rows"
        )


def _scattered(task: Task, step: Exchange, context: Context, tally: _Tally) -> Iterator[Scattered]:
    if step.load_file_scatter is not None:
        source = step.load_file_scatter(task.config, context)(task.files[task.index])
        for scattered in source:
            tally.rows_read += scattered.counts.total()  # every row of a file has one reason
            tally.counts.update(scattered.counts)
            yield scattered
        return

    assert step.reads is not None
    assert step.load_scatter is not None
    apply = step.load_scatter(task.config, context)

    paths = [path for table in (step.reads, *step.also_reads) for path in task.inputs[table.name]]
    for piece in iter_tables(context.store, paths[task.index], step.columns):
        scattered = apply(piece)
        tally.rows_read += piece.num_rows
        tally.counts.update(scattered.counts)
        context.report(piece.num_rows)
        yield scattered


def _write_round(
    writer: Any, pending: list[Scattered], schema: pa.Schema, num_buckets: int
) -> None:
    """Write one record batch per bucket, empty ones too.

    Bucket b of round k is record batch `k * num_buckets + b`.
    """
    tables = [conform(scattered.table, schema) for scattered in pending]
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    bucket = (
        np.concatenate([scattered.bucket for scattered in pending])
        if pending
        else np.zeros(0, np.int64)
    )
    order = np.argsort(bucket, kind="stable")
    bounds = np.searchsorted(bucket[order], np.arange(num_buckets + 1))
    table = table.take(pa.array(order)).combine_chunks()
    empty = pa.RecordBatch.from_pylist([], schema)
    for index in range(num_buckets):
        rows = table.slice(bounds[index], bounds[index + 1] - bounds[index])
        writer.write_batch(rows.to_batches()[0] if rows.num_rows else empty)


def _bucket(store: Store, path: str, index: int, num_buckets: int) -> Iterator[pa.RecordBatch]:
    with store.open_input(path) as stream:
        reader = pa.ipc.open_file(stream)
        for number in range(index, reader.num_record_batches, num_buckets):
            yield reader.get_batch(number)


def _write_gathered(task: Task, context: Context, table: Table, rows: pa.Table) -> list[Part]:
    folder = table.folder(task.batch)
    if not table.by_doc_id:
        return [write_part(context.store, folder, task.file(0), table, [rows])]

    rows = rows.take(pc.sort_indices(rows["doc_id"]))
    bounds = np.searchsorted(part_of(rows["doc_id"], task.num_parts), np.arange(task.num_parts + 1))
    return [
        write_part(
            context.store,
            folder,
            task.file(index),
            table,
            [rows.slice(bounds[index], bounds[index + 1] - bounds[index])],
            index,
            task.num_parts,
        )
        for index in range(task.num_parts)
    ]


def _finish(
    task: Task, store: Store, parts: dict[str, list[Part]], rows_read: int, counts: Counter[str]
) -> Receipt:
    receipt = Receipt(outputs=parts, rows_read=rows_read, counts=dict(sorted(counts.items())))
    store.write_bytes(task.receipt, receipt.model_dump_json().encode())
    return receipt
