"""One worker's place among those of its batch: a lease with a heartbeat, and changes of the roster.

The heartbeat is one small write per worker, for any number of shards. A worker is lost if its lease
has not changed for `EXPIRE_S` by the clock of an observer, or if its process has ended on the
observer's host: the observer replaces its lease by an empty one, so the lost worker cannot renew it
again, and frees its shards. A worker unable to renew stops asking servers after `VALID_S`, well
before then. Clocks of hosts are never compared.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from corpus.errors import FatalError
from corpus.storage.lease import Lease, has_died
from corpus.storage.store import Store
from crawl.fetch.fleet.roster import Roster

log = logging.getLogger(__name__)

RENEW_S = 10.0
EXPIRE_S = 90.0
# Requests in flight have ended before another worker may ask their domains.
VALID_S = 45.0
# Between two reads of the leases of others on an object store: each is a request.
REMOTE_WATCH_S = 30.0
# Conflicting changes of the roster: each waits up to so many seconds for the next try.
RETRY_S = 0.2
MOST_RETRIES = 100
FENCED = b"{}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A version of the roster, and its bytes, to be replaced by a change."""

    roster: Roster
    data: bytes


class Membership:
    """The leases and the roster below a folder of the corpus, as one worker sees them."""

    def __init__(
        self,
        store: Store,
        folder: str,
        num_shards: int,
        *,
        clean_up: Callable[[int], None] = lambda life: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clean_up(life)` removes the leftovers of a lost worker, before its shards are free."""
        self._store = store
        self._folder = folder
        self._num_shards = num_shards
        self._clean_up = clean_up
        self._clock = clock
        self._wait = wait
        self._lease: Lease | None = None
        self._renewed_at = 0.0
        self._watched_at = -REMOTE_WATCH_S
        # Leases of others as first seen, and when.
        self._beats: dict[int, tuple[bytes, float]] = {}
        self.life = -1

    @property
    def valid_until(self) -> float:
        """The end of this worker's permission to ask servers, by its own clock."""
        return self._renewed_at + VALID_S

    def join(self) -> int:
        """Become a member; the number of this life, never used before."""

        def number(roster: Roster) -> None:
            roster.next_life += 1

        def add(roster: Roster) -> None:
            roster.members.append(self.life)

        self.life = self.change(number).next_life - 1
        lease = Lease(self._store, self._lease_path(self.life), f"crawl worker {self.life}")
        self._renewed_at = self._clock()
        lease.acquire()
        self._lease = lease
        self.change(add)

        return self.life

    def renew(self) -> None:
        """Renew the lease if it is time. Raises: LostLeaseError if another worker ended it."""
        if self._clock() - self._renewed_at >= RENEW_S:
            self.confirm()

    def confirm(self) -> None:
        """Renew the lease now, as before every commit. Raises: LostLeaseError."""
        assert self._lease is not None
        began_at = self._clock()
        self._lease.confirm()
        self._renewed_at = began_at

    def leave(self) -> None:
        """Free all shards of this worker and give its lease back."""
        self.change(lambda roster: roster.remove(self.life, lost=False))
        assert self._lease is not None
        self._lease.release()

    def read(self) -> Seen:
        """The roster; the first reader creates it."""
        try:
            data = self._store.read_bytes(self._roster_path)
        except FileNotFoundError:
            made = Roster.empty(self._num_shards).dump()
            self._store.create_exclusive(self._roster_path, made)
            data = self._store.read_bytes(self._roster_path)

        return Seen(Roster.parse(data), data)

    def look(self) -> Seen:
        """The roster, after lost workers were taken off it."""
        seen = self.read()
        for life in self._find_lost(seen.roster):
            log.warning("crawl worker %d is lost; its shards go to others", life)
            self._clean_up(life)
            self.change(lambda roster, life=life: roster.remove(life, lost=True))  # type: ignore[misc]
            seen = self.read()

        return seen

    def replace(self, seen: Seen, changed: Roster) -> bool:
        """Write a change based on `seen`; False if another worker was first."""
        changed.version = seen.roster.version + 1
        return self._store.replace_exact(self._roster_path, seen.data, changed.dump())

    def change(self, apply: Callable[[Roster], None]) -> Roster:
        """Change the present roster; the result. Raises: FatalError."""
        for _ in range(MOST_RETRIES):
            seen = self.read()
            roster = Roster.parse(seen.data)
            apply(roster)
            if self.replace(seen, roster):
                return roster
            self._wait(random.random() * RETRY_S)

        raise FatalError(
            f"{self._store.root}/{self._roster_path}: changed by others {MOST_RETRIES} times while "
            "this worker tried to; run the same command again"
        )

    def _find_lost(self, roster: Roster) -> list[int]:
        now = self._clock()
        if not self._store.is_local and now - self._watched_at < REMOTE_WATCH_S:
            return []

        self._watched_at = now
        lost = []
        for life in roster.members:
            if life == self.life:
                continue
            try:
                data = self._store.read_bytes(self._lease_path(life))
            except FileNotFoundError:
                data = FENCED
            before, since = self._beats.get(life, (b"", now))
            if data != before:
                self._beats[life] = (data, now)
                since = now
            if (has_died(data) or now - since >= EXPIRE_S) and self._fence(life, data):
                lost.append(life)

        return lost

    def _fence(self, life: int, data: bytes) -> bool:
        """Prevent a life from renewing its lease; False if it just did."""
        path = self._lease_path(life)
        if data != FENCED:
            return self._store.replace_exact(path, data, FENCED)
        # Released by a worker before it could leave the roster, or fenced before.
        self._store.create_exclusive(path, FENCED)
        return True

    @property
    def _roster_path(self) -> str:
        return f"{self._folder}/roster.json"

    def _lease_path(self, life: int) -> str:
        return f"{self._folder}/members/{life:05}.json"
