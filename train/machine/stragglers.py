"""Names the ranks that the others wait for.

A collective whose partner is dead, stopped or slow only says that it timed out. Each rank therefore
posts its place (a count of stages, the step and the activity) to the process group's store, from a
thread of its own. After half of the time limit a waiting rank logs who is behind; when the limit
ends the collective, the error says so.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch.distributed as dist

from train.machine.distributed import World

log = logging.getLogger(__name__)

# Posts in a time limit, and the bounds of the time between two.
POSTS = 20
SHORTEST_S, LONGEST_S = 0.1, 10.0


@dataclass(frozen=True)
class Place:
    """The stage that a rank is in. Ranks pass the same stages, so that counts can be compared."""

    count: int
    step: int
    activity: str
    host: str
    process: int
    beat: int


class Stragglers:
    """Posts this rank's place, and compares those of the others with it."""

    def __init__(self, world: World, limit_s: float) -> None:
        self._world = world
        self._limit_s = limit_s
        self._count = self._step = self._beat = 0
        self._activity = "start"
        self._since = time.monotonic()
        self._named_at = -1
        # The last place of each rank, and when it was new here: clocks of hosts may differ.
        self._seen: dict[int, tuple[Place, float]] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Stragglers:
        if self._world.size > 1:
            store = dist.distributed_c10d._get_default_store()
            self._store: Any = dist.PrefixStore("webtext/places", store)
            self._thread = threading.Thread(target=self._watch, name="stragglers", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(1)

    def enter(self, step: int, activity: str) -> None:
        """Begin a stage; called by all ranks in the same order."""
        self._count += 1
        self._step, self._activity, self._since = step, activity, time.monotonic()

    def described(self) -> str:
        """The ranks that are behind or silent; all ranks if none is. Empty if nothing is known."""
        places = dict(self._seen)
        if not places:
            return ""

        furthest = max(place.count for place, _ in places.values())
        now = time.monotonic()
        behind = [
            rank
            for rank, (place, changed) in sorted(places.items())
            if place.count < furthest or now - changed > self._limit_s / 4
        ]
        parts = []
        for rank in behind or sorted(places):
            place, changed = places[rank]
            silent = f", silent for {now - changed:.0f} s" if now - changed > 2 * LONGEST_S else ""
            parts.append(
                f"rank {rank} (host {place.host}, process {place.process}) is at step {place.step}, "
                f"{place.activity}{silent}"
            )
        missing = [str(rank) for rank in range(self._world.size) if rank not in places]
        if missing:
            parts.append(f"nothing came from rank {', '.join(missing)}")

        others = "; the others are ahead" if behind and len(behind) < len(places) else ""
        return f"{'; '.join(parts)}{others}"

    def _watch(self) -> None:
        interval = min(LONGEST_S, max(SHORTEST_S, self._limit_s / POSTS))
        while not self._closed.wait(interval):
            try:
                self._exchange()
            except RuntimeError as error:
                # The store is gone with the process that held it: rank 0, or torchrun's agent.
                log.warning("no answer from the store of the process group: %s", error)
                return

            waiting = time.monotonic() - self._since
            if waiting > self._limit_s / 2 and self._named_at != self._count:
                self._named_at = self._count
                log.warning(
                    "waiting for %.0f s in step %d (%s), the limit is %.0f s: %s",
                    waiting, self._step, self._activity, self._limit_s, self.described(),
                )  # fmt: skip

    def _exchange(self) -> None:
        self._beat += 1
        place = Place(
            self._count, self._step, self._activity, socket.gethostname(), os.getpid(), self._beat
        )
        self._store.set(str(self._world.rank), json.dumps(asdict(place)))

        for rank in range(self._world.size):
            if not self._store.check([str(rank)]):
                continue
            found = Place(**json.loads(self._store.get(str(rank))))
            known = self._seen.get(rank)
            if known is None or known[0] != found:
                self._seen[rank] = (found, time.monotonic())
