"""Keys to pairs of pages with an exact similarity at or above the threshold.

candidates  (exchange)  by key: pages to compare
shingles    (exchange)  by page: texts of candidates only, to shingle sets
compare     (exchange)  by the later page: exact similarity of every pair
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from corpus.run.step import (
    Context,
    Exchange,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.tables.manifest import Manifest, earlier_batches
from dedup import doc_ids, document_rows, index, words
from dedup.against import documents as known_documents
from dedup.against.index import ELSEWHERE, read_matching
from dedup.config import DedupConfig
from dedup.near_duplicates import lsh, ranks
from dedup.near_duplicates.lsh import Members
from dedup.tables import COPIES, EDGES, KEYS, LARGE, MEMBERS, PAIRS, SHINGLES, WANTED

NO_CONTENT = np.bytes_(b"")


def load_candidates_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Pages to the buckets of their keys."""

    def apply(table: pa.Table) -> Scattered:
        lists = table["keys"].combine_chunks()
        keys = lists.flatten().to_numpy()
        row = np.repeat(np.arange(table.num_rows), lists.value_lengths().to_numpy())
        members = pa.table(
            {
                "key": keys,
                "rank": table["rank"].to_numpy()[row],
                "doc": doc_ids.to_arrow(doc_ids.pack(table["doc_id"])[row]),
                "content": doc_ids.to_arrow(doc_ids.from_arrow(table["content"])[row]),
            }
        )

        return Scattered(members, index.part_of_keys(keys, context.num_parts))

    return apply


def load_candidates_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of keys, with those of earlier batches, to the pages to compare."""
    earlier = index.earlier_indexes(context.store, context.batch, config)

    def reduce(bucket: int, table: pa.Table) -> Output:
        members = _members(context, earlier, table)
        found = lsh.candidates(members, len(earlier))
        pairs = _distinct_pairs(members, found.pairs)
        by_content = members.key[found.copies[:, 1]] == lsh.content_keys(
            doc_ids.bytes_to_hashes(members.content[found.copies[:, 1]])
        )
        copies = found.copies[by_content]  # they meet in every band too: once is enough
        large, leads = found.large, _leads(members.key[found.large])

        return Output(
            {
                PAIRS.name: pa.table(
                    {
                        "later": doc_ids.to_arrow(members.doc[pairs[:, 1]]),
                        "later_rank": members.rank[pairs[:, 1]],
                        "earlier_batch": members.batch[pairs[:, 0]],
                        "earlier": doc_ids.to_arrow(members.doc[pairs[:, 0]]),
                        "earlier_rank": members.rank[pairs[:, 0]],
                    }
                ),
                COPIES.name: pa.table(
                    {
                        "later": doc_ids.to_arrow(members.doc[copies[:, 1]]),
                        "later_rank": members.rank[copies[:, 1]],
                        "first": doc_ids.to_arrow(members.doc[copies[:, 0]]),
                        "first_rank": members.rank[copies[:, 0]],
                    }
                ),
                LARGE.name: pa.table(
                    {
                        "bucket": members.key[large],
                        "batch": members.batch[large],
                        "doc": doc_ids.to_arrow(members.doc[large]),
                        "rank": members.rank[large],
                        "leads": leads,
                    }
                ),
            }
        )

    return reduce


def load_shingles_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Pairs to wishes: the shingles of both pages are wanted where the later one lives."""
    this = len(earlier_batches(context.store, context.batch))

    def apply(pairs: pa.Table) -> Scattered:
        later, earlier = doc_ids.from_arrow(pairs["later"]), doc_ids.from_arrow(pairs["earlier"])
        batch = pairs["earlier_batch"].to_numpy()
        home = doc_ids.parts(later, context.num_parts)
        doc = np.concatenate([later, earlier])
        wishes = pa.table(
            {
                "home": np.concatenate([home, home]).astype(np.int32),
                "batch": np.concatenate([np.full(later.size, this), batch]).astype(np.int32),
                "doc": doc_ids.to_arrow(doc),
                "rank": np.concatenate(
                    [pairs["later_rank"].to_numpy(), pairs["earlier_rank"].to_numpy()]
                ),
                "partner_batch": np.concatenate(
                    [batch, np.full(later.size, doc_ids.NOWHERE)]
                ).astype(np.int32),
                "partner": doc_ids.to_arrow(
                    np.concatenate([earlier, np.full(later.size, NO_CONTENT, "S16")])
                ),
            }
        )

        return Scattered(wishes, doc_ids.parts(doc, context.num_parts))

    return apply


def load_shingles_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of ids: read the requested texts, of any batch, once each."""
    manifests = document_rows.documents(context.store, context.batch)
    this = len(manifests) - 1

    def reduce(bucket: int, table: pa.Table) -> Output:
        partners: dict[tuple[int, bytes], set[tuple[int, bytes]]] = defaultdict(set)
        homes: dict[tuple[int, bytes], set[int]] = defaultdict(set)
        rank_of: dict[bytes, int] = {}
        columns = (table[name].to_pylist() for name in WANTED.names)

        for home, batch, doc, rank, partner_batch, partner in zip(*columns, strict=True):
            homes[batch, doc].add(home)
            if batch == this:
                rank_of[doc] = rank
            if partner_batch != doc_ids.NOWHERE:
                partners[batch, doc].add((partner_batch, partner))

        tables = [SHINGLES.schema.empty_table()]
        for batch in sorted({batch for batch, _ in homes}):
            wanted = np.array(sorted(doc for place, doc in homes if place == batch), "S16")
            if batch == ELSEWHERE:
                rank = np.zeros(wanted.size, np.int64)
                sets = known_documents.shingle_sets(context.files, wanted, config.shingles.n)
            else:
                rank = (
                    np.array([rank_of[doc] for doc in doc_ids.to_list(wanted)], np.int64)
                    if batch == this
                    else ranks.ranks_of_batch(
                        context.store, manifests[batch], wanted, config.survivors.prefer
                    )
                )
                sets = document_rows.shingle_sets(
                    context.store, manifests[batch], wanted, config.shingles.n
                )
            for found in sets:
                own = rank[np.searchsorted(wanted, found.doc)]
                tables.append(_send(found, own, batch, homes, partners, context.num_parts))

        return Output(
            {SHINGLES.name: pa.concat_tables(tables)},
            Counter(compared=sum(map(len, partners.values()))),
        )

    return reduce


def load_compare_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Shingle sets to where they are compared."""
    return lambda shingles: Scattered(shingles, shingles["home"].to_numpy().astype(np.int64))


def load_compare_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """Compute the exact similarity of every pair with its later page here.

    Pairs at or above the threshold stay.
    """

    def reduce(bucket: int, table: pa.Table) -> Output:
        table = table.combine_chunks()
        docs = table["doc"].to_pylist()
        batches = table["batch"].to_pylist()
        row_of = {
            (batch, doc): row for row, (batch, doc) in enumerate(zip(batches, docs, strict=True))
        }
        given_ranks, contents = table["rank"].to_numpy(), doc_ids.from_arrow(table["content"])
        sets = _rows(table["shingles"])
        rows = []

        for later, names in enumerate(
            zip(table["partner_batches"], table["partners"], strict=True)
        ):
            for batch, doc in zip(names[0].as_py(), names[1].as_py(), strict=True):
                earlier = row_of.get((batch, doc))
                if (
                    earlier is None
                ):  # taken down since the run that brought them together was interrupted
                    continue
                value = words.similarity(
                    sets[earlier], sets[later], config.threshold, config.containment
                )
                if value >= config.threshold or (config.containment and value):
                    rows.append((later, earlier, value))

        later_rows = np.array([row[0] for row in rows], np.int64)
        earlier_rows = np.array([row[1] for row in rows], np.int64)
        doc = doc_ids.from_arrow(table["doc"])
        edges = pa.table(
            {
                "later": doc_ids.to_arrow(doc[later_rows]),
                "later_rank": given_ranks[later_rows],
                "earlier_batch": table["batch"].to_numpy()[earlier_rows],
                "earlier": doc_ids.to_arrow(doc[earlier_rows]),
                "earlier_rank": given_ranks[earlier_rows],
                "similarity": np.array([row[2] for row in rows], np.float64),
                "exact": contents[later_rows] == contents[earlier_rows],
            }
        )

        return Output({EDGES.name: edges}, Counter(similar=len(rows)))

    return reduce


def _members(context: Context, earlier: list[Manifest], table: pa.Table) -> Members:
    """The rows of a bucket of keys, with those of earlier pages and known documents under them."""
    key = table["key"].to_numpy()
    wanted = np.unique(key)
    parts = [
        (
            key,
            np.full(key.size, len(earlier), np.int32),
            table["rank"].to_numpy(),
            doc_ids.from_arrow(table["doc"]),
            doc_ids.from_arrow(table["content"]),
        )
    ]

    old = [(ELSEWHERE, *read_matching(context, wanted))]
    for place, manifest in enumerate(earlier):
        old.append((place, *index.read_matching(context.store, manifest, wanted)))
    for place, old_key, old_doc in old:
        batch, rank = np.full(old_key.size, place, np.int32), np.zeros(old_key.size, np.int64)
        parts.append((old_key, batch, rank, old_doc, np.full(old_key.size, NO_CONTENT, "S16")))

    return Members(*(np.concatenate([part[column] for part in parts]) for column in range(5)))


def _distinct_pairs(members: Members, pairs: np.ndarray) -> np.ndarray:
    """Each pair of pages once, as rows of `members`; a page has a row for every key."""
    rows = np.unique(pairs)
    order = rows[np.lexsort((members.doc[rows], members.batch[rows]))]
    batch, doc = members.batch[order], members.doc[order]
    fresh = np.ones(order.size, bool)
    fresh[1:] = (batch[1:] != batch[:-1]) | (doc[1:] != doc[:-1])
    page = np.zeros(members.key.size, np.int64)
    page[order] = np.cumsum(fresh) - 1
    first_row = order[fresh]
    codes = np.unique(page[pairs[:, 0]] * max(1, first_row.size) + page[pairs[:, 1]])

    return np.stack(
        [first_row[code] for code in np.divmod(codes, max(1, first_row.size))], axis=1
    ).reshape(-1, 2)


def _leads(bucket: np.ndarray) -> np.ndarray:
    """Mask of the first rows of their bucket, to which all later ones were compared."""
    place = np.arange(bucket.size)
    starts = (
        np.concatenate([[True], bucket[1:] != bucket[:-1]]) if bucket.size else np.zeros(0, bool)
    )
    return place - np.maximum.accumulate(np.where(starts, place, 0)) < lsh.LEADERS


def _send(
    found: document_rows.ShingleSets,
    rank: np.ndarray,
    batch: int,
    homes: Mapping[tuple[int, bytes], set[int]],
    partners: Mapping[tuple[int, bytes], set[tuple[int, bytes]]],
    num_parts: int,
) -> pa.Table:
    """One row per page and home; the partners go with the row at the page's own home."""
    rows, at, names = [], [], []
    own = doc_ids.parts(found.doc, num_parts)
    for row, doc in enumerate(doc_ids.to_list(found.doc)):
        for home in sorted(homes[batch, doc]):
            rows.append(row)
            at.append(home)
            names.append(sorted(partners.get((batch, doc), ())) if home == own[row] else [])

    sets = pa.LargeListArray.from_arrays(pa.array(found.sets.bounds), pa.array(found.sets.values))
    return pa.table(
        {
            "home": pa.array(at, pa.int32()),
            "batch": pa.array(np.full(len(rows), batch, np.int32)),
            "doc": doc_ids.to_arrow(found.doc[rows]),
            "rank": pa.array(rank[rows]),
            "content": doc_ids.to_arrow(found.content[rows]),
            "shingles": sets.take(pa.array(rows, pa.int64())).cast(pa.list_(pa.uint64())),
            "partner_batches": pa.array(
                [[batch for batch, _ in each] for each in names], pa.list_(pa.int32())
            ),
            "partners": pa.array(
                [[doc for _, doc in each] for each in names], pa.list_(doc_ids.BINARY)
            ),
        },
        SHINGLES.schema,
    )


def _rows(lists: pa.ChunkedArray) -> list[np.ndarray]:
    """Every list as an array, uncopied."""
    chunks = [chunk for chunk in lists.chunks if len(chunk)]
    return [
        chunk.values.to_numpy()[start:end]
        for chunk in chunks
        for start, end in zip(
            chunk.offsets.to_numpy()[:-1], chunk.offsets.to_numpy()[1:], strict=True
        )
    ]


# From keys to verified pairs.
STEPS = (
    Exchange(
        name="dedup/candidates",
        reads=KEYS,
        writes=(PAIRS, COPIES, LARGE),
        depends=index.depends,
        scattered=MEMBERS,
        load_scatter=load_candidates_scatter,
        load_reduce=load_candidates_reduce,
        num_buckets=one_bucket_per_part,
    ),
    Exchange(
        name="dedup/shingles",
        reads=PAIRS,
        writes=(SHINGLES,),
        sections=("shingles", "survivors"),
        depends=index.depends,
        scattered=WANTED,
        load_scatter=load_shingles_scatter,
        load_reduce=load_shingles_reduce,
        num_buckets=one_bucket_per_part,
    ),
    Exchange(
        name="dedup/compare",
        reads=SHINGLES,
        writes=(EDGES,),
        sections=("threshold",),
        scattered=SHINGLES.schema,
        load_scatter=load_compare_scatter,
        load_reduce=load_compare_reduce,
        num_buckets=one_bucket_per_part,
    ),
)
