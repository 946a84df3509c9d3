"""One run at a time on a batch: a lock with owner, age and heartbeat, kept on the corpus itself.

A lock whose owner is provably gone is taken over: on this host when the process is dead (or its id was given to
another one), on other hosts when the heartbeat is older than `STALE_S`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from corpus.errors import BusyError, FatalError, InputError
from corpus.layout import Store

HEARTBEAT_S = 10.0
STALE_S = 90.0
SETTLE_S = 0.05
"""Between writing a lock and reading it back, so that of two who saw the same stale lock one gives way."""


@contextlib.contextmanager
def hold(store: Store, path: str, *, what: str) -> Iterator[None]:
    """Hold the lock at `path` for the time of the block.

    Raises: BusyError naming owner and age when somebody alive holds it.
    """
    token = secrets.token_hex(8)
    _acquire(store, path, token, what)
    stop = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(store, path, token, what, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _read(store, path).get("token") == token:
            store.delete(path)


def _acquire(store: Store, path: str, token: str, what: str) -> None:
    try:
        free = store.create_exclusive(path, _record(token, what))
    except FatalError as error:
        raise InputError(f"--corpus {store.root}: {error}; name a corpus that can be written") from error
    if not free:
        owner = _read(store, path)
        if owner and not _is_stale(owner):
            age = time.time() - float(owner.get("started", time.time()))
            raise BusyError(
                f"{store.root}/{path}: held by process {owner.get('pid')} on {owner.get('host')} for {age:.0f} s "
                f"({owner.get('what')}); wait for it, or end it and run the same command"
            )
        store.delete(path)
        if not store.create_exclusive(path, _record(token, what)):
            raise BusyError(
                f"{store.root}/{path}: another run took the stale lock at the same moment; run again"
            )
        time.sleep(SETTLE_S)
    if _read(store, path).get("token") != token:
        raise BusyError(f"{store.root}/{path}: another run took the lock at the same moment; run again")


def _record(token: str, what: str, started: float | None = None) -> bytes:
    now = time.time()
    record = {
        "token": token,
        "what": what,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": _process_start(os.getpid()),
        "started": started or now,
        "heartbeat": now,
    }
    return json.dumps(record).encode()


def _read(store: Store, path: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(store.read_bytes(path))
    except (FileNotFoundError, ValueError):
        return {}
    return record


def _heartbeat(store: Store, path: str, token: str, what: str, stop: threading.Event) -> None:
    started = time.time()
    while not stop.wait(HEARTBEAT_S):
        # A store that cannot be reached now is met again by the run itself; the lock only grows older.
        with contextlib.suppress(Exception):
            if _read(store, path).get("token") == token:
                store.write_bytes(path, _record(token, what, started))


def _is_stale(owner: dict[str, Any]) -> bool:
    if owner.get("host") == socket.gethostname():
        started = _process_start(int(owner.get("pid", 0)))
        return started is None or started != owner.get("process_started")
    return time.time() - float(owner.get("heartbeat", 0)) > STALE_S


def _process_start(pid: int) -> str | None:
    """Clock ticks at which a process of this host started; None when there is none (or it is a zombie)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
        return "unknown"  # no /proc on this system: believe the heartbeat's owner to be alive
    return None if fields[0] == "Z" else fields[19]
