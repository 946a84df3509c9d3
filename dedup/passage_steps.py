"""The steps for passages of several kept pages: paragraphs and long lines, word for word.

paragraphs  (map)       pages that stay to the keys of their paragraphs
repeated    (exchange)  by key: all but the first page in the order of survivors lose the paragraph
repeats     (exchange)  by page: the keys that it loses

Menus, licences and quotations stay between pages that are no near-duplicates. The first page in
the order keeps a paragraph, so an earlier batch always does. Keys of kept pages are in `bands`:
batches one by one give what they give together. Pages lose text and stay, so verdicts of other
pages do not depend on it.
"""

from __future__ import annotations

import re
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
from dedup.config import DedupConfig
from dedup.doc_ids import BINARY
from dedup.tables import DECISIONS, KEYS, OVERLAPS, PARAGRAPHS, REPEATED, REPEATS
from dedup.words import content_hashes, mix, word_hashes

# Keys of paragraphs and of bands are in one index.
PARAGRAPH_SALT = np.uint64(0x3C6EF372FE94F82B)

_BLANK = re.compile(r"\n[ \t\r]*\n")
# Han, Kana and their marks.
_UNSPACED = re.compile(r"[\u2e80-\u9fff]")
_LINE = re.compile(r"\S(?:.*\S)?")

_PLACES = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("score", pa.int32(), nullable=False),
        pa.field("doc", BINARY, nullable=False),
    ]
)


def paragraphs(text: str, min_words: int) -> list[tuple[int, int]]:
    """Ranges that may be cut: blocks between blank lines, and lines of blocks of several.

    Only those of at least `min_words` white-space words, in order; a block comes before its lines.
    """
    found = []
    edges = [0, *(edge for blank in _BLANK.finditer(text) for edge in blank.span()), len(text)]
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        lines = [line.span() for line in _LINE.finditer(text, first, after)]
        if not lines:
            continue
        block = (lines[0][0], lines[-1][1])
        for start, end in [block, *(lines if len(lines) > 1 else [])]:
            # Fewer characters than words are no paragraph: most are told apart by that alone.
            if end - start >= min_words and _num_words(text[start:end]) >= min_words:
                found.append((start, end))

    return found


def ranges_of(row: dict[str, Any], lost: set[int]) -> list[tuple[int, int]]:
    """The ranges of a row of `PARAGRAPHS` whose keys are lost."""
    return [
        (start, end)
        for key, start, end in zip(row["keys"], row["starts"], row["ends"], strict=True)
        if key in lost
    ]


def load_paragraphs(config: DedupConfig, context: Context) -> MapFunction:
    """Pages that stay to the keys of their paragraphs."""
    min_words = config.passages.min_words

    def apply(documents: pa.Table, joins: Joins) -> Output:
        doc = doc_ids.pack(documents["doc_id"])
        has_words = doc_ids.join(doc, joins[SIGNATURES.name], "num_shingles", np.int32(0)) > 0
        stays = has_words & (
            doc_ids.places(doc, joins[DECISIONS.name]["doc_id"]) == doc_ids.NOWHERE
        )
        stays &= ~doc_ids.join(doc, joins[KEYS.name], "taken_down", np.bool_(False))
        cuts: dict[int, list[tuple[int, int]]] = {}
        if OVERLAPS.name in joins:
            at = doc_ids.places(doc, joins[OVERLAPS.name]["doc_id"])
            judged = joins[OVERLAPS.name].select(["dropped", "cuts"]).to_pylist()
            for row in np.flatnonzero(at != doc_ids.NOWHERE).tolist():
                judgement = judged[at[row]]
                stays[row] &= not judgement["dropped"]
                cuts[row] = [(cut["start"], cut["end"]) for cut in judgement["cuts"]]

        spans, texts, rows = [], [], []
        for row in np.flatnonzero(stays).tolist():
            text = documents["text"][row].as_py()
            for start, end in paragraphs(text, min_words):
                # What is cut already is not on the page.
                if not any(a < end and start < b for a, b in cuts.get(row, ())):
                    rows.append(row)
                    spans.append((start, end))
                    texts.append(text[start:end])

        keys = paragraph_keys(texts)
        with_some, first = np.unique(np.array(rows, np.int64), return_index=True)
        bounds = pa.array(np.append(first, len(rows)).astype(np.int32))
        starts, ends = (np.array([span[side] for span in spans], np.int32) for side in (0, 1))
        table = pa.table(
            {
                "doc_id": documents["doc_id"].take(pa.array(with_some)),
                "score": documents["score"].take(pa.array(with_some)),
                "keys": pa.ListArray.from_arrays(bounds, pa.array(keys)),
                "starts": pa.ListArray.from_arrays(bounds, pa.array(starts)),
                "ends": pa.ListArray.from_arrays(bounds, pa.array(ends)),
            },
            PARAGRAPHS.schema,
        )
        return Output({PARAGRAPHS.name: table}, Counter(paragraphs=len(rows)))

    return apply


def paragraph_keys(texts: list[str]) -> np.ndarray:
    """Keys of paragraphs: equal for equal words. Shape (n,) uint64."""
    words = word_hashes(pa.array(texts, pa.large_string()))
    return mix(content_hashes(words)[:, 0] ^ PARAGRAPH_SALT)


def load_repeated_scatter(config: DedupConfig, context: Context) -> ScatterFunction:
    """Paragraphs to the ranges of their keys."""

    def apply(table: pa.Table) -> Scattered:
        lists = table["keys"].combine_chunks()
        keys = lists.flatten().to_numpy()
        row = np.repeat(np.arange(table.num_rows), lists.value_lengths().to_numpy())
        places = pa.table(
            {
                "key": keys,
                "score": table["score"].to_numpy()[row],
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
        order = np.lexsort((doc, -table["score"].to_numpy().astype(np.int64), key))
        key, doc = key[order], doc[order]
        distinct, first, group = np.unique(key, return_index=True, return_inverse=True)

        known = np.zeros(distinct.size, bool)
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
        theirs = manifest.config.get("passages", {}).get("min_words", 0)
        if theirs != config.passages.min_words:
            raise InputError(
                f"{context.store.root}: dedup.passages.min_words is {config.passages.min_words} and "
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
            columns=("doc_id", "score", "text"),
            joins={
                SIGNATURES: ("doc_id", "num_shingles"),
                DECISIONS: ("doc_id",),
                KEYS: ("doc_id", "taken_down"),
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
            columns=("doc_id", "score", "keys"),
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


def _num_words(text: str) -> int:
    """White-space words, or characters of scripts without spaces, whichever is more."""
    num_words = len(text.split())
    return num_words if text.isascii() else max(num_words, len(_UNSPACED.findall(text)))
