"""Documents to signatures to keys, and keys of kept pages to the index.

signatures  (map)       a page to its signature
keys        (map)       a signature to the keys of its bands and of its content
bands       (exchange)  by key: kept pages, for the next batch
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

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
from corpus.tables.schemas import BANDS, DOCUMENTS, SIGNATURES
from dedup import doc_ids, index
from dedup.config import DedupConfig
from dedup.near_duplicates import lsh, minhash, ranks
from dedup.tables import KEPT_KEYS, KEYS, OVERLAPS
from dedup.taken_down import load_taken_pages


def load_signatures(config: DedupConfig, context: Context) -> MapFunction:
    """Documents to signatures."""
    perms = minhash.permutations(config.lsh.num_perm, config.minhash.seed)

    def apply(documents: pa.Table, joins: Joins) -> Output:
        signed = minhash.sign(documents["text"].combine_chunks(), config.shingles.n, perms)
        rows = len(signed.num_shingles)
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * config.lsh.num_perm)
        table = pa.table(
            {
                "doc_id": documents["doc_id"],
                "content_hash": doc_ids.unpack(doc_ids.hashes_to_bytes(signed.content)),
                "num_shingles": signed.num_shingles,
                "signature": pa.ListArray.from_arrays(offsets, pa.array(signed.values.ravel())),
            }
        )

        return Output(
            {SIGNATURES.name: table}, Counter(no_words=int((signed.num_shingles == 0).sum()))
        )

    return apply


def load_keys(config: DedupConfig, context: Context) -> MapFunction:
    """Signatures to keys.

    Pages without words, pages dropped by overlap and copies of taken-down pages take no part.
    """
    taken = load_taken_pages(context.store, config)

    def apply(signatures: pa.Table, joins: Joins) -> Output:
        doc = doc_ids.pack(signatures["doc_id"])
        score = doc_ids.join(doc, joins[DOCUMENTS.name], "score", np.int32(0))
        num_shingles = signatures["num_shingles"].to_numpy()
        takes_part, is_clean = num_shingles > 0, np.ones(num_shingles.size, bool)
        if OVERLAPS.name in joins:
            takes_part &= ~doc_ids.join(doc, joins[OVERLAPS.name], "dropped", np.bool_(False))
            is_clean = doc_ids.join(doc, joins[OVERLAPS.name], "overlap_ngrams", np.int32(0)) == 0
        content = doc_ids.pack(signatures["content_hash"])
        values = signatures["signature"].combine_chunks().flatten().to_numpy()
        values = values.reshape(-1, config.lsh.num_perm)
        bands = lsh.band_keys(values, config.lsh)
        taken_down = np.zeros(len(values), bool)
        if taken is not None:
            taken_down = takes_part & taken.match(content, values, bands)
            takes_part &= ~taken_down

        keys = np.column_stack(
            [
                bands[takes_part],
                lsh.content_keys(doc_ids.bytes_to_hashes(content[takes_part])),
            ]
        )
        bounds = np.concatenate([[0], np.cumsum(takes_part * (config.lsh.num_bands + 1))]).astype(
            np.int32
        )
        table = pa.table(
            {
                "doc_id": signatures["doc_id"],
                "rank": ranks.ranks(config.survivors.prefer, score, is_clean, num_shingles),
                "content": doc_ids.to_arrow(content),
                "keys": pa.ListArray.from_arrays(pa.array(bounds), pa.array(keys.ravel())),
                "taken_down": taken_down,
            }
        )

        return Output({KEYS.name: table})

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


def keys_step(*, overlap: bool) -> Map:
    """Signatures to keys; with `overlap`, without the pages it drops."""
    return Map(
        name="dedup/keys",
        reads=SIGNATURES,
        joins={
            DOCUMENTS: ("doc_id", "score"),
            **({OVERLAPS: ("doc_id", "dropped", "overlap_ngrams")} if overlap else {}),
        },
        writes=(KEYS,),
        conserves=(KEYS,),
        sections=("lsh", "survivors"),
        load=load_keys,
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

INDEX = Exchange(
    name="dedup/bands",
    reads=KEPT_KEYS,
    writes=(BANDS,),
    sections=index.SECTIONS,
    scattered=BANDS.schema,
    load_scatter=load_bands_scatter,
    load_reduce=load_bands_reduce,
    num_buckets=one_bucket_per_part,
)
