"""The index of known documents, as the steps of a batch read it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from corpus.run.step import Context
from corpus.tables.manifest import find_manifest_in
from corpus.tables.parquet import open_file
from corpus.tables.schemas import Table
from dedup import doc_ids
from dedup.doc_ids import BINARY
from dedup.key_search import matching_rows

# The place of known documents in the order of batches: before all of them. -1 means no place.
ELSEWHERE = -2

# Keys of known documents, ascending: bands, contents and passages.
KNOWN = Table(
    name="known",
    schema=pa.schema(
        [pa.field("key", pa.uint64(), nullable=False), pa.field("doc", BINARY, nullable=False)]
    ),
    scratch=True,
)


def read_matching(context: Context, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(keys, ids) of the known documents with a key in `wanted`, ascending and distinct ones."""
    keys, docs = [np.zeros(0, np.uint64)], [np.zeros(0, "S16")]
    if wanted.size and context.files:
        folder = KNOWN.folder(context.batch)
        manifest = find_manifest_in(context.store, folder)
        assert manifest is not None, "the step before has committed it"
        # There may be more parts than the batch has.
        num_parts = len(manifest.parts)
        first, last = doc_ids.part_of_prefix(wanted[[0, -1]], num_parts).tolist()
        for part in manifest.parts[first : last + 1]:
            with open_file(context.store, f"{folder}/{part.file}") as file:
                for key, rows in matching_rows(file, wanted, "doc"):
                    keys.append(key)
                    docs.append(doc_ids.from_arrow(rows["doc"]))

    return np.concatenate(keys), np.concatenate(docs)
