"""The steps from documents to the effect of overlap with test sets.

ngrams    (gather)  the test sets to their grams
hits      (map)     pages to the grams found in them
overlap   (gather)  all grams found, with their numbers of pages
overlaps  (map)     the effect on each page with some
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa

from corpus.evaluation_sets.files import LONG_FIELD_WORDS, find_testsets, load_testsets
from corpus.run.step import Context, Gather, GatherFunction, Joins, Map, MapFunction, Output
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import (
    Input,
    earlier_batches,
    earlier_inputs,
    find_manifest,
    find_manifest_in,
)
from corpus.tables.parquet import read_file, read_table
from corpus.tables.schemas import DOCUMENTS, SIGNATURES
from dedup import common_speech, doc_ids, index, overlap
from dedup.common_speech import PageGrams
from dedup.config import DedupConfig
from dedup.overlap import NgramIndex
from dedup.tables import EXEMPT, HITS, NGRAMS, OVERLAP, OVERLAPS, SEEN
from dedup.words import slices, word_hashes, word_spans

log = logging.getLogger(__name__)

_GRAMS_OF_HITS = pa.schema([HITS.schema.field("doc_id"), HITS.schema.field("ngrams")])


def load_ngrams(config: DedupConfig, context: Context) -> GatherFunction:
    """The test sets' grams of the current batch."""

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        sets = load_testsets(config.testsets)
        for each in sets:
            if each.left_out:
                log.warning(
                    "test set %s: read %s; not read, though they hold %d words and more: %s. Name the "
                    "fields that count in a testsets.toml beside the file, or in ?fields= of a hub name",
                    each.name,
                    ", ".join(each.fields),
                    LONG_FIELD_WORDS,
                    ", ".join(each.left_out),
                )
        grams = overlap.ngrams_of(sets, config.overlap, config.engine)
        names = pa.array([each.name for each in sets], pa.string())
        table = pa.table(
            {
                "ngram": grams.ngram,
                "n": grams.n,
                "removes": grams.removes,
                "prefix": grams.prefix,
                "testsets": pa.ListArray.from_arrays(
                    pa.array(grams.testsets.bounds.astype(np.int32)),
                    names.take(pa.array(grams.testsets.values)),
                ),
            }
        )

        return Output({NGRAMS.name: table})

    return gather


def load_hits(config: DedupConfig, context: Context) -> MapFunction:
    """Pages to the test-set grams in them."""
    index, lengths, removes = _load_index(config, context)

    def apply(documents: pa.Table, joins: Joins) -> Output:
        texts = documents["text"].combine_chunks()
        seen, rows = [], []
        for first, after in slices(texts):
            piece = texts.slice(first, after - first)
            found = overlap.find(word_hashes(piece, config.engine), index, config.engine)
            pairs = np.unique(found.text * max(1, index.keys.size) + found.key) % max(
                1, index.keys.size
            )
            seen.append(pairs)
            counted = removes[found.key]
            owner, word, key = found.text[counted], found.word[counted], found.key[counted]
            with_hits = np.unique(owner)
            bounds = np.searchsorted(owner, np.append(with_hits, len(piece)))

            for place, text in enumerate(with_hits.tolist()):
                here = slice(bounds[place], bounds[place + 1])
                row = _hit_row(
                    piece[text].as_py(),
                    word[here],
                    key[here],
                    index,
                    lengths,
                    config.overlap.window_chars,
                )
                rows.append({"doc_id": documents["doc_id"][first + text].as_py(), **row})

        keys, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *seen]), return_counts=True)
        seen_table = pa.table(
            {
                "ngram": index.keys[keys],
                "n": lengths[keys],
                "num_documents": counts.astype(np.int32),
            }
        )
        hits = pa.Table.from_pylist(rows, HITS.schema)

        return Output({HITS.name: hits, SEEN.name: seen_table}, Counter(pages_with_hits=len(rows)))

    return apply


def load_overlap(config: DedupConfig, context: Context) -> GatherFunction:
    """The grams of all runs together: the batch's row in the table of GPT-2, as counts per set.

    Finds those that are common speech, as well.
    """
    earlier = index.earlier_indexes(context.store, context.batch, config)

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        table = merge([SEEN.schema.empty_table(), *tables[SEEN.name]])
        grams = read_ngrams(context.store, context.batch)
        at = np.searchsorted(grams["ngram"].to_numpy(), table["ngram"].to_numpy())
        hits = pa.concat_tables([_GRAMS_OF_HITS.empty_table(), *tables[HITS.name]])
        pages = PageGrams.of(hits)
        group, known = common_speech.groups(
            pages.doc, tables[SIGNATURES.name], config.lsh, context.store, earlier
        )
        num_groups = _num_groups(table, pages, group, known)
        common = _common(context, config, table["ngram"].to_numpy(), num_groups)
        sets = load_testsets(config.testsets) if common.size else []
        exempt = common_speech.exempt(pages, common, sets, config.overlap, config.engine)
        table = table.append_column(OVERLAP.schema.field("num_groups"), pa.array(num_groups))
        table = table.append_column(
            OVERLAP.schema.field("exempt"),
            pa.array(np.isin(table["ngram"].to_numpy(), pages.gram[exempt])),
        )
        table = table.append_column(
            OVERLAP.schema.field("testsets"), grams["testsets"].take(pa.array(at))
        )

        return Output(
            {OVERLAP.name: table, EXEMPT.name: _exempt_table(pages, exempt)}, shares(grams, table)
        )

    return gather


def load_overlaps(config: DedupConfig, context: Context) -> MapFunction:
    """Pages with hits to the effect on them."""
    grams = read_ngrams(context.store, context.batch)
    keys, testsets = grams["ngram"].to_numpy(), grams["testsets"]

    def apply(hits: pa.Table, joins: Joins) -> Output:
        exempt = dict(
            zip(
                joins[EXEMPT.name]["doc_id"].to_pylist(),
                joins[EXEMPT.name]["ngrams"].to_pylist(),
                strict=True,
            )
        )
        rows = [
            _overlap_row(
                row, np.array(exempt.get(row["doc_id"], ()), np.uint64), keys, testsets, config
            )
            for row in hits.to_pylist()
        ]
        made = [row for row in rows if row["overlap_ngrams"]]
        return Output({OVERLAPS.name: pa.Table.from_pylist(made, OVERLAPS.schema)})

    return apply


def shares(grams: pa.Table, seen: pa.Table) -> Counter[str]:
    """Per test set and n: `<set> <n>-grams` and `<set> <n>-grams found`, distinct ones. Exact."""
    found = np.isin(grams["ngram"].to_numpy(), seen["ngram"].to_numpy())
    counts: Counter[str] = Counter()
    for (name, n), places in overlap.by_set(grams["n"].to_numpy(), grams["testsets"]).items():
        counts[f"{name} {n}-grams"] = places.size
        counts[f"{name} {n}-grams found"] = int(found[places].sum())
    return counts


def read_ngrams(store: Store, batch: str) -> pa.Table:
    """The test sets' grams of the batch that is being worked on."""
    manifest = find_manifest_in(store, NGRAMS.folder(batch))
    assert manifest is not None, "the step before has committed them"
    return read_file(store, f"{NGRAMS.folder(batch)}/{manifest.parts[0].file}")


def depends_on_testsets(config: DedupConfig, context: Context) -> list[Input]:
    """The test sets by digest. Raises InputError for a missing path."""
    return [
        Input(table="testset", batch=file.name, fingerprint=file.digest)
        for file in find_testsets(config.testsets)
    ]


def depends_on_earlier(config: DedupConfig, context: Context) -> list[Input]:
    """The test sets, and what earlier batches have: common speech is counted over them too."""
    return [
        *depends_on_testsets(config, context),
        *index.depends(config, context),
        *earlier_inputs(context.store, context.batch, OVERLAP.name),
    ]


def _num_groups(
    table: pa.Table, pages: PageGrams, group: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Groups of pages, new ones only, that hold each gram of `table`. Shape (grams,) int32."""
    new = ~known[pages.page]
    at = np.searchsorted(table["ngram"].to_numpy(), pages.gram[new])
    pairs = np.unique(at * max(1, pages.doc.size) + group[pages.page[new]])
    counts = np.bincount(pairs // max(1, pages.doc.size), minlength=table.num_rows)
    return counts.astype(np.int32)


def _common(
    context: Context, config: DedupConfig, ngram: np.ndarray, num_groups: np.ndarray
) -> np.ndarray:
    """Grams in more groups of this and earlier batches than are counted as overlap."""
    total = num_groups.astype(np.int64)
    names = earlier_batches(context.store, context.batch)
    num_pages = 0
    for name in [*names, context.batch]:
        documents = find_manifest(context.store, DOCUMENTS.name, name)
        num_pages += documents.rows if documents is not None else 0
    for name in names:
        if find_manifest(context.store, OVERLAP.name, name) is None:
            continue
        before = read_table(context.store, OVERLAP.name, name, ["ngram", "num_groups"])
        there = before["ngram"].to_numpy()
        at = np.minimum(np.searchsorted(there, ngram), max(0, there.size - 1))
        if there.size:
            total += np.where(there[at] == ngram, before["num_groups"].to_numpy()[at], 0)
    common: np.ndarray = ngram[total > common_speech.limit(config.overlap, num_pages)]
    return common


def _exempt_table(pages: PageGrams, exempt: np.ndarray) -> pa.Table:
    """The exempted grams of every page that has some."""
    page, gram = pages.page[exempt], pages.gram[exempt]
    with_some, first = np.unique(page, return_index=True)
    bounds = np.append(first, page.size).astype(np.int32)
    return pa.table(
        {
            "doc_id": doc_ids.unpack(pages.doc[with_some]),
            "ngrams": pa.ListArray.from_arrays(pa.array(bounds), pa.array(gram)),
        },
        EXEMPT.schema,
    )


def merge(tables: list[pa.Table]) -> pa.Table:
    """Marks of parts or batches together: one row per gram, ascending, with the pages of all."""
    whole = pa.concat_tables(tables)
    ngram, first, place = np.unique(
        whole["ngram"].to_numpy(), return_index=True, return_inverse=True
    )
    pages = np.bincount(place, whole["num_documents"].to_numpy(), ngram.size).astype(np.int32)
    return pa.table(
        {"ngram": ngram, "n": whole["n"].to_numpy()[first], "num_documents": pages}, SEEN.schema
    )


def _hit_row(
    text: str,
    word: np.ndarray,
    key: np.ndarray,
    index: NgramIndex,
    lengths: np.ndarray,
    window_chars: int,
) -> dict[str, object]:
    starts, ends = word_spans(text)
    first, after = starts[word], ends[word + lengths[key] - 1]
    windows = [
        overlap.window_at_words(text, one, other, window_chars)
        for one, other in zip(first.tolist(), after.tolist(), strict=True)
    ]
    return {
        "num_chars": len(text),
        "ngrams": index.keys[key],
        "starts": first,
        "ends": after,
        "firsts": [window[0] for window in windows],
        "afters": [window[1] for window in windows],
    }


def _overlap_row(
    row: dict[str, list[int]],
    common: np.ndarray,
    keys: np.ndarray,
    testsets: pa.ChunkedArray,
    config: DedupConfig,
) -> dict[str, object]:
    grams = np.array(row["ngrams"], np.uint64)
    counted = ~np.isin(grams, common)
    spans = [
        span
        for span, kept in zip(zip(row["starts"], row["ends"], strict=True), counted, strict=True)
        if kept
    ]
    windows = [
        window
        for window, kept in zip(
            zip(row["firsts"], row["afters"], strict=True), counted, strict=True
        )
        if kept
    ]
    judgement = overlap.judge(spans, int(row["num_chars"]), config.overlap, windows)  # type: ignore[call-overload]
    places = np.searchsorted(keys, np.unique(grams[counted]))

    return {
        "doc_id": row["doc_id"],
        "dropped": judgement.dropped,
        "testsets": sorted({name for place in places for name in testsets[int(place)].as_py()}),
        "overlap_ngrams": len(spans),
        "cuts": [{"start": start, "end": end} for start, end in judgement.cuts],
    }


def _load_index(config: DedupConfig, context: Context) -> tuple[NgramIndex, np.ndarray, np.ndarray]:
    folder = NGRAMS.folder(context.batch)
    manifest = find_manifest_in(context.store, folder)
    assert manifest is not None, "the step before has committed them"
    path = f"{folder}/{manifest.parts[0].file}"
    return _read_index(context.store.root, path, config.overlap.prefix_words, manifest.fingerprint)


@lru_cache(maxsize=1)
def _read_index(
    root: str, path: str, prefix_words: int, fingerprint: str
) -> tuple[NgramIndex, np.ndarray, np.ndarray]:
    """(index, n of every gram, whether it is removed): made once per process and kept for its next parts."""
    table = read_file(open_store(root), path, ["ngram", "n", "removes", "prefix"])
    ngram, n, removes, prefix = (column.to_numpy() for column in table.columns)
    return overlap.build_index(ngram, n, prefix, prefix_words), n, removes


def steps() -> tuple[Gather | Map, ...]:
    """The steps, in order."""
    return (
        Gather(
            name="dedup/ngrams",
            reads={},
            writes=(NGRAMS,),
            sections=("overlap",),
            revision=3,
            depends=depends_on_testsets,
            load=load_ngrams,
        ),
        # Every page is read once for the test sets of measurement and of removal.
        Map(
            name="dedup/hits",
            reads=DOCUMENTS,
            columns=("doc_id", "text"),
            writes=(HITS, SEEN),
            sections=("overlap",),
            revision=2,
            depends=depends_on_testsets,
            load=load_hits,
        ),
        Gather(
            name="dedup/overlap",
            reads={
                SEEN: tuple(SEEN.schema.names),
                HITS: ("doc_id", "ngrams"),
                SIGNATURES: ("doc_id", "num_shingles", "signature"),
            },
            writes=(OVERLAP, EXEMPT),
            sections=("overlap", "threshold", "shingles", "minhash", "lsh"),
            depends=depends_on_earlier,
            load=load_overlap,
        ),
        Map(
            name="dedup/overlaps",
            reads=HITS,
            joins={EXEMPT: tuple(EXEMPT.schema.names)},
            writes=(OVERLAPS,),
            sections=("overlap",),
            load=load_overlaps,
        ),
    )
