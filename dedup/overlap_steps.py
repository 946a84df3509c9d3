"""The steps from documents to the effect of overlap with test sets.

ngrams    (gather)  the test sets to their grams
hits      (map)     pages to the grams found in them
overlap   (gather)  all grams found, with their numbers of pages
overlaps  (map)     the effect on each page with some
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa

from corpus.evaluation_sets.files import find_testsets, load_testsets
from corpus.run.step import Context, Gather, GatherFunction, Joins, Map, MapFunction, Output
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import Input, batches, earlier_batches, earlier_inputs, find_manifest_in
from corpus.tables.parquet import read_file, read_table
from corpus.tables.schemas import DOCUMENTS
from dedup import overlap
from dedup.config import DedupConfig
from dedup.overlap import NgramIndex
from dedup.tables import HITS, NGRAMS, OVERLAP, OVERLAPS, SEEN
from dedup.words import slices, word_hashes, word_spans


def load_ngrams(config: DedupConfig, context: Context) -> GatherFunction:
    """The test sets' grams of the current batch."""

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        sets = load_testsets(config.testsets)
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
                row = _hit_row(piece[text].as_py(), word[here], key[here], index, lengths)
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
    """The grams of all runs together: the batch's row in the table of GPT-2, as counts per set."""

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        table = merge([SEEN.schema.empty_table(), *tables[SEEN.name]])
        grams = read_ngrams(context.store, context.batch)
        at = np.searchsorted(grams["ngram"].to_numpy(), table["ngram"].to_numpy())
        table = table.append_column(
            OVERLAP.schema.field("testsets"), grams["testsets"].take(pa.array(at))
        )
        return Output({OVERLAP.name: table}, shares(grams, table))

    return gather


def load_overlaps(config: DedupConfig, context: Context) -> MapFunction:
    """Pages with hits to the effect on them."""
    common = _common(context, config.overlap.common_pages)
    grams = read_ngrams(context.store, context.batch)
    keys, testsets = grams["ngram"].to_numpy(), grams["testsets"]

    def apply(hits: pa.Table, joins: Joins) -> Output:
        rows = [_overlap_row(row, common, keys, testsets, config) for row in hits.to_pylist()]
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
    """Test-set grams of earlier batches: common speech is counted over them too."""
    return earlier_inputs(context.store, context.batch, OVERLAP.name)


def _common(context: Context, most_pages: int) -> np.ndarray:
    """Grams in more pages of this and earlier batches than are counted as overlap, ascending."""
    if most_pages == 0:
        return np.zeros(0, np.uint64)

    before = set(earlier_batches(context.store, context.batch)) | {context.batch}
    names = [
        manifest.batch
        for manifest in batches(context.store, OVERLAP.name)
        if manifest.batch in before
    ]
    table = merge(
        [read_table(context.store, OVERLAP.name, name, SEEN.schema.names) for name in names]
    )
    values: np.ndarray = table["ngram"].to_numpy()[table["num_documents"].to_numpy() > most_pages]

    return values


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
    text: str, word: np.ndarray, key: np.ndarray, index: NgramIndex, lengths: np.ndarray
) -> dict[str, object]:
    starts, ends = word_spans(text)
    return {
        "num_chars": len(text),
        "ngrams": index.keys[key],
        "starts": starts[word],
        "ends": ends[word + lengths[key] - 1],
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
    judgement = overlap.judge(spans, int(row["num_chars"]), config.overlap)  # type: ignore[call-overload]
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
            depends=depends_on_testsets,
            load=load_hits,
        ),
        Gather(
            name="dedup/overlap",
            reads={SEEN: tuple(SEEN.schema.names)},
            writes=(OVERLAP,),
            sections=("overlap",),
            depends=depends_on_testsets,
            load=load_overlap,
        ),
        Map(
            name="dedup/overlaps",
            reads=HITS,
            writes=(OVERLAPS,),
            sections=("overlap",),
            depends=depends_on_earlier,
            load=load_overlaps,
        ),
    )
