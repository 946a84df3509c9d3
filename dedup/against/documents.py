"""Texts of known documents, all in order or some by their ids.

The files come from strangers. They are read in slices of bounded size, compressed data is unpacked
as it is needed, and a line or a row group has a limit.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from corpus.errors import SchemaError, WebtextError, first_line
from corpus.json_values import document_lines, json_value
from corpus.storage.store import Store, open_store
from corpus.tables.elsewhere import MARK
from corpus.tables.parquet import PartFile, read_file
from corpus.zstd import ZstdReader
from dedup import doc_ids, document_rows
from dedup.against.sources import OPTION, KnownFile, decode, known_files
from dedup.document_rows import ShingleSets

# Rows read at a time.
SLICE_ROWS = 1024
# Of JSON lines read at a time, at least one line.
SLICE_CHARS = 16 << 20
# zstd's --long=27, which every decoder accepts.
MOST_WINDOW_BYTES = 1 << 27

# An id: 4 bytes of prefix, 4 of the row, 3 of the file's number, 5 of the row.
_FILE_SHIFT, _ROW_MASK = 40, (1 << 40) - 1

# (rows of the file, their texts).
Texts = tuple[np.ndarray, pa.Array]


def ids(file: KnownFile, rows: np.ndarray) -> np.ndarray:
    """The ids of documents by their rows, ascending with them. Shapes (n,) int64 to (n,) S16."""
    prefix = np.full(rows.size, file.first_prefix, np.uint64)
    if file.rows:
        # As floats, since 32 bits of prefixes times 40 bits of rows would overflow.
        within = (rows / file.rows * file.prefixes).astype(np.uint64)
        prefix += within.clip(0, file.prefixes - 1)
    row = rows.astype(np.uint64)
    high = (prefix << np.uint64(32)) | (row & np.uint64(0xFFFFFFFF))
    low = np.uint64(file.number << _FILE_SHIFT) | row
    return doc_ids.hashes_to_bytes(np.stack([high, low], axis=1))


def places(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the file, row in it) of each id. Shapes (n,) S16 to (n,) int64 each."""
    low = doc_ids.bytes_to_hashes(known)[:, 1].astype(np.int64)
    return low >> _FILE_SHIFT, low & _ROW_MASK


def read_texts(file: KnownFile) -> Iterator[Texts]:
    """All texts of a file or of its row groups. Rows without a text are left out.

    Raises: SchemaError for a damaged file.
    """
    for rows, texts in _slices(file, None):
        present = pc.is_valid(texts)
        yield rows[present.to_numpy(zero_copy_only=False)], texts.filter(present)


def shingle_sets(files: Sequence[str], wanted: np.ndarray, n: int) -> Iterator[ShingleSets]:
    """The shingle sets of the documents with ids in `wanted`, ascending and distinct."""
    for file, rows in _by_file(files, wanted):
        for found, texts in texts_at(file, rows):
            yield from document_rows.sets_of(ids(file, found), texts, n)


def names(files: Sequence[str], known: np.ndarray) -> list[str]:
    """The names of documents, for verdicts: `SOURCE/FILE#ROW` from 1, or `SOURCE#DOC_ID`.

    Shape (n,) S16, any order.
    """
    distinct, at = np.unique(known, return_inverse=True)
    named: list[str] = []
    for file, rows in _by_file(files, distinct):
        if file.kind != "corpus":
            named += [f"{file.where}{MARK}{row + 1}" for row in rows.tolist()]
            continue
        table = read_file(open_store(file.root), file.key, ["doc_id"])
        found = table["doc_id"].take(pa.array(rows)).to_pylist()
        named += [f"{file.label}{MARK}{doc_id}" for doc_id in found]

    return [named[place] for place in at.tolist()]


def find_text(given: Sequence[str], name: str) -> str | None:
    """The text of a document by its name, or None if its source cannot be read any more."""
    # Names of files may have the mark too; rows and ids of documents have not.
    where, _, last = name.rpartition(MARK)
    try:
        for file in map(decode, known_files(given)):
            row = -1
            if file.kind == "corpus" and file.label == where:
                table = read_file(open_store(file.root), file.key, ["doc_id"])
                row = pc.index(table["doc_id"], last).as_py()
            elif file.where == where and last.isascii() and last.isdigit():
                row = int(last) - 1

            for _, texts in texts_at(file, np.array([row])) if row >= 0 else ():
                if len(texts):
                    return str(texts[0])
    except (WebtextError, ValueError, OSError):
        return None
    return None


def texts_at(file: KnownFile, rows: np.ndarray) -> Iterator[Texts]:
    """The texts of some rows, ascending ones. Row groups without any are not read."""
    for found, texts in _slices(file, rows):
        wanted = np.isin(found, rows)
        if wanted.any():
            yield found[wanted], texts.filter(pa.array(wanted)).drop_null()


def _by_file(files: Sequence[str], known: np.ndarray) -> Iterator[tuple[KnownFile, np.ndarray]]:
    """(file as a whole, rows of it) of ascending ids."""
    if not known.size:
        return
    number, row = places(known)
    whole: dict[int, KnownFile] = {}
    for encoded in files:
        file = decode(encoded)
        whole.setdefault(file.number, file)
    for each in np.unique(number).tolist():
        file = whole[each]
        if file.after_group:
            file = _without_groups(file)
        yield file, row[number == each]


def _without_groups(file: KnownFile) -> KnownFile:
    return replace(file, first_group=0, after_group=0, first_row=0)


def _slices(file: KnownFile, wanted: np.ndarray | None) -> Iterator[Texts]:
    """Texts in bounded slices, null where there is none; with `wanted`, of groups with such rows."""
    store = open_store(file.root)
    with _damage_named(file):
        if file.kind == "jsonl":
            yield from _json_slices(store, file, wanted)
        else:
            yield from _parquet_slices(store, file, wanted)


def _parquet_slices(store: Store, file: KnownFile, wanted: np.ndarray | None) -> Iterator[Texts]:
    kept = _kept(store, file) if file.kind == "corpus" else None
    columns = [file.text, "doc_id"] if file.kind == "corpus" else [file.text]
    with store.open_input(file.key) as stream:
        part = PartFile(stream, f"{file.root}/{file.key}")
        first = file.first_row
        for group in range(file.first_group, file.after_group or part.num_row_groups):
            after = first + part.metadata.row_group(group).num_rows
            if wanted is None or np.searchsorted(wanted, after) > np.searchsorted(wanted, first):
                at = first
                for table in part.iter_row_group(group, columns, SLICE_ROWS):
                    rows = np.arange(at, at + table.num_rows)
                    texts = table[file.text].combine_chunks().cast(pa.large_string())
                    if kept is not None:
                        stays = pc.is_in(table["doc_id"], kept).combine_chunks()
                        rows, texts = (
                            rows[stays.to_numpy(zero_copy_only=False)],
                            texts.filter(stays),
                        )
                    yield rows, texts
                    at += table.num_rows
            first = after


def _kept(store: Store, file: KnownFile) -> pa.Array:
    """The ids of the pages that the other corpus kept."""
    verdicts = read_file(store, file.verdicts, ["doc_id", "kept"])
    return verdicts["doc_id"].filter(verdicts["kept"]).combine_chunks()


def _json_slices(store: Store, file: KnownFile, wanted: np.ndarray | None) -> Iterator[Texts]:
    last = int(wanted[-1]) if wanted is not None and wanted.size else None
    rows: list[int] = []
    texts: list[str | None] = []
    num_chars = 0
    with store.open_input(file.key) as stream:
        for number, line in enumerate(_lines(file, stream)):
            if last is not None and number > last:
                break
            if line.strip() and (wanted is None or _is_among(number, wanted)):
                text = _text_of(file, number, line)
                rows.append(number)
                texts.append(text)
                num_chars += len(text or "")
            if len(rows) >= SLICE_ROWS or num_chars >= SLICE_CHARS:
                yield np.array(rows, np.int64), pa.array(texts, pa.large_string())
                rows, texts, num_chars = [], [], 0
    if rows:
        yield np.array(rows, np.int64), pa.array(texts, pa.large_string())


def _is_among(number: int, wanted: np.ndarray) -> bool:
    at = int(np.searchsorted(wanted, number))
    return at < wanted.size and int(wanted[at]) == number


def _text_of(file: KnownFile, number: int, line: bytes) -> str | None:
    place = f"{OPTION} {file.root}/{file.key}: line {number + 1}"
    try:
        row: Any = json_value(line)
    except ValueError as error:
        raise SchemaError(f"{place} is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise SchemaError(f"{place} is {type(row).__name__}; expected an object")
    if file.text not in row and number == 0:
        raise SchemaError(
            f"{place} has no field {file.text!r}; present: {', '.join(row)[:200]}. Name the text "
            "with PATH?text=FIELD"
        )

    text = row.get(file.text)
    if not isinstance(text, str | None):
        raise SchemaError(f"{place}: {file.text!r} holds {type(text).__name__}; expected text")
    # A half of a surrogate pair has no UTF-8.
    return text.encode("utf-8", "replace").decode() if text is not None else None


def _lines(file: KnownFile, stream: Any) -> Iterator[bytes]:
    plain = _plain(file.key.lower(), stream)
    return document_lines(plain, f"{OPTION} {file.root}/{file.key}")


def _plain(name: str, stream: Any) -> io.BufferedIOBase:
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=stream)
    if name.endswith(".zst"):
        return io.BufferedReader(ZstdReader(stream, MOST_WINDOW_BYTES))
    return io.BufferedReader(cast(io.RawIOBase, stream))


@contextmanager
def _damage_named(file: KnownFile) -> Iterator[None]:
    """Raises: SchemaError for a file that cannot be read, with its name."""
    damage = (pa.ArrowException, zstandard.ZstdError, zlib.error, EOFError, UnicodeDecodeError)
    try:
        yield
    except (OSError, *damage) as error:
        # Arrow and gzip raise OSError for bad bytes; one of the operating system has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise SchemaError(f"{OPTION} {file.root}/{file.key}: {error}") from error
        raise SchemaError(
            f"{OPTION} {file.root}/{file.key}: damaged ({first_line(error)}); get it again, or leave "
            "it out of dedup.against"
        ) from error
