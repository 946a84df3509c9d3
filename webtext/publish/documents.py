"""The rows of a published data set: documents as they were encoded, each with its origin.

Columns that FineWeb has keep its names (`text`, `id`, `dump`, `url`, `date`, `language`,
`language_score`, `token_count`); the others are this project's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.snapshots.snapshot import TokenFile
from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import iter_tables, part_index, part_paths, read_file
from shards.export import document_rows
from shards.reader import TokenSplit
from shards.tokenizer.encode import Tokenizer

ROWS_AT_ONCE = 1000

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("id", pa.string()),
        ("dump", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("token_count", pa.int32()),
        ("title", pa.string()),
        ("published", pa.date32()),
        ("domain", pa.string()),
        ("subreddit", pa.string()),
        ("score", pa.int32()),
        ("num_submissions", pa.int32()),
        ("extractor", pa.string()),
        ("duplicates", pa.int32()),
        ("cuts", pa.int32()),
        ("rights", pa.string()),
    ]
)
MEANING = {
    "text": "the text as it was encoded: without the passages that were cut out",
    "id": "32 hex digits, the xxh3-128 of the page's normalised address",
    "dump": "the batch: the month of the submissions",
    "url": "the address that was submitted",
    "date": "time of the fetch (ISO 8601, UTC)",
    "language": "language of the text",
    "language_score": "the identifier's probability of that language",
    "token_count": "tokens of the text, without end-of-text",
    "title": "the page's title",
    "published": "date of publication, where the page states it",
    "domain": "the registered domain",
    "subreddit": "where the best submission was made",
    "score": "votes of the best submission",
    "num_submissions": "submissions of this page in the batch",
    "extractor": "what extracted the text",
    "duplicates": "pages of the corpus that were removed as copies of this one",
    "cuts": "passages cut out of this page, as overlap with test sets or as repeated passages",
    "rights": "answer of the page and its site to training: yes, no, unsaid or conflict; null where nobody asked",
}
FROM_DOCUMENTS = {
    "url": "url",
    "title": "title",
    "published": "published",
    "domain": "domain",
    "subreddit": "subreddit",
    "score": "score",
    "extractor": "extractor",
    "language": "language",
    "language_score": "language_score",
}


def copies(store: Store, batches: list[str]) -> Counter[str]:
    """Removed pages by the id of the page that they copy."""
    found: Counter[str] = Counter()
    for batch in batches:
        for path in part_paths(store, "verdicts", batch):
            for piece in iter_tables(store, path, ["duplicate_of"]):
                counts = pc.value_counts(piece["duplicate_of"].drop_null()).to_pylist()
                found.update({each["values"]: each["counts"] for each in counts})
    return found


def documents(
    store: Store, split: TokenSplit, tokenizer: Tokenizer, duplicates: Counter[str]
) -> Iterator[pa.Table]:
    """All documents of a split in stream order, at most `ROWS_AT_ONCE` a table of `SCHEMA`."""
    start = 0
    for file in split.files:
        stop = start + file.num_tokens
        origin = _Origin(store, file)
        found = split.documents(start, stop)
        for first in range(0, len(found), ROWS_AT_ONCE):
            rows = document_rows(split, tokenizer, found[first : first + ROWS_AT_ONCE])
            yield _complete(rows, origin, file.batch, duplicates)
        start = stop


class _Origin:
    """The rows of other tables about the documents of one token file."""

    def __init__(self, store: Store, file: TokenFile) -> None:
        self._store = store
        self._file = file
        names = ["doc_id", "fetched_at", *FROM_DOCUMENTS.values()]
        self.documents = self._part("documents", names)
        self.links = self._part("links", ["doc_id", "num_submissions"])
        self.verdicts = self._part("verdicts", ["doc_id", "cuts"])
        has_rights = find_manifest(store, "rights", file.batch) is not None
        self.rights = self._part("rights", ["doc_id", "training"]) if has_rights else None

    def _part(self, table: str, columns: list[str]) -> pa.Table:
        # Parts of all tables of a batch are the same ranges of ids.
        paths = part_paths(self._store, table, self._file.batch)
        path = next(path for path in paths if part_index(path) == part_index(self._file.path))
        return read_file(self._store, path, columns).combine_chunks()


def _complete(rows: pa.Table, origin: _Origin, batch: str, duplicates: Counter[str]) -> pa.Table:
    ids = rows["doc_id"].combine_chunks()
    lengths = pc.list_value_length(rows["input_ids"]).cast(pa.int32())
    columns = {
        "text": rows["text"],
        "id": ids,
        "dump": pa.array([batch] * len(ids), pa.string()),
        "token_count": lengths,
        "duplicates": pa.array(np.array([duplicates[each] for each in ids.to_pylist()], np.int32)),
        "date": pc.strftime(_joined(ids, origin.documents, "fetched_at"), "%Y-%m-%dT%H:%M:%SZ"),
        "num_submissions": _joined(ids, origin.links, "num_submissions"),
        "cuts": pc.list_value_length(_joined(ids, origin.verdicts, "cuts")),
        "rights": pa.nulls(len(ids), pa.string())
        if origin.rights is None
        else _joined(ids, origin.rights, "training"),
    }
    for name, source in FROM_DOCUMENTS.items():
        columns[name] = _joined(ids, origin.documents, source)
    return pa.table([columns[field.name].cast(field.type) for field in SCHEMA], schema=SCHEMA)


def _joined(ids: pa.Array, table: pa.Table, column: str) -> pa.Array:
    """The column's values for `ids`; null where the table has no such row."""
    found = pc.index_in(ids, value_set=table["doc_id"].combine_chunks())
    return table[column].combine_chunks().take(found)
