"""Simulated crawls on a virtual clock: makespan against the polite bound, memory, store requests.

The links follow the real skew of a list of domains (`COUNT NAME` or `NAME COUNT` lines, such as the
top 1,000 of WebText): the list is scaled to `--links`, and a power law continues it to `--domains`.
A tick is the period of a domain: delay, mean jitter and latency. In a tick, a worker serves one
request of as many of its domains as it has capacity for, those with the most links left first, as
`crawl.fetch.pace.frontier` does. Every domain has one request for robots.txt. Retries and dead hosts are
left out.

Assignments: `shared` is the crawl's own (`crawl.fetch.fleet.roster`), with the time after which a
lost worker is noticed. `one shard per worker` and `1,024 shards in turns` are for comparison: there
a worker process owns one shard until its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.storage.store import open_store
from crawl.fetch.fleet.membership import EXPIRE_S, RENEW_S
from crawl.fetch.fleet.roster import FREE, Roster
from crawl.fetch.fleet.tending import WEIGH_S
from crawl.fetch.frozen_settings import MOST_SHARDS
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.settings import FetchConfig
from crawl.fetch.worker import REMOTE_SAVE_S, Spec, Worker

CONFIG = FetchConfig()
LATENCY_S = 0.5
# A page takes 1.04 ms of processor time (docs/crawl.md), which limits a worker of one core.
PAGES_PER_S = min(1000 / 1.04, CONFIG.concurrency / LATENCY_S)
# A tick: latency, the delay with half of its jitter, or the rest after a slow answer.
PERIOD_S = LATENCY_S + max(
    CONFIG.delay_s * (1 + CONFIG.jitter_frac / 2), CONFIG.latency_factor * LATENCY_S
)
CAPACITY = int(PAGES_PER_S * PERIOD_S)
# Ticks between two counts of the workers' loads.
WEIGH_TICKS = int(WEIGH_S / PERIOD_S)
# Ticks for which the shards of a lost worker rest.
LOST_TICKS = int(EXPIRE_S / PERIOD_S)
# Writes of a worker per second: state, lease, and outcomes at each flush.
PUTS_PER_S = 1 / REMOTE_SAVE_S + 1 / RENEW_S + 1 / CONFIG.flush_s
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers at the start, and their number from a later time on."""

    name: str
    workers: int
    later: int
    change_s: float = 600.0


FLEETS = (
    Fleet("16 workers", 16, 16),
    Fleet("8 workers, 16 after 10 min", 8, 16),
    Fleet("16 workers, 12 after 10 min", 16, 12),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domains_file", type=Path, help="list of domains with counts")
    parser.add_argument("--links", type=int, default=8_000_000)
    parser.add_argument("--domains", type=int, default=500_000)
    parser.add_argument("--caps", type=int, nargs="*", default=[0, 1000, 100], metavar="LINKS")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()

    loads = spread(read_counts(args.domains_file), args.links, args.domains)
    rows = [row for cap in args.caps for row in compare(loads, cap)]
    memory = worker_memory(loads, FLEETS[0].workers)
    if args.json:
        print(json.dumps({"bench": "crawl_simulation", "rows": rows, "memory": memory}))
        return

    print(f"{loads.sum():,} links on {len(loads):,} domains, the largest has {loads.max():,}")
    print(f"a worker serves {PAGES_PER_S:.0f} pages/s, a domain one in {PERIOD_S:.2f} s")
    for row in rows:
        print(
            f"cap {row['cap'] or 'none':>5}  {row['fleet']:28} {row['assignment']:26}"
            f" {row['hours']:7.2f} h  {row['ratio']:5.2f} x the bound  {row['puts']:>13,} PUTs"
        )
    print(
        f"a worker with {memory['links']:,} links on {memory['domains']:,} domains: "
        f"{memory['mb']:.0f} MB before its first request"
    )


def read_counts(path: Path) -> np.ndarray:
    """Counts of a list of domains, descending. Shape (n,), float64."""
    counts = [
        int(word)
        for line in path.read_text().splitlines()
        for word in line.split()
        if word.isdigit()
    ]
    return np.sort(np.array(counts, float))[::-1]


def spread(head: np.ndarray, num_links: int, num_domains: int) -> np.ndarray:
    """Links per domain, descending: `head` scaled, continued by a power law, at least 1 each."""
    if num_domains <= len(head):
        scaled = head[:num_domains] * num_links / head[:num_domains].sum()
        return np.asarray(np.maximum(1, scaled), int)

    # WebText's list counts 45 million links; of them the head keeps its share.
    share = min(0.9, head.sum() / 45e6)
    first = head * share * num_links / head.sum()
    ranks = np.arange(len(head) + 1, num_domains + 1) / len(head)

    def tail(exponent: float) -> np.ndarray:
        return np.asarray(np.maximum(1.0, first[-1] * ranks**-exponent))

    low, high = 0.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if tail(middle).sum() > num_links - first.sum() else (low, middle)
        )
    return np.asarray(np.concatenate([first, tail(high)]).round(), int)


def compare(loads: np.ndarray, cap: int) -> list[dict[str, Any]]:
    """Makespans of all fleets and assignments under a cap of links per domain."""
    ticks = (np.minimum(loads, cap) if cap else loads) + 1
    rows = []
    for fleet in FLEETS:
        least = polite_bound(ticks, fleet)
        static = _shards(len(ticks), fleet.workers)
        many = _shards(len(ticks), MOST_SHARDS)
        shared, num_changes = leased(ticks, many, fleet)
        puts = shared * PERIOD_S * PUTS_PER_S * max(fleet.workers, fleet.later) + num_changes
        one = in_turns(ticks, static, fleet)
        turns = in_turns(ticks, many, fleet)
        found = {
            "shared": (shared, puts),
            "one shard per worker": (one, one * PERIOD_S * fleet.workers),
            f"{MOST_SHARDS:,} shards in turns": (turns, turns * PERIOD_S * fleet.later),
        }
        rows += [
            {
                "cap": cap,
                "fleet": fleet.name,
                "assignment": name,
                "hours": num_ticks * PERIOD_S / HOUR_S,
                "ratio": num_ticks / least,
                # With one shard at a time the state is mirrored each second.
                "puts": int(num_puts),
            }
            for name, (num_ticks, num_puts) in found.items()
        ]
    return rows


def polite_bound(ticks: np.ndarray, fleet: Fleet) -> float:
    """The least ticks for any assignment: the hottest domain, or what all workers can serve."""
    change = fleet.change_s / PERIOD_S
    early = change * fleet.workers * CAPACITY
    total = float(ticks.sum())
    if total <= early:
        served = total / (fleet.workers * CAPACITY)
    else:
        served = change + (total - early) / (fleet.later * CAPACITY)
    return max(float(ticks.max()), served)


def in_turns(ticks: np.ndarray, shards: np.ndarray, fleet: Fleet) -> float:
    """Ticks when each worker fetches one shard after the other, to its end.

    Shards of workers that leave continue where they were when another worker is free.
    """
    order = np.argsort(shards, kind="stable")
    starts = np.flatnonzero(np.diff(shards[order], prepend=-1))
    left = [alone(each) for each in np.split(ticks[order], starts[1:])]
    change = fleet.change_s / PERIOD_S
    queue = list(left)

    # Times at which workers become free, and what they have in hand.
    free = [0.0] * fleet.workers
    begun: list[tuple[float, float]] = []
    while queue and min(free) < change:
        worker = free.index(min(free))
        begun.append((free[worker], free[worker] + queue[0]))
        free[worker] += queue.pop(0)
    for _ in range(fleet.workers - fleet.later):
        last = max(free)
        free.remove(last)
        if last > change:
            queue.insert(0, last - change)
    free += [change] * (fleet.later - fleet.workers)

    free = [max(each, change) if queue else each for each in free]
    for duration in queue:
        worker = free.index(min(free))
        free[worker] += duration
    return max(free)


def alone(ticks: np.ndarray) -> float:
    """Ticks of one worker for these domains, most links left first."""
    left = np.sort(ticks)
    passed = 0
    while (num_left := len(left) - int(np.searchsorted(left, 0, "right"))) > CAPACITY:
        serve(left, num_left)
        passed += 1
    return passed + (int(left[-1]) if len(left) else 0)


def serve(left: np.ndarray, num_left: int) -> None:
    """Serve the domains with most links left for one tick. `left` ascends and stays so."""
    if num_left <= CAPACITY:
        left[len(left) - num_left :] -= 1
        return

    least = left[-CAPACITY]
    start = int(np.searchsorted(left, least, "left"))
    stop = int(np.searchsorted(left, least, "right"))
    left[stop:] -= 1
    # Of equal domains the first are served, which keeps the order.
    left[start : start + CAPACITY - (len(left) - stop)] -= 1


def leased(ticks: np.ndarray, shards: np.ndarray, fleet: Fleet) -> tuple[float, int]:
    """Ticks, and changes of the roster, when workers share shards by the crawl's own rules."""
    left, shard = ticks.copy(), shards
    roster = Roster.empty(MOST_SHARDS)
    roster.members = list(range(fleet.workers))
    change, passed, num_changes, seats = fleet.change_s / PERIOD_S, 0, 0, fleet.workers
    lost_until = math.inf
    while len(left):
        if passed >= change and seats < fleet.later:
            roster.members = list(range(fleet.later))
            seats = fleet.later
        elif passed >= change and seats > fleet.later and lost_until == math.inf:
            lost_until = passed + LOST_TICKS
        if passed >= lost_until:
            for worker in range(fleet.later, seats):
                roster.remove(worker, lost=True)
            lost_until, seats = math.inf, fleet.later

        num_changes += share_out(roster, left, shard)
        of = np.array(roster.owners)[shard]
        idle = range(fleet.later, seats) if lost_until < math.inf else ()
        if passed > change + LOST_TICKS and np.bincount(of[of >= 0]).max() <= CAPACITY:
            return passed + int(left.max()), num_changes

        for worker in set(roster.members) - set(idle):
            mine = np.flatnonzero(of == worker)
            mine = mine[np.argsort(left[mine], kind="stable")]
            own = left[mine]
            for _ in range(WEIGH_TICKS):
                serve(own, len(own) - int(np.searchsorted(own, 0, "right")))
            left[mine] = own
        passed += WEIGH_TICKS
        alive = left > 0
        left, shard = left[alive], shard[alive]

    return passed, num_changes


def share_out(roster: Roster, left: np.ndarray, shard: np.ndarray) -> int:
    """Let workers claim and give shards as they do at their looks; the number of changes.

    The load of a domain counts up to what can be served before the end, as in
    `crawl.fetch.fleet.tending`.
    """
    horizon = max(1.0, left.sum() / (len(roster.members) * CAPACITY))
    loads = np.bincount(shard, np.minimum(left, horizon), MOST_SHARDS)
    roster.weights = [max(1.0, float(load)) for load in loads]
    roster.num_left = np.bincount(shard, left, MOST_SHARDS).astype(int).tolist()
    roster.is_done = [load == 0 for load in loads]
    num_changes = 0
    order = range(MOST_SHARDS)
    while any(
        owner == FREE and not d for owner, d in zip(roster.owners, roster.is_done, strict=True)
    ):
        for member in roster.members:
            claimed = [*roster.claims(member, -(-MOST_SHARDS // len(roster.members)), order)]
            for each in claimed:
                roster.own(each, member)
            num_changes += bool(claimed)

    moves = roster.moves()
    for each, to in moves.items():
        roster.own(each, to)
    # A worker gives all shards of a look in one change, and every worker writes its loads in one.
    return num_changes + min(len(moves), len(roster.members)) + len(roster.members)


@cache
def _shards(num_domains: int, num_shards: int) -> np.ndarray:
    """The shard of each domain, as the crawl assigns it."""
    keys = (f"d{rank}.example" for rank in range(num_domains))
    return np.fromiter((shard_of(key, num_shards) for key in keys), np.int64, num_domains)


def worker_memory(loads: np.ndarray, workers: int) -> Mapping[str, float]:
    """Peak memory of a process that holds one shard's links, queues and rows, without requests."""
    own = np.flatnonzero(_shards(len(loads), workers) == 0)
    domains = np.repeat(own, loads[own])
    doc_ids = [f"{row:032x}" for row in range(len(domains))]
    urls = [f"http://www.d{domain}.example/{row:064x}" for row, domain in enumerate(domains)]
    links = pa.table(
        {
            "doc_id": doc_ids,
            "url": urls,
            "domain": [f"d{domain}.example" for domain in domains],
            "score": np.full(len(domains), 3, np.int32),
        }
    )
    del doc_ids, urls
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "links.parquet"
        pq.write_table(links, path)
        peak = _peak_of_child(path)
    return {"links": len(domains), "domains": len(own), "mb": peak / 1e6}


def _peak_of_child(path: Path) -> float:
    """Peak bytes of a fresh process that opens a shard."""
    code = f"from bench.crawl.simulation import open_shard; open_shard({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def open_shard(path: str) -> None:
    """Fill a shard's dispatcher with links and print the peak memory, in bytes."""
    folder = Path(path).parent
    (folder / "corpus").mkdir()
    links = pq.read_table(path)
    config = FetchConfig(contact="https://example.org/")
    spec = Spec(str(folder / "corpus"), 0, Path(path), folder, "warc/b/part-00000", config)

    async def fill() -> None:
        worker = Worker(spec, open_store(spec.corpus), folder, spec.warc_prefix, None)
        worker.fill(links, pa.array([], pa.string()))
        worker.dispatcher.frontier.lease(1e12)

    asyncio.run(fill())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
