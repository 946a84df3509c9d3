"""Parts of a table as a data set for DuckDB, decoded by our own reader with its limits.

DuckDB asks a data set of Arrow for columns and a filter. Arrow's own scanner takes sizes, types and
text of a file on trust: a part of 13 KB made a query hold 6 GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from corpus.errors import FatalError, SchemaError
from corpus.storage.store import Store
from corpus.tables.parquet import PartFile, open_file


@dataclass(frozen=True)
class ScannedPart:
    """A part and the values of the columns that its place gives, such as `batch`."""

    path: str
    place: dict[str, str]


class PartDataset(ds.InMemoryDataset):
    """A data set whose scanner reads parts through `open_file`."""

    store: Store
    parts: Sequence[ScannedPart]
    failures: list[FatalError]

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,
        **_: Any,
    ) -> PartScanner:
        """Called by DuckDB for every scan of a view."""
        names = list(columns) if columns is not None else self.schema.names
        return PartScanner(self, names, filter)


def part_dataset(store: Store, schema: pa.Schema, parts: Sequence[ScannedPart]) -> PartDataset:
    """A data set of parts. `schema` includes the columns that places give."""
    dataset = PartDataset(schema.empty_table())
    dataset.store, dataset.parts, dataset.failures = store, parts, []
    return dataset


class PartScanner:
    """One scan, in the order of parts. A stream of it may be read from any thread."""

    def __init__(
        self, dataset: PartDataset, names: Sequence[str], condition: pc.Expression | None
    ) -> None:
        self._dataset = dataset
        self._condition = condition
        self._schema = pa.schema([dataset.schema.field(name) for name in names])
        # Columns of the filter alone.
        others = [name for name in dataset.schema.names if name not in names]
        self._tested = [name for name in others if self._tests(name)]

    def to_reader(self) -> pa.RecordBatchReader:
        """A stream of the rows that the filter accepts."""
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for part in self._dataset.parts:
                if self._possible(pa.scalar(True), part.place):
                    yield from self._part(part)
        except FatalError as error:
            # The stream passes on nothing but the text of an error.
            self._dataset.failures.append(error)
            raise

    def _part(self, part: ScannedPart) -> Iterator[pa.RecordBatch]:
        with open_file(self._dataset.store, part.path) as file:
            for index in range(file.num_row_groups):
                ids = file.id_range(index) if "doc_id" in self._dataset.schema.names else None
                between = (
                    (pc.field("doc_id") >= ids[0]) & (pc.field("doc_id") <= ids[1])
                    if ids
                    else pa.scalar(True)
                )
                if self._possible(between, part.place):
                    yield from self._rows(file, index, part).to_batches()

    def _tests(self, name: str) -> bool:
        """True if the filter needs this column. An expression does not tell its fields."""
        if self._condition is None:
            return False
        without = [each for each in self._dataset.schema if each.name != name]
        try:
            pa.schema(without).empty_table().filter(self._condition)
        except pa.ArrowInvalid:
            return True
        return False

    def _possible(self, known: Any, place: dict[str, str]) -> bool:
        """False if the filter refuses every row of which this is known. Opens no file."""
        if self._condition is None:
            return True
        for name, value in place.items():
            known = (pc.field(name) == value) & known
        if not isinstance(known, pc.Expression):
            known = pc.scalar(True)
        fragments = ds.FileSystemDataset.from_paths(
            ["part"],
            schema=self._dataset.schema,
            format=ds.ParquetFileFormat(),
            filesystem=pafs.LocalFileSystem(),
            partitions=[known],
        ).get_fragments(filter=self._condition)
        return next(fragments, None) is not None

    def _rows(self, file: PartFile, index: int, part: ScannedPart) -> pa.Table:
        """The accepted rows of one row group."""
        table = self._table(file, index, part, [*self._schema.names, *self._tested])
        if self._condition is None:
            return table
        return table.filter(self._condition).select(self._schema.names)

    def _table(
        self, file: PartFile, index: int, part: ScannedPart, names: Sequence[str]
    ) -> pa.Table:
        """One row group in the types of the data set, with the columns that its place gives."""
        present = file.schema_arrow.names
        stored = [name for name in names if name in present and name not in part.place]
        # Without a column the number of rows would be unknown.
        table = file.read_row_group(index, stored or present[:1])

        columns = []
        for name in names:
            kind = self._dataset.schema.field(name).type
            if name in part.place:
                columns.append(pa.repeat(pa.scalar(part.place[name], kind), table.num_rows))
            elif name in stored:
                columns.append(_cast(table[name], kind, part, name))
            else:
                columns.append(pa.nulls(table.num_rows, kind))
        return pa.table(columns, names=list(names))


def _cast(values: pa.ChunkedArray, kind: pa.DataType, part: ScannedPart, name: str) -> Any:
    if values.type == kind:
        return values
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(
            f"{part.path}: column {name!r} ({values.type}), expected {kind} as in the first part"
        ) from error
