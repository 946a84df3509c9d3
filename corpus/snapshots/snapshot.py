"""Snapshots: an immutable list of the batches and token files of a training run, written last.

A snapshot names the tokenizer, and the batches in the order of their commits with the digest of the
list of each batch's token files (`corpus.snapshots.file_lists`). A list is shared by all snapshots of
the batch, so a snapshot grows by one line a batch. Its digest covers its contents without its name,
so a checkpoint resumes under another name.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import NonNegativeInt, ValidationError

from corpus.bulk import read_many
from corpus.errors import FatalError, InputError, SchemaError
from corpus.snapshots.file_lists import (
    FOLDER,
    FileList,
    list_path,
    read_lists,
    serialized,
)
from corpus.snapshots.file_lists import SPLITS as SPLITS
from corpus.snapshots.file_lists import Split as Split
from corpus.snapshots.file_lists import TokenFile as TokenFile
from corpus.snapshots.retirement import retirement
from corpus.storage.interface import parse_json
from corpus.storage.lease import confirm
from corpus.storage.store import Store, check_name, is_name, table_dir
from corpus.tables.generations import earlier_path, files_moved
from corpus.tables.manifest import (
    Manifest,
    Part,
    batches,
    fingerprint,
    read_manifest,
)
from corpus.tables.record import Record
from corpus.tables.staleness import (
    find_stale,
    pinned_tokenizer,
    read_lineage,
    require_current,
    stale_among,
)

log = logging.getLogger(__name__)

SNAPSHOT_FORMAT = 2


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
    files: str
    """The digest of the list of its token files."""


class SnapshotHead(Record):
    """A snapshot as it is stored: without the lists of files that it refers to."""

    format: int
    name: str
    digest: str
    tokenizer_fingerprint: str
    vocab_size: int
    end_of_text: int
    batches: list[SnapshotBatch]
    splits: dict[Split, Totals]
    parents: list[str]
    """Snapshots that this one extends."""


class Snapshot(Record):
    """An immutable list of token files."""

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


def read_head(store: Store, name: str) -> SnapshotHead:
    """Read what the snapshot `name` says itself: totals and batches, without their files.

    Raises: InputError for an unknown name (listing the known ones), SchemaError for an edited or
    foreign file.
    """
    path = snapshot_path(check_name("--snapshot", name))
    try:
        data = store.read_bytes(path)
    except FileNotFoundError:
        names = ", ".join(snapshots(store)) or "none"
        raise InputError(
            f"{store.root}: no snapshot {name!r}; present: {names}; run `webtext shards "
            f"--corpus {store.root} --batch B`"
        ) from None
    return _parse_head(data, name, f"{store.root}/{path}")


def read_heads(store: Store) -> list[SnapshotHead]:
    """The heads of all snapshots, sorted by name. Raises: SchemaError."""
    return read_many(store, snapshots(store), lambda name: read_head(store, name))


@lru_cache(maxsize=512)
def _parse_head(data: bytes, name: str, where: str) -> SnapshotHead:
    # The format comes first: another one has other fields.
    found = parse_json(data, where)
    number = found.get("format") if isinstance(found, dict) else None
    if number != SNAPSHOT_FORMAT:
        raise SchemaError(
            f"{where}: format {number}, this version reads {SNAPSHOT_FORMAT}; write the snapshot "
            "again under another name with `webtext shards --snapshot NAME`"
        )

    try:
        head = SnapshotHead.model_validate(found)
    except ValidationError as error:
        problem = error.errors()[0]
        raise SchemaError(
            f"{where}: not a snapshot ({'.'.join(map(str, problem['loc']))}: "
            f"{problem['msg']}); write it again under another name"
        ) from error

    expected = _digest(head)
    if head.digest != expected:
        raise SchemaError(
            f"{where}: digest {head.digest}, its content gives {expected}; it was "
            "edited: write it again under another name"
        )
    if (misplaced := _misplaced(head, name)) is not None:
        raise SchemaError(
            f"{where}: {misplaced}; not written by this code: write it again under another name"
        )
    return head


def read_snapshot(store: Store, name: str, batches: Collection[str] | None = None) -> Snapshot:
    """Read the snapshot `name` with its files, or with those of some batches only.

    Raises: as `read_head`; SchemaError for a list of files that is missing, edited or foreign.
    """
    head = read_head(store, name)
    chosen = [each for each in head.batches if batches is None or each.batch in batches]
    lists = read_lists(store, (each.files for each in chosen))
    if bad := [each.batch for each in chosen if lists[each.files].batch != each.batch]:
        raise SchemaError(
            f"{store.root}/{snapshot_path(name)}: the list of batch {bad[0]!r} is of another batch; not "
            "written by this code: write it again under another name"
        )
    return _located(store, _with_files(head, [lists[each.files] for each in chosen]))


def _with_files(head: SnapshotHead, lists: Sequence[FileList]) -> Snapshot:
    splits = {
        split: SnapshotSplit.model_construct(
            **dict(totals), files=[file for each in lists for file in each.splits[split]]
        )
        for split, totals in head.splits.items()
    }
    fields = {name: getattr(head, name) for name in Snapshot.model_fields if name != "splits"}
    return Snapshot.model_construct(**fields, splits=splits)


def _located(store: Store, snapshot: Snapshot) -> Snapshot:
    """The snapshot with present paths of its files: a rebuild moves the replaced ones."""
    moved = files_moved(store, ("tokens", "spans"))
    if not moved:
        return snapshot

    splits = {
        name: split.model_copy(update={"files": located(split.files, moved)})
        for name, split in snapshot.splits.items()
    }
    return snapshot.model_copy(update={"splits": splits})


def located(files: Iterable[TokenFile], moved: Collection[str]) -> list[TokenFile]:
    """The files with their present paths; `moved` is the result of `files_moved`."""

    def place(path: str) -> str:
        return earlier_path(path) if path in moved else path

    return [
        file.model_copy(update={"path": place(file.path), "spans_path": place(file.spans_path)})
        for file in files
    ]


def _misplaced(head: SnapshotHead, name: str) -> str | None:
    """A reason against a snapshot of ours at this place, or None."""
    if head.name != name:
        return f"says that its name is {head.name!r}"
    if set(head.splits) != set(SPLITS):
        return f"has the splits {sorted(head.splits)}"

    batches = [each.batch for each in head.batches]
    if len(set(batches)) < len(batches):
        return "has a batch twice"
    if bad := [batch for batch in batches if not is_name(batch)]:
        return f"{bad[0]!r} is not the name of a batch"
    return None


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


class Composer:
    """Composes snapshots. Batches and their staleness are read once for all of them."""

    def __init__(self, store: Store, batches: Iterable[str] = ()) -> None:
        """`batches` are those of all snapshots, if they are known: their lineage is read once."""
        self._store = store
        self._current = set(batches)
        wanted = [(table, batch) for batch in self._current for table in ("tokens", "spans")]
        self._current -= {each.batch for each in stale_among(store, wanted)}
        self._present: dict[str, SnapshotBatch] = {}
        self._tokenizers: dict[str, dict[str, dict[str, Any]]] = {}

    def require_current(self, name: str, batches: Sequence[str]) -> None:
        """Refuse a snapshot of stale tokens. Raises: StaleError."""
        unknown = [batch for batch in batches if batch not in self._current]
        if unknown:
            require_current_tokens(self._store, name, unknown)
            self._current.update(unknown)

    def compose(
        self, name: str, batches: Sequence[str], *, parents: Sequence[str] = ()
    ) -> SnapshotHead:
        """Compose the snapshot of these batches without writing it.

        Raises: InputError for no batch, one given twice, or different tokenizers.
        """
        check_name("--snapshot", name)
        if not batches or len(set(batches)) != len(batches):
            raise InputError(
                f"snapshot {name}: batches {list(batches)}; name at least one and each of them once"
            )

        found = [self._batch(batch) for batch in batches]
        tokenizer = _one_tokenizer(name, {batch: self._tokenizers[batch] for batch in batches})
        head = SnapshotHead(
            format=SNAPSHOT_FORMAT,
            name=name,
            digest="",
            tokenizer_fingerprint=tokenizer["fingerprint"],
            vocab_size=tokenizer["vocab_size"],
            end_of_text=tokenizer["end_of_text"],
            batches=found,
            splits={split: _sum([each.splits[split] for each in found]) for split in SPLITS},
            parents=list(parents),
        )
        return head.model_copy(update={"digest": _digest(head)})

    def _batch(self, batch: str) -> SnapshotBatch:
        if batch not in self._present:
            manifest = read_manifest(self._store, "tokens", batch)
            self._tokenizers[batch] = {
                part.metadata["tokenizer"]["fingerprint"]: part.metadata["tokenizer"]
                for part in manifest.parts
            }
            self._present[batch] = _batch(manifest)
        return self._present[batch]


def require_current_tokens(store: Store, name: str, batches: Sequence[str]) -> None:
    """Refuse a snapshot of stale tokens. Raises: StaleError."""
    wanted = [(table, batch) for batch in batches for table in ("tokens", "spans")]
    require_current(store, wanted, f"snapshot {name!r}")


def snapshots_of(store: Store, batches: Sequence[str]) -> list[str]:
    """Names of the snapshots of exactly these batches' tokens as they are now."""
    present = snapshots(store) if batches else []
    wanted = Composer(store).compose("any", batches).digest if present else ""
    return [
        name for name in present if store.read_object(snapshot_path(name)).get("digest") == wanted
    ]


def present_tokens(store: Store, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Fingerprint of the present tokens of batches, and why they are stale; read once for many
    snapshots. Batches without tokens are left out.
    """
    keys = [("tokens", batch) for batch in dict.fromkeys(names)]
    found = read_lineage(store, keys)
    stale = {
        (each.table, each.batch): each.why for each in find_stale(found, pinned_tokenizer(store))
    }
    return {
        key[1]: (manifest.fingerprint, stale.get(key, ""))
        for key in keys
        if (manifest := found.get(key)) is not None
    }


def outdated_among(
    present: Mapping[str, tuple[str, str]], head: SnapshotHead | Snapshot
) -> dict[str, str]:
    """Batches with other tokens in the snapshot than now, by `present_tokens`: batch to reason.

    The snapshot stays whole and readable, but the corpus has changed since.
    """
    found = {}
    for each in head.batches:
        if each.batch not in present:
            found[each.batch] = "its tokens are gone"
            continue
        print_, stale = present[each.batch]
        if print_ != each.fingerprint:
            found[each.batch] = "its tokens were rebuilt since"
        elif stale:
            found[each.batch] = stale
    return found


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

    present = [each.batch for each in read_head(store, name).batches]
    if present[-1] != batch:
        raise InputError(
            f"{store.root}: snapshot {name!r} is there with batches {present}, not one that ends "
            f"with {batch!r}: "
            f"a snapshot never changes, choose another --snapshot name"
        )


def write_snapshot(
    store: Store,
    name: str,
    batches: Sequence[str],
    *,
    parents: Sequence[str] = (),
    composer: Composer | None = None,
) -> SnapshotHead:
    """Write the snapshot `name` of these batches' tokens and return it; the same content again
    changes nothing.

    Raises: InputError when the name is taken by other content or was given up, when a batch has no
    tokens or appears twice, or when the batches were encoded by different tokenizers.
    """
    composer = composer or Composer(store)
    composer.require_current(name, batches)
    head = composer.compose(name, batches, parents=parents)
    if not store.exists(snapshot_path(name)):
        _check_not_given_up(store, name)
    confirm(store)

    _write_lists(store, head)
    if store.create_exclusive(snapshot_path(name), head.model_dump_json(indent=1).encode() + b"\n"):
        # A prune may have deleted a list that no snapshot named at that moment.
        _write_lists(store, head)
        return head

    present = read_head(store, name)
    if present.digest != head.digest:
        raise InputError(
            f"{store.root}: snapshot {name!r} is there with batches "
            f"{[b.batch for b in present.batches]}, digest {present.digest}; "
            f"these batches {list(batches)} give {head.digest}: a snapshot never changes, "
            "choose another --snapshot name"
        )

    return present


def _write_lists(store: Store, head: SnapshotHead) -> None:
    """Write the lists of files that no snapshot has named yet."""
    there = {path for path, _ in store.files(FOLDER)}
    for each in head.batches:
        if list_path(each.files) not in there:
            digest, data = serialized(_files_of(read_manifest(store, "tokens", each.batch)))
            if digest != each.files:
                raise FatalError(
                    f"{store.root}: tokens of batch {each.batch!r} changed while snapshot "
                    f"{head.name!r} was written; run the same command again"
                )
            store.write_bytes(list_path(digest), data)


def write_revision(
    store: Store,
    name: str,
    batches: Sequence[str],
    *,
    parents: Sequence[str] = (),
    composer: Composer | None = None,
) -> SnapshotHead:
    """Write the snapshot of these batches as the first possible of `name`, `name.2`, `name.3` ...

    Raises: InputError if the batches cannot be a snapshot.
    """
    base, dot, number = name.rpartition(".")
    base = (
        base
        if dot and number.isdigit() and snapshot_path(base) in dict(store.files("snapshots"))
        else name
    )
    composer = composer or Composer(store)
    composer.require_current(base, batches)
    wanted = composer.compose(base, batches, parents=parents)

    for revision in itertools.count(1):
        candidate = base if revision == 1 else f"{base}.{revision}"
        taken = store.exists(snapshot_path(candidate))
        if retirement(store, candidate) is not None or (
            taken and read_head(store, candidate).digest != wanted.digest
        ):
            continue
        return write_snapshot(store, candidate, batches, parents=parents, composer=composer)

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


def _one_tokenizer(name: str, used: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, Any]:
    """The tokenizer of all batches, given those of each by fingerprint. Raises: InputError."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for batch, tokenizers in used.items():
        for print_, tokenizer in tokenizers.items():
            found.setdefault(print_, (batch, tokenizer))

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
        files=serialized(_files_of(manifest))[0],
    )


def _files_of(manifest: Manifest) -> FileList:
    return FileList(
        batch=manifest.batch,
        splits={
            split: [
                _file(manifest.batch, part)
                for part in _parts(manifest, split)
                if part.metadata["num_tokens"]
            ]
            for split in SPLITS
        },
    )


def _totals(parts: Sequence[Part]) -> dict[str, int]:
    return {name: sum(part.metadata[name] for part in parts) for name in Totals.model_fields}


def _sum(totals: Sequence[Totals]) -> Totals:
    return Totals(
        **{name: sum(getattr(each, name) for each in totals) for name in Totals.model_fields}
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


def _digest(head: SnapshotHead) -> str:
    """Over all a snapshot holds but its own name and ancestry."""
    return fingerprint(head.model_dump(exclude={"name", "digest", "parents"}))
