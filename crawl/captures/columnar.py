"""Captures of a columnar index in Parquet, as Common Crawl publishes it, joined by SURT key.

One scan answers any number of links: row groups are skipped if their range of keys holds none of
them, since the index is sorted by key. Source: cc-index-table of Common Crawl, its schema of
columns.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import InputError, first_line
from corpus.tables import parquet
from corpus.tables.external_files import parquet_files
from corpus.tables.parquet import PartFile, check_unpacked
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
_SCHEMA: Final = pa.schema(
    {
        "url_surtkey": pa.string(),
        "url": pa.string(),
        "fetch_time": pa.timestamp("us", "UTC"),
        "fetch_status": pa.int64(),
        "content_mime_detected": pa.string(),
        "content_digest": pa.string(),
        "warc_filename": pa.string(),
        "warc_record_offset": pa.int64(),
        "warc_record_length": pa.int64(),
    }
)
_TEXTS: Final = [field.name for field in _SCHEMA if pa.types.is_string(field.type)]
# Footers and row groups wait for a network most of their time.
FILES_AT_ONCE: Final = 8
# Rows decoded at a time: 20 MB of them.
SLICE_ROWS: Final = 65_536


class ColumnarIndex(CaptureIndex):
    """The captures in Parquet files: a path or URI for `pyarrow.fs`, a file or a folder.

    Files are read like those of the corpus, within limits: Arrow's own scanner of folders waits
    without end or ends the process for some damaged files.
    """

    def __init__(self, path: str, name: str = "") -> None:
        """List the files. Raises: InputError if there is none."""
        self.name = name or path
        self._filesystem, self._files = parquet_files(path, "columnar:")
        if not self._files:
            raise InputError(f"columnar:{path}: no Parquet file; name a file or a folder with some")
        # By file, the row groups with their least and greatest keys, once they are read.
        self._ranges: dict[str, list[tuple[str, str] | None]] = {}

    def captures(
        self, urls: Sequence[str], spans: Mapping[str, Span] | None = None
    ) -> Iterator[tuple[str, list[IndexedCapture]]]:
        """Yield each address with its captures in order of time.

        Raises: InputError for a damaged file, one of other columns, and one beyond the limits.
        """
        keys = {url: surt(url) for url in urls}
        wanted = sorted(set(keys.values()))
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            pieces = [*pool.map(lambda file: self._rows(file, wanted), self._files)]
        found = itertools.chain([_SCHEMA.empty_table()], *pieces)
        rows = pa.concat_tables(found).sort_by(_COLUMNS["key"])

        # The rows of one key become objects when it is asked for: 200,000 addresses may have
        # millions of captures.
        runs = pc.run_end_encode(rows[_COLUMNS["key"]].combine_chunks())
        places: dict[str, tuple[int, int]] = {}
        start = 0
        for key, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            places[key] = (start, end - start)
            start = end

        rows = rows.rename_columns([*_COLUMNS])
        for url, key in keys.items():
            captures = [_capture(row) for row in rows.slice(*places.get(key, (0, 0))).to_pylist()]
            yield url, sorted(captures, key=lambda each: (each.at, each.digest))

    def _rows(self, name: str, wanted: list[str]) -> list[pa.Table]:
        """The rows of these keys in one file."""
        columns = [*_COLUMNS.values()]
        keys = pa.array(wanted, pa.string())
        found: list[pa.Table] = []
        num_bytes = 0
        with _faults_named(name), self._filesystem.open_input_file(name) as stream:
            file = PartFile(stream, f"columnar:{name}", _TEXTS)
            for text in _TEXTS:
                kind = file.schema_arrow.field(text).type
                if not pa.types.is_dictionary(kind):
                    raise pa.ArrowTypeError(f"column {text!r} holds {kind}, expected texts")

            if name not in self._ranges:
                groups = range(file.num_row_groups)
                self._ranges[name] = [file.text_range(each, columns[0]) for each in groups]

            for index, span in enumerate(self._ranges[name]):
                if span is not None and not _any_between(wanted, *span):
                    continue
                for piece in file.iter_row_group(index, columns, SLICE_ROWS):
                    rows = piece.filter(_is_among(piece[columns[0]], keys))
                    num_bytes += _unpacked_bytes(rows)
                    check_unpacked(f"columnar:{name}", num_bytes, parquet.MAX_UNPACKED_BYTES)
                    rows = rows.cast(_SCHEMA, safe=False)
                    rows.validate(full=True)  # bytes become texts unchecked
                    # A capture without an address or a time is none.
                    usable = pc.and_(pc.is_valid(rows["url"]), pc.is_valid(rows["fetch_time"]))
                    found.append(rows.filter(usable))
        return found


def _is_among(column: pa.ChunkedArray, keys: pa.Array) -> pa.ChunkedArray:
    """True for each row with one of the keys. Each text of the dictionary is looked at once."""
    return pa.chunked_array(
        [
            pc.is_in(each.dictionary.cast(pa.string()), keys).take(each.indices)
            for each in column.chunks
        ],
        pa.bool_(),
    )


def _unpacked_bytes(rows: pa.Table) -> int:
    """Bytes of the texts once they are out of their dictionaries."""
    return sum(
        pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
        for name in _TEXTS
        for chunk in rows[name].chunks
    )


def _any_between(ordered: Sequence[str], low: str, high: str) -> bool:
    at = bisect_left(ordered, low)
    return at < len(ordered) and ordered[at] <= high


@contextmanager
def _faults_named(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"columnar:{name}: not a readable index ({first_line(error)}); expected Parquet with the "
            f"columns {', '.join(_COLUMNS.values())}"
        ) from error


def _capture(row: dict[str, Any]) -> IndexedCapture:
    return IndexedCapture(
        url=row["url"],
        at=row["at"],
        status=status_of(row["status"]),
        mime=row["mime"] or "",
        digest=(row["digest"] or "").removeprefix("sha1:"),
        file=row["file"] or "",
        offset=row["offset"] or 0,
        length=row["length"] or 0,
    )
