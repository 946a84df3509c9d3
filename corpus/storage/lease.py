"""One run at a time: a lease with owner, heartbeat and expiry, kept on the corpus itself, and fenced.

A lease with a provably dead owner is taken over: on this host since its boot a dead process (or one
with a reused id), elsewhere a heartbeat older than `STALE_S` and unchanged while we watch. The owner
renews it by comparison and exchange, never by a plain write, so it cannot undo a takeover. Every
commit of a table follows a renewal (`confirm`), so a run that slept through its expiry cannot
commit. A run without its lease stops as if by SIGTERM; finished work is kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from corpus.errors import (
    BusyError,
    FatalError,
    InputError,
    Interrupted,
    LostLeaseError,
    WebtextError,
)
from corpus.storage.store import Store

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
STALE_S = 90.0
# How long a silent lease of another host is watched for a heartbeat: clocks of hosts differ, a
# beat is a beat.
WATCH_S = 12.0
# On a store without conditional writes: the time after which a lease that was written at the same
# moment is seen.
SETTLE_S = 2.0
# Between two attempts to take a lease that is waited for.
RETRY_S = 5.0
# Another random number after each start of the kernel.
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# The leases of this process: what a commit has to confirm.
_held: list[Lease] = []


class Lease:
    """A lease held by this process."""

    def __init__(self, store: Store, path: str, what: str) -> None:
        self.store = store
        self.path = path
        self.what = what
        self.token = secrets.token_hex(8)
        # Why it is not ours any more; empty while it is.
        self.lost = ""
        self._started = time.time()
        self._bytes = b""
        self._guard = threading.Lock()

    def acquire(self) -> None:
        """Take the lease.

        Raises: BusyError when somebody alive holds it, InputError where nothing can be written.
        """
        record = self._record()
        # Read first: some stores answer a second creation with success.
        found = _read(self.store, self.path)
        if found is not None:
            _refuse_living(self.store, self.path, found)
            log.warning("%s/%s: its owner is gone, taken over", self.store.root, self.path)

        try:
            taken = (
                self.store.create_exclusive(self.path, record)
                if found is None
                else self.store.replace_exact(self.path, found, record)
            )
            if taken and not self.store.is_conditional:
                # Another start that read before our write has written by now: the last one wins.
                time.sleep(SETTLE_S)
                taken = _read(self.store, self.path) == record
        except FatalError as error:
            raise InputError(
                f"--corpus {self.store.root}: {error}; name a corpus that can be written"
            ) from error

        if not taken:
            present = _read(self.store, self.path)
            if present is not None and present != found:
                _refuse_living(self.store, self.path, present)
            raise BusyError(
                f"{self.store.root}/{self.path}: another run took it at the same moment; run again"
            )

        self._bytes = record

    def confirm(self) -> None:
        """Renew the lease. Raises: LostLeaseError when it is not ours any more."""
        with self._guard:
            if not self.lost:
                self._renew()

        if self.lost:
            raise LostLeaseError(
                f"{self.store.root}/{self.path}: the lease of this run ({self.what}) {self.lost}; nothing more is committed. "
                f"Look at `webtext status --corpus {self.store.root}`"
            )

    def _renew(self) -> None:
        """Replace our record by a newer one, or note who has the lease instead."""
        record = self._record()
        renewed = self.store.replace_exact(self.path, self._bytes, record)
        if not renewed:
            # A renewal whose answer was lost in an outage may have been written all the same.
            present = _read(self.store, self.path)
            if present is None or not self._is_ours(present):
                self.lost = _describe_owner(present)
                return
            renewed = self.store.replace_exact(self.path, present, record)

        if renewed:
            self._bytes = record
        else:
            self.lost = _describe_owner(_read(self.store, self.path))

    def _is_ours(self, data: bytes) -> bool:
        """True for a record that this lease wrote, whatever its heartbeat."""
        return _parse(data).get("token") == self.token

    def release(self) -> None:
        """Release the lease if it is still ours.

        A failing store hides no other error here: the lease expires.
        """
        with self._guard:
            try:
                present = None if self.lost else _read(self.store, self.path)
                if present is not None and self._is_ours(present):
                    self.store.delete(self.path)
            except (OSError, WebtextError) as error:
                log.warning(
                    "%s/%s: not given back (%s); it is taken over when it is %.0f s old",
                    self.store.root,
                    self.path,
                    error,
                    STALE_S,
                )

    def _record(self) -> bytes:
        record = {
            "token": self.token,
            "what": self.what,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "processes": _process_space(),
            "process_started": _process_start(os.getpid()),
            "started": self._started,
            "heartbeat": time.time(),
        }

        return json.dumps(record).encode()


def refuse_held(store: Store, path: str) -> None:
    """Raise BusyError if somebody who seems alive holds the lease. A quick look before slow work."""
    data = _read(store, path)
    if data is not None and not _is_stale(_parse(data)):
        _refuse_living(store, path, data)


@contextlib.contextmanager
def hold(store: Store, path: str, *, what: str, wait_s: float = 0.0) -> Iterator[Lease]:
    """Hold the lease at `path` for the time of the block, after waiting for it up to `wait_s`.

    Raises: BusyError naming owner and age when somebody alive holds it; LostLeaseError when another
    run took it over while the block ran.
    """
    lease = Lease(store, path, what)
    _acquire_within(lease, wait_s)
    _held.append(lease)
    stop = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(lease, stop), daemon=True)
    beat.start()

    try:
        yield lease
    except Interrupted as interrupted:
        if not lease.lost:
            raise
        raise LostLeaseError(
            f"{store.root}/{path}: the lease of this run ({what}) {lease.lost}; nothing more is committed"
        ) from interrupted
    finally:
        stop.set()
        try:
            beat.join()
        finally:
            # Also after a signal in the wait: a lease left here would stop this process's next run.
            _held.remove(lease)
            lease.release()


def _acquire_within(lease: Lease, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    waiting = False
    while True:
        try:
            lease.acquire()
            return
        except BusyError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            if not waiting:
                log.warning("%s; waiting up to %.0f s", error, left)
            waiting = True
            time.sleep(min(RETRY_S, left))


def confirm(store: Store) -> None:
    """Renew this process's leases on the corpus before a commit. Raises: LostLeaseError."""
    for lease in list(_held):
        if lease.store.root == store.root:
            lease.confirm()


def owner(store: Store, path: str) -> dict[str, Any] | None:
    """The holder of the lease at `path`, with `alive`; None without one."""
    data = _read(store, path)
    if data is None:
        return None
    record = _parse(data)
    return {**record, "alive": not _is_stale(record)}


def has_died(data: bytes) -> bool:
    """True if the lease `data` is of a process of this host that has ended, or of no process."""
    record = _parse(data)
    return not _is_elsewhere(record) and _is_stale(record)


def _refuse_living(store: Store, path: str, data: bytes) -> None:
    """Raise BusyError unless the owner is gone; a silent one elsewhere is watched for a while."""
    record = _parse(data)
    if _is_stale(record) and not (_is_elsewhere(record) and _beats(store, path, data)):
        return

    age = max(0.0, time.time() - _number(record.get("started"), time.time()))
    raise BusyError(
        f"{store.root}/{path}: held by process {record.get('pid')} on {record.get('host')} for {age:.0f} s "
        f"({record.get('what')}); wait for it, or end it and run the same command"
    )


def _beats(store: Store, path: str, data: bytes) -> bool:
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(min(1.0, WATCH_S))
        if _read(store, path) != data:
            return True
    return False


def _describe_owner(data: bytes | None) -> str:
    if data is None:
        return "was removed"
    record = _parse(data)
    return f"was taken over by process {record.get('pid')} on {record.get('host')} ({record.get('what')})"


def _read(store: Store, path: str) -> bytes | None:
    try:
        return store.read_bytes(path)
    except FileNotFoundError:
        return None


def _parse(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _heartbeat(lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            lease.confirm()
        except LostLeaseError as error:
            log.error("%s", error)
            _stop_run()
            return
        except Exception as error:
            # A store that cannot be reached now is met again by the run itself; the lease only grows older.
            log.warning("%s/%s: no heartbeat (%s)", lease.store.root, lease.path, error)


def _stop_run() -> None:
    """End this process' run as SIGTERM does, where a command listens for it."""
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)


def _is_elsewhere(record: dict[str, Any]) -> bool:
    """True if the owner runs on another host, in another container, or ran before a reboot."""
    return bool(record) and (
        record.get("host") != socket.gethostname()
        or record.get("processes", _process_space()) != _process_space()
    )


def _is_stale(record: dict[str, Any]) -> bool:
    if not record:
        return True
    if not _is_elsewhere(record):
        started = _process_start(int(_number(record.get("pid"), 0)))
        return started is None or started != record.get("process_started")

    # A heartbeat in the future is as doubtful as an old one: one of the two clocks is wrong.
    return not abs(time.time() - _number(record.get("heartbeat"), 0)) <= STALE_S


def _number(value: object, default: float) -> float:
    """A finite number from a lease, or `default`: the file may be damaged."""
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else default
    except OverflowError:  # An integer of JSON has any number of digits.
        return default


def _process_space() -> str:
    """The boot of this machine and its process namespace, within which an id names one process.

    Containers of one host have their own namespaces. Machines number them alike (the first is
    always 4026531836), so two hosts of one name differ in the boot alone.
    """
    try:
        with open(BOOT_ID) as stream:
            boot = stream.read().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_start(pid: int) -> str | None:
    """Start of a process of this host in clock ticks; None if there is none (or a zombie)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
        return "unknown"  # no /proc on this system: believe the heartbeat's owner to be alive

    return None if fields[0] == "Z" else fields[19]
