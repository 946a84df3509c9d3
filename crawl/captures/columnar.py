"""Captures of a columnar index in Parquet, as Common Crawl publishes it, joined by SURT key.

One scan answers any number of links: row groups are skipped if their range of keys holds none of
them, since the index is sorted by key. Source: cc-index-table of Common Crawl, its schema of
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from crawl.captures.index import CaptureIndex, IndexedCapture, Span, status_of, surt

_COLUMNS: Final = {
    "key": "url_surtkey",
    "url": "url",
    "at": "fetch_time",
    "status": "fetch_status",
    "mime": "content_mime_detected",
    "digest": "content_digest",
    "file": "warc_filename",
    "offset": "warc_record_offset",
    "length": "warc_record_length",
}


class ColumnarIndex(CaptureIndex):
    """The captures in Parquet files: a path or URI for `pyarrow.fs`, a file or a folder."""

    def __init__(self, path: str, name: str = "") -> None:
        # Few imports read such an index, and the module loads pandas if there is one.
        import pyarrow.dataset as ds

        self._dataset = ds.dataset(path, format="parquet")
        self.name = name or path

    def captures(
        self, urls: Sequence[str], spans: Mapping[str, Span] | None = None
    ) -> Iterator[tuple[str, list[IndexedCapture]]]:
        """Yield each address with its captures in order of time."""
        keys = {url: surt(url) for url in urls}
        wanted = pa.array(sorted(set(keys.values())), pa.string())
        columns = {name: pc.field(column) for name, column in _COLUMNS.items()}
        rows = self._dataset.to_table(
            columns=columns, filter=pc.field(_COLUMNS["key"]).isin(wanted)
        ).sort_by("key")

        # The rows of one key become objects when it is asked for: 200,000 addresses may have
        # millions of captures.
        runs = pc.run_end_encode(rows["key"].combine_chunks())
        places: dict[str, tuple[int, int]] = {}
        start = 0
        for key, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            places[key] = (start, end - start)
            start = end

        for url, key in keys.items():
            captures = [_capture(row) for row in rows.slice(*places.get(key, (0, 0))).to_pylist()]
            yield url, sorted(captures, key=lambda each: (each.at, each.digest))


def _capture(row: dict[str, Any]) -> IndexedCapture:
    at = row["at"]
    return IndexedCapture(
        url=row["url"],
        at=at if at.tzinfo is not None else at.replace(tzinfo=UTC),
        status=status_of(row["status"]),
        mime=row["mime"] or "",
        digest=(row["digest"] or "").removeprefix("sha1:"),
        file=row["file"] or "",
        offset=row["offset"] or 0,
        length=row["length"] or 0,
    )
