"""The steps from documents to the effect of overlap with test sets.

ngrams         (gather)  the test sets to their grams and passages
hits           (map)     pages to the grams and passages found in them
overlap        (gather)  all grams found, with their numbers of pages
overlaps       (map)     the effect on each page with some
left           (map)     after the verdicts: kept pages to the grams left in them
overlap_table  (gather)  the batch's grams before and after removal
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa

from corpus.errors import SchemaError
from corpus.evaluation_sets.files import LONG_FIELD_WORDS, find_testsets, load_testsets
from corpus.run.step import Context, Gather, GatherFunction, Joins, Map, MapFunction, Output
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import (
    Input,
    earlier_batches,
    earlier_inputs,
    find_manifest,
    find_manifest_in,
    read_manifest,
)
from corpus.tables.parquet import read_file, read_table
from corpus.tables.schemas import DOCUMENTS, SIGNATURES, VERDICTS
from dedup import doc_ids, document_rows, index
from dedup.config import DedupConfig
from dedup.contamination import common_speech, overlap, test_index
from dedup.contamination.common_speech import PageGrams
from dedup.contamination.test_index import TestIndex
from dedup.tables import (
    EXEMPT,
    HITS,
    LEFT,
    MARKS,
    MET,
    NGRAMS,
    OVERLAP,
    OVERLAPS,
    PASSAGES,
    SEEN,
)
from dedup.words import slices

log = logging.getLogger(__name__)

_GRAMS_OF_HITS = pa.schema(
    [HITS.schema.field(name) for name in ("doc_id", "ngrams", "starts", "ends")]
)


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
        ngrams, passages = test_index.tables(sets, config.overlap)
        return Output({NGRAMS.name: ngrams, PASSAGES.name: passages})

    return gather


def load_hits(config: DedupConfig, context: Context) -> MapFunction:
    """Pages to the test-set grams and passages in them."""
    index, ngram, n = _load_index(config, context)

    def apply(documents: pa.Table, joins: Joins) -> Output:
        texts = documents["text"].combine_chunks()
        seen, hits, marks = [], [], []
        for first, after in slices(texts):
            piece = texts.slice(first, after - first)
            for text, found in test_index.search(piece, index, config.overlap):
                doc_id = documents["doc_id"][first + text].as_py()
                seen.append(found.ngrams)
                marks.append({"doc_id": doc_id, "ngrams": found.ngrams})
                if found.removable.size:
                    hits.append(_hit_row(doc_id, len(piece[text].as_py()), found))

        return Output(
            {
                HITS.name: pa.Table.from_pylist(hits, HITS.schema),
                MARKS.name: pa.Table.from_pylist(marks, MARKS.schema),
                SEEN.name: _seen(seen, ngram, n),
            },
            Counter(pages_with_hits=len(hits)),
        )

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
        # Passages that are met with edits are nearly whole, so never common speech.
        is_near = table["n"].to_numpy() == test_index.NEAR
        near = table["ngram"].to_numpy()[is_near]
        common = common[~np.isin(common, near)]
        sets = load_testsets(config.testsets) if common.size else []
        exempt = common_speech.exempt(pages, common, sets, config.overlap)
        if exempt.any():
            exempt &= ~common_speech.within_passages(hits, pages, near)
        table = table.append_column(OVERLAP.schema.field("num_groups"), pa.array(num_groups))
        table = table.append_column(
            OVERLAP.schema.field("exempt"),
            pa.array(np.isin(table["ngram"].to_numpy(), pages.gram[exempt])),
        )
        table = table.append_column(
            OVERLAP.schema.field("testsets"), grams["testsets"].take(pa.array(at))
        )

        return Output(
            {MET.name: table, EXEMPT.name: _exempt_table(pages, exempt)}, shares(grams, table)
        )

    return gather


def load_left(config: DedupConfig, context: Context) -> MapFunction:
    """Kept pages to the grams that are still in them after their cuts."""
    index, ngram, n = _load_index(config, context)
    manifest = read_manifest(context.store, DOCUMENTS.name, context.batch)

    def apply(verdicts: pa.Table, joins: Joins) -> Output:
        kept = verdicts.filter(verdicts["kept"])
        doc = doc_ids.pack(kept["doc_id"])
        is_cut = kept["cuts"].combine_chunks().value_lengths().to_numpy(False) > 0
        marks = joins[MARKS.name]
        at = doc_ids.places(doc[~is_cut], marks["doc_id"])
        lists = marks["ngrams"].take(pa.array(at[at != doc_ids.NOWHERE]))
        left = [lists.combine_chunks().flatten().to_numpy()] if len(lists) else []

        cuts = dict(
            zip(
                doc[is_cut].tolist(), kept["cuts"].filter(pa.array(is_cut)).to_pylist(), strict=True
            )
        )
        for rows in document_rows.rows_by_id(
            context.store, manifest, np.sort(doc[is_cut]), ("doc_id", "text")
        ):
            packed = doc_ids.pack(rows["doc_id"]).tolist()
            for name, text in zip(packed, rows["text"].to_pylist(), strict=True):
                ranges = [(cut["start"], cut["end"]) for cut in cuts[name]]
                pieces = [text[start:end] for start, end in overlap.gaps(ranges, len(text))]
                found = test_index.search(
                    pa.array(pieces, pa.large_string()), index, config.overlap
                )
                grams = [each.ngrams for _, each in found]
                left.append(np.unique(np.concatenate([np.zeros(0, np.uint64), *grams])))

        return Output({LEFT.name: _seen(left, ngram, n)})

    return apply


def load_overlap_table(config: DedupConfig, context: Context) -> GatherFunction:
    """The grams of the batch before and after removal: the table `overlap`."""

    def gather(tables: Mapping[str, Iterator[pa.Table]]) -> Output:
        table = pa.concat_tables([MET.schema.empty_table(), *tables[MET.name]]).combine_chunks()
        left = merge([LEFT.schema.empty_table(), *tables[LEFT.name]])
        ngram, there = table["ngram"].to_numpy(), left["ngram"].to_numpy()
        # Text on one side of a cut may hold a passage that the whole page shows better elsewhere.
        new = left.filter(pa.array(~np.isin(there, ngram)))
        assert not (new["n"].to_numpy() != test_index.NEAR).any(), "cuts make no gram"

        num_kept = np.zeros(ngram.size, np.int32)
        at = np.searchsorted(there, ngram)
        here = np.flatnonzero(np.isin(ngram, there))
        num_kept[here] = left["num_documents"].to_numpy()[at[here]]
        table = table.append_column(OVERLAP.schema.field("num_kept"), pa.array(num_kept))
        grams = read_ngrams(context.store, context.batch)
        counts = shares(grams, table)
        after = shares(grams, table.filter(pa.array(num_kept > 0)))
        counts.update(
            {
                name.replace(" found", " left"): count
                for name, count in after.items()
                if name.endswith(" found")
            }
        )

        return Output({OVERLAP.name: table.select(OVERLAP.schema.names)}, counts)

    return gather


def load_overlaps(config: DedupConfig, context: Context) -> MapFunction:
    """Pages with hits to the effect on them."""
    grams = read_ngrams(context.store, context.batch)
    keys, testsets = grams["ngram"].to_numpy(), grams["testsets"]
    near = keys[grams["n"].to_numpy() == test_index.NEAR]

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
                row,
                np.array(exempt.get(row["doc_id"], ()), np.uint64),
                near,
                keys,
                testsets,
                config,
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
        if n == test_index.NEAR:
            continue
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
    """The test sets, and what earlier batches have: common speech is counted over them too.

    Raises: SchemaError for an earlier batch with an older table `overlap`.
    """
    for name in earlier_batches(context.store, context.batch):
        require_version(context.store, name)
    return [
        *depends_on_testsets(config, context),
        *index.depends(config, context),
        *earlier_inputs(context.store, context.batch, OVERLAP.name),
    ]


def require_version(store: Store, batch: str) -> None:
    """Refuse a table `overlap` of an older version, with the command that rebuilds it.

    Raises: SchemaError.
    """
    manifest = find_manifest(store, OVERLAP.name, batch)
    if manifest is not None and manifest.schema_version != OVERLAP.version:
        raise SchemaError(
            f"{store.root}: table {OVERLAP.name} of batch {batch!r} has schema "
            f"{manifest.schema_version}, this version reads {OVERLAP.version}; rebuild it with "
            f"`webtext dedup --corpus {store.root} --batch {batch} --rebuild` and the same settings"
        )


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


def _hit_row(doc_id: str, num_chars: int, found: test_index.PageHits) -> dict[str, object]:
    return {
        "doc_id": doc_id,
        "num_chars": num_chars,
        "ngrams": found.removable,
        "starts": found.starts,
        "ends": found.ends,
        "firsts": [window[0] for window in found.windows],
        "afters": [window[1] for window in found.windows],
    }


def _seen(lists: list[np.ndarray], ngram: np.ndarray, n: np.ndarray) -> pa.Table:
    """The number of pages of each gram. `lists` are the distinct grams of pages."""
    keys, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *lists]), return_counts=True)
    return pa.table(
        {
            "ngram": keys,
            "n": n[np.searchsorted(ngram, keys)],
            "num_documents": counts.astype(np.int32),
        },
        SEEN.schema,
    )


def _overlap_row(
    row: dict[str, list[int]],
    common: np.ndarray,
    near: np.ndarray,
    keys: np.ndarray,
    testsets: pa.ChunkedArray,
    config: DedupConfig,
) -> dict[str, object]:
    """The effect on a page. `common` are its exempted grams, `near` the keys of passages with edits.

    A passage with edits counts only if it reaches beyond the surroundings of the exact grams that
    count, which are cut anyway.
    """
    grams = np.array(row["ngrams"], np.uint64)
    is_near = np.isin(grams, near)
    counted = ~np.isin(grams, common)
    spans = list(zip(row["starts"], row["ends"], strict=True))
    windows = list(zip(row["firsts"], row["afters"], strict=True))
    covered = overlap.merge_ranges([windows[at] for at in np.flatnonzero(counted & ~is_near)])
    for at in np.flatnonzero(is_near):
        start, end = spans[at]
        counted[at] = not any(first <= start and end <= after for first, after in covered)

    places = np.flatnonzero(counted)
    judgement = overlap.judge(
        [spans[at] for at in places],
        int(row["num_chars"]),  # type: ignore[call-overload]
        config.overlap,
        [windows[at] for at in places],
    )
    at_keys = np.searchsorted(keys, np.unique(grams[counted]))

    return {
        "doc_id": row["doc_id"],
        "dropped": judgement.dropped,
        "testsets": sorted({name for at in at_keys for name in testsets[int(at)].as_py()}),
        "overlap_ngrams": places.size,
        "cuts": [{"start": start, "end": end} for start, end in judgement.cuts],
    }


def _load_index(config: DedupConfig, context: Context) -> tuple[TestIndex, np.ndarray, np.ndarray]:
    """(index, all grams and keys, ascending, the n of each)."""
    paths, fingerprint = [], ""
    for table in (NGRAMS, PASSAGES):
        folder = table.folder(context.batch)
        manifest = find_manifest_in(context.store, folder)
        assert manifest is not None, "the step before has committed them"
        paths.append(f"{folder}/{manifest.parts[0].file}")
        fingerprint += manifest.fingerprint

    return _read_index(
        context.store.root,
        *paths,
        config.overlap.prefix_words,
        fingerprint,
    )


@lru_cache(maxsize=1)
def _read_index(
    root: str, ngrams: str, passages: str, prefix_words: int, fingerprint: str
) -> tuple[TestIndex, np.ndarray, np.ndarray]:
    """Made once per process and kept for its next parts."""
    store = open_store(root)
    table = read_file(store, ngrams, ["ngram", "n", "removes", "prefix"])
    index = TestIndex.of_tables(table, read_file(store, passages), prefix_words)
    return index, table["ngram"].to_numpy(), table["n"].to_numpy()


def steps() -> tuple[Gather | Map, ...]:
    """The steps, in order."""
    return (
        Gather(
            name="dedup/ngrams",
            reads={},
            writes=(NGRAMS, PASSAGES),
            sections=("overlap",),
            revision=6,
            depends=depends_on_testsets,
            load=load_ngrams,
        ),
        # Every page is read once for the test sets of measurement and of removal.
        Map(
            name="dedup/hits",
            reads=DOCUMENTS,
            columns=("doc_id", "text"),
            writes=(HITS, MARKS, SEEN),
            sections=("overlap",),
            revision=6,
            depends=depends_on_testsets,
            load=load_hits,
        ),
        Gather(
            name="dedup/overlap",
            reads={
                SEEN: tuple(SEEN.schema.names),
                HITS: tuple(_GRAMS_OF_HITS.names),
                SIGNATURES: ("doc_id", "num_shingles", "signature"),
            },
            writes=(MET, EXEMPT),
            sections=("overlap", "threshold", "shingles", "minhash", "lsh"),
            revision=2,
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


def last_steps() -> tuple[Map, Gather]:
    """The steps after the verdicts: what is left of the test sets in the corpus."""
    return (
        Map(
            name="dedup/left",
            reads=VERDICTS,
            columns=("doc_id", "kept", "cuts"),
            joins={MARKS: tuple(MARKS.schema.names)},
            writes=(LEFT,),
            sections=("overlap",),
            depends=depends_on_testsets,
            load=load_left,
        ),
        Gather(
            name="dedup/overlap_table",
            reads={MET: tuple(MET.schema.names), LEFT: tuple(LEFT.schema.names)},
            writes=(OVERLAP,),
            sections=("overlap",),
            depends=depends_on_testsets,
            load=load_overlap_table,
        ),
    )
