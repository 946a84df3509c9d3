"""The reports of one batch: files of `reports/` that go with it."""

from __future__ import annotations

from corpus.storage.store import Store
from corpus.tables.dedup_reports import duplicates_path, overlap_path


def refresh_path(batch: str) -> str:
    """The place of the summary that a refresh writes."""
    return f"reports/refresh-{batch}.json"


def delete_reports(store: Store, batch: str) -> None:
    """Delete all reports of a batch. A name that ends like it is another batch's."""
    for path in (duplicates_path(batch), overlap_path(batch), refresh_path(batch)):
        store.delete(path)
