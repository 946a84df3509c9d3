"""A crawl as it runs: what each shard's worker last said, and all of it together.

Every few seconds the task beside a worker writes the worker's state below `work/<batch>/`; whoever may read the corpus
can look: the driver's log, `python -m crawl.run --status`, a dashboard. On Ray the same numbers are metrics.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from corpus.errors import WebtextError
from corpus.run.executor import publish
from corpus.run.progress import duration
from corpus.storage.store import Store, work_dir

log = logging.getLogger(__name__)

EVERY_S = 5.0
FRESH_S = 30.0
"""A shard that has said nothing for so long is finished, or its worker is gone."""
NUM_DOMAINS = 5


@dataclass(frozen=True, slots=True)
class Live:
    """All shards that run, and how far those are that do not."""

    running: int = 0
    done: int = 0
    total: int = 0
    pages_per_s: float = 0.0
    bytes_per_s: float = 0.0
    in_flight: int = 0
    ready_hosts: int = 0
    waiting_hosts: int = 0
    eta_s: float = 0.0
    """The least time left: that of the domain with the most links, or of the shard with the most at its rate."""
    domains: tuple[tuple[str, int], ...] = ()
    """Domains with the most links left."""
    reasons: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """For people."""
        failures = [
            (reason, count) for reason, count in self.reasons.most_common() if reason != "ok"
        ]
        return [
            f"{self.done:,} of {self.total:,} links  {self.pages_per_s:,.0f} pages/s  {self.bytes_per_s / 1e6:,.1f} MB/s  "
            f"{self.in_flight} in flight  {self.ready_hosts:,} domains ready, {self.waiting_hosts:,} waiting  "
            f"{self.running} workers  ETA at least {duration(self.eta_s)}",
            "most left: "
            + (", ".join(f"{domain} {count:,}" for domain, count in self.domains) or "none"),
            "ended: "
            + ", ".join(
                [
                    f"ok {self.reasons['ok']:,}",
                    *(f"{reason} {count:,}" for reason, count in failures),
                ]
            ),
        ]


class Reporter:
    """Passes a worker's progress on: to the corpus every few seconds, to Ray where the task runs there."""

    def __init__(self, store: Store, batch: str, number: int, *, delay_s: float) -> None:
        self._store = store
        self._path = f"{_folder(batch)}/{number:05}.json"
        self._tags = {"batch": batch, "shard": str(number)}
        self._delay_s = delay_s
        self._due = 0.0

    def tell(self, state: dict[str, Any], *, last: bool = False) -> None:
        """The state of a progress line; the last one is always written."""
        if not last and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY_S
        told = {**state, "at": time.time(), "delay_s": self._delay_s}
        try:
            self._store.write_bytes(self._path, json.dumps(told).encode())
        except (OSError, WebtextError) as error:  # a look that is missed is no reason to stop
            log.warning("%s", error)
        numbers = {
            f"webtext_crawl_{name}": float(state[name])
            for name in (
                "done",
                "total",
                "ok",
                "in_flight",
                "bytes",
                "ready_hosts",
                "waiting_hosts",
            )
            if name in state
        }
        failures = sum(
            count for reason, count in state.get("reasons", {}).items() if reason != "ok"
        )
        publish({**numbers, "webtext_crawl_failed": float(failures)}, self._tags)


def read(store: Store, batch: str, now: float) -> Live:
    """What runs on a batch, `now` in Unix seconds; all zero where nothing was fetched lately."""
    return together((store.read_json(path) for path, _ in store.files(_folder(batch))), now)


def together(states: Iterable[dict[str, Any]], now: float) -> Live:
    """The states of shards as one."""
    reasons: Counter[str] = Counter()
    domains: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    running, pages_per_s, bytes_per_s, eta_s = 0, 0.0, 0.0, 0.0
    for state in states:
        reasons.update(state.get("reasons", {}))
        sums.update({name: state.get(name, 0) for name in ("done", "total")})
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
    return Live(
        running=running,
        done=sums["done"],
        total=sums["total"],
        pages_per_s=pages_per_s,
        bytes_per_s=bytes_per_s,
        in_flight=sums["in_flight"],
        ready_hosts=sums["ready_hosts"],
        waiting_hosts=sums["waiting_hosts"],
        eta_s=eta_s,
        domains=tuple(domains.most_common(NUM_DOMAINS)),
        reasons=reasons,
    )


def _folder(batch: str) -> str:
    return f"{work_dir(batch)}/crawl.fetch-live"
