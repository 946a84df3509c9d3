"""Manifests: settings, inputs, parts and counts of one batch of a table. Writing one is the commit.

The fingerprint covers the config, the inputs' fingerprints and the step's revision: never time,
host, worker count or engine. Runs with the same expected bytes have the same fingerprint, so
"already done" is one comparison.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, NonNegativeInt, ValidationError, field_validator
from xxhash import xxh3_128_hexdigest

from corpus.bulk import read_many
from corpus.errors import InputError, SchemaError
from corpus.storage.store import Store, is_name, manifest_path, table_dir
from corpus.tables.record import CommitDetails, CommitSettings, Record, TokenMetadata
from corpus.tables.schemas import TABLES

S = TypeVar("S", bound=BaseModel)

# The stages that make tables, in the order of the data.
STAGES = ("crawl", "clean", "dedup", "shards")
# The command that makes each table, for messages.
ENTRY_POINTS = {
    "links": "crawl --only links",
    "pages": "crawl",
    "rights": "crawl",
    "documents": "clean",
    "documents_dropped": "clean",
    "marks": "clean --set clean.marks=true",
    "signatures": "dedup",
    "verdicts": "dedup",
    "bands": "dedup",
    "overlap": "dedup",
    "tokens": "shards",
    "spans": "shards",
}
# Tables that stay, but whose schema belongs to one stage.
EXTRA_TABLES = ("overlap",)
# Inputs that are not tables, in the words of messages.
OUTSIDE_INPUTS = {
    "dump": "dump",
    "warc": "WARC file",
    "testset": "test set",
    "against": "known documents",
    "rules": "link rules",
    "model": "model",
    "plugin": "plugin",
    "walls": "pages behind walls",
    "tokenizer": "tokenizer",
    "rights_policy": "clean.rights.policy",
}
# Tables of one step, which are read together.
SIBLINGS = {
    "documents": "documents_dropped",
    "documents_dropped": "documents",
    "tokens": "spans",
    "spans": "tokens",
}
# Parsed manifests that are kept: those of 400 batches.
PARSED_KEPT = 4096


# Names that this code gives to parts (`.arrow`: buckets of an unfinished exchange). A manifest
# decides which files are read, replaced and deleted, and may come from a stranger: no other name
# is accepted.
PART_FILE = r"^((train|val)/)?part-[0-9]{5,9}(\.[0-9a-f]{1,32})?\.(parquet|arrow)$"


class Part(Record):
    """One file of a table: name relative to the manifest's folder, rows, bytes, xxh3-128 of the
    bytes.
    """

    file: str
    rows: NonNegativeInt
    bytes: NonNegativeInt
    digest: str
    metadata: dict[str, Any] = {}


class Input(Record):
    """An input of a batch: a table and batch, or a named file outside the corpus."""

    table: str
    batch: str
    fingerprint: str


class Manifest(Record):
    """The commit of one batch of one table."""

    table: str
    batch: str
    stage: str
    schema_version: int
    fingerprint: str
    config: dict[str, Any]
    inputs: list[Input]
    num_parts: int
    parts: list[Part]
    counts: dict[str, int]
    code_version: str
    created: str
    wall_s: float
    sequence: int = 0
    """Place in the order of commits of this table: batches are ordered by it."""
    details: dict[str, Any] = {}
    seal: str = ""
    """xxh3-128 over all of the above, for `webtext.verify`; empty in manifests older than it."""

    @field_validator("created")
    @classmethod
    def _is_a_time(cls, created: str) -> str:
        if datetime.fromisoformat(created).tzinfo is None:
            raise ValueError("no time zone")
        return created

    @property
    def rows(self) -> int:
        """Rows over all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes over all parts."""
        return sum(part.bytes for part in self.parts)


def fingerprint(*parts: Any) -> str:
    """32 hex digits over the canonical JSON of `parts` (sorted keys, so order of insertion does not
    matter).
    """
    return xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode())


def sealed(manifest: Manifest) -> Manifest:
    """The manifest with its seal."""
    return manifest.model_copy(update={"seal": fingerprint(manifest.model_dump(exclude={"seal"}))})


def record_seal(record: Mapping[str, Any]) -> str:
    """The seal over the rest of a JSON record."""
    return fingerprint({name: value for name, value in record.items() if name != "seal"})


def serialized(manifest: Manifest) -> bytes:
    """The bytes of the file."""
    return manifest.model_dump_json(indent=1).encode() + b"\n"


def find_manifest(store: Store, table: str, batch: str) -> Manifest | None:
    """The manifest, or None for an uncommitted batch or the name of an input file.

    Raises: SchemaError for a manifest that this version cannot have written there.
    """
    if not (is_name(table) and is_name(batch)):
        return None
    return find_manifest_in(store, table_dir(table, batch))


def find_manifests(
    store: Store, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Manifest | None]:
    """The manifests of some (table, batch), many at a time: an object store takes its 20 ms for
    each.
    """
    keys = list(dict.fromkeys(wanted))
    found = read_many(store, keys, lambda key: find_manifest(store, *key))
    return dict(zip(keys, found, strict=True))


def find_manifest_in(store: Store, folder: str) -> Manifest | None:
    """The manifest in a table's folder, or None.

    Raises: SchemaError for a manifest that this version cannot have written there.
    """
    path = manifest_path(folder)
    view = _views.get(store.root)
    data = _read(store, path) if view is None else view.read(folder)
    if data is None:
        return None

    where = f"{store.root}/{path}"
    manifest = _parse(data, where)
    # Scratch tables are in work/<batch>/<table>, others in <table>/<batch>.
    first, second, *rest = folder.split("/")
    place = ("/".join(rest), second) if first == "work" else (first, second)
    if (manifest.table, manifest.batch) != place:
        raise SchemaError(
            f"{where}: says that it is table {manifest.table!r} of batch {manifest.batch!r}; it "
            "was moved or edited. "
            f"{_restore(path)}"
        )

    return manifest


def _read(store: Store, path: str) -> bytes | None:
    try:
        return store.read_bytes(path)
    except FileNotFoundError:
        return None


class _View:
    """Manifests of an object store at one time. The folders of a table are listed before any of them
    is asked for: a request for each missing one would cost as much as for a present one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: dict[str, dict[str, None]] = {}
        self._data: dict[str, bytes | None] = {}
        self._guard = threading.Lock()

    def batches(self, table: str) -> list[str]:
        """The batches with a folder of a table."""
        # Many readers ask at the same time, and one listing serves all of them.
        with self._guard:
            if table not in self._batches:
                self._batches[table] = dict.fromkeys(self._store.folders(table))
        return list(self._batches[table])

    def read(self, folder: str) -> bytes | None:
        """The bytes of the manifest in a table's folder, or None."""
        if folder not in self._data:
            table, _, batch = folder.partition("/")
            self.batches(table)
            # Scratch tables are two levels down, where nothing is listed.
            listed = "/" in batch or batch in self._batches[table]
            self._data[folder] = _read(self._store, manifest_path(folder)) if listed else None
        return self._data[folder]


# The views in use, by the root of their store.
_views: dict[str, _View] = {}


@contextlib.contextmanager
def manifests_read_once(store: Store) -> Iterator[None]:
    """Read each manifest of an object store at most once within the block.

    For blocks that commit nothing, and that may miss a commit by others meanwhile.
    """
    if store.is_local or store.root in _views:
        yield
        return

    _views[store.root] = _View(store)
    try:
        yield
    finally:
        del _views[store.root]


@lru_cache(maxsize=PARSED_KEPT)
def _parse(data: bytes, where: str) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        value = (
            repr(problem.get("input"))[:100] if problem["type"] == "string_pattern_mismatch" else ""
        )
        raise SchemaError(
            f"{where}: not a manifest of this version ({field} {value}: {problem['msg']}); "
            f"{_restore(where)}"
        ) from error

    files = [part.file for part in manifest.parts]
    odd = next((file for file in files if not re.fullmatch(PART_FILE, file)), None)
    if odd is not None or len(set(files)) < len(files):
        fault = "has a part twice" if odd is None else f"names the part {odd!r}"
        raise SchemaError(f"{where}: {fault}; not written by this code: {_restore(where)}")

    _check(CommitDetails, manifest.details, where, "details")
    _check(CommitSettings, manifest.config, where, "config")
    if manifest.table == "tokens":
        for part in manifest.parts:
            _check(TokenMetadata, part.metadata, where, part.file)
    return manifest


def section(manifest: Manifest, name: str, kind: type[S]) -> S:
    """The settings of a section that the table was built with. Raises: SchemaError."""
    where = manifest_path(table_dir(manifest.table, manifest.batch))
    if name not in manifest.config:
        raise SchemaError(f"{where}: config.{name} is missing; {_restore(where)}")
    try:
        return kind.model_validate(manifest.config[name])
    except ValidationError as error:
        raise _unexpected(error, where, f"config.{name}.") from error


def _check(kind: type[BaseModel], value: Any, where: str, name: str) -> None:
    try:
        kind.model_validate(value)
    except ValidationError as error:
        raise _unexpected(error, where, f"{name} ") from error


def _unexpected(error: ValidationError, where: str, name: str = "") -> SchemaError:
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    return SchemaError(
        f"{where}: not a manifest of this version ({name}{field}: {problem['msg']}); "
        f"{_restore(where)}"
    )


def _restore(path: str) -> str:
    name = path.rpartition("/")[2]
    return f"restore {name}, or remove it and run the stage again, which rebuilds the parts"


def read_manifest(store: Store, table: str, batch: str) -> Manifest:
    """The manifest of a committed batch.

    Raises: InputError with the command that makes the table; SchemaError for another schema.
    """
    manifest = find_manifest(store, table, batch)
    command = f"webtext {ENTRY_POINTS.get(table, 'STAGE')} --corpus {store.root} --batch {batch}"
    if manifest is None:
        raise InputError(
            f"{store.root}: table {table} has no committed batch {batch!r}; run `{command}` first"
        )
    if table in TABLES and manifest.schema_version != TABLES[table].version:
        raise SchemaError(
            f"{store.root}: table {table} of batch {batch!r} has schema {manifest.schema_version}, "
            "this version reads "
            f"{TABLES[table].version}; use the version that made it, or rebuild it by "
            f"`{command} --rebuild`"
        )

    return manifest


def stage_of(table: str) -> str:
    """The stage of a table; empty for a table of others."""
    return ENTRY_POINTS.get(table, "").partition(" ")[0]


def remake_command(root: str, stage: str, batch: str, *, imported: bool = False) -> str:
    """The command for rebuilding a stage's tables of one batch.

    `imported`: the batch came from WARC files.
    """
    option = "--warc" if imported else "--dumps"
    files = f" {option} FILE ..." if stage == "crawl" else ""
    return f"webtext {stage} --corpus {root} --batch {batch}{files} --rebuild"


def mend(store: Store, path: str) -> str:
    """The advice about a missing or damaged part, for the end of an error message."""
    table, batch, *_ = path.removeprefix("earlier/").split("/")
    if table == "pages":
        manifest = find_manifest(store, table, batch)
        if manifest is None or not is_imported(manifest):
            return "restore the file from a copy; a crawl cannot be repeated"
        return (
            f"restore the file, or import it again: `webtext crawl --corpus {store.root} "
            f"--batch {batch} --rebuild --warc FILE ...`"
        )

    command = ENTRY_POINTS.get(table, "")
    if not command:
        return "restore the file, or run the stage that made it again with --rebuild"

    return (
        f"restore the file, or make it again by `webtext {command} --corpus {store.root} --batch "
        f"{batch} --rebuild` "
        "with the settings of then"
    )


def is_imported(manifest: Manifest) -> bool:
    """True if `links` or `pages` were imported from WARC files instead of being crawled."""
    return any(each.table == "warc" for each in manifest.inputs)


def batch_folders(store: Store, table: str) -> list[str]:
    """The batches with a folder of `table`, committed or not, by name."""
    view = _views.get(store.root)
    return store.folders(table) if view is None else view.batches(table)


def batches(store: Store, table: str) -> list[Manifest]:
    """The committed batches of `table`, in order of commits."""
    found = find_manifests(store, ((table, batch) for batch in batch_folders(store, table)))
    return sorted((m for m in found.values() if m is not None), key=lambda m: (m.sequence, m.batch))


def earlier_batches(store: Store, batch: str) -> list[str]:
    """The batches before `batch`, in the order of their links' commits. A new batch comes after
    all.
    """
    names = [manifest.batch for manifest in batches(store, "links")]
    return names[: names.index(batch)] if batch in names else names


def earlier_inputs(store: Store, batch: str, *tables: str) -> list[Input]:
    """Inputs for committed `tables` of the batches before `batch`, batch by batch."""
    return [
        Input(table=table, batch=name, fingerprint=manifest.fingerprint)
        for name in earlier_batches(store, batch)
        for table in tables
        if (manifest := find_manifest(store, table, name)) is not None
    ]
