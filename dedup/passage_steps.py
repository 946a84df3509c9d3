"""The steps for passages of several kept pages, word for word.

These are paragraphs, long lines, and with `passages.anywhere` passages within them (`passage_spans`).

paragraphs  (map)       pages that stay to the keys of their passages
repeated    (exchange)  by key: all but the first page in the order of survivors lose the paragraph
repeats     (exchange)  by page: the keys that it loses

Menus, licences and quotations stay between pages that are no near-duplicates. The first page in
the order keeps a paragraph, so an earlier batch always does. Keys of kept pages are in `bands`:
batches one by one give what they give together. Pages lose text and stay, so verdicts of other
pages do not depend on it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.errors import InputError
from corpus.run.step import (
    Context,
    Exchange,
    Joins,
    Map,
    MapFunction,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.tables.manifest import Input
from corpus.tables.schemas import DOCUMENTS, SIGNATURES
from dedup import doc_ids, index
from dedup.against.index import read_matching
from dedup.config import DedupConfig
from dedup.doc_ids import BINARY
from dedup.passage_spans import paragraph_keys, paragraphs, passages
from dedup.tables import DECISIONS, KEYS, OVERLAPS, PARAGRAPHS, REPEATED, REPEATS

_PLACES = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("rank", pa.int64(), nullable=False),
        pa.field("doc", BINARY, nullable=False),
    ]
)


def ranges_of(row: dict[str, Any], lost: set[int]) -> list[tuple[int, int]]:
    """The ranges of a row of `PARAGRAPHS` whose keys are lost."""
    return [
        (start, end)
        for key, start, end in zip(row["keys"], row["starts"], row["ends"], strict=True)
        if key in lost
    ]


def load_paragraphs(config: DedupConfig, context: Context) -> MapFunction:
    """Pages that stay to the keys of their paragraphs."""

    def apply(documents: pa.Table, joins: Joins) -> Output:
        doc = doc_ids.pack(documents["doc_id"])
        has_words = doc_ids.join(doc, joins[SIGNATURES.name], "num_shingles", np.int32(0)) > 0
        stays = has_words & (
            doc_ids.places(doc, joins[DECISIONS.name]["doc_id"]) == doc_ids.NOWHERE
        )
        stays &= ~doc_ids.join(doc, joins[KEYS.name], "taken_down", np.bool_(False))
        rank = doc_ids.join(doc, joins[KEYS.name], "rank", np.int64(0))
        cuts: dict[int, list[tuple[int, int]]] = {}
        if OVERLAPS.name in joins:
            at = doc_ids.places(doc, joins[OVERLAPS.name]["doc_id"])
            judged = joins[OVERLAPS.name].select(["dropped", "cuts"]).to_pylist()
            for row in np.flatnonzero(at != doc_ids.NOWHERE).tolist():
                judgement = judged[at[row]]
                stays[row] &= not judgement["dropped"]
                cuts[row] = [(cut["start"], cut["end"]) for cut in judgement["cuts"]]

        spans: list[tuple[int, int]] = []
        rows: list[int] = []
        found = [np.zeros(0, np.uint64)]
        for row in np.flatnonzero(stays).tolist():
            keys_here, ranges = keyed_spans(documents["text"][row].as_py(), config)
            # What is cut already is not on the page.
            left = [
                place
                for place, (start, end) in enumerate(ranges)
                if not any(a < end and start < b for a, b in cuts.get(row, ()))
            ]
            rows += [row] * len(left)
            spans += [ranges[place] for place in left]
            found.append(keys_here[left])

        keys = np.concatenate(found)
        with_some, first = np.unique(np.array(rows, np.int64), return_index=True)
        bounds = pa.array(np.append(first, len(rows)).astype(np.int32))
        starts, ends = (np.array([span[side] for span in spans], np.int32) for side in (0, 1))
        table = pa.table(
            {
                "doc_id": documents["doc_id"].take(pa.array(with_some)),
                "rank": rank[with_some],
                "keys": pa.ListArray.from_arrays(bounds, pa.array(keys)),
                "starts": pa.ListArray.from_arrays(bounds, pa.array(starts)),
                "ends": pa.ListArray.from_arrays(bounds, pa.array(ends)),
            },
            PARAGRAPHS.schema,
        )
        return Output({PARAGRAPHS.name: table}, Counter(paragraphs=len(rows)))

    return apply


def load_repeated_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Paragraphs to the ranges of their keys."""

    def apply(table: pa.Table) -> Scattered:
        lists = table["keys"].combine_chunks()
        keys = lists.flatten().to_numpy()
        row = np.repeat(np.arange(table.num_rows), lists.value_lengths().to_numpy())
        places = pa.table(
            {
                "key": keys,
                "rank": table["rank"].to_numpy()[row],
                "doc": doc_ids.to_arrow(doc_ids.pack(table["doc_id"])[row]),
            }
        )
        return Scattered(places, index.part_of_keys(keys, context.num_parts))

    return apply


def load_repeated_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of keys to the pages that lose the paragraph."""
    earlier = index.earlier_indexes(context.store, context.batch, config)

    def reduce(bucket: int, table: pa.Table) -> Output:
        key, doc = table["key"].to_numpy(), doc_ids.from_arrow(table["doc"])
        order = np.lexsort((doc, -table["rank"].to_numpy(), key))
        key, doc = key[order], doc[order]
        distinct, first, group = np.unique(key, return_index=True, return_inverse=True)

        known = np.zeros(distinct.size, bool)
        known |= np.isin(distinct, read_matching(context, distinct)[0])
        for manifest in earlier:
            known |= np.isin(distinct, index.read_matching(context.store, manifest, distinct)[0])
        loses = known[group] | (doc != doc[first][group])
        return Output(
            {
                REPEATED.name: pa.table(
                    {"key": key[loses], "doc": doc_ids.to_arrow(doc[loses])}, REPEATED.schema
                )
            },
            Counter(repeated_paragraphs=int(loses.sum())),
        )

    return reduce


def load_repeats_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Lost paragraphs to the parts of their pages."""

    def apply(table: pa.Table) -> Scattered:
        return Scattered(table, doc_ids.parts(doc_ids.from_arrow(table["doc"]), context.num_parts))

    return apply


def load_repeats_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """The keys that each page of a part loses, distinct ones."""

    def reduce(bucket: int, table: pa.Table) -> Output:
        doc, key = doc_ids.from_arrow(table["doc"]), table["key"].to_numpy()
        order = np.lexsort((key, doc))
        doc, key = doc[order], key[order]
        fresh = np.ones(doc.size, bool)
        fresh[1:] = (doc[1:] != doc[:-1]) | (key[1:] != key[:-1])
        doc, key = doc[fresh], key[fresh]
        page, first = np.unique(doc, return_index=True)
        bounds = pa.array(np.append(first, doc.size).astype(np.int32))
        return Output(
            {
                REPEATS.name: pa.table(
                    {
                        "doc_id": doc_ids.unpack(page),
                        "keys": pa.ListArray.from_arrays(bounds, pa.array(key)),
                    },
                    REPEATS.schema,
                )
            }
        )

    return reduce


def depends(config: DedupConfig, context: Context) -> list[Input]:
    """The indexes of earlier batches.

    Raises: InputError for one whose paragraphs are not in it.
    """
    for manifest in index.earlier_indexes(context.store, context.batch, config):
        before = manifest.config.get("passages", {})
        for name, usual in (("min_words", 0), ("anywhere", False)):
            ours, theirs = getattr(config.passages, name), before.get(name, usual)
            if ours == theirs:
                continue
            raise InputError(
                f"{context.store.root}: dedup.passages.{name} is {ours} and "
                f"batch {manifest.batch!r} was made with {theirs}; batches of a corpus must agree: "
                f"use its setting, or rebuild it with `webtext dedup --corpus {context.store.root} "
                f"--batch {manifest.batch} --rebuild` and this one"
            )
    return index.depends(config, context)


def steps(*, overlap: bool) -> tuple[Map, Exchange, Exchange]:
    """The steps, in order."""
    judged = {OVERLAPS: ("doc_id", "dropped", "cuts")} if overlap else {}

    return (
        Map(
            name="dedup/paragraphs",
            reads=DOCUMENTS,
            columns=("doc_id", "text"),
            joins={
                SIGNATURES: ("doc_id", "num_shingles"),
                DECISIONS: ("doc_id",),
                KEYS: ("doc_id", "rank", "taken_down"),
                **judged,
            },
            writes=(PARAGRAPHS,),
            sections=("passages",),
            depends=depends,
            load=load_paragraphs,
        ),
        Exchange(
            name="dedup/repeated",
            reads=PARAGRAPHS,
            columns=("doc_id", "rank", "keys"),
            writes=(REPEATED,),
            sections=("passages",),
            depends=depends,
            scattered=_PLACES,
            load_scatter=load_repeated_scatter,
            load_reduce=load_repeated_reduce,
            num_buckets=one_bucket_per_part,
        ),
        Exchange(
            name="dedup/repeats",
            reads=REPEATED,
            writes=(REPEATS,),
            sections=("passages",),
            scattered=REPEATED.schema,
            load_scatter=load_repeats_scatter,
            load_reduce=load_repeats_reduce,
            num_buckets=one_bucket_per_part,
        ),
    )


def keyed_spans(text: str, config: DedupConfig) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """(keys of what may be cut out of a text, (n,) uint64; the range of each)."""
    min_words = config.passages.min_words
    ranges = paragraphs(text, min_words)
    keys = paragraph_keys([text[start:end] for start, end in ranges])
    if not config.passages.anywhere:
        return keys, ranges

    more, places = passages(text, min_words)
    return np.concatenate([keys, more]), [*ranges, *places]
