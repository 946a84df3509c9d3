"""An exchange that brings the rows found by another key back to their documents."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa

from corpus.run.step import (
    Context,
    Exchange,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.tables.schemas import Table, part_of


def by_document(name: str, reads: Table, writes: Table) -> Exchange:
    """The rows of one table by `doc_id`, with the columns of the other."""
    return Exchange(
        name=name,
        reads=reads,
        writes=(writes,),
        scattered=writes.schema,
        load_scatter=partial(_load_scatter, writes),
        load_reduce=partial(_load_reduce, writes),
        num_buckets=one_bucket_per_part,
    )


def _load_scatter(writes: Table, config: Any, context: Context) -> ScatterFunction:
    def scatter(found: pa.Table) -> Scattered:
        rows = found.select(writes.schema.names)
        return Scattered(rows, part_of(rows["doc_id"], context.num_parts))

    return scatter


def _load_reduce(writes: Table, config: Any, context: Context) -> ReduceFunction:
    def reduce(bucket: int, rows: pa.Table) -> Output:
        return Output({writes.name: rows.sort_by("doc_id")})

    return reduce
