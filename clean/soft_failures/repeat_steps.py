"""An exchange of texts: the documents of a batch whose text is at many addresses.

texts     by text: documents of the same answer, with the evidence
repeats   the same by `doc_id`
"""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa

from clean.by_document import by_document
from clean.config import CleanConfig
from clean.soft_failures.repeats import RepeatedText, repeated, text_key
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

TEXTS = pa.schema(
    [
        ("key", pa.string()),
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("domain", pa.string()),
        ("num_words", pa.int32()),
    ]
)
_FAILURES = [("doc_id", pa.string()), ("kind", pa.string()), ("detail", pa.string())]
REPEATED_TEXTS = Table(
    name="repeated_texts", schema=pa.schema([("key", pa.string()), *_FAILURES]), scratch=True
)
# The failures by document.
REPEATS = Table(name="repeats", schema=pa.schema(_FAILURES), scratch=True)


def _load_texts(config: CleanConfig, context: Context) -> ScatterFunction:
    def scatter(candidates: pa.Table) -> Scattered:
        rows = []
        for row in candidates.to_pylist():
            key = text_key(row["text"], row["domain"]) if row["text"] is not None else None
            if key is not None:
                rows.append({"key": key, **row})

        table = pa.Table.from_pylist(rows, TEXTS)
        # A key is a hash in hexadecimal digits, as an id is.
        return Scattered(table, part_of(table["key"], context.num_parts))

    return scatter


def _load_repeated(config: CleanConfig, context: Context) -> ReduceFunction:
    def reduce(bucket: int, texts: pa.Table) -> Output:
        ordered = texts.sort_by([("key", "ascending"), ("doc_id", "ascending")]).to_pylist()
        found = []
        # Nearly every text is that of one page, and says nothing.
        least = min(config.soft_failures.repeated_addresses, config.soft_failures.repeated_sites)
        for key, group in groupby(ordered, key=lambda row: row["key"]):
            rows = list(group)
            if len(rows) < least:
                continue
            same = [
                RepeatedText(row["doc_id"], row["url"], row["domain"], row["num_words"])
                for row in rows
            ]
            for doc_id, failure in repeated(same, config.soft_failures).items():
                row = {"key": key, "doc_id": doc_id, "kind": failure.kind, "detail": failure.detail}
                found.append(row)

        return Output({REPEATED_TEXTS.name: pa.Table.from_pylist(found, REPEATED_TEXTS.schema)})

    return reduce


def steps(reads: Table) -> tuple[Exchange, Exchange]:
    """The steps over a table of candidates."""
    return (
        Exchange(
            name="clean/texts",
            reads=reads,
            columns=("doc_id", "url", "domain", "num_words", "text"),
            writes=(REPEATED_TEXTS,),
            sections=("soft_failures",),
            scattered=TEXTS,
            load_scatter=_load_texts,
            load_reduce=_load_repeated,
            num_buckets=one_bucket_per_part,
        ),
        by_document("clean/repeats", REPEATED_TEXTS, REPEATS),
    )
