"""The steps from documents to near-duplicates: tables in, tables out, around the pure functions of the other modules.

signatures  (map)       a page to its signature
keys        (map)       a signature to the keys under which the page meets others
candidates  (exchange)  by key: which pages are to be compared
shingles    (exchange)  by page: the texts of candidates, and only theirs, to shingle sets
compare     (exchange)  by the later page: exact similarity of every pair
survivors   (gather)    in the fixed order: who stays
verdicts    (map)       a row for every page
bands       (exchange)  by key: what stays, for the next batch
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.layout import Store
from corpus.manifest import Input, Manifest, read_manifest
from corpus.runner import earlier_batches
from corpus.schemas import BANDS, DOCUMENTS, SIGNATURES, VERDICTS
from corpus.step import (
    Context,
    Exchange,
    Gather,
    GatherFunction,
    Joins,
    Map,
    MapFunction,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from dedup import ids, index, lookup, lsh, minhash, overlap_steps, survivors
from dedup.config import DedupConfig
from dedup.lsh import Members
from dedup.scratch import (
    COPIES,
    DECISIONS,
    EDGES,
    KEPT_KEYS,
    KEYS,
    LARGE,
    MEMBERS,
    OVERLAPS,
    PAIRS,
    SHINGLES,
    WANTED,
)
from dedup.words import jaccard

log = logging.getLogger(__name__)

NOWHERE = -1
_NO_CONTENT = np.bytes_(b"")


def load_signatures(config: DedupConfig, context: Context) -> MapFunction:
    """Documents to signatures."""
    perms = minhash.permutations(config.lsh.num_perm, config.minhash.seed)

    def apply(documents: pa.Table, joins: Joins) -> Output:
        signed = minhash.sign(documents["text"].combine_chunks(), config.shingles.n, perms, config.engine)
        rows = len(signed.num_shingles)
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * config.lsh.num_perm)
        table = pa.table(
            {
                "doc_id": documents["doc_id"],
                "content_hash": ids.unpack(ids.hashes_to_bytes(signed.content)),
                "num_shingles": signed.num_shingles,
                "signature": pa.ListArray.from_arrays(offsets, pa.array(signed.values.ravel())),
            }
        )
        return Output({SIGNATURES.name: table}, Counter(no_words=int((signed.num_shingles == 0).sum())))

    return apply


def load_keys(config: DedupConfig, context: Context) -> MapFunction:
    """Signatures to keys. Pages without words and pages that overlap drops take no part."""

    def apply(signatures: pa.Table, joins: Joins) -> Output:
        doc = ids.pack(signatures["doc_id"])
        score = _join(doc, joins[DOCUMENTS.name], "score", np.int32(0))
        takes_part = signatures["num_shingles"].to_numpy() > 0
        if OVERLAPS.name in joins:
            takes_part &= ~_join(doc, joins[OVERLAPS.name], "dropped", np.bool_(False))
        content = ids.pack(signatures["content_hash"])
        values = signatures["signature"].combine_chunks().flatten().to_numpy()
        keys = np.column_stack(
            [
                lsh.band_keys(values.reshape(-1, config.lsh.num_perm)[takes_part], config.lsh),
                lsh.content_keys(ids.bytes_to_hashes(content[takes_part])),
            ]
        )
        bounds = np.concatenate([[0], np.cumsum(takes_part * (config.lsh.num_bands + 1))]).astype(np.int32)
        table = pa.table(
            {
                "doc_id": signatures["doc_id"],
                "score": score,
                "content": ids.to_arrow(content),
                "keys": pa.ListArray.from_arrays(pa.array(bounds), pa.array(keys.ravel())),
            }
        )
        return Output({KEYS.name: table})

    return apply


def load_candidates_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Pages to the buckets of their keys."""

    def apply(table: pa.Table) -> Scattered:
        lists = table["keys"].combine_chunks()
        keys = lists.flatten().to_numpy()
        row = np.repeat(np.arange(table.num_rows), lists.value_lengths().to_numpy())
        members = pa.table(
            {
                "key": keys,
                "score": table["score"].to_numpy()[row],
                "doc": ids.to_arrow(ids.pack(table["doc_id"])[row]),
                "content": ids.to_arrow(ids.from_arrow(table["content"])[row]),
            }
        )
        return Scattered(members, index.part_of_keys(keys, context.num_parts))

    return apply


def load_candidates_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of keys, with what earlier batches kept under them, to the pages that are to be compared."""
    earlier = index.earlier_indexes(context.store, context.batch, config)

    def reduce(bucket: int, table: pa.Table) -> Output:
        members = _members(context.store, earlier, table)
        found = lsh.candidates(members, len(earlier))
        pairs = _distinct_pairs(members, found.pairs)
        by_content = members.key[found.copies[:, 1]] == lsh.content_keys(
            ids.bytes_to_hashes(members.content[found.copies[:, 1]])
        )
        copies = found.copies[by_content]  # they meet in every band too: once is enough
        large, leads = found.large, _leads(members.key[found.large])
        return Output(
            {
                PAIRS.name: pa.table(
                    {
                        "later": ids.to_arrow(members.doc[pairs[:, 1]]),
                        "earlier_batch": members.batch[pairs[:, 0]],
                        "earlier": ids.to_arrow(members.doc[pairs[:, 0]]),
                    }
                ),
                COPIES.name: pa.table(
                    {
                        "later": ids.to_arrow(members.doc[copies[:, 1]]),
                        "later_score": members.score[copies[:, 1]],
                        "first": ids.to_arrow(members.doc[copies[:, 0]]),
                        "first_score": members.score[copies[:, 0]],
                    }
                ),
                LARGE.name: pa.table(
                    {
                        "bucket": members.key[large],
                        "batch": members.batch[large],
                        "doc": ids.to_arrow(members.doc[large]),
                        "score": members.score[large],
                        "leads": leads,
                    }
                ),
            }
        )

    return reduce


def load_shingles_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Pairs to wishes: the shingles of both pages are wanted where the later one lives."""

    def apply(pairs: pa.Table) -> Scattered:
        later, earlier = ids.from_arrow(pairs["later"]), ids.from_arrow(pairs["earlier"])
        batch = pairs["earlier_batch"].to_numpy()
        this = len(earlier_batches(context.store, context.batch))
        home = ids.parts(later, context.num_parts)
        doc = np.concatenate([later, earlier])
        wishes = pa.table(
            {
                "home": np.concatenate([home, home]).astype(np.int32),
                "batch": np.concatenate([np.full(later.size, this), batch]).astype(np.int32),
                "doc": ids.to_arrow(doc),
                "partner_batch": np.concatenate([batch, np.full(later.size, NOWHERE)]).astype(np.int32),
                "partner": ids.to_arrow(np.concatenate([earlier, np.full(later.size, _NO_CONTENT, "S16")])),
            }
        )
        return Scattered(wishes, ids.parts(doc, context.num_parts))

    return apply


def load_shingles_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of ids: read the texts that are wanted, of any batch, once each."""
    manifests = _documents(context, config)

    def reduce(bucket: int, table: pa.Table) -> Output:
        partners: dict[tuple[int, bytes], set[tuple[int, bytes]]] = defaultdict(set)
        homes: dict[tuple[int, bytes], set[int]] = defaultdict(set)
        columns = (table[name].to_pylist() for name in WANTED.names)
        for home, batch, doc, partner_batch, partner in zip(*columns, strict=True):
            homes[batch, doc].add(home)
            if partner_batch != NOWHERE:
                partners[batch, doc].add((partner_batch, partner))
        tables = [SHINGLES.schema.empty_table()]
        for batch in sorted({batch for batch, _ in homes}):
            wanted = np.array(sorted(doc for place, doc in homes if place == batch), "S16")
            for found in lookup.shingle_sets(
                context.store, manifests[batch], wanted, config.shingles.n, config.engine
            ):
                tables.append(_send(found, batch, homes, partners, context.num_parts))
        return Output(
            {SHINGLES.name: pa.concat_tables(tables)}, Counter(compared=sum(map(len, partners.values())))
        )

    return reduce


def load_compare_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Shingle sets to where they are compared."""
    return lambda shingles: Scattered(shingles, shingles["home"].to_numpy().astype(np.int64))


def load_compare_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """Exact similarity of every pair whose later page lives here; those that reach the threshold stay."""

    def reduce(bucket: int, table: pa.Table) -> Output:
        table = table.combine_chunks()
        docs = table["doc"].to_pylist()
        batches = table["batch"].to_pylist()
        row_of = {(batch, doc): row for row, (batch, doc) in enumerate(zip(batches, docs, strict=True))}
        scores, contents = table["score"].to_numpy(), ids.from_arrow(table["content"])
        sets = _rows(table["shingles"])
        rows = []
        for later, names in enumerate(zip(table["partner_batches"], table["partners"], strict=True)):
            for batch, doc in zip(names[0].as_py(), names[1].as_py(), strict=True):
                earlier = row_of[batch, doc]
                value = _similarity(sets[earlier], sets[later], config)
                if value >= config.threshold:
                    rows.append((later, earlier, value))
        later_rows = np.array([row[0] for row in rows], np.int64)
        earlier_rows = np.array([row[1] for row in rows], np.int64)
        doc = ids.from_arrow(table["doc"])
        edges = pa.table(
            {
                "later": ids.to_arrow(doc[later_rows]),
                "later_score": scores[later_rows],
                "earlier_batch": table["batch"].to_numpy()[earlier_rows],
                "earlier": ids.to_arrow(doc[earlier_rows]),
                "earlier_score": scores[earlier_rows],
                "similarity": np.array([row[2] for row in rows], np.float64),
                "exact": contents[later_rows] == contents[earlier_rows],
            }
        )
        return Output({EDGES.name: edges}, Counter(similar=len(rows)))

    return reduce


def load_survivors(config: DedupConfig, context: Context) -> GatherFunction:
    """All verified pairs to decisions."""
    manifests = _documents(context, config)
    this = len(manifests) - 1

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        edges = _gathered(tables[EDGES.name], EDGES.schema)
        copies = _gathered(tables[COPIES.name], COPIES.schema)
        large = _gathered(tables[LARGE.name], LARGE.schema)
        large_score = _scores(context.store, manifests, large)
        pages = survivors.number_pages(
            [
                (
                    np.full(edges.num_rows, this),
                    edges["later_score"].to_numpy(),
                    ids.from_arrow(edges["later"]),
                ),
                (
                    edges["earlier_batch"].to_numpy(),
                    edges["earlier_score"].to_numpy(),
                    ids.from_arrow(edges["earlier"]),
                ),
                (large["batch"].to_numpy(), large_score, ids.from_arrow(large["doc"])),
                (
                    np.full(copies.num_rows, this),
                    copies["first_score"].to_numpy(),
                    ids.from_arrow(copies["first"]),
                ),
                (
                    np.full(copies.num_rows, this),
                    copies["later_score"].to_numpy(),
                    ids.from_arrow(copies["later"]),
                ),
            ]
        )
        later, earlier, in_large, first, copy = pages.numbers
        known = survivors.Edges(later, earlier, edges["similarity"].to_numpy(), edges["exact"].to_numpy())
        buckets = survivors.LargeBuckets(large["bucket"].to_numpy(), in_large, large["leads"].to_numpy())
        num_old = int((pages.batch < this).sum())
        if large.num_rows:
            with tempfile.TemporaryFile() as spool:
                verify = _verifier(context, config, manifests, pages, num_old, known, buckets, spool)
                choice = survivors.choose_in_large(
                    pages.doc.size, num_old, known, buckets, config.threshold, verify
                )
        else:
            choice = survivors.choose(pages.doc.size, known)
        choice = survivors.follow_copies(choice, first, copy)
        dropped = np.flatnonzero(choice.duplicate_of != survivors.KEPT)
        decisions = pa.table(
            {
                "doc_id": ids.unpack(pages.doc[dropped]),
                "duplicate_of": ids.unpack(pages.doc[choice.duplicate_of[dropped]]),
                "similarity": choice.similarity[dropped].astype(np.float32),
                "exact": choice.exact[dropped],
            }
        )
        return Output({DECISIONS.name: decisions})

    return gather


def load_verdicts(config: DedupConfig, context: Context) -> MapFunction:
    """A verdict for every page, and the keys of those that stay."""

    def apply(documents: pa.Table, joins: Joins) -> Output:
        doc = ids.pack(documents["doc_id"])
        has_words = _join(doc, joins[SIGNATURES.name], "num_shingles", np.int32(0)) > 0
        decision = _places(doc, joins[DECISIONS.name])
        overlap = _places(doc, joins[OVERLAPS.name]) if OVERLAPS.name in joins else np.full(doc.size, NOWHERE)
        decided = joins[DECISIONS.name].select(["duplicate_of", "similarity", "exact"]).to_pylist()
        overlapping = (
            joins[OVERLAPS.name].drop_columns(["doc_id"]).to_pylist() if OVERLAPS.name in joins else []
        )
        rows = [
            _verdict(
                bool(words),
                decided[at] if at != NOWHERE else None,
                overlapping[over] if over != NOWHERE else None,
            )
            for words, at, over in zip(has_words, decision, overlap, strict=True)
        ]
        verdicts = pa.Table.from_pylist(
            rows, pa.schema([field for field in VERDICTS.schema if field.name != "doc_id"])
        )
        verdicts = verdicts.add_column(0, VERDICTS.schema.field("doc_id"), documents["doc_id"])
        kept = verdicts["kept"].to_numpy()
        keys = joins[KEYS.name]["keys"].take(pa.array(_places(doc[kept], joins[KEYS.name])))
        counts = Counter("kept" if row["kept"] else row["reason"] for row in rows)
        counts["cut"] = sum(bool(row["cuts"]) for row in rows)
        kept_keys = pa.table({"doc_id": documents["doc_id"].filter(kept), "keys": keys})
        return Output({VERDICTS.name: verdicts, KEPT_KEYS.name: kept_keys}, +counts)

    return apply


def load_bands_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Keys of kept pages to their parts."""

    def apply(table: pa.Table) -> Scattered:
        lists = table["keys"].combine_chunks()
        keys = lists.flatten().to_numpy()
        row = np.repeat(np.arange(table.num_rows), lists.value_lengths().to_numpy())
        bands = pa.table({"key": keys, "doc_id": table["doc_id"].take(pa.array(row))})
        return Scattered(bands, index.part_of_keys(keys, context.num_parts))

    return apply


def load_bands_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of keys in order."""
    return lambda bucket, table: Output(
        {BANDS.name: table.sort_by([("key", "ascending"), ("doc_id", "ascending")])}
    )


def depends_on_earlier(config: DedupConfig, context: Context) -> list[Input]:
    """The indexes of the batches before this one. Raises InputError."""
    return index.index_inputs(index.earlier_indexes(context.store, context.batch, config))


def _members(store: Store, earlier: list[Manifest], table: pa.Table) -> Members:
    """The rows of a bucket of keys, with those of earlier batches that have one of its keys."""
    key = table["key"].to_numpy()
    wanted = np.unique(key)
    parts = [
        (
            key,
            np.full(key.size, len(earlier), np.int32),
            table["score"].to_numpy(),
            ids.from_arrow(table["doc"]),
            ids.from_arrow(table["content"]),
        )
    ]
    for place, manifest in enumerate(earlier):
        old_key, old_doc = index.read_matching(store, manifest, wanted)
        batch, score = np.full(old_key.size, place, np.int32), np.zeros(old_key.size, np.int32)
        parts.append((old_key, batch, score, old_doc, np.full(old_key.size, _NO_CONTENT, "S16")))
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
    return np.stack([first_row[code] for code in np.divmod(codes, max(1, first_row.size))], axis=1).reshape(
        -1, 2
    )


def _leads(bucket: np.ndarray) -> np.ndarray:
    """Which rows are among the first of their bucket, to which all later ones were compared."""
    place = np.arange(bucket.size)
    starts = np.concatenate([[True], bucket[1:] != bucket[:-1]]) if bucket.size else np.zeros(0, bool)
    return place - np.maximum.accumulate(np.where(starts, place, 0)) < lsh.LEADERS


def _documents(context: Context, config: DedupConfig) -> list[Manifest]:
    """The manifests of `documents` of the earlier batches and of this one, in order."""
    names = [*earlier_batches(context.store, context.batch), context.batch]
    return [read_manifest(context.store, DOCUMENTS.name, name) for name in names]


def _send(
    found: lookup.ShingleSets,
    batch: int,
    homes: Mapping[tuple[int, bytes], set[int]],
    partners: Mapping[tuple[int, bytes], set[tuple[int, bytes]]],
    num_parts: int,
) -> pa.Table:
    """One row per page and home; the partners go with the row at the page's own home."""
    rows, at, names = [], [], []
    own = ids.parts(found.doc, num_parts)
    for row, doc in enumerate(ids.to_list(found.doc)):
        for home in sorted(homes[batch, doc]):
            rows.append(row)
            at.append(home)
            names.append(sorted(partners.get((batch, doc), ())) if home == own[row] else [])
    sets = pa.LargeListArray.from_arrays(pa.array(found.sets.bounds), pa.array(found.sets.values))
    return pa.table(
        {
            "home": pa.array(at, pa.int32()),
            "batch": pa.array(np.full(len(rows), batch, np.int32)),
            "doc": ids.to_arrow(found.doc[rows]),
            "score": pa.array(found.score[rows]),
            "content": ids.to_arrow(found.content[rows]),
            "shingles": sets.take(pa.array(rows, pa.int64())).cast(pa.list_(pa.uint64())),
            "partner_batches": pa.array(
                [[batch for batch, _ in each] for each in names], pa.list_(pa.int32())
            ),
            "partners": pa.array([[doc for _, doc in each] for each in names], pa.list_(ids.BINARY)),
        },
        SHINGLES.schema,
    )


def _rows(lists: pa.ChunkedArray) -> list[np.ndarray]:
    """Every list as an array, uncopied."""
    chunks = [chunk for chunk in lists.chunks if len(chunk)]
    return [
        chunk.values.to_numpy()[start:end]
        for chunk in chunks
        for start, end in zip(chunk.offsets.to_numpy()[:-1], chunk.offsets.to_numpy()[1:], strict=True)
    ]


def _similarity(left: np.ndarray, right: np.ndarray, config: DedupConfig) -> float:
    """Exact Jaccard similarity, or 0 where the sizes alone rule the threshold out."""
    if min(left.size, right.size) < config.threshold * max(left.size, right.size):
        return 0.0
    return jaccard(left, right, config.engine)


def _gathered(pieces: Iterator[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *pieces]).combine_chunks()


def _scores(store: Store, manifests: list[Manifest], large: pa.Table) -> np.ndarray:
    """The scores of memberships, those of earlier batches looked up."""
    score = large["score"].to_numpy().copy()
    batch, doc = large["batch"].to_numpy(), ids.from_arrow(large["doc"])
    for place, manifest in enumerate(manifests[:-1]):
        here = np.flatnonzero(batch == place)
        for rows in lookup.rows_by_id(store, manifest, np.unique(doc[here]), ("doc_id", "score")):
            found = ids.pack(rows["doc_id"])
            at = np.minimum(np.searchsorted(found, doc[here]), max(0, found.size - 1))
            hit = found[at] == doc[here] if found.size else np.zeros(here.size, bool)
            score[here[hit]] = rows["score"].to_numpy()[at[hit]]
    return score


def _verifier(
    context: Context,
    config: DedupConfig,
    manifests: list[Manifest],
    pages: survivors.Pages,
    num_old: int,
    edges: survivors.Edges,
    large: survivors.LargeBuckets,
    spool: Any,
) -> survivors.Verify:
    """Exact comparison of the pages of large buckets that the edges do not settle; their sets lie in `spool`, not in memory."""
    asked = survivors.open_pages(pages.doc.size, num_old, edges, large)
    start: dict[int, int] = {}
    size: dict[int, int] = {}
    content: dict[int, bytes] = {}
    position = 0
    for place, manifest in enumerate(manifests):
        numbers = asked[pages.batch[asked] == place]
        order = np.argsort(pages.doc[numbers])
        wanted = pages.doc[numbers][order]
        for found in lookup.shingle_sets(context.store, manifest, wanted, config.shingles.n, config.engine):
            for row, at in enumerate(np.searchsorted(wanted, found.doc)):
                number = int(numbers[order[at]])
                values = found.sets.row(row)
                spool.write(values.tobytes())
                start[number], size[number] = position, values.size
                content[number] = found.content[row]
                position += values.size
    log.info("%s pages of large buckets are compared one by one", f"{asked.size:,}")
    spool.flush()
    stored = np.memmap(spool, np.uint64, "r", shape=(position,)) if position else np.zeros(0, np.uint64)

    def verify(earlier: int, later: int) -> tuple[float, bool]:
        left, right = (stored[start[page] : start[page] + size[page]] for page in (earlier, later))
        return _similarity(left, right, config), content[earlier] == content[later]

    return verify


def _verdict(
    has_words: bool, decision: dict[str, Any] | None, overlap: dict[str, Any] | None
) -> dict[str, Any]:
    """One row of `verdicts`, its id aside."""
    reason = None
    if not has_words:
        reason = "no_words"
    elif overlap is not None and overlap["dropped"]:
        reason = "test_overlap"
    elif decision is not None:
        reason = "exact_duplicate" if decision["exact"] else "near_duplicate"
    return {
        "kept": reason is None,
        "reason": reason,
        "duplicate_of": decision["duplicate_of"] if decision is not None else None,
        "similarity": decision["similarity"] if decision is not None else None,
        "testsets": overlap["testsets"] if overlap is not None else [],
        "overlap_ngrams": overlap["overlap_ngrams"] if overlap is not None else 0,
        "cuts": overlap["cuts"] if overlap is not None and reason is None else [],
    }


def _places(doc: np.ndarray, table: pa.Table) -> np.ndarray:
    """The row of every id in a table ascending by doc_id, or NOWHERE."""
    there = ids.pack(table["doc_id"])
    if there.size == 0:
        return np.full(doc.size, NOWHERE)
    at = np.minimum(np.searchsorted(there, doc), there.size - 1)
    return np.where(there[at] == doc, at, NOWHERE)


def _join(doc: np.ndarray, table: pa.Table, column: str, missing: Any) -> np.ndarray:
    """The value of every id in a table ascending by doc_id, or `missing`."""
    at = _places(doc, table)
    values = np.append(table[column].to_numpy(), missing)
    return values[at]


def depends_on_testsets_too(config: DedupConfig, context: Context) -> list[Input]:
    """Earlier indexes, and the test sets by digest: `verdicts` says what it was filtered against."""
    return [*depends_on_earlier(config, context), *overlap_steps.depends_on_testsets(config, context)]


def steps(*, overlap: bool) -> tuple[Map | Exchange | Gather, ...]:
    """The steps, joined with those of `overlap_steps` or without."""
    joined = {OVERLAPS: tuple(OVERLAPS.schema.names)} if overlap else {}
    return (
        Map(
            name="dedup/keys",
            reads=SIGNATURES,
            joins={DOCUMENTS: ("doc_id", "score"), **({OVERLAPS: ("doc_id", "dropped")} if overlap else {})},
            writes=(KEYS,),
            conserves=(KEYS,),
            sections=("lsh",),
            load=load_keys,
        ),
        Exchange(
            name="dedup/candidates",
            reads=KEYS,
            writes=(PAIRS, COPIES, LARGE),
            depends=depends_on_earlier,
            scattered=MEMBERS,
            load_scatter=load_candidates_scatter,
            load_reduce=load_candidates_reduce,
            num_buckets=one_bucket_per_part,
        ),
        Exchange(
            name="dedup/shingles",
            reads=PAIRS,
            writes=(SHINGLES,),
            sections=("shingles",),
            depends=depends_on_earlier,
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
        Gather(
            name="dedup/survivors",
            reads={each: tuple(each.schema.names) for each in (EDGES, COPIES, LARGE)},
            writes=(DECISIONS,),
            sections=("threshold", "shingles"),
            depends=depends_on_earlier,
            load=load_survivors,
        ),
        Map(
            name="dedup/verdicts",
            reads=DOCUMENTS,
            columns=("doc_id",),
            joins={
                SIGNATURES: ("doc_id", "num_shingles"),
                DECISIONS: tuple(DECISIONS.schema.names),
                KEYS: ("doc_id", "keys"),
                **joined,
            },
            writes=(VERDICTS, KEPT_KEYS),
            conserves=(VERDICTS,),
            sections=("threshold", "shingles", "minhash", "lsh", "overlap"),
            depends=depends_on_testsets_too,
            load=load_verdicts,
        ),
        Exchange(
            name="dedup/bands",
            reads=KEPT_KEYS,
            writes=(BANDS,),
            sections=index.SECTIONS,
            scattered=BANDS.schema,
            load_scatter=load_bands_scatter,
            load_reduce=load_bands_reduce,
            num_buckets=one_bucket_per_part,
        ),
    )


SIGN = Map(
    name="dedup/signatures",
    reads=DOCUMENTS,
    columns=("doc_id", "text"),
    writes=(SIGNATURES,),
    conserves=(SIGNATURES,),
    sections=("shingles", "minhash", "lsh"),
    load=load_signatures,
)
