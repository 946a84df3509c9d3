"""Links of a worker's shards, as rows of their original tables."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.jobs import Link, Resume
from crawl.fetch.pace.frontier import pace_key
from crawl.outcomes import Reason

LINK_COLUMNS = ("doc_id", "url", "domain", "score")
CONDITION_COLUMNS = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}


def links_left(links: pa.Table, done: pa.Array, cap: int) -> pa.Table:
    """Links without an outcome, by pace key, best score first.

    `capped` marks those beyond the cap of their key.
    """
    domains = links["domain"].combine_chunks().dictionary_encode()
    keys = pa.array([pace_key(domain) for domain in domains.dictionary.to_pylist()], pa.string())
    table = links.append_column("key", keys.take(domains.indices))
    order = [("key", "ascending"), ("score", "descending"), ("doc_id", "ascending")]
    table = table.sort_by(order).combine_chunks()

    rank = np.zeros(table.num_rows, np.int64)
    for _, start, stop in _runs(table["key"].combine_chunks()):
        rank[start:stop] = np.arange(stop - start)
    table = table.append_column(
        "capped", pa.array((rank >= cap) if cap else np.zeros(len(rank), bool))
    )

    return table.filter(pc.invert(pc.is_in(table["doc_id"], value_set=done))).combine_chunks()


def _runs(keys: pa.Array) -> Iterator[tuple[str, int, int]]:
    """(key, start, stop) of the rows of each pace key."""
    if len(keys) == 0:
        return
    changed = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    for start, stop in pairwise([0, *(np.flatnonzero(changed) + 1).tolist(), len(keys)]):
        yield keys[start].as_py(), start, stop


class _Table:
    """Links of one shard by row."""

    def __init__(self, links: pa.Table) -> None:
        self._doc_ids = links["doc_id"].combine_chunks()
        self._urls = links["url"].combine_chunks()
        self._keys = links["key"].combine_chunks()
        # True for rows beyond the cap of their domain.
        self.capped: np.ndarray = links["capped"].to_numpy()
        self._conditions = {
            header: links[name].combine_chunks()
            for name, header in CONDITION_COLUMNS.items()
            if name in links.schema.names
        }

    def __len__(self) -> int:
        return len(self._doc_ids)

    def link(self, row: int) -> Link:
        doc_id, url = self._doc_ids[row].as_py(), self._urls[row].as_py()
        given = ((header, each[row].as_py()) for header, each in self._conditions.items())
        conditions = tuple((header, value) for header, value in given if value)
        return Link(doc_id, url, conditions=conditions)

    def runs(self) -> Iterator[tuple[str, int, int]]:
        """(key, start, stop) of the rows of each pace key."""
        return _runs(self._keys)


@dataclass(frozen=True, slots=True)
class Start:
    """Conditions for a worker to begin with a shard. Times in monotonic seconds."""

    quiet_until: float = 0.0
    """No domain is asked before: another worker may just have asked it."""
    shift: float = 0.0
    """Added to Unix seconds of `state`."""
    state: dict[str, Any] | None = None
    """Retry times and paces that earlier workers learned (`Dispatcher.state`)."""


class LinkTables:
    """The tables of several shards. A row number is unique among all of them."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._tables: list[_Table | None] = []
        self._at: dict[int, int] = {}
        self._end = 0

    def link(self, row: int) -> Link:
        """The link of a row."""
        index = bisect_right(self._firsts, row) - 1
        table = self._tables[index]
        assert table is not None, "no row of a forgotten shard is left"
        return table.link(row - self._firsts[index])

    def add(self, shard: int, links: pa.Table, dispatcher: Dispatcher, start: Start) -> None:
        """Give the links left of a shard to the dispatcher, with the state of earlier workers."""
        table = _Table(links)
        first = self._end
        self._end += len(table)
        self._at[shard] = len(self._tables)
        self._firsts.append(first)
        self._tables.append(table)

        retrying = (start.state or {}).get("retrying", {})
        for key, begin, end in table.runs():
            fresh: Sequence[int] = range(first + begin, first + end)
            if retrying or table.capped[begin:end].any():
                fresh = []
                for row in range(begin, end):
                    link = table.link(row)
                    if table.capped[row]:
                        dispatcher.refuse(key, link, Reason.DOMAIN_CAP)
                    elif link.doc_id in retrying:
                        attempts, tries, not_before = retrying[link.doc_id]
                        resume = Resume(int(attempts), int(tries), not_before + start.shift)
                        dispatcher.add_resumed(key, first + row, resume)
                    else:
                        fresh.append(first + row)
            dispatcher.add_rows(key, fresh, ready_at=start.quiet_until)

    def forget(self, shard: int) -> None:
        """Drop the table of a shard."""
        self._tables[self._at.pop(shard)] = None


def restore_paces(dispatcher: Dispatcher, start: Start) -> None:
    """Give the dispatcher the paces of domains learned by earlier workers."""
    state = start.state or {}
    quiet = start.quiet_until
    for key, delay_s in state.get("crawl_delay_s", {}).items():
        dispatcher.set_pace(key, crawl_delay_s=delay_s, ready_at=quiet + delay_s)
    for key, slow_s in state.get("slow_s", {}).items():
        dispatcher.set_pace(key, slow_s=slow_s, ready_at=quiet + slow_s)
    for key, until in state.get("postponed", {}).items():
        dispatcher.set_pace(key, ready_at=until + start.shift)
