"""Audit of the pace of requests to IP addresses: `webtext crawl audit --ip`.

Shows a site's owner, or a crawl's operator, the load of a batch on each address. The evidence is
from the batch: `pages` has the address and time of each link's last answer, the WARC files those of
redirects and robots.txt. Failed tries of a link before its last one are not recorded, so the
numbers are those of answered requests.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from corpus.errors import InputError
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_file
from corpus.tables.segments import warc_dir
from crawl.fetch.pace.politeness import address_group
from crawl.warc.records import WarcError, warc_date
from crawl.warc.verify import members

NUM_SHOWN = 20


@dataclass(frozen=True, slots=True)
class AddressLoad:
    """Requests answered by one address; an IPv6 address represents its /64 network."""

    address: str
    num_requests: int
    num_sites: int
    first: datetime
    last: datetime
    most_in_1_s: int
    most_in_60_s: int
    shortest_gap_s: float | None
    """Seconds between the starts of two requests; None after a single one."""

    def to_json(self) -> dict[str, Any]:
        """The fields, with times in ISO 8601."""
        return {
            **asdict(self),
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
        }


def batch_loads(store: Store, batch: str) -> list[AddressLoad]:
    """The load of each address of a batch, busiest second first. Raises InputError."""
    requests = set(_from_pages(store, batch))
    requests.update(_from_segments(store, batch))
    by_address = defaultdict(list)
    for ip, url, at in requests:
        by_address[address_group(ip)].append((at, url))
    loads = [_load(address, asked) for address, asked in by_address.items()]
    return sorted(loads, key=lambda load: (-load.most_in_1_s, -load.num_requests, load.address))


def render(loads: list[AddressLoad], *, num_shown: int = NUM_SHOWN) -> str:
    """A table for people."""
    lines = [
        f"{len(loads):,} addresses; the busiest {min(num_shown, len(loads))} by requests a second",
        f"{'address':40} {'requests':>9} {'sites':>6} {'in 1 s':>7} {'in 60 s':>8} {'gap':>9}",
    ]

    for load in loads[:num_shown]:
        gap = "-" if load.shortest_gap_s is None else f"{load.shortest_gap_s:.3f} s"
        lines.append(
            f"{load.address:40} {load.num_requests:9,} {load.num_sites:6,} "
            f"{load.most_in_1_s:7,} {load.most_in_60_s:8,} {gap:>9}"
        )

    return "\n".join(lines)


def find_address(loads: list[AddressLoad], text: str) -> list[AddressLoad]:
    """The load of the address in `text`. Raises InputError."""
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise InputError(f"--ip {text!r}: {error}; expected an address, or none for all") from error
    return [load for load in loads if load.address == address_group(text)]


def _from_pages(store: Store, batch: str) -> Iterator[tuple[str, str, datetime]]:
    manifest = find_manifest(store, "pages", batch)
    if manifest is None:
        raise InputError(f"batch {batch!r} has no pages yet; fetch it with `webtext crawl`")

    for part in manifest.parts:
        path = f"{table_dir('pages', batch)}/{part.file}"
        rows = read_file(store, path, ["ip", "final_url", "url", "fetched_at"])
        for row in rows.to_pylist():
            if row["ip"] and row["fetched_at"]:
                yield row["ip"], row["final_url"] or row["url"], _milliseconds(row["fetched_at"])


def _from_segments(store: Store, batch: str) -> Iterator[tuple[str, str, datetime]]:
    for path, _ in store.files(warc_dir(batch)):
        if not path.endswith(".warc.gz"):
            continue
        try:
            for _, record in members(store, path):
                ip = record.fields.get("warc-ip-address")
                at = warc_date(record.fields.get("warc-date", ""))
                if record.kind == "response" and ip and at:
                    uri = record.fields.get("warc-target-uri", "").strip("<>")
                    yield ip, uri, _milliseconds(at)
        except WarcError as error:
            raise InputError(f"{error}; `webtext verify` names all damage") from error


def _milliseconds(at: datetime) -> datetime:
    """The time as `pages` has it: a page and its record must count as one request."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _load(address: str, asked: Iterable[tuple[datetime, str]]) -> AddressLoad:
    requests = sorted(asked)
    times = [at.timestamp() for at, _ in requests]
    gaps = [after - before for before, after in pairwise(times)]

    return AddressLoad(
        address=address,
        num_requests=len(times),
        num_sites=len({url.split("/")[2] for _, url in requests if url.count("/") > 1}),
        first=requests[0][0],
        last=requests[-1][0],
        most_in_1_s=_most_within(times, 1.0),
        most_in_60_s=_most_within(times, 60.0),
        shortest_gap_s=min(gaps, default=None),
    )


def _most_within(times: list[float], seconds: float) -> int:
    """The largest number of ascending times in any half-open window of this length."""
    first = most = 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
