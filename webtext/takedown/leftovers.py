"""Temporary files that killed runs left, which may hold text of a page."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from corpus.storage.interface import TEMPORARY
from corpus.storage.store import Store
from corpus.tables.manifest import EXTRA_TABLES
from corpus.tables.schemas import TABLES

# A file that is being written is touched at least this often.
STILL_S = 60.0


def leftovers(store: Store, folder: str = "") -> list[Path]:
    """Temporary files below a local corpus or a folder of it.

    An object store shows none until they are complete.
    """
    root = store.local_path(folder)
    if root is None:
        return []
    return sorted(
        Path(where) / name
        for where, _, names in os.walk(root)
        for name in names
        if name.startswith(TEMPORARY)
    )


def batches_with_leftovers(store: Store, names: Iterable[str]) -> set[str]:
    """The batches with temporary files in a table's folder."""
    return {batch for batch in names if _of_batch(store, batch)}


def sweep_batch(store: Store, batch: str) -> int:
    """Delete the temporary files in a batch's tables, and return their number.

    The caller holds the batch's lease.
    """
    num_before = len(_of_batch(store, batch))
    for folder in _folders(batch):
        store.sweep(folder)
    return num_before - len(_of_batch(store, batch))


def _of_batch(store: Store, batch: str) -> list[Path]:
    return [path for folder in _folders(batch) for path in leftovers(store, folder)]


def _folders(batch: str) -> list[str]:
    return [f"{table}/{batch}" for table in (*TABLES, *EXTRA_TABLES)]


def sweep(store: Store) -> int:
    """Delete temporary files that nothing writes any more; how many."""
    count = 0
    for path in leftovers(store):
        try:
            if path.is_file() and time.time() - path.stat().st_mtime > STILL_S:
                path.unlink()
                count += 1
        except FileNotFoundError:
            continue  # its writer finished it
    return count
