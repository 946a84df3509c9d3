"""Every table of every batch of a corpus, from manifests alone: present, stale or missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from corpus.storage.store import Store
from corpus.tables.manifest import (
    ENTRY_POINTS,
    EXTRA_TABLES,
    Manifest,
    batch_folders,
    batches,
    find_manifests,
)
from corpus.tables.schemas import TABLES
from corpus.tables.staleness import find_stale, pinned_tokenizer, read_lineage

State = Literal["ok", "stale", "missing"]
# Tables that only some settings make, and `rights`, which older batches lack: never missing.
OPTIONAL_TABLES = ("rights", "marks", *EXTRA_TABLES)


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
    """The batches in their order: those with links, then those with other tables only."""
    names = [manifest.batch for manifest in batches(store, "links")]
    others = {name for table in TABLES for name in batch_folders(store, table)} - set(names)
    found = find_manifests(store, ((table, name) for name in others for table in TABLES))
    return names + sorted({name for (_, name), manifest in found.items() if manifest is not None})


def entries(store: Store, names: Sequence[str] | None = None) -> list[Entry]:
    """Every table of the batches, in the order of the data."""
    wanted = batch_names(store) if names is None else list(names)
    keys = [(table, batch) for batch in wanted for table in (*TABLES, *EXTRA_TABLES)]
    found = read_lineage(store, keys)
    stale = {
        (each.table, each.batch): each.why for each in find_stale(found, pinned_tokenizer(store))
    }

    result = []

    for table, batch in keys:
        present = found[table, batch]
        if present is not None:
            why = stale.get((table, batch), "")
            result.append(Entry(table, batch, "stale" if why else "ok", why, present))
        elif table not in OPTIONAL_TABLES:
            command = f"webtext {ENTRY_POINTS[table]}"
            result.append(Entry(table, batch, "missing", command, None))

    return result
