"""The state of a long choice of survivors, kept beside the step's receipts.

One component of a million pages of one frame takes an hour in one task. A task that is stopped
continues with the pages that were not settled yet.
"""

from __future__ import annotations

import io
import logging
import time
import zipfile
from collections.abc import Sequence

import numpy as np
from xxhash import xxh3_128

from corpus.storage.store import Store

log = logging.getLogger(__name__)

# Seconds between two savepoints; shorter choices have none.
INTERVAL_S = 60.0


class Savepoint:
    """A file with the settled pages of one task, valid for the same inputs only."""

    def __init__(self, store: Store, path: str, inputs: Sequence[np.ndarray]) -> None:
        self._store, self._path = store, path
        digest = xxh3_128()
        for each in inputs:
            digest.update(np.ascontiguousarray(each).tobytes())
        self._digest = digest.hexdigest()
        self._last_s = time.monotonic()

    def restore(self, *state: np.ndarray) -> int:
        """Fill the arrays with the settled pages and return their number; 0 if none were kept."""
        try:
            data = self._store.read_bytes(self._path)
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                if str(found["arr_0"]) != self._digest:
                    return 0
                kept = [found[f"arr_{number}"] for number in range(1, len(state) + 1)]
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0

        for target, values in zip(state, kept, strict=True):
            target[: values.size] = values
        log.info("%s pages were settled before the last stop", f"{kept[0].size:,}")
        return int(kept[0].size)

    def keep(self, settled: int, *state: np.ndarray) -> None:
        """Write the first `settled` values of the arrays, at most once an interval."""
        if time.monotonic() - self._last_s < INTERVAL_S:
            return

        buffer = io.BytesIO()
        np.savez(buffer, np.array(self._digest), *(values[:settled] for values in state))
        self._store.write_bytes(self._path, buffer.getvalue())
        self._last_s = time.monotonic()
        log.info(
            "%s of %s pages of large buckets are settled", f"{settled:,}", f"{state[0].size:,}"
        )
