"""The byte layout of a token file: Parquet that any reader opens, and whose tokens a memory map reads in place.

One required column of fixed-size binary, PLAIN, without dictionary, one data page per row group: Parquet then stores
the values of a row group as one contiguous run of little-endian integers after the page header. (Parquet has no
16-bit integer: a uint16 column would be stored as 32 bits.) The same schema with zstd pages gives up the map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.errors import SchemaError
from corpus.layout import Store
from corpus.snapshot import TokenFile

FORMAT = "webtext-tokens-1"


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
    """First byte of a row group's values as one contiguous run; None where the pages are compressed or several.

    An uncompressed column of one data page is a page header followed by exactly rows * width bytes. The caller
    compares the bytes found there with what it wrote: two small pages can never pass for one.
    """
    if column.compression != "UNCOMPRESSED" or column.has_dictionary_page:
        return None
    header = column.total_compressed_size - rows * width
    return int(column.data_page_offset + header) if 0 < header < 256 else None


def check_footer(store: Store, file: TokenFile, tokenizer_fingerprint: str) -> None:
    """Compare a file's size and footer with the snapshot. Raises SchemaError with both values."""
    where = f"{store.root}/{file.path}"
    again = (
        "restore the file, or build the batch again with `python -m shards.run --rebuild` and a new snapshot"
    )
    try:
        size = store.size(file.path)
    except FileNotFoundError:
        raise SchemaError(f"{where}: the snapshot names this file and it is missing; {again}") from None
    if size != file.bytes:
        raise SchemaError(f"{where}: {size:,} bytes, the snapshot says {file.bytes:,}; {again}")
    try:
        with store.open_input(file.path) as stream:
            found = pq.read_metadata(stream).metadata or {}
    except pa.ArrowInvalid as error:
        raise SchemaError(f"{where}: damaged Parquet footer ({error}); {again}") from error
    expected = {
        "webtext.format": FORMAT,
        "webtext.dtype": file.dtype,
        "webtext.row_tokens": str(file.row_tokens),
        "webtext.num_tokens": str(file.num_tokens),
        "webtext.tokenizer": tokenizer_fingerprint,
        "webtext.content": file.content,
    }
    for key, value in expected.items():
        present = found.get(key.encode(), b"nothing").decode()
        if present != value:
            raise SchemaError(f"{where}: {key} is {present}, the snapshot says {value}; {again}")


def decode_row_group(store: Store, file: TokenFile, row_group: int) -> np.ndarray:
    """The tokens of one row group, padding included, through the Parquet reader. Shape (rows * row_tokens,)."""
    with store.open_input(file.path) as stream:
        reader = pq.ParquetFile(stream, pre_buffer=True)
        try:
            column = reader.read_row_group(row_group, columns=["tokens"], use_threads=False)["tokens"]
        except (pa.ArrowInvalid, OSError) as error:
            raise SchemaError(
                f"{store.root}/{file.path}: row group {row_group} cannot be read ({error})"
            ) from error
    dtype = np.dtype(file.dtype).newbyteorder("<")
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
