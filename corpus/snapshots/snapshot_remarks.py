"""Remarks on a snapshot for everybody who reads it: retired, outdated or made under mixed settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from corpus.snapshots.retirement import Retirement, retirement, retirements
from corpus.snapshots.snapshot import SnapshotHead, outdated_among, present_tokens, read_head
from corpus.storage.store import Store
from corpus.tables.mixed_settings import SettingsOfBatches

log = logging.getLogger(__name__)


class Reviewer:
    """Makes remarks on snapshots. The manifests of their batches are read once for all of them."""

    def __init__(self, store: Store, heads: Sequence[SnapshotHead]) -> None:
        self._retired = retirements(store)
        names = dict.fromkeys(each.batch for head in heads for each in head.batches)
        self._present = present_tokens(store, names)
        self._settings = SettingsOfBatches(store, names)

    def remarks(self, head: SnapshotHead) -> list[str]:
        """The remarks on a snapshot, one a line; none for one that is as it should be."""
        retired = self.retired(head)
        if retired is not None:
            return [f"{retired.kind}: {retired.why}"]

        # An outdated snapshot keeps its files, so it can still be read.
        outdated = [
            f"holds batch {batch} as it was before: {why}"
            for batch, why in self.outdated(head).items()
        ]
        return [*outdated, *(f"mixes settings: {line}" for line in self.mixed(head))]

    def retired(self, head: SnapshotHead) -> Retirement | None:
        """The retirement of a snapshot, or None."""
        return self._retired.get(head.name)

    def outdated(self, head: SnapshotHead) -> dict[str, str]:
        """Batches with other tokens in the snapshot than now: batch to reason."""
        return outdated_among(self._present, head)

    def mixed(self, head: SnapshotHead) -> list[str]:
        """The settings that are not the same in all batches, each with both values."""
        return self._settings.mixed([each.batch for each in head.batches])


def warn_of_trained_on(store: Store, run: str, name: str | None) -> None:
    """Log that a run saw pages that were taken down since, if its snapshot was withdrawn."""
    found = retirement(store, name) if name else None
    if found is not None and found.kind == "withdrawn":
        log.warning(
            "run %s was trained on snapshot %s, withdrawn on %s (%s): it saw pages that were taken "
            "down",
            run,
            name,
            found.when[:10],
            found.why,
        )


def warn_of_remarks(store: Store, name: str) -> None:
    """Log the remarks on a snapshot."""
    head = read_head(store, name)
    for line in Reviewer(store, [head]).remarks(head):
        log.warning("snapshot %s %s", name, line)
