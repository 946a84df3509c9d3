"""The rows beside the documents: tokens, links, and removed pages with their stages."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store
from corpus.tables.parquet import iter_tables, part_paths
from corpus.tables.schemas import LINKS
from shards.reader import TokenSplit

TOKENS_A_ROW = 1024
ROWS_AT_ONCE = 4096
# An erased page leaves no row, and no trace in a publication either.
UNNAMED = ("taken_down",)

REMOVED = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("duplicate_of", pa.string()),
        ("similarity", pa.float32()),
        ("dump", pa.string()),
    ]
)
LINK_ROWS = pa.schema([*LINKS.schema, pa.field("dump", pa.string())])


def token_schema(split: TokenSplit) -> pa.Schema:
    """One column: rows of ids, all but the last of `TOKENS_A_ROW`."""
    kind = pa.uint16() if split.dtype.itemsize == 2 else pa.uint32()
    return pa.schema([("input_ids", pa.list_(kind))])


def tokens(split: TokenSplit) -> Iterator[pa.Table]:
    """The whole stream; documents end in end-of-text."""
    schema = token_schema(split)
    step = TOKENS_A_ROW * ROWS_AT_ONCE
    for start in range(0, split.num_tokens, step):
        ids = split.slice(start, min(start + step, split.num_tokens))
        edges = [*range(0, len(ids), TOKENS_A_ROW), len(ids)]
        values = pa.array(ids, schema.field(0).type.value_type)
        yield pa.table(
            [pa.ListArray.from_arrays(pa.array(edges, pa.int32()), values)], schema=schema
        )


def links(store: Store, batches: list[str]) -> Iterator[pa.Table]:
    """All links admitted by the batches."""
    for batch in batches:
        for path in part_paths(store, "links", batch):
            for piece in iter_tables(store, path, LINKS.schema.names):
                yield _named(piece, batch, LINK_ROWS)


def removed(store: Store, batches: list[str]) -> Iterator[pa.Table]:
    """Pages missing among the documents of the snapshot, each with its stage and reason."""
    for batch in batches:
        yield from _not_fetched(store, batch)
        yield from _dropped(store, batch)
        yield from _not_kept(store, batch)


def _not_fetched(store: Store, batch: str) -> Iterator[pa.Table]:
    for path in part_paths(store, "pages", batch):
        for piece in iter_tables(store, path, ["doc_id", "url", "reason", "cause"]):
            failed = piece.filter(pc.is_valid(piece["reason"]))
            yield _removed(failed, "crawl", batch, detail=failed["cause"])


def _dropped(store: Store, batch: str) -> Iterator[pa.Table]:
    columns = ["doc_id", "url", "reason", "detail"]
    for path in part_paths(store, "documents_dropped", batch):
        for piece in iter_tables(store, path, columns):
            yield _removed(piece, "clean", batch, detail=piece["detail"])


def _not_kept(store: Store, batch: str) -> Iterator[pa.Table]:
    columns = ["doc_id", "kept", "reason", "duplicate_of", "similarity"]
    verdicts, documents = (part_paths(store, name, batch) for name in ("verdicts", "documents"))
    for path, source in zip(verdicts, documents, strict=True):
        urls = pa.concat_tables(iter_tables(store, source, ["doc_id", "url"])).combine_chunks()
        for piece in iter_tables(store, path, columns):
            gone = piece.filter(pc.invert(piece["kept"])).combine_chunks()
            place = pc.index_in(gone["doc_id"], value_set=urls["doc_id"].combine_chunks())
            named = gone.append_column("url", urls["url"].combine_chunks().take(place))
            yield _removed(named, "dedup", batch)


def _removed(
    rows: pa.Table, stage: str, batch: str, *, detail: pa.ChunkedArray | None = None
) -> pa.Table:
    missing = pa.nulls(rows.num_rows)
    columns = {
        "id": rows["doc_id"],
        "url": rows["url"],
        "stage": pa.array([stage] * rows.num_rows, pa.string()),
        "reason": rows["reason"],
        "detail": missing if detail is None else detail,
        "duplicate_of": rows["duplicate_of"] if "duplicate_of" in rows.column_names else missing,
        "similarity": rows["similarity"] if "similarity" in rows.column_names else missing,
        "dump": pa.array([batch] * rows.num_rows, pa.string()),
    }
    arrays = [columns[field.name].cast(field.type) for field in REMOVED]
    found = pa.table(arrays, schema=REMOVED)
    return found.filter(pc.invert(pc.is_in(found["reason"], pa.array(UNNAMED))))


def _named(piece: pa.Table, batch: str, schema: pa.Schema) -> pa.Table:
    dump = pa.array([batch] * piece.num_rows, pa.string())
    return pa.table([*piece.columns, dump], schema=schema)
