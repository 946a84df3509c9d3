"""`doc_id`s as 16 bytes instead of 32 digits: half the size on the way, and sortable in numpy as they are in text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

BINARY = pa.binary(16)
# The place of an id that is not there.
NOWHERE = -1


def pack(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Hex digits to bytes. Shape (n,) S16; order as the order of the digits."""
    return np.frombuffer(bytes.fromhex("".join(doc_ids.to_pylist())), "S16")


def unpack(packed: np.ndarray) -> pa.Array:
    """Bytes back to hex digits."""
    digits = np.ascontiguousarray(packed, "S16").tobytes().hex()
    return pa.array(
        [digits[start : start + 32] for start in range(0, len(digits), 32)], pa.string()
    )


def to_arrow(packed: np.ndarray) -> pa.Array:
    """A column of 16-byte values, uncopied."""
    packed = np.ascontiguousarray(packed, "S16")
    return pa.Array.from_buffers(BINARY, packed.size, [None, pa.py_buffer(packed.tobytes())])


def from_arrow(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The values of such a column. Shape (n,) S16."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if len(column) == 0:
        return np.zeros(0, "S16")
    return np.frombuffer(column.buffers()[1], "S16")[column.offset : column.offset + len(column)]


def to_list(packed: np.ndarray) -> list[bytes]:
    """Each value as 16 bytes (numpy's own lists lose trailing zeros)."""
    data = np.ascontiguousarray(packed, "S16").tobytes()
    return [data[start : start + 16] for start in range(0, len(data), 16)]


def hashes_to_bytes(pairs: np.ndarray) -> np.ndarray:
    """(n, 2) uint64 to (n,) S16, big-endian: the 128 bits of a content hash."""
    return np.frombuffer(np.ascontiguousarray(pairs).astype(">u8").tobytes(), "S16")


def bytes_to_hashes(packed: np.ndarray) -> np.ndarray:
    """The inverse of `hashes_to_bytes`."""
    return (
        np.frombuffer(np.ascontiguousarray(packed, "S16").tobytes(), ">u8")
        .astype(np.uint64)
        .reshape(-1, 2)
    )


def parts(packed: np.ndarray, num_parts: int) -> np.ndarray:
    """The part of every id in a batch of `num_parts` parts.

    Shape (n,) int64. As `corpus.tables.schemas.part_of`.
    """
    prefix = np.frombuffer(np.ascontiguousarray(packed, "S16").tobytes(), ">u4")[::4].astype(
        np.uint64
    )
    return (prefix * np.uint64(num_parts) >> np.uint64(32)).astype(np.int64)


def part_of_prefix(prefix: np.ndarray, num_parts: int) -> np.ndarray:
    """The same by the first 8 bytes of ids. Shapes (n,) uint64 to (n,) int64."""
    return ((prefix >> np.uint64(32)) * np.uint64(num_parts) >> np.uint64(32)).astype(np.int64)


def places(packed: np.ndarray, doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The row of every id among ascending `doc_ids` (hex), or NOWHERE.

    Shapes (n,) S16 to (n,) int64.
    """
    return places_among(packed, pack(doc_ids))


def places_among(packed: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The place of every id among ascending ones, or NOWHERE. Shapes (n,) S16 to (n,) int64."""
    if there.size == 0:
        return np.full(packed.size, NOWHERE)

    at = np.minimum(np.searchsorted(there, packed), there.size - 1)
    return np.where(there[at] == packed, at, NOWHERE)


def join(packed: np.ndarray, table: pa.Table, column: str, missing: Any) -> np.ndarray:
    """The value of every id in a table ascending by doc_id, or `missing`. Shape (n,)."""
    return np.append(table[column].to_numpy(), missing)[places(packed, table["doc_id"])]
