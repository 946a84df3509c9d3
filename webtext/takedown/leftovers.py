"""Temporary files that killed runs left, which may hold text of a page."""

from __future__ import annotations

import time
from pathlib import Path

from corpus.storage.interface import TEMPORARY
from corpus.storage.store import Store

# A file that is being written is touched at least this often.
STILL_S = 60.0


def leftovers(store: Store) -> list[Path]:
    """Temporary files below a local corpus; an object store shows none until they are complete."""
    root = store.local_path("")
    return sorted(root.rglob(f"{TEMPORARY}*")) if root is not None else []


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
