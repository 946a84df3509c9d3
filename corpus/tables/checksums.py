"""Checks that files still hold the bytes recorded in manifests and snapshots.

A token file has a digest per row group besides its own: 8 MiB to fetch again instead of a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xxhash import xxh3_128

from corpus.storage.store import Store
from corpus.tables.manifest import Part
from corpus.tables.record import RowGroup


def find_damage(store: Store, folder: str, part: Part) -> str | None:
    """Find damage in a part of any table: a line with file and (for tokens) row group, or None.

    `folder` is the part's, from `corpus.storage.store.table_dir`. Bytes, not rows, are compared, in
    small pieces.
    """
    groups = [RowGroup.model_validate(group) for group in part.metadata.get("row_groups", [])]
    return find_file_damage(store, f"{folder}/{part.file}", part.bytes, part.digest, groups)


def find_file_damage(
    store: Store, path: str, num_bytes: int, digest: str, groups: Sequence[RowGroup] = ()
) -> str | None:
    """The same for a file of a snapshot. Reads the file once."""
    try:
        size = store.size(path)
    except FileNotFoundError:
        return f"{path}: missing"

    if size != num_bytes:
        return f"{path}: {size:,} bytes, expected {num_bytes:,}"

    whole = xxh3_128()
    with store.open_input(path) as stream:
        for number, group in enumerate(groups):
            for piece in _pieces(stream, group.offset - stream.tell()):
                whole.update(piece)
            own = xxh3_128()
            for piece in _pieces(stream, group.bytes):
                own.update(piece)
                whole.update(piece)
            if own.hexdigest() != group.digest:
                return (
                    f"{path}: row group {number} of {len(groups)} has digest {own.hexdigest()}, "
                    f"expected {group.digest}"
                )
        for piece in _pieces(stream, size - stream.tell()):
            whole.update(piece)

    if whole.hexdigest() != digest:
        where = " (outside its row groups)" if groups else ""
        return f"{path}: digest {whole.hexdigest()}, expected {digest}{where}"

    return None


def _pieces(stream: Any, num_bytes: int) -> Iterator[bytes]:
    """The next `num_bytes` of a stream, a few MB at a time."""
    while num_bytes > 0:
        piece = stream.read(min(num_bytes, 1 << 22))
        if not piece:
            return
        num_bytes -= len(piece)
        yield piece
