"""Estimates of a crawl before anything is fetched: time, disk and the deciding domains.

Politeness, not bandwidth, sets the time. A domain with n links and one request every `delay_s`
takes n x delay_s, however many machines help: 333,160 links of one newspaper at one a second take
3.9 days. So the largest domain gives a lower bound, domains with the most links start first
(longest processing time first), and a cap per domain shortens a crawl.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store
from corpus.tables.parquet import iter_part, part_paths
from crawl.fetch.settings import FetchConfig

# Caps per domain; a plan shows their effect.
CAPS = (100_000, 10_000, 1_000, 100)

# Compressed bytes of a page in the archive: the order of Common Crawl's WARC files (an estimate;
# pages have grown).
STORED_BYTES_PER_PAGE = 30_000

TOP_DOMAINS = 20


@dataclass(frozen=True, slots=True)
class CapEffect:
    """The effect of a cap of `cap` links per domain."""

    cap: int
    links: int
    """Links that remain."""
    dropped: int
    wall_time_s: float
    """The lower bound with this cap."""


@dataclass(frozen=True, slots=True)
class CrawlPlan:
    """The estimates of a crawl.

    `order` is the starting order of domains: most links first, then by name.
    """

    links: int
    order: tuple[tuple[str, int], ...]
    delay_s: float
    wall_time_s: float
    disk_bytes: int
    caps: tuple[CapEffect, ...]


def links_per_domain(tables: Iterable[pa.Table | pa.RecordBatch]) -> Counter[str]:
    """Links by registered domain in tables with a column `domain`."""
    counts: Counter[str] = Counter()
    for table in tables:
        for entry in pc.value_counts(table["domain"]).to_pylist():
            counts[entry["values"]] += entry["counts"]
    return counts


def start_order(domains: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """(domain, links), most links first, then by name."""
    return tuple(sorted(domains.items(), key=lambda item: (-item[1], item[0])))


def wall_time_s(domains: Mapping[str, int], delay_s: float, cap: int = 0) -> float:
    """The least seconds of a polite crawl: the largest domain's; cap 0 means none."""
    largest = max(domains.values(), default=0)
    return (min(largest, cap) if cap else largest) * delay_s


def num_capped(domains: Mapping[str, int], cap: int) -> int:
    """Links remaining under a cap per domain; 0 means none."""
    return sum(min(links, cap) if cap else links for links in domains.values())


def cap_effect(domains: Mapping[str, int], delay_s: float, cap: int) -> CapEffect:
    """The effect of a cap of `cap` (1 or more) links per domain."""
    remaining = num_capped(domains, cap)
    return CapEffect(
        cap, remaining, sum(domains.values()) - remaining, wall_time_s(domains, delay_s, cap)
    )


def disk_bytes(links: int, bytes_per_page: int = STORED_BYTES_PER_PAGE) -> int:
    """Bytes of WARC files for so many pages, if all of them answer."""
    return links * bytes_per_page


def plan(
    domains: Mapping[str, int], *, delay_s: float, cap: int = 0, caps: Sequence[int] = CAPS
) -> CrawlPlan:
    """The plan for `domains` (links by domain) under a cap per domain (0: none)."""
    links = num_capped(domains, cap)
    largest = min(max(domains.values(), default=0), cap or max(domains.values(), default=0))
    return CrawlPlan(
        links=links,
        order=tuple((domain, min(n, cap) if cap else n) for domain, n in start_order(domains)),
        delay_s=delay_s,
        wall_time_s=wall_time_s(domains, delay_s, cap),
        disk_bytes=disk_bytes(links),
        caps=tuple(cap_effect(domains, delay_s, c) for c in caps if c < largest),
    )


def render(plan: CrawlPlan) -> str:
    """The plan as text."""
    lines = [
        f"{plan.links:,} links on {len(plan.order):,} registered domains",
        f"at least {duration(plan.wall_time_s)} at one request per domain every {plan.delay_s:g} s"
        + (f", set by {plan.order[0][0]} with {plan.order[0][1]:,} links" if plan.order else ""),
        f"about {size(plan.disk_bytes)} of disk for the pages, at {size(STORED_BYTES_PER_PAGE)} each",
    ]
    lines += [
        f"with crawl.fetch.per_domain_cap={effect.cap}: {effect.links:,} links ({effect.dropped:,} fewer), "
        f"at least {duration(effect.wall_time_s)}"
        for effect in plan.caps
    ]
    if plan.order:
        lines.append("domains that start first:")
        lines += [f"  {links:>12,}  {domain}" for domain, links in plan.order[:TOP_DOMAINS]]

    return "\n".join(lines)


def domains_of_batch(store: Store, batch: str) -> Counter[str]:
    """Links by registered domain of a committed batch."""
    parts = range(len(part_paths(store, "links", batch)))
    return links_per_domain(
        table for part in parts for table in iter_part(store, "links", batch, part, ["domain"])
    )


def of_batch(store: Store, batch: str, config: FetchConfig) -> str:
    """The plan of a committed batch of links, as text."""
    return render(
        plan(domains_of_batch(store, batch), delay_s=config.delay_s, cap=config.per_domain_cap)
    )


def duration(seconds: float) -> str:
    """`3.9 days`, `2.5 hours`, `7 minutes`, `12 s`."""
    for unit_s, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.0f} s"


def size(num_bytes: int) -> str:
    """`30 KB`, `1.5 TB`; powers of 1,000."""
    value, units = float(num_bytes), ["B", "KB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
