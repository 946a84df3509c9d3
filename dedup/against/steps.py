"""The step from known documents to an index of their keys.

known  (exchange)  by key: documents that exist elsewhere

Later steps take them for pages of a batch before all others, none of which was dropped. Of
documents with equal words only the first is in the index, since all have the same keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from corpus.run.step import (
    Context,
    Exchange,
    FileScatterFunction,
    Output,
    ReduceFunction,
    Scattered,
)
from corpus.tables.manifest import Input
from dedup import doc_ids, index, passage_steps, words
from dedup.against import documents, sources
from dedup.against.index import KNOWN
from dedup.config import DedupConfig
from dedup.doc_ids import BINARY
from dedup.near_duplicates import lsh, minhash

# With 15 keys of 40 bytes each. Passages have some five times as many keys.
DOCUMENTS_PER_BUCKET = 250_000

_KEYED = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("doc", BINARY, nullable=False),
        pa.field("content", BINARY, nullable=False),
    ]
)


def load_known_scatter(config: DedupConfig, context: Context) -> FileScatterFunction:
    """A file to the keys of its documents."""
    perms = minhash.permutations(config.lsh.num_perm, config.minhash.seed)

    def apply(encoded: str) -> Iterator[Scattered]:
        file = sources.decode(encoded)
        for rows, texts in documents.read_texts(file):
            for first, after in words.slices(texts):
                here = texts.slice(first, after - first)
                yield _keyed(config, context, perms, documents.ids(file, rows[first:after]), here)

    return apply


def load_known_reduce(config: DedupConfig, context: Context) -> ReduceFunction:
    """A range of keys in order, the first document of each content."""

    def reduce(bucket: int, table: pa.Table) -> Output:
        key, doc, content = (
            table["key"].to_numpy(),
            *(doc_ids.from_arrow(table[name]) for name in ("doc", "content")),
        )
        order = np.lexsort((doc, content, key))
        key, doc, content = key[order], doc[order], content[order]
        fresh = np.ones(key.size, bool)
        fresh[1:] = (key[1:] != key[:-1]) | (content[1:] != content[:-1])
        key, doc = key[fresh], doc[fresh]

        order = np.lexsort((doc, key))
        known = {"key": key[order], "doc": doc_ids.to_arrow(doc[order])}
        return Output({KNOWN.name: pa.table(known, KNOWN.schema)})

    return reduce


def num_buckets(config: DedupConfig, context: Context) -> int:
    """Buckets of at most some 150 MB, however small the batch; a part of the batch has one at least."""
    of_bucket = DOCUMENTS_PER_BUCKET // (5 if config.passages.min_words else 1)
    return max(context.num_parts, -(-sources.num_documents(context.files) // of_bucket))


def depends(config: DedupConfig, context: Context) -> list[Input]:
    """The files of the sources."""
    return sources.inputs(context.files)


def known_step(*, passages: bool) -> Exchange:
    """Known documents to their index; with `passages`, the keys of their passages as well."""
    return Exchange(
        name="dedup/known",
        reads=None,
        writes=(KNOWN,),
        sections=(*index.SECTIONS[1:], *(("passages",) if passages else ())),
        depends=depends,
        scattered=_KEYED,
        load_file_scatter=load_known_scatter,
        load_reduce=load_known_reduce,
        num_buckets=num_buckets,
    )


def _keyed(
    config: DedupConfig,
    context: Context,
    perms: minhash.Permutations,
    doc: np.ndarray,
    texts: pa.Array,
) -> Scattered:
    signed = minhash.sign(texts, config.shingles.n, perms)
    has_words = np.flatnonzero(signed.num_shingles > 0)
    keys = np.column_stack(
        [
            lsh.band_keys(signed.values[has_words], config.lsh),
            lsh.content_keys(signed.content[has_words]),
        ]
    )
    row = np.repeat(has_words, keys.shape[1])
    key = keys.ravel()
    if config.passages.min_words:
        passages = [
            passage_steps.keyed_spans(texts[place].as_py(), config)[0]
            for place in has_words.tolist()
        ]
        row = np.concatenate([row, np.repeat(has_words, [each.size for each in passages])])
        key = np.concatenate([key, *passages])

    content = doc_ids.hashes_to_bytes(signed.content)
    table = pa.table(
        {
            "key": key,
            "doc": doc_ids.to_arrow(doc[row]),
            "content": doc_ids.to_arrow(content[row]),
        },
        _KEYED,
    )
    counts = Counter(known=has_words.size, no_words=doc.size - has_words.size)
    return Scattered(table, index.part_of_keys(key, num_buckets(config, context)), +counts)
