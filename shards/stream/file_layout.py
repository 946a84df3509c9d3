"""The byte layout of a token file: plain Parquet with tokens readable in place by a memory map.

One required column of fixed-size binary, PLAIN, without dictionary, one data page per row group:
Parquet then stores the values of a row group as one contiguous run of little-endian integers after
the page header. (Parquet has no 16-bit integer: a uint16 column would be stored as 32 bits.) The
same schema with zstd pages gives up the map.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from corpus.errors import FatalError, RetryableError, SchemaError
from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import Store
from corpus.tables.generations import find_file
from corpus.tables.manifest import mend

log = logging.getLogger(__name__)
T = TypeVar("T")

FORMAT = "webtext-tokens-1"
# Seconds between tries to read from an object store, on top of its client's own: every rank
# outlives a stall of a minute.
PAUSES_S = (1.0, 4.0, 10.0, 20.0, 30.0, 30.0)


def metadata(
    *, dtype: str, row_tokens: int, num_tokens: int, content: str, tokenizer: dict[str, Any]
) -> dict[str, str]:
    """The key-value metadata of a token file."""
    return {
        "webtext.format": FORMAT,
        "webtext.dtype": dtype,
        "webtext.byte_order": "little",
        "webtext.row_tokens": str(row_tokens),
        "webtext.num_tokens": str(num_tokens),
        "webtext.content": content,
        "webtext.tokenizer": tokenizer["fingerprint"],
        "webtext.vocab_size": str(tokenizer["vocab_size"]),
        "webtext.end_of_text": str(tokenizer["end_of_text"]),
    }


def values_offset(column: Any, rows: int, width: int) -> int | None:
    """First byte of a row group's contiguous values; None if the pages are compressed or several.

    An uncompressed column of one data page is a page header followed by exactly rows * width bytes.
    The caller compares the bytes found there with what it wrote: two small pages can never pass for
    one.
    """
    if column.compression != "UNCOMPRESSED" or column.has_dictionary_page:
        return None

    header = column.total_compressed_size - rows * width
    return int(column.data_page_offset + header) if 0 < header < 256 else None


def footer_facts(file: TokenFile, tokenizer_fingerprint: str) -> dict[str, str]:
    """The metadata of a file's footer, by its snapshot."""
    return {
        "webtext.format": FORMAT,
        "webtext.dtype": file.dtype,
        "webtext.row_tokens": str(file.row_tokens),
        "webtext.num_tokens": str(file.num_tokens),
        "webtext.tokenizer": tokenizer_fingerprint,
        "webtext.content": file.content,
    }


def check_footer(store: Store, file: TokenFile, tokenizer_fingerprint: str) -> Any:
    """Compare a file's size and footer with the snapshot; the footer (`pq.FileMetaData`).

    Raises SchemaError with both values.
    """
    where = f"{store.root}/{file.path}"
    again = mend(store, file.path)
    try:
        size = store.size(file.path)
    except FileNotFoundError:
        raise SchemaError(
            f"{where}: the snapshot names this file and it is missing; {again}"
        ) from None

    if size != file.bytes:
        raise SchemaError(f"{where}: {size:,} bytes, the snapshot says {file.bytes:,}; {again}")

    try:
        with store.open_input(file.path) as stream:
            footer = pq.read_metadata(stream)
    except pa.ArrowInvalid as error:
        raise SchemaError(f"{where}: damaged Parquet footer ({error}); {again}") from error

    found = footer.metadata or {}
    for key, value in footer_facts(file, tokenizer_fingerprint).items():
        present = found.get(key.encode(), b"nothing").decode(errors="backslashreplace")
        if present != value:
            raise SchemaError(f"{where}: {key} is {present}, the snapshot says {value}; {again}")

    return footer


def read_row_group(
    store: Store, file: TokenFile, number: int, footer: Callable[[], Any]
) -> np.ndarray:
    """The tokens of one row group, padding included, fetched as one range. Shape (rows * row_tokens,).

    `footer` gives the file's; only compressed row groups need it. Raises: SchemaError naming file
    and row group if its bytes differ from those listed by the snapshot; FatalError if they could
    not be read, after retries for a corpus on an object store.
    """
    group = file.row_groups[number]
    where = f"{store.root}/{file.path}: row group {number} of {len(file.row_groups)}"
    data = _read_range(store, file.path, group.offset, group.bytes, where)
    found = xxh3_128_hexdigest(data)
    if found != group.digest:
        raise SchemaError(
            f"{where} has digest {found}, the snapshot says {group.digest}; restore the file"
        )

    dtype = np.dtype(file.dtype).newbyteorder("<")
    count = group.rows * file.row_tokens
    if group.values_offset is not None:
        return np.frombuffer(data, dtype, count, group.values_offset - group.offset)

    window = pa.PythonFile(_Window(data, group.offset, file.bytes), mode="r")
    column = pq.ParquetFile(window, metadata=footer()).read_row_group(number, use_threads=False)[
        "tokens"
    ]
    chunks = [
        np.frombuffer(
            chunk.buffers()[1],
            dtype,
            len(chunk) * file.row_tokens,
            chunk.offset * file.row_tokens * dtype.itemsize,
        )
        for chunk in column.chunks
    ]

    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _read_range(store: Store, path: str, offset: int, num_bytes: int, where: str) -> bytes:
    """The bytes of a range. Raises FatalError."""
    while True:
        place = path
        try:
            return patiently(store, partial(store.read_range, place, offset, num_bytes), where)
        except FileNotFoundError as error:
            path = find_file(store, place)
            if path == place:
                raise FatalError(
                    f"{where} is gone; restore the file, or use another snapshot"
                ) from error
            # A rebuild moved it since the snapshot was opened.


def patiently(store: Store, read: Callable[[], T], where: str) -> T:
    """The result of `read`, tried again after each of `PAUSES_S` while an object store does not answer.

    Raises: FileNotFoundError at once; FatalError if the store stays unavailable.
    """
    pauses = [] if store.is_local else [*PAUSES_S]
    while True:
        try:
            return read()
        except FileNotFoundError:
            raise
        # The two clients of an object store have two families of errors for one event.
        except (OSError, RetryableError) as error:
            if not pauses:
                raise FatalError(
                    f"{where} cannot be read ({error}); run the same command again to continue"
                ) from error
            log.warning("%s cannot be read (%s), again in %g s", where, error, pauses[0])
            time.sleep(pauses.pop(0))


class _Window(io.RawIOBase):
    """A file with only the bytes from `offset` on: its Parquet reader needs no others."""

    def __init__(self, data: bytes, offset: int, size: int) -> None:
        self._data, self._offset, self._size, self._position = data, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        begin = self._position - self._offset
        piece = self._data[begin : begin + size]
        self._position += len(piece)
        return piece
