"""The token files of one batch, as snapshots refer to them: `snapshots/files/<digest>.json`.

A list is named by the xxh3-128 of its bytes and never changes, so two hundred snapshots of a batch
share one. It is written before the first snapshot that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError
from xxhash import xxh3_128_hexdigest

from corpus.bulk import read_many
from corpus.errors import SchemaError
from corpus.storage.store import Store, is_name, table_dir
from corpus.tables.manifest import PART_FILE
from corpus.tables.record import Record, RowGroup

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
FOLDER = "snapshots/files"
DIGEST = re.compile(r"[0-9a-f]{32}\Z")


class TokenFile(Record):
    """One token file of a split."""

    batch: str
    path: str
    """Relative to the corpus root."""
    rows: NonNegativeInt
    num_tokens: NonNegativeInt
    """Without the padding of the last row."""
    bytes: NonNegativeInt
    digest: str
    row_tokens: PositiveInt
    dtype: Literal["uint16", "uint32"]
    content: str
    """xxh3-128 of the tokens with their padding, whatever the compression; also in the file's own
    metadata.
    """
    row_groups: list[RowGroup]
    spans_path: str
    """Where each document lies in this file."""


class FileList(Record):
    """The token files of one batch, by split, in stream order."""

    batch: str
    splits: dict[Split, list[TokenFile]]


def list_path(digest: str) -> str:
    """The path of a list."""
    return f"{FOLDER}/{digest}.json"


def serialized(files: FileList) -> tuple[str, bytes]:
    """The name and the bytes of a list."""
    data = files.model_dump_json().encode()
    return xxh3_128_hexdigest(data), data


def read_lists(store: Store, digests: Iterable[str]) -> dict[str, FileList]:
    """Read lists by their digests, many at a time.

    Raises: SchemaError for one that is missing or has other bytes than its name says.
    """
    wanted = list(dict.fromkeys(digests))
    found = read_many(store, wanted, lambda digest: _read(store, digest))
    return dict(zip(wanted, found, strict=True))


def _read(store: Store, digest: str) -> FileList:
    if not DIGEST.match(digest):
        raise SchemaError(f"{store.root}: {digest!r} is not the digest of a list of token files")

    where = f"{store.root}/{list_path(digest)}"
    try:
        data = store.read_bytes(list_path(digest))
    except FileNotFoundError as error:
        raise SchemaError(f"{where}: missing; restore it, a snapshot refers to it") from error
    return _parse(data, digest, where)


@lru_cache(maxsize=1024)
def _parse(data: bytes, digest: str, where: str) -> FileList:
    found = xxh3_128_hexdigest(data)
    if found != digest:
        raise SchemaError(f"{where}: digest {found}; it was edited: restore it")

    try:
        files = FileList.model_validate_json(data)
    except ValidationError as error:
        raise SchemaError(f"{where}: not a list of token files; restore it") from error

    if (misplaced := _misplaced(files)) is not None:
        raise SchemaError(
            f"{where}: {misplaced}; not written by this code: write the snapshot again under "
            "another name"
        )
    return files


def _misplaced(files: FileList) -> str | None:
    """A reason against a list of ours, or None.

    Their paths decide on deletions by a take-down or a prune, so they are derived again instead of
    trusted.
    """
    batch = files.batch
    if not is_name(batch) or set(files.splits) != set(SPLITS):
        return f"lists batch {batch!r} with the splits {sorted(files.splits)}"

    for split, files_of_split in files.splits.items():
        for file in files_of_split:
            part = file.path.removeprefix(f"{table_dir('tokens', batch)}/")
            if file.batch != batch or not re.fullmatch(PART_FILE, part):
                return f"names the file {file.path!r}"
            if not part.startswith(f"{split}/"):
                return f"has {file.path!r} in the split {split!r}"
            if file.spans_path != f"{table_dir('spans', batch)}/{part}":
                return f"names the file {file.spans_path!r}"
            if not _fits(file):
                return (
                    f"gives {file.path!r} row groups that do not fit its {file.bytes:,} bytes "
                    f"and {file.rows:,} rows"
                )

    return None


def _fits(file: TokenFile) -> bool:
    """True if a file's sizes agree with each other, so that they bound the cost of reading."""
    row_bytes = file.row_tokens * (2 if file.dtype == "uint16" else 4)
    groups = file.row_groups
    if not groups:
        return True  # Nothing is read from it.

    inside = all(group.offset + group.bytes <= file.bytes for group in groups)
    mapped = all(
        group.values_offset is None
        or (
            group.offset <= group.values_offset
            and group.values_offset + group.rows * row_bytes <= group.offset + group.bytes
        )
        for group in groups
    )
    rows = sum(group.rows for group in groups) == file.rows

    return inside and mapped and rows and file.num_tokens <= file.rows * file.row_tokens
