"""What a corpus holds, from its manifests alone: every table of every batch, whether it is there and still true.

A table is stale when something it was made from has been made anew since. Scratch tables are gone when their stage is
done, so what passed through one is compared where it came from a table that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from corpus.storage.store import Store
from corpus.tables.manifest import DOORS, Manifest, batches, find_manifest, find_manifests
from corpus.tables.schemas import TABLES

GONE = " is gone"
"""How a table's `why` ends when something it was made from is not there."""
State = Literal["ok", "stale", "missing"]
EXTRA_TABLES = ("overlap",)
"""Tables of a stage's own that stay."""
OPTIONAL_TABLES = ("marks", *EXTRA_TABLES)
"""Tables that only some settings make: never missing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One table of one batch."""

    table: str
    batch: str
    state: State
    why: str
    manifest: Manifest | None

    @property
    def age_s(self) -> float | None:
        """Seconds since the commit."""
        if self.manifest is None:
            return None
        return (datetime.now(UTC) - datetime.fromisoformat(self.manifest.created)).total_seconds()


def batch_names(store: Store) -> list[str]:
    """The batches of the corpus in their order; first those with links, then any that have only other tables."""
    names = [manifest.batch for manifest in batches(store, "links")]
    others = {name for table in TABLES for name in store.folders(table)} - set(names)
    found = find_manifests(store, ((table, name) for name in others for table in TABLES))
    return names + sorted({name for (_, name), manifest in found.items() if manifest is not None})


def entries(store: Store, names: Sequence[str] | None = None) -> list[Entry]:
    """Every table of the batches, in the order of the data's way."""
    wanted = batch_names(store) if names is None else list(names)
    tables = (*TABLES, *EXTRA_TABLES)
    found = find_manifests(store, ((table, batch) for batch in wanted for table in tables))

    def manifest(table: str, batch: str) -> Manifest | None:
        key = (table, batch)
        if key not in found:
            found[key] = find_manifest(store, table, batch)
        return found[key]

    tokenizer = pinned_tokenizer(store)
    result = []
    for batch in wanted:
        for table in tables:
            present = manifest(table, batch)
            if present is None:
                if table not in OPTIONAL_TABLES:
                    result.append(Entry(table, batch, "missing", f"python -m {DOORS[table]}", None))
                continue
            why = _staleness(present, tokenizer, manifest)
            result.append(Entry(table, batch, "stale" if why else "ok", why, present))
    return result


def pinned_tokenizer(store: Store) -> str | None:
    """Fingerprint of the corpus' tokenizer, or None where none is pinned."""
    try:
        return str(store.read_json("tokenizer/source.json")["fingerprint"])
    except (FileNotFoundError, KeyError, TypeError):
        return None


def _staleness(
    manifest: Manifest, tokenizer: str | None, find: Callable[[str, str], Manifest | None]
) -> str:
    """Which input is gone or another now; empty where none is."""
    for given in manifest.inputs:
        if given.table == "tokenizer":
            if tokenizer is not None and given.fingerprint != tokenizer:
                return "the tokenizer changed"
        elif given.table in TABLES or given.table in EXTRA_TABLES:
            present = find(given.table, given.batch)
            if present is None:
                return f"{given.table} {given.batch}{GONE}"
            if present.fingerprint != given.fingerprint:
                return f"{given.table} {given.batch} was made anew"
    return ""
