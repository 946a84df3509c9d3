"""Counts of the domains with most links: links, pages, documents and kept documents of each batch.

Tables are read side by side, some row groups at a time. Their rows ascend by `doc_id`, so a stretch
of links ends at an id, and the rows of the other tables up to it are all that can join it. Memory
does not grow with the corpus, except for one count for each domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, batches, find_manifest
from corpus.tables.parquet import iter_tables, part_paths

# Rows that are joined at once: a row group is too few for the fixed cost of a call.
STRETCH_ROWS = 1 << 15
# A table that counts pages of a domain, and the column that is false or null for the others.
COUNTED = {"pages": "fetched", "documents": "documents", "verdicts": "kept"}


def domain_counts(store: Store, name: str, shown: int) -> list[dict[str, Any]]:
    """A row for each batch of the `shown` domains with most links and `name` in theirs.

    Domains with most links come first, those of as many by name, and batches by name.
    """
    with_links = sorted(batches(store, "links"), key=lambda manifest: manifest.batch)
    most = _most_linked(store, with_links, name, shown)
    counts = {manifest.batch: _of_batch(store, manifest.batch, most) for manifest in with_links}
    return [
        {"domain": domain, "batch": batch}
        | {column: int(found[code]) for column, found in of_batch.items()}
        for code, domain in enumerate(most.to_pylist())
        for batch, of_batch in counts.items()
        if of_batch["links"][code]
    ]


def _most_linked(store: Store, links: Sequence[Manifest], name: str, shown: int) -> pa.Array:
    """The names of the domains, those with most links first."""
    counts = [pa.table({"domain": pa.array([], pa.string()), "links": pa.array([], pa.int64())})]
    for manifest in links:
        for rows in _stretches(store, "links", manifest.batch, ["domain"]):
            found = pc.value_counts(rows["domain"])
            if name:
                found = found.filter(pc.match_substring(found.field("values"), name))
            counts.append(
                pa.table({"domain": found.field("values"), "links": found.field("counts")})
            )
            # Adding them up takes time with the domains so far, so it is done now and then.
            if sum(each.num_rows for each in counts[1:]) > max(STRETCH_ROWS, 4 * len(counts[0])):
                counts = [_added_up(counts)]

    order = [("links", "descending"), ("domain", "ascending")]
    return _added_up(counts).sort_by(order).slice(0, shown)["domain"].combine_chunks()


def _added_up(counts: Sequence[pa.Table]) -> pa.Table:
    grouped = pa.concat_tables(counts).group_by("domain").aggregate([("links", "sum")])
    return grouped.select(["domain", "links_sum"]).rename_columns(["domain", "links"])


def _of_batch(store: Store, batch: str, domains: pa.Array) -> dict[str, np.ndarray]:
    """Counts of one batch by column. Each has shape (len(domains),)."""
    others = {
        column: _Pages(store, table, batch, column)
        for table, column in COUNTED.items()
        if find_manifest(store, table, batch) is not None
    }
    counts = {name: np.zeros(len(domains), np.int64) for name in ("links", *COUNTED.values())}

    for rows in _stretches(store, "links", batch, ["doc_id", "domain"]):
        if not rows.num_rows:
            continue
        codes = pc.index_in(rows["domain"], value_set=domains).combine_chunks()
        chosen = rows["doc_id"].combine_chunks().filter(pc.is_valid(codes))
        codes = codes.drop_null().to_numpy()
        counts["links"] += np.bincount(codes, minlength=len(domains))

        last = rows["doc_id"][-1].as_py()
        for column, pages in others.items():
            here = pc.is_in(chosen, value_set=pages.up_to(last)).to_numpy(zero_copy_only=False)
            counts[column] += np.bincount(codes[here], minlength=len(domains))
    return counts


class _Pages:
    """The counted pages of a table, taken from its beginning on."""

    def __init__(self, store: Store, table: str, batch: str, column: str) -> None:
        needed = {"fetched": ["reason"], "kept": ["kept"]}.get(column, [])
        self._column = column
        self._rows = _stretches(store, table, batch, ["doc_id", *needed])
        self._left = pa.array([], pa.string())

    def up_to(self, last: str) -> pa.Array:
        """The ids up to `last` that were not taken yet."""
        taken = []
        while True:
            num = pc.sum(pc.less_equal(self._left, last)).as_py() or 0
            taken.append(self._left.slice(0, num))
            self._left = self._left.slice(num)
            if len(self._left):
                break
            rows = next(self._rows, None)
            if rows is None:
                break
            self._left = self._counted(rows)
        return pa.concat_arrays(taken)

    def _counted(self, rows: pa.Table) -> pa.Array:
        if self._column == "fetched":
            rows = rows.filter(pc.is_null(rows["reason"]))
        elif self._column == "kept":
            rows = rows.filter(rows["kept"])
        return rows["doc_id"].combine_chunks()


def _stretches(store: Store, table: str, batch: str, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a table in their order, at least `STRETCH_ROWS` at a time."""
    pending: list[pa.Table] = []
    num_rows = 0
    for path in part_paths(store, table, batch):
        for piece in iter_tables(store, path, columns):
            pending.append(piece)
            num_rows += piece.num_rows
            if num_rows >= STRETCH_ROWS:
                yield pa.concat_tables(pending)
                pending, num_rows = [], 0
    if pending:
        yield pa.concat_tables(pending)
