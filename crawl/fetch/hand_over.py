"""Links handed over between the shards of a batch while they are fetched.

A redirect into a domain of another shard ends as `handed_over`. As soon as that outcome is durable,
its worker writes the link to the owner's queue, a folder of the corpus; the owner looks there every
few seconds and continues the link at its own pace. So a hop is made when it is met, for any
deadline and the number of workers, and not after the slowest domain of the batch.

Nothing depends on a message arriving in time. Queue files are named after the outcome files that
they follow from, so that a restarted worker writes the same ones again; a link that reached an
owner too late is found by the follow-up rounds of `crawl.fetch.steps`. A worker with nothing left
to do waits for others only while every shard of the batch is running or finished: otherwise another
shard needs its place.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.storage.store import Store, work_dir
from crawl.fetch import progress
from crawl.fetch.jobs import Link, locate
from crawl.outcomes import Reason, outcome_files

# Seconds between looks into a local queue.
LOOK_S = 1.0
# The same on an object store, where a look is a request.
REMOTE_LOOK_S = 10.0
_ROW = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("url", pa.string()),
        pa.field("target", pa.string()),
        pa.field("redirects", pa.list_(pa.string())),
    ]
)


class HandOver:
    """The queues of a batch, as one shard's worker sees them."""

    def __init__(
        self,
        store: Store,
        batch: str,
        shard: int,
        num_shards: int,
        out_dir: Path,
        owner: Callable[[str], int],
    ) -> None:
        """`owner(key)` is the shard that owns a pace key."""
        self._store = store
        self._batch = batch
        self._shard = shard
        self._num_shards = num_shards
        self._out_dir = out_dir
        self._owner = owner
        self._sent: set[str] = set()
        self._received: set[str] = set()
        self.look_s = LOOK_S if store.is_local else REMOTE_LOOK_S

    def send(self) -> None:
        """Write the links of newly committed outcome files to the queues of their owners."""
        for path in outcome_files(self._out_dir):
            if path.name in self._sent:
                continue
            rows = pq.read_table(
                path, columns=["doc_id", "url", "final_url", "redirects", "reason"]
            )
            handed = rows.filter(pc.equal(rows["reason"], Reason.HANDED_OVER.value))
            for shard, table in self._by_owner(handed):
                name = f"{self._shard:05}-{path.stem.rpartition('-')[2]}.parquet"
                buffer = io.BytesIO()
                pq.write_table(table, buffer)
                self._store.write_bytes(f"{self._folder(shard)}/{name}", buffer.getvalue())
            self._sent.add(path.name)

    def receive(self) -> list[Link]:
        """Links that came since the last look."""
        links = []
        for path, _ in self._store.files(self._folder(self._shard)):
            if path in self._received or not path.endswith(".parquet"):
                continue
            table = pq.read_table(io.BytesIO(self._store.read_bytes(path)), schema=_ROW)
            links += [
                Link(row["doc_id"], row["url"], row["target"], tuple(row["redirects"]))
                for row in table.to_pylist()
            ]
            self._received.add(path)

        return links

    def may_get_more(self, now: float) -> bool:
        """True if a running shard may still hand over links, `now` in Unix seconds.

        False if a shard has yet to begin, which may need the place of this worker.
        """
        states = progress.states(self._store, self._batch, now, self._num_shards)
        others = {number: state for number, state in states.items() if number != self._shard}
        if len(others) < self._num_shards - 1 or progress.LOST in others.values():
            return False

        return progress.RUNNING in others.values()

    def _by_owner(self, handed: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        shards = defaultdict(list)
        for row, url in enumerate(handed["final_url"].to_pylist()):
            site = locate(url)
            if site is not None:
                shards[self._owner(site.key)].append(row)

        columns = handed.rename_columns(["doc_id", "url", "target", "redirects", "reason"])
        for shard, rows in sorted(shards.items()):
            yield shard, columns.take(pa.array(rows)).select(_ROW.names).cast(_ROW)

    def _folder(self, shard: int) -> str:
        return f"{work_dir(self._batch)}/crawl.fetch-queue/{shard:05}"
