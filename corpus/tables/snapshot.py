"""Snapshots: an immutable list of the batches and token files of a training run, written last.

A snapshot names the tokenizer, the batches in the order of their commits, and for each split the
token files with their digests. Files of earlier batches are referenced, never copied. Its digest
covers its contents without its name, so a checkpoint resumes under another name.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from corpus.errors import InputError, SchemaError
from corpus.storage.lease import confirm
from corpus.storage.store import Store, check_name, is_name, table_dir
from corpus.tables.generations import earlier_path, files_moved
from corpus.tables.manifest import (
    PART_FILE,
    Manifest,
    Part,
    batches,
    find_manifest,
    fingerprint,
    read_manifest,
)
from corpus.tables.record import Record, RowGroup
from corpus.tables.retirement import retirement
from corpus.tables.staleness import require_current, stale_among

log = logging.getLogger(__name__)

SNAPSHOT_FORMAT = 1
SPLITS: tuple[Split, ...] = ("train", "val")
Split = Literal["train", "val"]


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


class Totals(Record):
    """Totals of a split, or of a batch's share of it."""

    num_documents: NonNegativeInt
    num_tokens: NonNegativeInt
    num_bytes: NonNegativeInt
    """UTF-8 bytes of the documents' text as encoded, for bits per byte."""


class SnapshotSplit(Totals):
    """Totals and files of a split, in stream order."""

    files: list[TokenFile]


class SnapshotBatch(Record):
    """One batch of a snapshot."""

    batch: str
    fingerprint: str
    """Of the `tokens` manifest."""
    splits: dict[Split, Totals]


class Snapshot(Record):
    """An immutable list of token files."""

    format: int
    name: str
    digest: str
    tokenizer_fingerprint: str
    vocab_size: int
    end_of_text: int
    batches: list[SnapshotBatch]
    splits: dict[Split, SnapshotSplit]
    parents: list[str]
    """Snapshots that this one extends."""


def snapshot_path(name: str) -> str:
    """The path of a snapshot."""
    return f"snapshots/{name}.json"


def read_snapshot(store: Store, name: str) -> Snapshot:
    """Read the snapshot `name`.

    Raises: InputError for an unknown name (listing the known ones), SchemaError for an edited or
    foreign file.
    """
    path = snapshot_path(check_name("--snapshot", name))
    try:
        data = store.read_bytes(path)
    except FileNotFoundError:
        names = ", ".join(snapshots(store)) or "none"
        raise InputError(
            f"{store.root}: no snapshot {name!r}; present: {names}; run `python -m shards.run "
            f"--corpus {store.root} --batch B`"
        ) from None

    try:
        snapshot = Snapshot.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        raise SchemaError(
            f"{store.root}/{path}: not a snapshot ({'.'.join(map(str, problem['loc']))}: "
            f"{problem['msg']}); write it again under another name"
        ) from error

    if snapshot.format != SNAPSHOT_FORMAT:
        raise SchemaError(
            f"{store.root}/{path}: format {snapshot.format}, this version reads {SNAPSHOT_FORMAT}"
        )

    expected = _digest(snapshot)
    if snapshot.digest != expected:
        raise SchemaError(
            f"{store.root}/{path}: digest {snapshot.digest}, its content gives {expected}; it was "
            "edited: write it again under another name"
        )
    if (misplaced := _misplaced(snapshot, name)) is not None:
        raise SchemaError(
            f"{store.root}/{path}: {misplaced}; not written by this code: write it again under "
            "another name"
        )

    return _located(store, snapshot)


def _located(store: Store, snapshot: Snapshot) -> Snapshot:
    """The snapshot with present paths of its files: a rebuild moves the replaced ones."""
    moved = files_moved(store, ("tokens", "spans"))
    if not moved:
        return snapshot

    def place(path: str) -> str:
        return earlier_path(path) if path in moved else path

    splits = {
        name: split.model_copy(
            update={
                "files": [
                    file.model_copy(
                        update={"path": place(file.path), "spans_path": place(file.spans_path)}
                    )
                    for file in split.files
                ]
            }
        )
        for name, split in snapshot.splits.items()
    }

    return snapshot.model_copy(update={"splits": splits})


def _misplaced(snapshot: Snapshot, name: str) -> str | None:
    """A reason against a snapshot of ours at this place, or None.

    Its paths decide on deletions by a take-down or a prune, so they are derived again instead of
    trusted.
    """
    if snapshot.name != name:
        return f"says that its name is {snapshot.name!r}"
    if set(snapshot.splits) != set(SPLITS):
        return f"has the splits {sorted(snapshot.splits)}"

    batches = [each.batch for each in snapshot.batches]
    if len(set(batches)) < len(batches):
        return "has a batch twice"
    if bad := [batch for batch in batches if not is_name(batch)]:
        return f"{bad[0]!r} is not the name of a batch"

    for split in SPLITS:
        for file in snapshot.splits[split].files:
            part = file.path.removeprefix(f"{table_dir('tokens', file.batch)}/")
            if file.batch not in batches or not re.fullmatch(PART_FILE, part):
                return f"names the file {file.path!r}"
            if not part.startswith(f"{split}/"):
                return f"has {file.path!r} in the split {split!r}"
            if file.spans_path != f"{table_dir('spans', file.batch)}/{part}":
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


def snapshots(store: Store) -> list[str]:
    """Sorted names of a corpus' snapshots. Files with impossible names are left out."""
    files = [path.rpartition("/")[2] for path, _ in store.files("snapshots")]
    names = [file.removesuffix(".json") for file in files if file.endswith(".json")]
    return [name for name in names if is_name(name)]


def batches_up_to(store: Store, batch: str) -> list[str]:
    """The batches with tokens committed before `batch`, then `batch` itself, in order."""
    names = [manifest.batch for manifest in batches(store, "tokens")]
    read_manifest(store, "tokens", batch)
    return names[: names.index(batch) + 1]


def compose(
    store: Store, name: str, batches: Sequence[str], *, parents: Sequence[str] = ()
) -> Snapshot:
    """Compose the snapshot of these batches without writing it. Raises: as `write_snapshot`."""
    require_current_tokens(store, name, batches)
    return _compose(store, name, batches, parents=parents)


def require_current_tokens(store: Store, name: str, batches: Sequence[str]) -> None:
    """Refuse a snapshot of stale tokens. Raises: StaleError."""
    wanted = [(table, batch) for batch in batches for table in ("tokens", "spans")]
    require_current(store, wanted, f"snapshot {name!r}")


def _compose(
    store: Store, name: str, batches: Sequence[str], *, parents: Sequence[str] = ()
) -> Snapshot:
    check_name("--snapshot", name)
    if not batches or len(set(batches)) != len(batches):
        raise InputError(
            f"snapshot {name}: batches {list(batches)}; name at least one and each of them once"
        )

    manifests = [read_manifest(store, "tokens", batch) for batch in batches]
    tokenizer = _one_tokenizer(name, manifests)
    snapshot = Snapshot(
        format=SNAPSHOT_FORMAT,
        name=name,
        digest="",
        tokenizer_fingerprint=tokenizer["fingerprint"],
        vocab_size=tokenizer["vocab_size"],
        end_of_text=tokenizer["end_of_text"],
        batches=[_batch(manifest) for manifest in manifests],
        splits={split: _split(split, manifests) for split in SPLITS},
        parents=list(parents),
    )

    return snapshot.model_copy(update={"digest": _digest(snapshot)})


def snapshots_of(store: Store, batches: Sequence[str]) -> list[str]:
    """Names of the snapshots of exactly these batches' tokens as they are now."""
    present = snapshots(store) if batches else []
    wanted = _compose(store, "any", batches).digest if present else ""
    return [
        name for name in present if store.read_object(snapshot_path(name)).get("digest") == wanted
    ]


def outdated_batches(store: Store, snapshot: Snapshot) -> dict[str, str]:
    """Batches with other tokens in the snapshot than now: batch to reason.

    The snapshot stays whole and readable, but the corpus has changed since.
    """
    found = {
        each.batch: each.why
        for each in stale_among(store, [("tokens", batch.batch) for batch in snapshot.batches])
        if each.table == "tokens"
    }

    for batch in snapshot.batches:
        present = find_manifest(store, "tokens", batch.batch)
        if present is None:
            found[batch.batch] = "its tokens are gone"
        elif present.fingerprint != batch.fingerprint:
            found[batch.batch] = "its tokens were rebuilt since"

    return {each.batch: found[each.batch] for each in snapshot.batches if each.batch in found}


def check_free(store: Store, name: str, batch: str) -> None:
    """Refuse an impossible name for the snapshot up to `batch`, before hours of work for it.

    Raises: InputError for a pruned name, or one of a snapshot with another last batch; StaleError
    if an earlier batch cannot be part of a snapshot.
    """
    tokenized = [manifest.batch for manifest in batches(store, "tokens")]
    earlier = tokenized[: tokenized.index(batch)] if batch in tokenized else tokenized
    require_current_tokens(store, name, earlier)

    if name not in snapshots(store):
        _check_not_given_up(store, name)
        return

    present = [each.batch for each in read_snapshot(store, name).batches]
    if present[-1] != batch:
        raise InputError(
            f"{store.root}: snapshot {name!r} is there with batches {present}, not one that ends "
            f"with {batch!r}: "
            f"a snapshot never changes, choose another --snapshot name"
        )


def write_snapshot(
    store: Store, name: str, batches: Sequence[str], *, parents: Sequence[str] = ()
) -> Snapshot:
    """Write the snapshot `name` of these batches' tokens and return it; the same content again
    changes nothing.

    Raises: InputError when the name is taken by other content or was given up, when a batch has no
    tokens or appears twice, or when the batches were encoded by different tokenizers.
    """
    snapshot = compose(store, name, batches, parents=parents)
    if not store.exists(snapshot_path(name)):
        _check_not_given_up(store, name)
    confirm(store)
    if store.create_exclusive(
        snapshot_path(name), snapshot.model_dump_json(indent=1).encode() + b"\n"
    ):
        return snapshot

    present = read_snapshot(store, name)
    if present.digest != snapshot.digest:
        raise InputError(
            f"{store.root}: snapshot {name!r} is there with batches "
            f"{[b.batch for b in present.batches]}, digest {present.digest}; "
            f"these batches {list(batches)} give {snapshot.digest}: a snapshot never changes, "
            "choose another --snapshot name"
        )

    return present


def write_revision(
    store: Store, name: str, batches: Sequence[str], *, parents: Sequence[str] = ()
) -> Snapshot:
    """Write the snapshot of these batches as the first possible of `name`, `name.2`, `name.3` ...

    Raises: InputError if the batches cannot be a snapshot.
    """
    base, dot, number = name.rpartition(".")
    base = (
        base
        if dot and number.isdigit() and snapshot_path(base) in dict(store.files("snapshots"))
        else name
    )
    wanted = compose(store, base, batches, parents=parents)

    for revision in itertools.count(1):
        candidate = base if revision == 1 else f"{base}.{revision}"
        taken = store.exists(snapshot_path(candidate))
        if retirement(store, candidate) is not None or (
            taken and read_snapshot(store, candidate).digest != wanted.digest
        ):
            continue
        return write_snapshot(store, candidate, batches, parents=parents)

    raise AssertionError("itertools.count ends never")


def _check_not_given_up(store: Store, name: str) -> None:
    """Refuse the name of a deleted snapshot: training runs may refer to it."""
    found = retirement(store, name)
    if found is not None:
        raise InputError(
            f"{store.root}: snapshot {name!r} was {found.kind} on {found.when[:10]} ({found.why}), "
            "and its name stays its own; "
            f"choose another --snapshot name"
        )


def _one_tokenizer(name: str, manifests: Sequence[Manifest]) -> dict[str, Any]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for manifest in manifests:
        for part in manifest.parts:
            tokenizer = part.metadata["tokenizer"]
            found.setdefault(tokenizer["fingerprint"], (manifest.batch, tokenizer))

    if len(found) != 1:
        differing = "; ".join(f"{batch}: {print_}" for print_, (batch, _) in found.items())
        raise InputError(
            f"snapshot {name}: batches encoded by different tokenizers ({differing}); encode them "
            "again with one"
        )

    return next(iter(found.values()))[1]


def _parts(manifest: Manifest, split: Split) -> list[Part]:
    return [part for part in manifest.parts if part.file.startswith(f"{split}/")]


def _batch(manifest: Manifest) -> SnapshotBatch:
    return SnapshotBatch(
        batch=manifest.batch,
        fingerprint=manifest.fingerprint,
        splits={split: Totals(**_totals(_parts(manifest, split))) for split in SPLITS},
    )


def _totals(parts: Sequence[Part]) -> dict[str, int]:
    return {name: sum(part.metadata[name] for part in parts) for name in Totals.model_fields}


def _split(split: Split, manifests: Sequence[Manifest]) -> SnapshotSplit:
    parts = [(manifest.batch, part) for manifest in manifests for part in _parts(manifest, split)]
    return SnapshotSplit(
        **_totals([part for _, part in parts]),
        files=[_file(batch, part) for batch, part in parts if part.metadata["num_tokens"]],
    )


def _file(batch: str, part: Part) -> TokenFile:
    return TokenFile(
        batch=batch,
        path=f"{table_dir('tokens', batch)}/{part.file}",
        rows=part.rows,
        num_tokens=part.metadata["num_tokens"],
        bytes=part.bytes,
        digest=part.digest,
        row_tokens=part.metadata["row_tokens"],
        dtype=part.metadata["dtype"],
        content=part.metadata["content"],
        row_groups=part.metadata["row_groups"],
        spans_path=f"{table_dir('spans', batch)}/{part.file}",
    )


def _digest(snapshot: Snapshot) -> str:
    """Over all a snapshot holds but its own name and ancestry."""
    return fingerprint(snapshot.model_dump(exclude={"name", "digest", "parents"}))
