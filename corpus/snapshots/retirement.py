"""Retired snapshots: withdrawn by a take-down, or pruned.

A snapshot never changes, so its retirement is a separate file: `snapshots/retired/<name>.json`. The
name stays taken for ever, also after the snapshot's own file is deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from corpus.bulk import read_many
from corpus.errors import InputError, SchemaError
from corpus.storage.store import Store, is_name
from corpus.tables.manifest import record_seal
from corpus.tables.record import Record

FOLDER = "snapshots/retired"


class Retirement(Record):
    """The reason for not using a snapshot."""

    snapshot: str
    kind: Literal["withdrawn", "pruned"]
    why: str
    when: str
    replaced_by: str | None = None
    seal: str = ""
    """Over all of the above, for `webtext.verify`; empty in records older than it."""


def retirement(store: Store, name: str) -> Retirement | None:
    """The retirement of a snapshot, or None. Raises SchemaError for a record of another kind."""
    path = retirement_path(name)
    try:
        data = store.read_bytes(path)
    except FileNotFoundError:
        return None

    try:
        found = Retirement.model_validate_json(data)
    except ValidationError as error:
        raise SchemaError(
            f"{store.root}/{path}: not a retirement record; restore or remove it"
        ) from error

    if found.snapshot != name or not is_name(found.replaced_by or name):
        raise SchemaError(
            f"{store.root}/{path}: retires {found.snapshot!r} for {found.replaced_by!r}; not "
            "written by this code: restore or remove it"
        )

    return found


def retirements(store: Store) -> dict[str, Retirement]:
    """All retirements by name of the snapshot: one listing, and a request for each. Raises: SchemaError."""
    files = [path.rpartition("/")[2] for path, _ in store.files(FOLDER)]
    names = [file.removesuffix(".json") for file in files if file.endswith(".json")]
    found = read_many(store, filter(is_name, names), lambda name: retirement(store, name))
    return {each.snapshot: each for each in found if each is not None}


def retire(
    store: Store,
    name: str,
    kind: Literal["withdrawn", "pruned"],
    why: str,
    replaced_by: str | None = None,
) -> None:
    """Retire a snapshot. A second retirement counts only if it is later in its life."""
    present = retirement(store, name)
    if present is not None and (present.kind == kind or present.kind == "pruned"):
        return

    record = Retirement(
        snapshot=name,
        kind=kind,
        why=why,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        replaced_by=replaced_by or (present.replaced_by if present else None),
    )
    sealed = record.model_copy(update={"seal": record_seal(record.model_dump(mode="json"))})
    store.write_bytes(retirement_path(name), sealed.model_dump_json(indent=1).encode() + b"\n")


def require_usable(store: Store, name: str, *, allow_withdrawn: bool) -> None:
    """Refuse a withdrawn snapshot unless allowed. Raises: InputError with its replacement."""
    found = retirement(store, name)
    if found is None or (allow_withdrawn and found.kind == "withdrawn"):
        return

    instead = (
        f"use --snapshot {found.replaced_by}" if found.replaced_by else "use another --snapshot"
    )
    told = ", or --allow-withdrawn to use it all the same" if found.kind == "withdrawn" else ""
    raise InputError(
        f"{store.root}: snapshot {name!r} was {found.kind} on {found.when[:10]} ({found.why}); "
        f"{instead}{told}"
    )


def retirement_path(name: str) -> str:
    """The path of the record."""
    return f"{FOLDER}/{name}.json"
