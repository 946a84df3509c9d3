"""Rows of `documents` by id, from any batch.

Every row group is read at most once, and only if it may hold a requested id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import Manifest, earlier_batches, read_manifest
from corpus.tables.parquet import PartFile, open_file
from corpus.tables.schemas import DOCUMENTS
from dedup import doc_ids, words
from dedup.words import Ragged


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """Input of exact comparison: shingle sets of some pages. Arrays of one row per page."""

    doc: np.ndarray
    content: np.ndarray
    """S16: hash of the normalised text."""
    sets: Ragged
    """Distinct shingles, ascending."""


def documents(store: Store, batch: str) -> list[Manifest]:
    """The manifests of `documents` of the earlier batches and of this one, in order."""
    return [
        read_manifest(store, DOCUMENTS.name, name)
        for name in [*earlier_batches(store, batch), batch]
    ]


def shingle_sets(
    store: Store, manifest: Manifest, wanted: np.ndarray, n: int
) -> Iterator[ShingleSets]:
    """The shingle sets of the pages in `wanted`, from their texts in `documents`, in bounded pieces."""
    for rows in rows_by_id(store, manifest, wanted, ("doc_id", "text")):
        rows = rows.combine_chunks()
        texts = rows["text"].combine_chunks() if rows.num_rows else pa.array([], pa.string())
        yield from sets_of(doc_ids.pack(rows["doc_id"]), texts, n)


def sets_of(doc: np.ndarray, texts: pa.Array, n: int) -> Iterator[ShingleSets]:
    """The shingle sets of these texts, in bounded pieces. Shape (n,) S16, their ids."""
    for first, after in words.slices(texts):
        hashed = words.word_hashes(texts.slice(first, after - first))
        yield ShingleSets(
            doc[first:after],
            doc_ids.hashes_to_bytes(words.content_hashes(hashed)),
            words.shingle_sets(hashed, n),
        )


def rows_by_id(
    store: Store, manifest: Manifest, wanted: np.ndarray, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield the rows with ids in `wanted`, ascending by id, a row group at a time.

    Shapes: wanted (n,) S16, ascending and distinct; `columns` begin with doc_id. Unknown ids are
    skipped. Raises: SchemaError for a missing or damaged part.
    """
    part_of_wanted = doc_ids.parts(wanted, manifest.num_parts)
    for index in np.unique(part_of_wanted):
        part = manifest.parts[int(index)]
        here = wanted[part_of_wanted == index]
        path = f"{table_dir(manifest.table, manifest.batch)}/{part.file}"
        with open_file(store, path) as file:
            yield from _rows_of_part(file, here, columns)


def _rows_of_part(file: PartFile, wanted: np.ndarray, columns: Sequence[str]) -> Iterator[pa.Table]:
    for group in range(file.num_row_groups):
        span = file.id_range(group)
        if span is not None:
            first, last = (np.frombuffer(bytes.fromhex(each), "S16")[0] for each in span)
            if np.searchsorted(wanted, last, "right") <= np.searchsorted(wanted, first, "left"):
                continue
        rows = file.read_row_group(group, columns)
        yield rows.filter(pa.array(np.isin(doc_ids.pack(rows["doc_id"]), wanted)))
