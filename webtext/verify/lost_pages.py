"""Pages dropped by clean as unreadable although their WARC records are whole.

Overwriting or restoring a segment after clean leaves them behind: every digest is right,
and their documents are missing.
"""

from __future__ import annotations

import pyarrow.compute as pc

from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_file
from webtext.stages import needing

# The reason of `documents_dropped` for an unreadable record.
BROKEN = "warc_broken"


def lost_page_problems(store: Store, batch: str) -> list[str]:
    """A line if pages of the batch were dropped as broken and can be read now."""
    documents = find_manifest(store, "documents", batch)
    pages = find_manifest(store, "pages", batch)
    dropped = find_manifest(store, "documents_dropped", batch)
    if not (documents and pages and dropped) or not documents.counts.get(BROKEN):
        return []

    lost: list[str] = []
    for left, right in zip(pages.parts, dropped.parts, strict=True):
        reasons = read_file(
            store, f"{table_dir('documents_dropped', batch)}/{right.file}", ["doc_id", "reason"]
        )
        ids = reasons.filter(pc.equal(reasons["reason"], BROKEN))["doc_id"].combine_chunks()
        columns = ["doc_id", "warc_file", "warc_offset", "warc_length"]
        rows = read_file(store, f"{table_dir('pages', batch)}/{left.file}", columns)
        chosen = rows.filter(pc.is_in(rows["doc_id"], value_set=ids)).to_pylist()
        lost += [row["doc_id"] for row in chosen if _is_readable(store, row)]

    if not lost:
        return []
    return [
        f"documents {batch}: {len(lost):,} pages were dropped as {BROKEN}, and their records can be "
        f"read now (such as {lost[0]}): remove the _manifest.json of documents/{batch} and of the "
        "later tables of the batch, and run the stages again"
    ]


def _is_readable(store: Store, row: dict[str, object]) -> bool:
    with needing("crawl"):
        from crawl.warc import records

    file, place = row["warc_file"], (row["warc_offset"], row["warc_length"])
    if not file or None in place:
        return False
    try:
        found = list(records.read_responses(store, str(file), [place]))  # type: ignore[list-item]
    except (records.WarcError, OSError):
        return False
    return bool(found) and isinstance(found[0], records.Response)
