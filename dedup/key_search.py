"""Rows of a part sorted by key, by the keys of a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from corpus.tables.parquet import PartFile


def matching_rows(
    file: PartFile, wanted: np.ndarray, column: str
) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """(keys, rows of `column`) of the rows with a key in `wanted` (ascending, distinct).

    Reads the column only in row groups that have some.
    """
    for group in range(file.num_row_groups):
        found = file.read_row_group(group, ["key"])["key"].to_numpy()
        if not found.size:
            continue
        near = wanted[
            np.searchsorted(wanted, found[0]) : np.searchsorted(wanted, found[-1], "right")
        ]
        # Both ascend: two searches of the few among the many, not a sort of all.
        first_row, after_row = (np.searchsorted(found, near, side) for side in ("left", "right"))
        if not (after_row > first_row).any():
            continue

        edges = np.zeros(found.size + 1, np.int64)
        np.add.at(edges, first_row, 1)
        np.add.at(edges, after_row, -1)
        hit = np.cumsum(edges[:-1]) > 0
        yield found[hit], file.read_row_group(group, [column]).filter(hit)
