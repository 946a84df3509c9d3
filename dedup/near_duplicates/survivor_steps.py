"""The steps from verified pairs to decisions.

components  (gather)    connected pages, and the task that settles them
survivors   (exchange)  by task: who stays, in the fixed order
decisions   (exchange)  by page: the duplicate of each removed page
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.run.step import (
    Context,
    Exchange,
    Gather,
    GatherFunction,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, earlier_batches, find_manifest_in
from corpus.tables.parquet import read_file
from dedup import doc_ids, document_rows, index
from dedup.against import documents as known_documents
from dedup.against.index import ELSEWHERE
from dedup.config import DedupConfig
from dedup.near_duplicates import components, greedy
from dedup.near_duplicates.ranks import ranks_of_batch
from dedup.near_duplicates.savepoint import Savepoint
from dedup.near_duplicates.shingle_store import SetWriter, StoredSets
from dedup.tables import CHOICES, COMPONENTS, COPIES, DECISIONS, EDGES, LARGE, RELATED

log = logging.getLogger(__name__)

# Rows of `RELATED`: a verified pair, equal content, a page of a large bucket.
EDGE, COPY, MEMBER = 0, 1, 2

# Columns of `RELATED` that rows of a kind have. Large buckets have a row for each page and key, most
# of all, so the others are left out early.
_COLUMNS = {
    EDGE: [*EDGES.schema.names],
    COPY: ["later", "later_rank", "earlier_batch", "earlier", "earlier_rank"],
    MEMBER: ["earlier_batch", "earlier", "earlier_rank", "bucket", "leads"],
}

# Of columns that a row of its kind does not have.
_BLANK = {doc_ids.BINARY: b"\0" * 16, pa.bool_(): False}


def load_components(config: DedupConfig, context: Context) -> GatherFunction:
    """All related pages to the tasks that settle them. Holds 16 bytes a pair, no texts."""

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        pairs, members = [np.zeros((0, 2), np.uint64)], [np.zeros(0, np.uint64)]
        for name, one, other in ((EDGES.name, "later", "earlier"), (COPIES.name, "later", "first")):
            for piece in tables[name]:
                ends = [
                    components.page_nodes(doc_ids.from_arrow(piece[end])) for end in (one, other)
                ]
                pairs.append(np.stack(ends, axis=1))
        for piece in tables[LARGE.name]:
            page = components.page_nodes(doc_ids.from_arrow(piece["doc"]))
            bucket = components.bucket_nodes(piece["bucket"].to_numpy())
            pairs.append(np.stack([page, bucket], axis=1))
            members.append(page)

        nodes, task = components.tasks_of(
            np.concatenate(pairs),
            np.concatenate(members),
            context.num_parts,
            config.survivors.pages_per_task,
        )
        return Output({COMPONENTS.name: pa.table({"node": nodes, "task": task}, COMPONENTS.schema)})

    return gather


def load_survivors_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Pairs, copies and memberships to the tasks of their components."""
    nodes, task = _tasks(context)
    this = len(earlier_batches(context.store, context.batch))

    def apply(table: pa.Table) -> Scattered:
        related = _related(table, this)
        doc = doc_ids.from_arrow(related["earlier"])
        return Scattered(related, task[np.searchsorted(nodes, components.page_nodes(doc))])

    return apply


def load_survivors_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """Some components to the decisions on their pages."""
    manifests = document_rows.documents(context.store, context.batch)
    this = len(manifests) - 1

    def reduce(bucket: int, related: pa.Table) -> Output:
        kind = related["kind"].to_numpy()
        edges, copies, large = (
            related.select(names).filter(pa.array(kind == each)).combine_chunks()
            for each, names in _COLUMNS.items()
        )
        large_rank = _ranks(context.store, manifests, large, config)
        pages = greedy.number_pages(
            [
                *(_ends(rows, end) for rows in (edges, copies) for end in ("later", "earlier")),
                (large["earlier_batch"].to_numpy(), large_rank, _docs(large, "earlier")),
            ]
        )
        later, earlier, copy, first, in_large = pages.numbers
        known = greedy.Edges(
            later, earlier, edges["similarity"].to_numpy(), edges["exact"].to_numpy()
        )
        buckets = greedy.LargeBuckets(
            large["bucket"].to_numpy(), in_large, large["leads"].to_numpy()
        )
        choice = greedy.follow_copies(
            _choice(config, context, manifests, pages, known, buckets, bucket), first, copy
        )

        dropped = np.flatnonzero(choice.duplicate_of != greedy.KEPT)
        return Output(
            {
                CHOICES.name: pa.table(
                    {
                        "doc": doc_ids.to_arrow(pages.doc[dropped]),
                        "duplicate_of": doc_ids.to_arrow(pages.doc[choice.duplicate_of[dropped]]),
                        "similarity": choice.similarity[dropped],
                        "exact": choice.exact[dropped],
                        "elsewhere": pages.batch[choice.duplicate_of[dropped]] == ELSEWHERE,
                    },
                    CHOICES.schema,
                )
            }
        )

    def _ends(rows: pa.Table, end: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batch = (
            rows["earlier_batch"].to_numpy() if end == "earlier" else np.full(rows.num_rows, this)
        )
        return batch, rows[f"{end}_rank"].to_numpy(), _docs(rows, end)

    return reduce


def load_decisions_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Choices to the parts of their pages."""

    def apply(table: pa.Table) -> Scattered:
        return Scattered(table, doc_ids.parts(_docs(table, "doc"), context.num_parts))

    return apply


def load_decisions_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """The choices of a part in the order of pages."""

    def reduce(bucket: int, table: pa.Table) -> Output:
        table = table.take(pa.array(np.argsort(_docs(table, "doc"))))
        similarity = table["similarity"].to_numpy()
        named = np.array(doc_ids.unpack(_docs(table, "duplicate_of")).to_pylist(), object)
        elsewhere = np.flatnonzero(table["elsewhere"].to_numpy())
        named[elsewhere] = known_documents.names(
            context.files, _docs(table, "duplicate_of")[elsewhere]
        )
        return Output(
            {
                DECISIONS.name: pa.table(
                    {
                        "doc_id": doc_ids.unpack(_docs(table, "doc")),
                        "duplicate_of": pa.array(named, pa.string()),
                        "similarity": similarity.astype(np.float32),
                        "exact": table["exact"],
                        "contained": similarity < config.threshold,
                    },
                    DECISIONS.schema,
                )
            }
        )

    return reduce


def _choice(
    config: DedupConfig,
    context: Context,
    manifests: list[Manifest],
    pages: greedy.Pages,
    known: greedy.Edges,
    buckets: greedy.LargeBuckets,
    task: int,
) -> greedy.Selection:
    """The choice of survivors; pages of large buckets are compared as needed, their sets on disk."""
    num_pages, num_old = pages.doc.size, int((pages.batch < len(manifests) - 1).sum())
    if not buckets.page.size:
        return greedy.choose(num_pages, known)

    asked = greedy.open_pages(num_pages, num_old, known, buckets)
    log.info("%s pages of large buckets are compared one by one", f"{asked.size:,}")
    with tempfile.TemporaryFile() as values, tempfile.TemporaryFile() as bitmaps:
        writer = SetWriter(num_pages, values, bitmaps)
        sets = _stored(context, config, manifests, pages, asked, writer)
        inputs = (pages.doc, pages.batch, known.later, known.earlier, buckets.bucket, buckets.page)
        savepoint = Savepoint(
            context.store, f"{context.scratch}/settled/{task:05}.npz", (*inputs, sets.content)
        )
        return greedy.choose_in_large(
            num_pages,
            num_old,
            known,
            buckets,
            config.threshold,
            sets,
            config.containment,
            savepoint,
        )


def _tasks(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """(nodes, ascending; the task of each), from the step before."""
    folder = COMPONENTS.folder(context.batch)
    manifest = find_manifest_in(context.store, folder)
    assert manifest is not None, "the step before has committed it"
    table = read_file(context.store, f"{folder}/{manifest.parts[0].file}")
    return table["node"].to_numpy(), table["task"].to_numpy()


def _related(table: pa.Table, this: int) -> pa.Table:
    """Rows of `EDGES`, `COPIES` or `LARGE` as rows of `RELATED`. `this` is the place of the batch."""
    given: dict[str, Any]
    if "bucket" in table.column_names:
        given = {
            "kind": MEMBER,
            "earlier_batch": table["batch"],
            "earlier": table["doc"],
            "earlier_rank": table["rank"],
            "bucket": table["bucket"],
            "leads": table["leads"],
        }
    elif "first" in table.column_names:
        given = {
            "kind": COPY,
            "later": table["later"],
            "later_rank": table["later_rank"],
            "earlier_batch": this,
            "earlier": table["first"],
            "earlier_rank": table["first_rank"],
        }
    else:
        given = {"kind": EDGE, **{name: table[name] for name in EDGES.schema.names}}

    columns = []
    for field in RELATED:
        value = given.get(field.name, _BLANK.get(field.type, 0))
        if not isinstance(value, pa.ChunkedArray):
            value = pa.repeat(pa.scalar(value, field.type), table.num_rows)
        columns.append(value)
    return pa.table(columns, RELATED)


def _docs(table: pa.Table, name: str) -> np.ndarray:
    return doc_ids.from_arrow(table[name])


def _ranks(
    store: Store, manifests: list[Manifest], large: pa.Table, config: DedupConfig
) -> np.ndarray:
    """The ranks of memberships, those of earlier batches looked up."""
    rank = large["earlier_rank"].to_numpy().copy()
    batch, doc = large["earlier_batch"].to_numpy(), _docs(large, "earlier")
    for place, manifest in enumerate(manifests[:-1]):
        here = np.flatnonzero(batch == place)
        wanted, at = np.unique(doc[here], return_inverse=True)
        rank[here] = ranks_of_batch(store, manifest, wanted, config.survivors.prefer)[at]

    return rank


def _stored(
    context: Context,
    config: DedupConfig,
    manifests: list[Manifest],
    pages: greedy.Pages,
    asked: np.ndarray,
    writer: SetWriter,
) -> StoredSets:
    """The sets of the requested pages, on disk.

    A page taken down since an interrupted run has none.
    """
    n = config.shingles.n
    for place in (ELSEWHERE, *range(len(manifests))):
        numbers = asked[pages.batch[asked] == place]
        order = np.argsort(pages.doc[numbers])
        wanted = pages.doc[numbers][order]
        sets = (
            known_documents.shingle_sets(context.files, wanted, n)
            if place == ELSEWHERE
            else document_rows.shingle_sets(context.store, manifests[place], wanted, n)
        )
        for found in sets:
            writer.add(numbers[order[np.searchsorted(wanted, found.doc)]], found)

    return writer.finish()


STEPS = (
    Gather(
        name="dedup/components",
        reads={
            EDGES: ("later", "earlier"),
            COPIES: ("later", "first"),
            LARGE: ("bucket", "doc"),
        },
        writes=(COMPONENTS,),
        sections=("survivors",),
        depends=index.depends,
        load=load_components,
    ),
    Exchange(
        name="dedup/survivors",
        reads=EDGES,
        also_reads=(COPIES, LARGE),
        writes=(CHOICES,),
        sections=("threshold", "shingles", "survivors"),
        depends=index.depends,
        scattered=RELATED,
        load_scatter=load_survivors_scatter,
        load_reduce=load_survivors_reduce,
        num_buckets=one_bucket_per_part,
        # A task with large buckets takes many times as long as the others.
        limited=False,
    ),
    Exchange(
        name="dedup/decisions",
        reads=CHOICES,
        writes=(DECISIONS,),
        sections=("threshold",),
        scattered=CHOICES.schema,
        load_scatter=load_decisions_scatter,
        load_reduce=load_decisions_reduce,
        num_buckets=one_bucket_per_part,
    ),
)
