"""A worker's own state: a local folder, and its copy on an object store.

The folder holds committed outcomes, `state.json` (retry times and paces, Unix seconds) and
`heartbeat`, with the time of the worker's last sign of life. On an object store `Mirror` keeps a
copy, so losing the node loses no committed segment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus.errors import FatalError
from corpus.storage.store import Store, open_store

STATE = "state.json"
HEARTBEAT = "heartbeat"
LOCK = ".lock"
# Seconds a worker waits for the one before it: this may still be saving.
LOCK_WAIT_S = 30.0

# Errors of file systems without locks (some mounts of Lustre and NFS). There the watch for the
# parent process must do.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def read_state(folder: Path) -> dict[str, Any]:
    """`state.json` of a shard's folder; empty without a readable one."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return state


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace `state.json` as a whole. Raises FatalError (disk)."""
    open_store(str(folder)).write_bytes(STATE, json.dumps(state).encode())


def alive_at(folder: Path) -> float | None:
    """Unix seconds of the last sign of life of a worker of this folder; None if none ever lived."""
    try:
        return (folder / HEARTBEAT).stat().st_mtime
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only worker on a shard's folder: two would ask the same domains.

    The lock dies with its process. Raises: FatalError when another worker does not end in time.
    """
    with (folder / LOCK).open("w") as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FatalError(
                        f"{folder}: another worker still fetches this shard; "
                        f"end it (`fuser {folder / LOCK}` names it) and run again"
                    ) from None
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
                break
            time.sleep(0.1)

        yield


class Mirror:
    """Keeps a copy of a shard's local state on an object store."""

    def __init__(self, store: Store, durable: str, folder: Path) -> None:
        self._store = store
        self._durable = durable
        self._folder = folder
        self._saved: dict[str, int] = {}

    def restore(self) -> None:
        """Bring an earlier attempt's saved files to this node."""
        if self._store.is_local:
            return
        for path, _ in self._store.files(self._durable):
            target = self._folder / path.rpartition("/")[2]
            target.write_bytes(self._store.read_bytes(path))
            self._saved[target.name] = target.stat().st_mtime_ns if target.name != HEARTBEAT else 0

    def save(self) -> None:
        """Save the files changed since the last time."""
        if self._store.is_local:
            return

        for path in sorted(self._folder.glob("*")):
            # Of a heartbeat elsewhere, only its existence counts: the time of its copy is not used.
            changed = path.stat().st_mtime_ns if path.name != HEARTBEAT else 0
            if (
                path.is_file()
                and not path.name.startswith(".")
                and self._saved.get(path.name) != changed
            ):
                self._store.write_bytes(f"{self._durable}/{path.name}", path.read_bytes())
                self._saved[path.name] = changed
