"""Reads many small records at once: in threads where each waits for a network, else one by one."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from corpus.storage.store import Store

# Records that are read at the same time. Each waits for the store nearly all of its time.
READERS = 32

K = TypeVar("K")
V = TypeVar("V")


def read_many(store: Store, keys: Iterable[K], read: Callable[[K], V]) -> list[V]:
    """The results of `read` in the order of the keys."""
    wanted = list(keys)
    with without_collection():
        if store.is_local or len(wanted) < 2:
            return [read(key) for key in wanted]
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, wanted))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keep the garbage collector from walking a growing heap of records again and again.

    Of 1,800 manifests (41 MB) it took three quarters of the time: 1.43 s against 0.36 s.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
