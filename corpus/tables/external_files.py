"""Files from outside the corpus given to a stage: dumps, WARC files; paths or `pyarrow.fs` URIs.

A file's identity for fingerprints is its name, its size and the hash of its first and last
mebibyte: hashing all of a 20 GB file would be as slow as the work itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs
from xxhash import xxh3_128

from corpus.credentials import refuse_credentials
from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.manifest import Input, find_manifest
from corpus.tables.schemas import LINKS

EDGE_BYTES = 1 << 20
LEAST_PARTS = 4  # of a batch, however small: so many workers have something to do


def open_source(path: str, option: str) -> BinaryIO:
    """The file as a seekable binary stream. Raises InputError, naming the `option` it came by."""
    filesystem, name = _locate(path, option)
    try:
        stream: BinaryIO = filesystem.open_input_file(name)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{option} {path}: cannot be read ({error}); name an existing file"
        ) from error

    return stream


def parquet_files(path: str, option: str) -> tuple[Any, list[str]]:
    """The filesystem of a file or folder and its Parquet files in order, without hidden ones.

    Raises: InputError, naming the `option` it came by, if nothing is there.
    """
    filesystem, name = _locate(path, option)
    try:
        if filesystem.get_file_info(name).type == pafs.FileType.File:
            return filesystem, [name]
        found = filesystem.get_file_info(pafs.FileSelector(name, recursive=True))
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{option}{path}: cannot be read ({error}); name a file or folder"
        ) from error

    return filesystem, sorted(
        each.path
        for each in found
        if each.type == pafs.FileType.File
        if each.extension == "parquet" and not each.base_name.startswith((".", "_"))
    )


def in_order(paths: Sequence[str]) -> tuple[str, ...]:
    """Sort the files by name, so that the result does not depend on the order given."""
    return tuple(sorted(paths, key=lambda path: (path.rpartition("/")[2], path)))


def identity(path: str, option: str, kind: str) -> Input:
    """The file's fingerprint as an input of table `kind`. Raises InputError if missing or empty."""
    with open_source(path, option) as stream:
        size = stream.seek(0, 2)
        if size == 0:
            raise InputError(f"{option} {path}: the file is empty; download it again")
        digest = xxh3_128(str(size).encode())
        for start in (0, max(0, size - EDGE_BYTES)):
            stream.seek(start)
            digest.update(stream.read(EDGE_BYTES))

    return Input(table=kind, batch=path.rpartition("/")[2], fingerprint=digest.hexdigest())


def parts_of_batch(
    store: Store,
    batch: str,
    paths: Sequence[str],
    option: str,
    *,
    configured: int,
    bytes_per_part: int,
) -> int:
    """Parts of a batch with these files: recorded, else `configured`, else (0) by size."""
    manifest = find_manifest(store, LINKS.name, batch)
    if manifest is not None:
        return manifest.num_parts

    return configured or max(LEAST_PARTS, -(-_total_bytes(paths, option) // bytes_per_part))


def _total_bytes(paths: Sequence[str], option: str) -> int:
    """Bytes of all files together.

    A missing one counts nothing here and is told when it is opened.
    """
    total = 0
    for path in paths:
        filesystem, name = _locate(path, option)
        total += filesystem.get_file_info(name).size or 0

    return total


def _locate(path: str, option: str) -> tuple[Any, str]:
    if "://" not in path:
        return pafs.LocalFileSystem(), path

    refuse_credentials(option, path)
    try:
        filesystem, name = pafs.FileSystem.from_uri(path)
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise InputError(
            f"{option} {path}: not a path or URI that can be opened ({error})"
        ) from error

    return filesystem, name
