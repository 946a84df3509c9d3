"""Remarks on a snapshot for everybody who reads it: retired, outdated or made under mixed settings."""

from __future__ import annotations

import logging

from corpus.storage.store import Store
from corpus.tables.mixed_settings import mixed_among
from corpus.tables.retirement import retirement
from corpus.tables.snapshot import Snapshot, outdated_batches, read_snapshot

log = logging.getLogger(__name__)


def remarks(store: Store, snapshot: Snapshot) -> list[str]:
    """The remarks on a snapshot, one a line; none for one that is as it should be."""
    retired = retirement(store, snapshot.name)
    if retired is not None:
        return [f"{retired.kind}: {retired.why}"]

    # An outdated snapshot keeps its files, so it can still be read.
    outdated = [
        f"holds batch {batch} as it was before: {why}"
        for batch, why in outdated_batches(store, snapshot).items()
    ]
    return [*outdated, *(f"mixes settings: {line}" for line in mixed_settings_of(store, snapshot))]


def mixed_settings_of(store: Store, snapshot: Snapshot) -> list[str]:
    """The settings that are not the same in all batches of a snapshot, each with both values."""
    return mixed_among(store, [each.batch for each in snapshot.batches])


def warn_of_remarks(store: Store, name: str) -> None:
    """Log the remarks on a snapshot."""
    for line in remarks(store, read_snapshot(store, name)):
        log.warning("snapshot %s %s", name, line)
