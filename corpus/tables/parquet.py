"""Reading and writing the parts of a table as Parquet.

The bytes of a part depend on its rows alone: fixed writer settings, fixed row groups, no
timestamps.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128

from corpus.errors import SchemaError, first_line
from corpus.storage.store import Store, table_dir
from corpus.tables.footers import check_columns
from corpus.tables.generations import first_path
from corpus.tables.manifest import Manifest, Part, mend, read_manifest
from corpus.tables.mentions import MentionCollector
from corpus.tables.schemas import TABLES, TOKENS, Table, part_of_id

# Rows of a row group, and so of a batch that a map function sees: 4,096 documents of 5 KB are 20
# MB.
ROW_GROUP_ROWS = 4096


# Bytes that one row group, or a small file, may unpack to. Ours have 20 MB; one array of text
# holds 2 GiB at most.
MAX_UNPACKED_BYTES = 1 << 30
# How many times its own size a large file may unpack to. Columns of one repeated value reach
# more, but not these bytes.
MAX_UNPACKED_RATIO = 100
MIN_SLICE_ROWS = 16


class DigestWriter(io.RawIOBase):
    """A binary stream with an xxh3-128 digest and a count of the bytes written."""

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
        """Pass nothing on from here: the target closes before the last byte comes."""
        self._target = None

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        return self._digest.hexdigest()


class PartWriter:
    """A part being written: rows come in any sizes and end in row groups of `ROW_GROUP_ROWS`.

    In a table keyed by `doc_id`, ids must ascend without repeats, and belong to part `index` of
    `num_parts` if given. Raises: SchemaError for a row against that or the schema.
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
            # zstd of Parquet has no checksum of its own: a flipped bit would be read as other values.
            write_page_checksum=True,
        )
        self._file = file
        self._table = table
        self._index = index
        self._num_parts = num_parts
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._last_id = ""
        self._mentions = MentionCollector(table)
        self.rows = 0

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows. Raises SchemaError."""
        table = conform(batch, self._table.schema)
        if table.num_rows == 0:
            return

        if self._table.by_doc_id:
            self._check_ids(table["doc_id"])
        self._mentions.add(table)
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS:
            self._flush(ROW_GROUP_ROWS)

    def finish(self) -> Part:
        """Write the remaining rows; return the part's record."""
        self._flush(1)
        self._parquet.close()
        return Part(
            file=self._file,
            rows=self.rows,
            bytes=self._digest.num_bytes,
            digest=self._digest.hexdigest(),
            metadata=self._mentions.metadata(),
        )

    def abandon(self) -> None:
        """Close without a part, after an error: left open, the file's footer would be written when
        memory is cleared up.
        """
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
                f"{name}: doc_id does not ascend near {first} (or comes twice); a step must keep "
                "the order of its rows"
            )
        if self._index is not None and not (
            part_of_id(first, self._num_parts) == self._index == part_of_id(last, self._num_parts)
        ):
            raise SchemaError(
                f"{name}: doc_id {first}..{last} does not belong to part {self._index} of "
                f"{self._num_parts}"
            )

        self._last_id = last


@contextmanager
def open_part(
    store: Store, folder: str, file: str, table: Table, index: int | None = None, num_parts: int = 1
) -> Iterator[PartWriter]:
    """Open a `PartWriter`. The file appears on a clean exit; call `finish` inside."""
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
    """A whole Parquet file.

    Raises: SchemaError if it is missing, damaged, of another schema, or unpacks beyond
    `unpacked_limit`.
    """
    where = f"{store.root}/{path}"
    return _whole(iter_tables(store, path, columns), where, unpacked_limit(_size(store, path)))


def _whole(tables: Iterable[pa.Table], where: str, limit: int) -> pa.Table:
    """The row groups of a file in one table. Raises: SchemaError if they are beyond the limit."""
    pieces: list[pa.Table] = []
    num_bytes = 0
    for piece in tables:
        num_bytes += piece.nbytes
        check_unpacked(where, num_bytes, limit)
        pieces.append(piece)

    return pa.concat_tables(pieces)


def iter_tables(
    store: Store, path: str, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The row groups of a Parquet file as tables; at least one, of zero rows for an empty file.

    Raises: as `read_file`, where the limit is for each row group.
    """
    with open_file(store, path) as file:
        yield from file.tables(columns)


_ID = re.compile("[0-9a-f]{32}")
_NUMBERS = frozenset(("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE"))


class PartFile:
    """A Parquet file whose row groups are decoded in slices, since their sizes cannot be trusted.

    A row group of a few bytes may stand for gigabytes: a long text once in the dictionary, and its
    number a million times. Each slice takes a bounded amount of memory, and the sum is compared
    with the limit before the next one.
    """

    def __init__(self, stream: Any, where: str, dictionaries: Sequence[str] = ()) -> None:
        """Open the file. Texts of the columns `dictionaries` stay in dictionaries, within its size.

        Raises: SchemaError if one of these columns is missing; OSError, ArrowException for damage.
        """
        try:
            self._file = pq.ParquetFile(
                stream, page_checksum_verification=True, read_dictionary=[*dictionaries]
            )
        except KeyError as error:
            raise SchemaError(f"{where}: no column {error.args[0].decode()!r}") from error
        self._dictionaries = frozenset(dictionaries)
        self._where = where
        self.metadata = self._file.metadata
        self.schema_arrow: pa.Schema = self._file.schema_arrow
        self.num_row_groups: int = self._file.num_row_groups
        self._absent: dict[str, pa.DataType] = {}
        self._checked: set[int] = set()

    def add_absent(self, fields: Iterable[pa.Field]) -> None:
        """Read these columns, which the file lacks, as null."""
        for field in fields:
            self._absent[field.name] = _as_stored(field.type)
            self.schema_arrow = self.schema_arrow.append(
                pa.field(field.name, self._absent[field.name])
            )

    def id_range(self, index: int) -> tuple[str, str] | None:
        """The first and last doc_id of a row group by its statistics; None if they do not say."""
        found = self.text_range(index, "doc_id")
        return found if found is not None and all(map(_ID.fullmatch, found)) else None

    def text_range(self, index: int, name: str) -> tuple[str, str] | None:
        """The least and greatest text of a column in a row group by its statistics, or None.

        A damaged footer may have statistics without values, or with those of another kind.
        """
        try:
            column = self._row_group(index).column(self.schema_arrow.get_field_index(name))
            # Arrow ends the process for statistics of another type than the schema's.
            if column.physical_type != "BYTE_ARRAY":
                return None
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max:
                return None
            low, high = statistics.min, statistics.max
        except (ValueError, IndexError, pa.ArrowException):
            return None

        return (low, high) if isinstance(low, str) and isinstance(high, str) else None

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All row groups; one of no rows for an empty file. Raises: as `read_row_group`."""
        if self.num_row_groups == 0:
            yield self.empty_table(columns)
        for index in range(self.num_row_groups):
            yield self.read_row_group(index, columns)

    def read_row_group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group. Raises: SchemaError if a column is missing, or it unpacks to more than the
        limit.
        """
        wanted = self._columns(columns)
        if self._absent.keys() & set(wanted):
            return self._with_nulls(index, wanted)
        return self._read(index, wanted)

    def empty_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """No rows of these columns. Raises: SchemaError if a column is missing."""
        names = self._columns(columns)
        return pa.schema([self.schema_arrow.field(name) for name in names]).empty_table()

    def iter_row_group(
        self, index: int, columns: Sequence[str], slice_rows: int
    ) -> Iterator[pa.Table]:
        """One row group in slices of at most so many rows, for groups that do not fit into memory.

        Raises: SchemaError if a column is missing, or a slice unpacks to more than the limit.
        """
        names = self._columns(columns)
        # A row group of this size has no bound on one value, so few rows are unpacked at a time.
        longest = self._packed_bytes(index, names, may_be_long=True)
        rows = max(MIN_SLICE_ROWS, MAX_UNPACKED_BYTES // max(1, longest))
        batches = self._file.iter_batches(
            batch_size=min(rows, slice_rows),
            row_groups=[index],
            columns=names,
            use_threads=False,
        )
        for batch in batches:
            check_unpacked(self._where, batch.nbytes, MAX_UNPACKED_BYTES)
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            yield table

    def _row_group(self, index: int) -> pq.RowGroupMetaData:
        """The footer's record of a row group, of which every column may be looked at."""
        if index not in self._checked:
            check_columns(self.metadata, index)
            self._checked.add(index)
        return self.metadata.row_group(index)

    def _packed_bytes(self, index: int, names: Sequence[str], *, may_be_long: bool = False) -> int:
        """The size of the largest of these columns, as the footer says.

        `may_be_long`: only of those whose values have any length.
        """
        group = self._row_group(index)
        chunks = (group.column(number) for number in range(group.num_columns))
        return max(
            (
                chunk.total_uncompressed_size
                for chunk in chunks
                if chunk.path_in_schema.partition(".")[0] in names
                if not may_be_long or self._may_be_long(chunk)
            ),
            default=0,
        )

    def _may_be_long(self, chunk: pq.ColumnChunkMetaData) -> bool:
        """True unless values are numbers, or texts that stay in a dictionary."""
        name = chunk.path_in_schema
        return "." in name or (
            chunk.physical_type not in _NUMBERS and name not in self._dictionaries
        )

    def _with_nulls(self, index: int, wanted: Sequence[str]) -> pa.Table:
        present = [name for name in wanted if name not in self._absent]
        # Without a column the number of rows would be unknown.
        table = self._read(index, present or self._file.schema_arrow.names[:1])
        columns = [
            pa.nulls(table.num_rows, self._absent[name]) if name in self._absent else table[name]
            for name in wanted
        ]
        return pa.table(columns, pa.schema([self.schema_arrow.field(name) for name in wanted]))

    def _read(self, index: int, names: list[str]) -> pa.Table:
        group = self.metadata.row_group(index)
        packed = self._packed_bytes(index, names)
        check_unpacked(self._where, packed, MAX_UNPACKED_BYTES)
        # No value is longer than its column, so this many rows of it stay within the limit. Fewer
        # at a time let the sum meet the limit before another gigabyte is unpacked.
        rows = max(MIN_SLICE_ROWS, MAX_UNPACKED_BYTES // max(1, packed))

        slices: list[pa.Table] = []
        num_bytes = 0
        batches = self._file.iter_batches(
            batch_size=min(rows, ROW_GROUP_ROWS, max(1, group.num_rows)),
            row_groups=[index],
            columns=names,
            use_threads=False,
        )

        for batch in batches:
            num_bytes += batch.nbytes
            check_unpacked(self._where, num_bytes, MAX_UNPACKED_BYTES)
            slices.append(pa.Table.from_batches([batch]))

        if not slices:
            return self.empty_table(names)

        table = pa.concat_tables(slices).combine_chunks() if len(slices) > 1 else slices[0]
        # Compiled loops trust UTF-8 and ascending offsets, which Arrow does not check.
        table.validate(full=True)

        return table

    def _columns(self, wanted: Sequence[str] | None) -> list[str]:
        present = self.schema_arrow.names
        names = list(wanted) if wanted is not None else present
        if missing := [name for name in names if name not in present]:
            raise SchemaError(f"{self._where}: no column {missing[0]!r}; it has {present}")
        return names


@contextmanager
def open_file(store: Store, path: str) -> Iterator[PartFile]:
    """Open a part of a committed table.

    Raises: SchemaError if it is missing, of another schema than its table or, while it is read,
    damaged.
    """
    where = f"{store.root}/{path}"
    try:
        with store.open_input(path) as stream:
            file = PartFile(stream, where)
            _check_schema(file, path, where)
            yield file
    except FileNotFoundError as error:
        raise SchemaError(
            f"{where}: the manifest names this part and it is missing; {mend(store, path)}"
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow raises OSError for a broken footer; one of the operating system has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SchemaError(
            f"{where}: damaged Parquet ({first_line(error)}); {mend(store, path)}"
        ) from error


def read_data(data: bytes, where: str) -> pa.Table:
    """The table in the bytes of a Parquet file outside the tables, such as a report's.

    Raises: SchemaError, with the place that the bytes are from, if it is damaged or unpacks beyond
    `unpacked_limit`.
    """
    try:
        tables = PartFile(io.BytesIO(data), where).tables()
        return _whole(tables, where, unpacked_limit(len(data)))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SchemaError(
            f"{where}: damaged Parquet ({first_line(error)}); restore or delete the file"
        ) from error


def unpacked_limit(num_bytes: int) -> int:
    """The limit on unpacked bytes of a file of `num_bytes`."""
    return max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * num_bytes)


def check_unpacked(where: str, num_bytes: int, limit: int) -> None:
    """Raise SchemaError if a file unpacks to more bytes than its limit."""
    if num_bytes > limit:
        raise SchemaError(
            f"{where}: unpacks to more than {num_bytes:,} bytes, the limit is {limit:,}; not "
            "written by this code, "
            "remove the batch or get it from another source"
        )


def _check_schema(file: PartFile, path: str, where: str) -> None:
    """Compare names and types with the contract, for a path of a table with fixed columns."""
    table = TABLES.get(first_path(path).partition("/")[0])
    if table is None or table.name == TOKENS.name:
        return

    expected = [(field.name, _as_stored(field.type)) for field in table.schema]
    found = [(field.name, field.type) for field in file.schema_arrow]
    missing = expected[len(found) :]
    if found == expected[: len(found)] and all(name in table.later_columns for name, _ in missing):
        file.add_absent(table.schema.field(name) for name, _ in missing)
        return
    different = next(pair for pair in zip_longest(found, expected) if pair[0] != pair[1])
    raise SchemaError(
        f"{where}: column {_column(different[0])}, expected {_column(different[1])}; not the "
        f"table {table.name}"
    )


def _as_stored(kind: pa.DataType) -> pa.DataType:
    """The type after Parquet, which has no timestamps of whole seconds."""
    seconds = pa.types.is_timestamp(kind) and kind.unit == "s"
    return pa.timestamp("ms", kind.tz) if seconds else kind


def _column(field: tuple[str, pa.DataType] | None) -> str:
    return "none" if field is None else f"{field[0]!r} ({field[1]})"


def _size(store: Store, path: str) -> int:
    try:
        return store.size(path)
    except FileNotFoundError:
        return 0


def iter_part(
    store: Store, table: str, batch: str, index: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Part `index` of a committed batch, a row group at a time."""
    for piece in iter_tables(store, part_paths(store, table, batch)[index], columns):
        yield from piece.combine_chunks().to_batches()


def read_table(
    store: Store, table: str, batch: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """All parts of a committed batch in one table (for reports and tests.

    Stages go part by part).
    """
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
    """The row of `doc_id` and the part it lies in, by statistics of the row groups: reads one
    group, not the part.

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
    """The number in a part's name, in any folder and generation. Raises SchemaError otherwise."""
    found = re.search(r"(?:^|/)part-(\d+)\.", file)
    if found is None:
        raise SchemaError(f"{file}: not the name of a part (part-00000.parquet)")
    return int(found[1])


def row_in_file(store: Store, path: str, doc_id: str) -> dict[str, Any] | None:
    """The row of `doc_id` in one file, or None. Raises: as `open_file`."""
    with open_file(store, path) as file:
        for index in range(file.num_row_groups):
            span = file.id_range(index)
            if span is None or span[0] <= doc_id <= span[1]:
                group = file.read_row_group(index)
                hits = group.filter(pc.equal(group["doc_id"], doc_id)).to_pylist()
                if hits:
                    row: dict[str, Any] = hits[0]
                    return row

    return None
