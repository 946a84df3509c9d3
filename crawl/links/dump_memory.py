"""Memory of the readers of dumps on one machine: each reserves its need before it reads.

A dump compressed with `zstd --long=31` takes 2 GiB to read, so one reader per core may be more than
the machine has. A reservation is a number of locked files in a folder of the machine, each for
UNIT_BYTES. The locks end with their process, so the limit holds for several runs at once, and on
every node of a cluster.

A dump may need more memory later than at its beginning. Its reader then releases all of it and
waits for the larger amount. Two such readers never wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from pydantic import Field

from corpus.config import Section
from corpus.errors import InputError

log = logging.getLogger(__name__)

UNIT_BYTES = 1 << 28
# Memory of a reader beside the window of its dump: buffers, a batch of rows, caches.
FIXED_BYTES = 1 << 28
DEFAULT_FRAC = 0.75
POLL_S = 0.1
TELL_AFTER_S = 10.0
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class ReadingConfig(Section):
    """Settings of the readers; they do not change the links."""

    memory_bytes: int = Field(default=0, ge=0)
    """Bytes for all readers of dumps on one machine; 0: three quarters of its memory."""

    def limit_bytes(self) -> int:
        """The limit on this machine."""
        return self.memory_bytes or int(machine_bytes() * DEFAULT_FRAC)


def machine_bytes() -> int:
    """The memory of this machine, or the limit of its container."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return physical
    return min(physical, int(allowed)) if allowed.isdigit() else physical


class MemoryLimitError(InputError):
    """A dump needs more memory than all readers together may hold."""


def require(num_bytes: int, limit_bytes: int) -> None:
    """Check that `num_bytes` are within the limit. Raises MemoryLimitError."""
    if num_bytes > limit_bytes:
        raise MemoryLimitError(
            f"reading it takes {num_bytes >> 20:,} MiB of memory, the limit is {limit_bytes >> 20:,} MiB; "
            f"raise it with --set crawl.reading.memory_bytes={num_bytes}, or use a machine with more"
        )


class _Reservation:
    """The reservation of a reader."""

    def __init__(self, limit_bytes: int, folder: Path) -> None:
        self.limit_bytes = limit_bytes
        self.num_units = 0
        self._folder = folder
        self._held = contextlib.ExitStack()

    def take(self, num_bytes: int) -> None:
        """Wait for so many bytes. Readers are served in the order of their arrival."""
        needed = -(-num_bytes // UNIT_BYTES)
        units = max(needed, self.limit_bytes // UNIT_BYTES)
        pauses = _pauses(
            f"waiting for {num_bytes >> 20:,} MiB of memory: other readers on this machine hold too much of "
            f"{units * UNIT_BYTES >> 20:,} MiB (crawl.reading.memory_bytes)"
        )

        with contextlib.ExitStack() as queue:
            while not _lock(self._folder / "queue", queue):
                next(pauses)
            free = iter(range(units))
            while self.num_units < needed:
                unit = next(free, None)
                if unit is None:
                    next(pauses)
                    free = iter(range(units))
                elif _lock(self._folder / f"unit-{unit}", self._held):
                    self.num_units += 1

    def give_back(self) -> None:
        """Release everything."""
        self._held.close()
        self.num_units = 0


_in_force: ContextVar[_Reservation | None] = ContextVar("_in_force", default=None)


@contextlib.contextmanager
def reserved(num_bytes: int, limit_bytes: int, folder: Path | None = None) -> Iterator[None]:
    """Reserve `num_bytes` of the machine's `limit_bytes` for the block; wait until they are free.

    Both are counted in UNIT_BYTES; the limit is at least as large as the reservation.
    """
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"webtext-memory-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reservation, outer = _Reservation(limit_bytes, folder), _in_force.get()

    try:
        reservation.take(num_bytes)
        _in_force.set(reservation)
        yield
    finally:
        _in_force.set(outer)
        reservation.give_back()


def enlarge(num_bytes: int) -> None:
    """Grow the reservation around the caller to `num_bytes`, if there is a smaller one.

    The caller should hold little memory meanwhile. Raises: MemoryLimitError.
    """
    reservation = _in_force.get()
    if reservation is not None and num_bytes > reservation.num_units * UNIT_BYTES:
        require(num_bytes, reservation.limit_bytes)
        reservation.give_back()
        reservation.take(num_bytes)


def _pauses(what_for: str) -> Iterator[None]:
    """Yield before each pause; log the reason once, if the wait is long."""
    due: float | None = time.monotonic() + TELL_AFTER_S
    while True:
        time.sleep(POLL_S)
        if due is not None and time.monotonic() >= due:
            log.warning(what_for)
            due = None
        yield


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    """True if the file is ours now, until `stack` closes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False

    stack.callback(os.close, descriptor)
    return True
