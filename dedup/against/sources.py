"""Sources of known documents, as `dedup.against` names them, and the files in them.

A source is a Parquet or JSON-lines file, a folder of such files, or a snapshot of another corpus.
Only texts are used. Signatures, bands and settings of the other corpus are not read: they depend on
settings that it may have changed, and a wrong key would hide a duplicate.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import pyarrow as pa
from xxhash import xxh3_128

from corpus.bulk import read_many
from corpus.errors import InputError, WebtextError, first_line
from corpus.snapshots.snapshot import read_head, snapshots
from corpus.storage.local import local_root
from corpus.storage.store import Store, open_corpus, open_store, table_dir
from corpus.tables.elsewhere import AGAINST, MARK
from corpus.tables.manifest import Input, Manifest, find_manifest, read_manifest
from corpus.tables.parquet import PartFile, part_index
from corpus.tables.schemas import DOCUMENTS, VERDICTS

Kind = Literal["parquet", "jsonl", "corpus"]

OPTION = "dedup.against"
DEFAULT_TEXT = "text"
MOST_FILES = 1 << 23
# A Parquet file is read by tasks of about so many bytes.
TASK_BYTES = 256 << 20
EDGE_BYTES = 1 << 20
BYTES_PER_DOCUMENT = 1_000

_SUFFIXES: tuple[tuple[str, Kind], ...] = (
    (".parquet", "parquet"),
    *(
        (f"{name}{packed}", "jsonl")
        for name in (".jsonl", ".ndjson", ".json")
        for packed in ("", ".gz", ".zst")
    ),
)
_OPTIONS = re.compile(r"\?(?=(?:text|snapshot)=)")


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of `dedup.against`."""

    path: str
    text: str = DEFAULT_TEXT
    """The column or field of the text."""
    snapshot: str = ""
    """Of another corpus; empty for files."""

    @property
    def label(self) -> str:
        """The first part of the names of its documents."""
        return self.path.rstrip("/").rpartition("/")[2]

    @classmethod
    def parse(cls, given: str) -> Source:
        """Read `PATH`, `PATH?text=COLUMN` or `CORPUS?snapshot=NAME`. Raises: ValueError."""
        path, *options = _OPTIONS.split(given, maxsplit=1)
        named = dict(each.partition("=")[::2] for each in "".join(options).split("&") if each)
        wrong = [
            name for name, value in named.items() if name not in ("text", "snapshot") or not value
        ]
        if wrong or not path.rstrip("/") or len(named) > 1:
            raise ValueError(
                f"{given!r}; expected a path or URI of a file or folder, "
                "PATH?text=COLUMN or CORPUS?snapshot=NAME"
            )
        return cls(path, **named)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A file of a source, or some row groups of one: the input of a task."""

    root: str
    """Of its store."""
    key: str
    label: str
    """The source's."""
    number: int
    """Of the file, over all sources."""
    kind: Kind
    text: str
    fingerprint: str
    first_prefix: int
    """Of ids: the first 4 bytes range from here over `prefixes`, by row, so the texts that a task
    compares lie together."""
    prefixes: int
    rows: int = 0
    """Of the whole file, if known beforehand."""
    size: int = 0
    """Bytes of the whole file."""
    first_group: int = 0
    after_group: int = 0
    first_row: int = 0
    verdicts: str = ""
    """Of a corpus: the part with the verdicts on its documents."""

    @property
    def where(self) -> str:
        """The file, for messages and for manifests."""
        return f"{self.label}/{self.key}" if self.key != self.label else self.label

    def encode(self) -> str:
        """The file as an input of a task."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def labels(given: Sequence[str]) -> list[Source]:
    """The sources. Raises: ValueError for a wrong one, or two with one name."""
    sources = [Source.parse(each) for each in given]
    for place, source in enumerate(sources):
        if MARK in source.label or not source.label.isprintable():
            raise ValueError(f"{source.path!r}; the name must be printable and without {MARK!r}")
        if other := [each for each in sources[:place] if each.label == source.label]:
            raise ValueError(
                f"{other[0].path!r} and {source.path!r} end in the same name, by which their "
                "documents are named; rename one of them"
            )
    return sources


def refuse_own(given: Sequence[str], corpus: str) -> None:
    """Refuse a corpus as its own source, and files in it: a batch would be removed as known.

    Raises: InputError.
    """
    home = _place(corpus)
    for source in labels(given):
        if f"{_place(source.path)}/".startswith(f"{home}/"):
            raise InputError(
                f"{OPTION} {source.path}: in the corpus {corpus} itself, whose earlier batches are "
                "compared anyway; leave it out"
            )


def _place(path: str) -> str:
    """A path without links, or a URI as it is, both without a slash at the end."""
    folder = local_root(path)
    return (path if folder is None else str(folder.resolve())).rstrip("/")


def known_files(given: Sequence[str]) -> tuple[str, ...]:
    """The files of all sources, encoded for tasks, in the order of the sources and of names.

    Raises: InputError for a source that cannot be read.
    """
    found = [each for source in labels(given) for each in _files(source)]
    if len(found) > MOST_FILES:
        raise InputError(f"{OPTION}: {len(found):,} files; at most {MOST_FILES:,} can be numbered")

    total = sum(size for _, size in found) or 1
    encoded, before = [], 0
    for number, (file, size) in enumerate(found):
        # At least one prefix a file, so that ids are in the order of the files.
        spare = (1 << 32) - len(found)
        first = number + before * spare // total
        before += size
        prefixes = number + 1 + before * spare // total - first
        numbered = dataclasses.replace(
            file, number=number, first_prefix=first, prefixes=prefixes, size=size
        )
        encoded += [each.encode() for each in _pieces(numbered, size)]
    return tuple(encoded)


@lru_cache(maxsize=4096)
def decode(encoded: str) -> KnownFile:
    """The inverse of `KnownFile.encode`."""
    return KnownFile(**json.loads(encoded))


def inputs(files: Sequence[str]) -> list[Input]:
    """The files as inputs of a step, each once."""
    found = (decode(each) for each in files)
    return list(
        dict.fromkeys(
            Input(table=AGAINST, batch=file.where, fingerprint=file.fingerprint) for file in found
        )
    )


def num_documents(files: Sequence[str]) -> int:
    """The number of known documents; of JSON lines an estimate by size, for packed ones too."""
    whole = {file.number: file for file in map(decode, files)}
    return sum(file.rows or file.size // BYTES_PER_DOCUMENT for file in whole.values())


def _files(source: Source) -> list[tuple[KnownFile, int]]:
    """The files of a source with their sizes."""
    if source.snapshot:
        return list(_of_corpus(source))

    store, keys = _listing(source)
    found = read_many(store, keys, lambda key: _file(source, store, key))
    return list(found)


def _listing(source: Source) -> tuple[Store, list[str]]:
    """The store of a file or folder, and the keys of the files in it."""
    folder, _, name = source.path.rstrip("/").rpartition("/")
    if _kind(name) is not None:
        store = _opened(folder or ("/" if source.path.startswith("/") else "."), source)
        if store.exists(name):
            return store, [name]

    store = _opened(source.path, source)
    if store.exists("corpus.json"):
        names = ", ".join(snapshots(store)) or "none"
        raise InputError(
            f"{OPTION} {source.path}: a corpus; name one of its snapshots ({names}), such as "
            f"{source.path}?snapshot=NAME"
        )

    keys = sorted(path for path, _ in store.files("", recursive=True) if _kind(path) is not None)
    if not keys:
        raise InputError(
            f"{OPTION} {source.path}: no Parquet or JSON-lines file there (.parquet, .jsonl, "
            ".ndjson, .json, also .gz and .zst). Links out of the folder are not followed (of the hub, download to a "
            "folder of its own), and signatures without texts cannot be compared"
        )
    return store, keys


def _opened(root: str, source: Source) -> Store:
    try:
        return open_store(root)
    except (WebtextError, OSError) as error:
        raise InputError(f"{OPTION} {source.path}: {error}") from error


def _kind(path: str) -> Kind | None:
    lower = path.lower()
    return next((kind for suffix, kind in _SUFFIXES if lower.endswith(suffix)), None)


def _file(source: Source, store: Store, key: str) -> tuple[KnownFile, int]:
    """A file and its size; its identity is that of dumps: size, first and last mebibyte."""
    kind = _kind(key)
    assert kind is not None, "the listing chose it"
    where = f"{store.root}/{key}"
    try:
        size = store.size(key)
        digest = xxh3_128(f"{size} {source.text}".encode())
        for start in (0, max(0, size - EDGE_BYTES)):
            digest.update(store.read_range(key, start, min(EDGE_BYTES, size - start)))
        rows = _num_rows(store, key, where, source.text) if kind == "parquet" else 0
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{OPTION} {where}: cannot be read ({first_line(error)})") from error

    file = KnownFile(
        root=store.root,
        key=key,
        label=source.label,
        number=0,
        kind=kind,
        text=source.text,
        fingerprint=digest.hexdigest(),
        first_prefix=0,
        prefixes=1,
        rows=rows,
    )
    return file, size


def _num_rows(store: Store, key: str, where: str, text: str) -> int:
    with store.open_input(key) as stream:
        file = PartFile(stream, where)
        if text not in file.schema_arrow.names:
            raise InputError(
                f"{OPTION} {where}: no column {text!r}; present: "
                f"{', '.join(file.schema_arrow.names)}. Name the text with PATH?text=COLUMN"
            )
        if not _is_text(file.schema_arrow.field(text).type):
            raise InputError(
                f"{OPTION} {where}: column {text!r} holds {file.schema_arrow.field(text).type}; "
                "expected text. Signatures cannot be compared without their texts"
            )
        return int(file.metadata.num_rows)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _of_corpus(source: Source) -> Iterator[tuple[KnownFile, int]]:
    """The documents of a snapshot of another corpus."""
    store = open_corpus(source.path)
    for each in read_head(store, source.snapshot).batches:
        tokens = find_manifest(store, "tokens", each.batch)
        if tokens is None or tokens.fingerprint != each.fingerprint:
            raise InputError(
                f"{OPTION} {source.path}: batch {each.batch!r} was rebuilt or removed since "
                f"snapshot {source.snapshot!r}; name a newer snapshot of it"
            )
        documents = read_manifest(store, DOCUMENTS.name, each.batch)
        verdicts = read_manifest(store, VERDICTS.name, each.batch)
        yield from _of_batch(source, store, documents, verdicts)


def _of_batch(
    source: Source, store: Store, documents: Manifest, verdicts: Manifest
) -> Iterator[tuple[KnownFile, int]]:
    by_index = {part_index(part.file): part for part in verdicts.parts}
    for part in documents.parts:
        judged = by_index.get(part_index(part.file))
        if judged is None:
            raise InputError(
                f"{OPTION} {source.path}: verdicts of batch {documents.batch!r} lack a part of its "
                "documents; check that corpus with `webtext verify`"
            )
        # Digests change with a take-down, which leaves fingerprints as they are.
        digest = xxh3_128(f"{part.digest} {judged.digest}".encode())
        file = KnownFile(
            root=store.root,
            key=f"{table_dir(DOCUMENTS.name, documents.batch)}/{part.file}",
            label=source.label,
            number=0,
            kind="corpus",
            text=DEFAULT_TEXT,
            fingerprint=digest.hexdigest(),
            first_prefix=0,
            prefixes=1,
            rows=part.rows,
            verdicts=f"{table_dir(VERDICTS.name, documents.batch)}/{judged.file}",
        )
        yield file, part.bytes


def _pieces(file: KnownFile, size: int) -> Iterator[KnownFile]:
    """The tasks of a file: runs of row groups of about TASK_BYTES, or all of it."""
    if file.kind != "parquet" or size <= TASK_BYTES:
        yield file
        return

    store = open_store(file.root)
    with store.open_input(file.key) as stream:
        metadata = PartFile(stream, f"{file.root}/{file.key}").metadata
    first, first_row, num_rows, num_bytes = 0, 0, 0, 0
    for group in range(metadata.num_row_groups):
        num_rows += metadata.row_group(group).num_rows
        num_bytes += metadata.row_group(group).total_byte_size
        if num_bytes >= TASK_BYTES or group == metadata.num_row_groups - 1:
            yield dataclasses.replace(
                file, first_group=first, after_group=group + 1, first_row=first_row
            )
            first, first_row, num_bytes = group + 1, num_rows, 0
