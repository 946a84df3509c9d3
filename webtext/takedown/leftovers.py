"""Temporary files left by killed runs. They may hold text of a page."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from corpus.printable import printable
from corpus.storage.interface import TEMPORARY
from corpus.storage.store import Store
from corpus.tables.manifest import EXTRA_TABLES
from corpus.tables.schemas import TABLES
from corpus.tables.segments import SEGMENTS

log = logging.getLogger(__name__)

# A file under write is touched at least this often.
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
    found = _of_batch(store, batch)
    for path in found:
        log.info("will delete %s", _shown(store, path))
    for folder in _folders(batch):
        store.sweep(folder)

    gone = [path for path in found if not path.exists()]
    for path in gone:
        log.info("deleted %s", _shown(store, path))
    return len(gone)


def _of_batch(store: Store, batch: str) -> list[Path]:
    return [path for folder in _folders(batch) for path in leftovers(store, folder)]


def _folders(batch: str) -> list[str]:
    return [f"{table}/{batch}" for table in (*TABLES, *EXTRA_TABLES, SEGMENTS)]


def sweep(store: Store) -> int:
    """Delete temporary files without a writer; return their number."""
    still = [path for path in leftovers(store) if _is_still(path)]
    for path in still:
        log.info("will delete %s", _shown(store, path))

    count = 0
    for path in still:
        try:
            path.unlink()
        except FileNotFoundError:
            continue  # its writer finished it
        count += 1
        log.info("deleted %s", _shown(store, path))

    return count


def _is_still(path: Path) -> bool:
    """True for a file unchanged for a while."""
    try:
        return path.is_file() and time.time() - path.stat().st_mtime > STILL_S
    except FileNotFoundError:
        return False


def _shown(store: Store, path: Path) -> str:
    """The path of a file below the corpus, as deletions name it."""
    root = store.local_path("")
    return printable(str(path.relative_to(root) if root is not None else path))
