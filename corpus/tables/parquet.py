"""Reading and writing the parts of a table as Parquet.

The bytes of a part depend on its rows alone: fixed writer settings, fixed row groups, no timestamps.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128

from corpus.errors import SchemaError
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import Manifest, Part, mend, read_manifest
from corpus.tables.schemas import Table, part_of_id

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
        if self._target is not None:
            self._target.write(data)
        return len(data)

    def let_go(self) -> None:
        """Pass nothing on from here: the target is closed, or will be before the last byte comes."""
        self._target = None

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        return self._digest.hexdigest()


class PartWriter:
    """One part on its way: rows come in any sizes and lie in row groups of `ROW_GROUP_ROWS`.

    A table whose rows are found by `doc_id` is checked on the way: ids ascend, none comes twice, and all of them
    belong to part `index` of `num_parts` where these are given.
    Raises: SchemaError when a row breaks that or the schema.
    """

    def __init__(
        self, stream: Any, file: str, table: Table, index: int | None = None, num_parts: int = 1
    ) -> None:
        self._digest = DigestWriter(stream)
        self._parquet = pq.ParquetWriter(
            pa.PythonFile(self._digest, mode="w"),
            table.schema,
            compression="zstd",
            compression_level=3,
        )
        self._file = file
        self._table = table
        self._index = index
        self._num_parts = num_parts
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._last_id = ""
        self.rows = 0

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows. Raises SchemaError."""
        table = conform(batch, self._table.schema)
        if table.num_rows == 0:
            return
        if self._table.by_doc_id:
            self._check_ids(table["doc_id"])
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS:
            self._flush(ROW_GROUP_ROWS)

    def finish(self) -> Part:
        """Write what is left; the part's record."""
        self._flush(1)
        self._parquet.close()
        return Part(
            file=self._file,
            rows=self.rows,
            bytes=self._digest.num_bytes,
            digest=self._digest.hexdigest(),
        )

    def abandon(self) -> None:
        """Close without a part, after an error: left open, the file's footer would be written when memory is cleared up."""
        self._digest.let_go()
        with suppress(
            OSError, ValueError, pa.ArrowException
        ):  # the error before it is the one to tell
            self._parquet.close()

    def _flush(self, least: int) -> None:
        if not self._pending:
            return
        whole = pa.concat_tables(self._pending)
        start = 0
        while whole.num_rows - start >= least and start < whole.num_rows:
            group = whole.slice(start, ROW_GROUP_ROWS).combine_chunks()
            self._parquet.write_table(group, row_group_size=ROW_GROUP_ROWS)
            start += group.num_rows
        self._pending = [whole.slice(start)] if start < whole.num_rows else []
        self._pending_rows = whole.num_rows - start

    def _check_ids(self, ids: pa.ChunkedArray) -> None:
        ids = ids.combine_chunks()
        name = self._table.name
        first, last = ids[0].as_py(), ids[len(ids) - 1].as_py()
        ascending = (
            len(ids) < 2 or pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py()
        )
        if not ascending or first <= self._last_id:
            raise SchemaError(
                f"{name}: doc_id does not ascend near {first} (or comes twice); a step must keep the order of its rows"
            )
        if self._index is not None and not (
            part_of_id(first, self._num_parts) == self._index == part_of_id(last, self._num_parts)
        ):
            raise SchemaError(
                f"{name}: doc_id {first}..{last} does not belong to part {self._index} of {self._num_parts}"
            )
        self._last_id = last


@contextmanager
def open_part(
    store: Store, folder: str, file: str, table: Table, index: int | None = None, num_parts: int = 1
) -> Iterator[PartWriter]:
    """A `PartWriter` whose file appears under its name on a clean exit; call `finish` inside."""
    with store.open_output(f"{folder}/{file}") as stream:
        writer = PartWriter(stream, file, table, index, num_parts)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise


def write_part(
    store: Store,
    folder: str,
    file: str,
    table: Table,
    batches: Iterable[pa.RecordBatch | pa.Table],
    index: int | None = None,
    num_parts: int = 1,
) -> Part:
    """Write one part as a whole."""
    with open_part(store, folder, file, table, index, num_parts) as writer:
        for batch in batches:
            writer.write(batch)
        return writer.finish()


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


def iter_tables(
    store: Store, path: str, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The row groups of a Parquet file as tables; at least one, of zero rows for an empty file."""
    with open_file(store, path) as file:
        names = list(columns) if columns is not None else None
        if file.num_row_groups == 0:
            schema = file.schema_arrow
            yield pa.schema([schema.field(name) for name in names or schema.names]).empty_table()
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns=names, use_threads=False)


@contextmanager
def open_file(store: Store, path: str) -> Iterator[pq.ParquetFile]:
    """A part of a committed table. Raises: SchemaError where it is missing or, while it is read, damaged."""
    try:
        with store.open_input(path) as stream:
            yield pq.ParquetFile(stream)
    except FileNotFoundError as error:
        raise SchemaError(
            f"{store.root}/{path}: the manifest names this part and it is missing; {mend(store, path)}"
        ) from error
    except pa.ArrowInvalid as error:
        raise SchemaError(
            f"{store.root}/{path}: damaged Parquet ({error}); {mend(store, path)}"
        ) from error


def iter_part(
    store: Store, table: str, batch: str, index: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Part `index` of a committed batch, a row group at a time."""
    for piece in iter_tables(store, part_paths(store, table, batch)[index], columns):
        yield from piece.combine_chunks().to_batches()


def read_table(
    store: Store, table: str, batch: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """All parts of a committed batch in one table (for reports and tests; stages go part by part)."""
    return pa.concat_tables(
        [read_file(store, path, columns) for path in part_paths(store, table, batch)]
    )


def find_row(store: Store, table: str, manifest: Manifest, doc_id: str) -> dict[str, Any] | None:
    """The row of `doc_id`, or None."""
    found = locate_row(store, table, manifest, doc_id)
    return found[1] if found else None


def locate_row(
    store: Store, table: str, manifest: Manifest, doc_id: str
) -> tuple[Part, dict[str, Any]] | None:
    """The row of `doc_id` and the part it lies in, by statistics of the row groups: reads one group, not the part.

    A table may have several files per part (`spans`: one per split); all of them are asked.
    """
    index = part_of_id(doc_id, manifest.num_parts)
    for part in manifest.parts:
        if part_index(part.file) == index:
            row = row_in_file(store, f"{table_dir(table, manifest.batch)}/{part.file}", doc_id)
            if row is not None:
                return part, row
    return None


def part_index(file: str) -> int:
    """The number in a part's name, whatever folder and generation it carries. Raises SchemaError for other names."""
    found = re.search(r"(?:^|/)part-(\d+)\.", file)
    if found is None:
        raise SchemaError(f"{file}: not the name of a part (part-00000.parquet)")
    return int(found[1])


def row_in_file(store: Store, path: str, doc_id: str) -> dict[str, Any] | None:
    """The row of `doc_id` in one file, or None. Raises FileNotFoundError."""
    with store.open_input(path) as stream:
        file = pq.ParquetFile(stream)
        column = file.schema_arrow.get_field_index("doc_id")
        for index in range(file.num_row_groups):
            statistics = file.metadata.row_group(index).column(column).statistics
            if statistics is None or statistics.min <= doc_id <= statistics.max:
                group = file.read_row_group(index)
                hits = group.filter(pc.equal(group["doc_id"], doc_id)).to_pylist()
                if hits:
                    row: dict[str, Any] = hits[0]
                    return row
    return None
