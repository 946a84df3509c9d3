"""Values of documents for mixtures and weights: columns of `documents`, and how often each was copied."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import Store
from corpus.tables.parquet import iter_tables, part_index, part_paths, read_file
from corpus.tables.schemas import DOCUMENTS

# A document and those that dedup removed for it, in any batch in use. It is counted at each use,
# since later batches add to it.
DUPLICATES = "duplicates"
NUMERIC = tuple(
    field.name
    for field in DOCUMENTS.schema
    if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
)


def check_column(column: str, where: str) -> None:
    """Raises: InputError for a column without numbers."""
    if column not in (*NUMERIC, DUPLICATES):
        raise InputError(
            f"{where} {column!r}: expected a numeric column of `documents`: {', '.join(NUMERIC)}; "
            f"or {DUPLICATES}"
        )


def removed_counts(store: Store, files: Sequence[TokenFile]) -> pa.StructArray:
    """Survivors and the number of documents removed for each (`values`, `counts`).

    Counted are the batches of the given token files.
    """
    survivors = [
        table["duplicate_of"].combine_chunks().drop_null()
        for batch in sorted({file.batch for file in files})
        for path in part_paths(store, "verdicts", batch)
        for table in iter_tables(store, path, ["duplicate_of"])
    ]
    return pc.value_counts(pa.concat_arrays([pa.array([], pa.string()), *survivors]))


def read_columns(
    store: Store,
    file: TokenFile,
    doc_ids: pa.Array,
    columns: Collection[str],
    removed: pa.StructArray | None,
) -> dict[str, pa.Array]:
    """Values for the documents of a token file, from the part of `documents` it was made of.

    `removed` is needed for `duplicates`. Raises: InputError for a removed document.
    """
    found = {}
    if DUPLICATES in columns:
        assert removed is not None
        rows = pc.index_in(doc_ids, value_set=removed.field("values"))
        found[DUPLICATES] = pc.add(removed.field("counts").take(rows).fill_null(0), 1)

    # A store is asked once for all of them.
    if stored := [column for column in columns if column != DUPLICATES]:
        part = part_paths(store, "documents", file.batch)[part_index(file.path)]
        table = read_file(store, part, ["doc_id", *stored]).combine_chunks()
        rows = pc.index_in(doc_ids, value_set=table["doc_id"].combine_chunks())
        if rows.null_count:
            raise InputError(
                f"{store.root}/{part}: {rows.null_count} documents of {file.path} are not in it; "
                f"it was made anew since: run `webtext shards --corpus {store.root} --batch "
                f"{file.batch} --rebuild --snapshot NEW` and use that one"
            )

        found |= {column: table[column].combine_chunks().take(rows) for column in stored}

    return found


def numbers(values: pa.Array) -> np.ndarray:
    """The values of a numeric column; NaN for none. Shape (n,) float64."""
    found: np.ndarray = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found
