"""Rows of some pages in a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import Manifest
from corpus.tables.mentions import may_mention
from corpus.tables.parquet import iter_tables, part_index
from corpus.tables.schemas import part_of_id


def row_groups(
    store: Store,
    manifest: Manifest | None,
    columns: Sequence[str],
    doc_ids: frozenset[str] | None = None,
    mentioned: frozenset[str] | None = None,
) -> Iterable[pa.Table]:
    """Row groups of a table; none if it is missing.

    With `doc_ids` only of the parts of these ids, with `mentioned` only of those that may refer to
    such pages.
    """
    if manifest is None:
        return

    parts = (
        {part_of_id(doc_id, manifest.num_parts) for doc_id in doc_ids}
        if doc_ids is not None
        else None
    )

    for part in manifest.parts:
        if mentioned is not None and not may_mention(part, mentioned):
            continue
        if parts is None or part_index(part.file) in parts:
            yield from iter_tables(
                store, f"{table_dir(manifest.table, manifest.batch)}/{part.file}", columns
            )


def among(ids: Any, doc_ids: frozenset[str]) -> Any:
    """Return the mask of the ids among `doc_ids`."""
    return pc.is_in(ids, pa.array(sorted(doc_ids), pa.string()))
