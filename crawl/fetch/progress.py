"""Progress of a running crawl: the last state of each shard's worker, and their sum.

Every few seconds the task beside a worker writes the worker's state below `work/<batch>/`. They are
read by the driver's log, `webtext crawl --status`, a dashboard, and the other workers of the batch.
On Ray the same numbers are metrics.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from corpus.errors import WebtextError
from corpus.run import metrics
from corpus.run.executors.ray import publish
from corpus.run.progress import duration
from corpus.storage.store import Store, work_dir
from corpus.tables.manifest import find_manifest
from crawl.fetch import walls

log = logging.getLogger(__name__)

EVERY_S = 5.0
# After this long without a word a shard is finished, or its worker is gone.
FRESH_S = 30.0
NUM_DOMAINS = 5
_GAUGES = ("done", "total", "ok", "in_flight", "bytes", "ready_hosts", "waiting_hosts")


@dataclass(frozen=True, slots=True)
class CrawlProgress:
    """All running shards, and the counts of the others."""

    running: int = 0
    done: int = 0
    total: int = 0
    pages_per_s: float = 0.0
    bytes_per_s: float = 0.0
    in_flight: int = 0
    ready_hosts: int = 0
    waiting_hosts: int = 0
    eta_s: float = 0.0
    """The least time left: that of the domain with the most links, or of the slowest shard."""
    domains: tuple[tuple[str, int], ...] = ()
    """Domains with the most links left."""
    reasons: Counter[str] = field(default_factory=Counter)
    walls: Counter[str] = field(default_factory=Counter)
    """Counts of `crawl.fetch.walls`."""
    archive: Counter[str] = field(default_factory=Counter)
    """Links that archives are asked for: `of`, `asked` and `revived`."""

    @property
    def num_failed(self) -> int:
        """Links with any outcome but a page."""
        return self.reasons.total() - self.reasons["ok"]

    def stopped(self) -> CrawlProgress:
        """The same counts without anything under way: no run holds the batch."""
        return replace(
            self,
            running=0,
            pages_per_s=0.0,
            bytes_per_s=0.0,
            in_flight=0,
            ready_hosts=0,
            waiting_hosts=0,
            eta_s=0.0,
        )

    def publish(self) -> None:
        """Put the state of all shards into the driver's metrics."""
        queue = {
            "links_left": self.total - self.done,
            "in_flight": self.in_flight,
            "domains_ready": self.ready_hosts,
            "domains_waiting": self.waiting_hosts,
            "workers": self.running,
        }
        metrics.CURRENT.set_all("webtext_crawl_queue", "state", queue)
        metrics.CURRENT.set("webtext_crawl_pages_per_second", self.pages_per_s)
        metrics.CURRENT.set_all("webtext_crawl_ended", "reason", self.reasons)

    def lines(self) -> list[str]:
        """Three lines for people, and a warning if there is one."""
        failures = [
            (reason, count) for reason, count in self.reasons.most_common() if reason != "ok"
        ]
        ended = [
            f"ok {self.reasons['ok']:,}",
            *(f"{reason} {count:,}" for reason, count in failures),
        ]
        domains = ", ".join(f"{domain} {count:,}" for domain, count in self.domains)
        warned = walls.warning(self.walls)

        head = f"{self.done:,} of {self.total:,} links  "
        if self.running:
            head += (
                f"{self.pages_per_s:,.0f} pages/s  {self.bytes_per_s / 1e6:,.1f} MB/s  "
                f"{self.in_flight} in flight  "
                f"{self.ready_hosts:,} domains ready, {self.waiting_hosts:,} waiting  "
                f"{self.running} {'worker' if self.running == 1 else 'workers'}  "
                f"ETA at least {duration(self.eta_s)}"
            )
        else:
            head += "no worker runs; the same crawl command continues"

        return [
            head,
            f"most left: {domains or 'none'}",
            f"ended: {', '.join(ended)}",
            *([_archive_line(self.archive)] if self.archive else []),
            *([warned] if warned is not None else []),
        ]


class Reporter:
    """Passes progress of a seat's workers to the corpus every few seconds, and to Ray there."""

    def __init__(self, store: Store, batch: str, number: int, *, delay_s: float) -> None:
        self._store = store
        self._batch = batch
        self._number = number
        self._tags = {"batch": batch, "shard": str(number)}
        self._delay_s = delay_s
        self._due, self._has_begun = 0.0, False

    def write(self, state: dict[str, Any], *, last: bool = False) -> None:
        """Write the state of a progress line, if one is due; the last one always is."""
        # A worker has no links before it has taken its first shards.
        has_begun = bool(state.get("total"))
        if not last and time.monotonic() < self._due and has_begun == self._has_begun:
            return

        self._due, self._has_begun = time.monotonic() + EVERY_S, has_begun
        self._write(state)

        numbers = {f"webtext_crawl_{name}": float(state[name]) for name in _GAUGES if name in state}
        reasons = state.get("reasons", {})
        failed = sum(count for reason, count in reasons.items() if reason != "ok")
        publish({**numbers, "webtext_crawl_failed": float(failed)}, self._tags)

    def _write(self, state: dict[str, Any]) -> None:
        stamped = {**state, "at": time.time(), "delay_s": self._delay_s}
        try:
            self._store.write_bytes(
                _path(self._batch, self._name(state)), json.dumps(stamped).encode()
            )
        except (OSError, WebtextError) as error:
            log.warning("%s", error)  # a missed state is not a reason to stop

    def _name(self, state: dict[str, Any]) -> str:
        """A name per life: the work of an earlier worker of the seat still counts."""
        life = state.get("life")
        return f"{self._number:05}" if life is None else f"life-{life:05}"


def read(store: Store, batch: str, now: float) -> CrawlProgress:
    """The progress of a batch, `now` in Unix seconds; all zero if nothing was fetched lately."""
    found = []
    for path, _ in store.files(_folder(batch)):
        # A state that is being replaced is listed under a temporary name for a moment.
        with contextlib.suppress(FileNotFoundError):
            found.append(store.read_object(path))
    links = find_manifest(store, "links", batch)
    return merge(found, now, total=links.rows if links is not None and found else None)


def merge(
    states: Iterable[dict[str, Any]], now: float, *, total: int | None = None
) -> CrawlProgress:
    """The sum of the states of workers.

    `total`: the links of the batch; None for the sum over the states.
    """
    reasons: Counter[str] = Counter()
    domains: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    walled: Counter[str] = Counter()
    archive: Counter[str] = Counter()
    running, pages_per_s, bytes_per_s, eta_s = 0, 0.0, 0.0, 0.0

    for state in states:
        reasons.update(state.get("reasons", {}))
        sums.update({name: state.get(name, 0) for name in ("done", "total")})
        archive.update(state.get("archive", {}))
        walled.update({name: state.get(name, 0) for name in walls.NAMES})
        if now - state["at"] > FRESH_S or state["done"] >= state["total"]:
            continue

        running += 1
        sums.update(
            {name: state.get(name, 0) for name in ("in_flight", "ready_hosts", "waiting_hosts")}
        )
        seconds = max(1e-9, state.get("seconds", 0.0))
        rate = state.get("begun", 0) / seconds
        pages_per_s += rate
        bytes_per_s += state.get("bytes", 0) / seconds

        top = dict(state.get("top", ()))
        domains.update(top)
        by_rate = (state["total"] - state["done"]) / rate if rate else 0.0
        eta_s = max(eta_s, by_rate, state.get("delay_s", 0.0) * max(top.values(), default=0))

    return CrawlProgress(
        running=running,
        done=sums["done"] if total is None else min(total, sums["done"]),
        total=sums["total"] if total is None else total,
        pages_per_s=pages_per_s,
        bytes_per_s=bytes_per_s,
        in_flight=sums["in_flight"],
        ready_hosts=sums["ready_hosts"],
        waiting_hosts=sums["waiting_hosts"],
        eta_s=eta_s,
        domains=tuple(domains.most_common(NUM_DOMAINS)),
        reasons=reasons,
        walls=walled,
        archive=archive,
    )


def report_archive(store: Store, batch: str, counts: Mapping[str, int]) -> None:
    """Write the counts of a crawl that asks archives, for `--status`."""
    state = {"done": 0, "total": 0, "at": time.time(), "archive": dict(counts)}
    try:
        store.write_bytes(f"{_folder(batch)}/archive.json", json.dumps(state).encode())
    except (OSError, WebtextError) as error:
        log.warning("%s", error)  # a missed state is not a reason to stop


def _archive_line(counts: Mapping[str, int]) -> str:
    return (
        f"archives: {counts['asked']:,} of {counts['of']:,} links asked, "
        f"{counts['revived']:,} have a capture"
    )


def _folder(batch: str) -> str:
    return f"{work_dir(batch)}/crawl.fetch-live"


def _path(batch: str, name: str) -> str:
    return f"{_folder(batch)}/{name}.json"
