"""Outcomes of a batch while it is fetched: a journal of each worker's life, readable by all.

A journal is a folder of outcome files. Everything else follows from them: a shard's links are left
until a row marks their end, and a handed-over link comes from its row in the giver's journal. So a
hop into another shard is durable with its outcome, and needs no message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.storage.store import Store
from crawl.fetch.jobs import Link, locate
from crawl.fetch.pace.frontier import shard_of
from crawl.outcomes import STORED_SCHEMA, Reason, commits_of, whole

COLUMNS = ["shard", "doc_id", "url", "final_url", "redirects", "reason"]
# Files per merged one. A busy worker writes one each half minute.
MERGE_FILES = 64


class Arrival(NamedTuple):
    """A link received by a shard from another one."""

    shard: int
    link: Link
    sender: int

    @property
    def key(self) -> tuple[str, int]:
        """The link and the number of its redirects: a later arrival has more."""
        return self.link.doc_id, len(self.link.redirects)


class Sent(NamedTuple):
    """A link handed over by a shard."""

    sender: int
    receiver: int


@dataclass(slots=True)
class History:
    """Earlier events of some shards."""

    hops: dict[int, dict[str, int]] = field(default_factory=dict)
    """Per shard and link, the redirects of its longest row."""
    num_done: dict[int, int] = field(default_factory=dict)
    """Rows per shard."""
    arrivals: list[Arrival] = field(default_factory=list)
    sent: dict[tuple[str, int], Sent] = field(default_factory=dict)
    """Hand-overs of these shards (link, number of redirects) that have no outcome yet."""


class Journals:
    """The journals of a batch, as one worker reads them."""

    def __init__(self, store: Store, folder: str, num_shards: int) -> None:
        self._store = store
        self._folder = folder
        self._num_shards = num_shards
        # Commits read of each life. They do not appear in order: a segment is open for long.
        self._known: dict[int, set[int]] = {}

    def life_folder(self, life: int) -> str:
        """The folder of a worker's journal and state."""
        return f"{self._folder}/lives/{life:05}"

    def files(self) -> dict[int, list[str]]:
        """Paths of the outcome files of each life, oldest first."""
        found: dict[int, list[str]] = {}
        for path, _ in self._store.files(f"{self._folder}/lives", recursive=True):
            folder, _, name = path.rpartition("/")
            if name.startswith("outcomes-"):
                found.setdefault(int(folder.rpartition("/")[2]), []).append(path)

        return {
            life: [f"{self.life_folder(life)}/{name}" for name in whole(map(_name, paths))]
            for life, paths in sorted(found.items())
        }

    def read_new(self, without: int) -> pa.Table:
        """Rows since the last call, except of the life `without`. Schema: `COLUMNS`."""
        tables = [_empty()]
        for life, paths in self.files().items():
            if life == without:
                continue
            known = self._known.setdefault(life, set())
            for path in paths:
                commits = commits_of(_name(path))
                if known.issuperset(commits):
                    continue
                # A file that was merged since it was listed is found by the next call.
                if (table := self._read(path)) is not None:
                    tables.append(table)
                    known.update(commits)

        return pa.concat_tables(tables)

    def history(self, shards: Iterable[int]) -> History:
        """All rows of the journals about some shards."""
        wanted = pa.array(sorted(shards), pa.int32())
        found = History()
        for shard in wanted.to_pylist():
            found.hops[shard], found.num_done[shard] = {}, 0

        for table in self._read_all():
            own = table.filter(pc.is_in(table["shard"], value_set=wanted))
            for shard, doc_id, redirects in _rows(own, "shard", "doc_id", "redirects"):
                hops = found.hops[shard]
                hops[doc_id] = max(len(redirects), hops.get(doc_id, 0))
                found.num_done[shard] += 1
            for arrival in self.arrivals(table):
                if arrival.shard in found.hops:
                    found.arrivals.append(arrival)
                if arrival.sender in found.hops:
                    found.sent[arrival.key] = Sent(arrival.sender, arrival.shard)

        if found.sent:
            for table in self._read_all():
                for key in [*acknowledged(table, found.sent)]:
                    found.sent.pop(key, None)

        return found

    def arrivals(self, rows: pa.Table) -> Iterator[Arrival]:
        """Links handed over by rows, with their receiving shards."""
        handed = rows.filter(is_handed(rows))
        for sender, doc_id, url, target, redirects in _rows(
            handed, "shard", "doc_id", "url", "final_url", "redirects"
        ):
            shard = self.shard_of_url(target)
            if shard is not None:
                yield Arrival(shard, Link(doc_id, url, target, tuple(redirects)), sender)

    def shard_of_url(self, url: str) -> int | None:
        """The shard of the domain of `url`; None if it is not an http(s) address."""
        site = locate(url)
        return None if site is None else shard_of(site.key, self._num_shards)

    def _read_all(self) -> Iterator[pa.Table]:
        for life, paths in self.files().items():
            for path in paths:
                table = self._read(path)
                if table is None:
                    merged = next(
                        each
                        for each in self.files()[life]
                        if commits_of(_name(path))[0] in commits_of(_name(each))
                    )
                    table = self._read(merged)
                yield table if table is not None else _empty()

    def _read(self, path: str) -> pa.Table | None:
        """The rows of a file; None if it is gone."""
        try:
            with self._store.open_input(path) as stream:
                return pq.read_table(stream, columns=COLUMNS)
        except FileNotFoundError:
            return None


def is_handed(rows: pa.Table) -> pa.Array:
    """True for rows of handed-over links. Shape (rows,)."""
    return pc.fill_null(pc.equal(rows["reason"], Reason.HANDED_OVER.value), False)


def acknowledged(rows: pa.Table, sent: Mapping[tuple[str, int], Sent]) -> Iterator[tuple[str, int]]:
    """Hand-overs with an outcome of their receiver in these rows."""
    if not sent or not rows.num_rows:
        return

    wanted = pa.array(sorted({doc_id for doc_id, _ in sent}), pa.string())
    found = rows.filter(pc.is_in(rows["doc_id"], value_set=wanted))
    for shard, doc_id, redirects in _rows(found, "shard", "doc_id", "redirects"):
        yield from acknowledged_by(shard, doc_id, len(redirects), sent)


def acknowledged_by(
    shard: int, doc_id: str, num_redirects: int, sent: Mapping[tuple[str, int], Sent]
) -> Iterator[tuple[str, int]]:
    """The same for one outcome: it has at least as many redirects as the link on arrival."""
    for number in range(num_redirects + 1):
        each = sent.get((doc_id, number))
        if each is not None and each.receiver == shard:
            yield doc_id, number


def merge_run(names: Sequence[str]) -> Sequence[str]:
    """The first `MERGE_FILES` names of consecutive single commits, or none.

    An open segment has a number already, so a gap in the numbers is not committed yet.
    """
    run: list[str] = []
    for name in names:
        commits = commits_of(name)
        if run and (len(commits) > 1 or commits[0] != commits_of(run[-1])[0] + 1):
            run = []
        if len(commits) == 1:
            run.append(name)
        if len(run) == MERGE_FILES:
            return run
    return ()


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _empty() -> pa.Table:
    return pa.schema([STORED_SCHEMA.field(name) for name in COLUMNS]).empty_table()


def _name(path: str) -> str:
    return path.rpartition("/")[2]
