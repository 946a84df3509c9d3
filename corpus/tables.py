"""Reading and writing the parts of a table as Parquet.

The bytes of a part depend on its rows alone: fixed writer settings, fixed row groups, no timestamps.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from corpus.errors import SchemaError
from corpus.layout import Store, table_dir
from corpus.manifest import Manifest, Part, read_manifest

ROW_GROUP_ROWS = 4096
"""Rows of a row group, and so of a batch that a map function sees: 4,096 documents of 5 KB are 20 MB."""


class DigestWriter(io.RawIOBase):
    """A binary stream that passes bytes on and keeps their xxh3-128 and count."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._digest = xxh3_128()
        self.num_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self.num_bytes += len(data)
        self._target.write(data)
        return len(data)

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        return self._digest.hexdigest()


def write_part(
    store: Store, folder: str, file: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table]
) -> Part:
    """Write one part, atomically, in row groups of `ROW_GROUP_ROWS` whatever the sizes of `batches`.

    Raises: SchemaError when a batch has other columns than `schema`.
    """
    rows = 0
    with store.open_output(f"{folder}/{file}") as stream:
        digest = DigestWriter(stream)
        with pq.ParquetWriter(
            pa.PythonFile(digest, mode="w"), schema, compression="zstd", compression_level=3
        ) as writer:
            for table in _regroup(batches, schema):
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
                rows += table.num_rows
    return Part(file=file, rows=rows, bytes=digest.num_bytes, digest=digest.hexdigest())


def _regroup(batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `ROW_GROUP_ROWS`, the last one shorter."""
    pending: list[pa.Table] = []
    rows = 0
    for batch in batches:
        table = conform(batch, schema)
        pending.append(table)
        rows += table.num_rows
        if rows < ROW_GROUP_ROWS:
            continue
        whole = pa.concat_tables(pending)
        start = 0
        while rows - start >= ROW_GROUP_ROWS:
            yield whole.slice(start, ROW_GROUP_ROWS).combine_chunks()
            start += ROW_GROUP_ROWS
        pending = [whole.slice(start)]
        rows -= start
    if rows:
        yield pa.concat_tables(pending).combine_chunks()


def conform(batch: pa.RecordBatch | pa.Table, schema: pa.Schema) -> pa.Table:
    """`batch` as a table of exactly `schema`. Raises SchemaError naming the difference."""
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    if table.column_names != schema.names:
        raise SchemaError(f"columns {table.column_names}, expected {schema.names}")
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SchemaError(f"rows do not fit the schema: {error}") from error


def part_paths(store: Store, table: str, batch: str) -> list[str]:
    """Paths of the parts of a committed batch, in order."""
    folder = table_dir(table, batch)
    return [f"{folder}/{part.file}" for part in read_manifest(store, table, batch).parts]


def read_file(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole Parquet file. Raises SchemaError when it is missing or damaged."""
    return pa.concat_tables([*iter_tables(store, path, columns)])


def iter_tables(store: Store, path: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a Parquet file as tables; at least one, of zero rows for an empty file."""
    try:
        with store.open_input(path) as stream:
            file = pq.ParquetFile(stream)
            names = list(columns) if columns is not None else None
            if file.num_row_groups == 0:
                schema = file.schema_arrow
                yield pa.schema([schema.field(name) for name in names or schema.names]).empty_table()
            for index in range(file.num_row_groups):
                yield file.read_row_group(index, columns=names, use_threads=False)
    except FileNotFoundError as error:
        raise SchemaError(
            f"{store.root}/{path}: the manifest names this part and it is missing; rebuild the batch"
        ) from error
    except pa.ArrowInvalid as error:
        raise SchemaError(f"{store.root}/{path}: damaged Parquet ({error}); rebuild the batch") from error


def read_part(
    store: Store, table: str, batch: str, index: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Part `index` of a committed batch, whole."""
    return read_file(store, part_paths(store, table, batch)[index], columns)


def iter_part(
    store: Store, table: str, batch: str, index: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Part `index` of a committed batch, a row group at a time."""
    for piece in iter_tables(store, part_paths(store, table, batch)[index], columns):
        yield from piece.combine_chunks().to_batches()


def read_table(store: Store, table: str, batch: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All parts of a committed batch in one table (for reports and tests; stages go part by part)."""
    return pa.concat_tables([read_file(store, path, columns) for path in part_paths(store, table, batch)])


def find_row(store: Store, table: str, manifest: Manifest, doc_id: str) -> dict[str, Any] | None:
    """The row of `doc_id`, by statistics of the row groups: reads one group, not the part."""
    from corpus.schemas import part_of_id

    part = manifest.parts[part_of_id(doc_id, manifest.num_parts)]
    with store.open_input(f"{table_dir(table, manifest.batch)}/{part.file}") as stream:
        file = pq.ParquetFile(stream)
        column = file.schema_arrow.get_field_index("doc_id")
        for index in range(file.num_row_groups):
            statistics = file.metadata.row_group(index).column(column).statistics
            if statistics is None or statistics.min <= doc_id <= statistics.max:
                group = file.read_row_group(index)
                hits = group.filter(pa.compute.equal(group["doc_id"], doc_id)).to_pylist()
                if hits:
                    row: dict[str, Any] = hits[0]
                    return row
    return None
