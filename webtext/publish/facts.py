"""The figures of a publication, read from the tables and manifests of the snapshot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from corpus.snapshots.snapshot import Snapshot, read_head
from corpus.snapshots.snapshot_remarks import Reviewer
from corpus.storage.store import Store
from corpus.tables.dedup_reports import OverlapRow, read_overlap
from corpus.tables.manifest import Manifest, find_manifest

FUNNEL = ("links", "pages", "documents", "verdicts", "tokens")
MOST_DOMAINS = 20


@dataclass(slots=True)
class Facts:
    """Figures of the published rows. Those of documents are counted during writing."""

    snapshot: Snapshot
    manifests: dict[str, dict[str, Manifest]]
    """Batch to table to manifest."""
    remarks: list[str]
    overlap: list[OverlapRow]
    """Rows of the last batch's table of test sets, with the shares so far."""
    documents: int = 0
    tokens: int = 0
    num_bytes: int = 0
    """UTF-8 bytes of all texts."""
    domains: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    extractors: Counter[str] = field(default_factory=Counter)
    rights: Counter[str] = field(default_factory=Counter)
    cut_documents: int = 0
    copied_documents: int = 0
    first_date: str | None = None
    last_date: str | None = None
    score_quantiles: list[float] = field(default_factory=list)
    _scores: list[pa.Array] = field(default_factory=list)

    def count(self, rows: pa.Table) -> pa.Table:
        """Add documents to the figures, and return them."""
        self.documents += rows.num_rows
        self.tokens += pc.sum(rows["token_count"]).as_py() or 0
        self.num_bytes += pc.sum(pc.binary_length(rows["text"])).as_py() or 0
        columns = {"domain": self.domains, "language": self.languages}
        columns |= {"extractor": self.extractors, "rights": self.rights}
        for name, counter in columns.items():
            for each in pc.value_counts(rows[name]).to_pylist():
                counter[each["values"]] += each["counts"]

        self.cut_documents += pc.sum(pc.greater(rows["cuts"], 0)).as_py() or 0
        self.copied_documents += pc.sum(pc.greater(rows["duplicates"], 0)).as_py() or 0
        dates = [day for day in pc.min_max(rows["date"]).as_py().values() if day is not None]
        known = [day for day in (self.first_date, self.last_date) if day is not None]
        if dates or known:
            self.first_date, self.last_date = min(dates + known), max(dates + known)
        self._scores.append(rows["score"].combine_chunks())
        return rows

    def finish(self) -> None:
        """Compute the figures over all rows."""
        scores = pa.chunked_array(self._scores, pa.int32())
        found = pc.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95]).to_pylist()
        self.score_quantiles = [value for value in found if value is not None]
        self._scores.clear()

    @property
    def batches(self) -> list[str]:
        """The batches of the snapshot, in order."""
        return [each.batch for each in self.snapshot.batches]


def gather(store: Store, snapshot: Snapshot) -> Facts:
    """The figures independent of the choice of rows."""
    manifests: dict[str, dict[str, Manifest]] = {}
    for each in snapshot.batches:
        names = (*FUNNEL, "documents_dropped", "rights")
        found = {name: find_manifest(store, name, each.batch) for name in names}
        manifests[each.batch] = {name: value for name, value in found.items() if value is not None}

    head = read_head(store, snapshot.name)
    remarks = Reviewer(store, [head]).remarks(head)
    report = read_overlap(store, snapshot.batches[-1].batch)
    return Facts(snapshot, manifests, remarks, report.table if report else [])
