"""Writes rows as numbered Parquet files of a bounded size, with the digest of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.storage.store import Store

# Rows wait in memory until a row group of about this size is full, as the hub's viewer likes it.
ROW_GROUP_BYTES = 64 << 20


@dataclass(slots=True)
class Written:
    """The files of a publication so far."""

    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 by path."""
    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    """Rows by configuration and split."""
    bytes: dict[tuple[str, str], int] = field(default_factory=dict)


class _Digesting:
    """A stream counting its bytes and computing their SHA-256."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    closed = False

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self.sha256.update(data)
        self.num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Leave the stream alone: the store closes it."""

    def close(self) -> None:
        """As `flush`."""


def write_rows(
    target: Store,
    written: Written,
    config: str,
    split: str,
    schema: pa.Schema,
    rows: Iterable[pa.Table],
    max_bytes: int,
) -> None:
    """Write `data/<config>/<split>-00000.parquet` and so on: at least one file, each of about
    `max_bytes` at most.
    """
    tables = iter(rows)
    number, pending, more = 0, next(tables, None), True
    written.rows[config, split] = written.bytes[config, split] = 0
    while more:
        path = f"data/{config}/{split}-{number:05}.parquet"
        with target.open_output(path) as stream:
            digesting = _Digesting(stream)
            with pq.ParquetWriter(
                pa.PythonFile(digesting, mode="w"), schema, compression="zstd"
            ) as writer:
                while pending is not None and digesting.num_bytes < max_bytes:
                    group, pending = _row_group(pending, tables, max_bytes)
                    writer.write_table(group)
                    written.rows[config, split] += group.num_rows

        written.digests[path] = digesting.sha256.hexdigest()
        written.bytes[config, split] += digesting.num_bytes
        number, more = number + 1, pending is not None


def _row_group(
    first: pa.Table, tables: Iterable[pa.Table], max_bytes: int
) -> tuple[pa.Table, pa.Table | None]:
    """A row group beginning with `first`, and the table after it."""
    group, size = [first], first.nbytes
    for table in tables:
        if size >= min(ROW_GROUP_BYTES, max_bytes):
            return pa.concat_tables(group), table
        group.append(table)
        size += table.nbytes
    return pa.concat_tables(group), None


def write_text(target: Store, written: Written, path: str, text: str) -> None:
    """Write a small file of text and note its digest."""
    data = text.encode()
    target.write_bytes(path, data)
    written.digests[path] = hashlib.sha256(data).hexdigest()
