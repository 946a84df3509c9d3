"""Captures in local files: CDXJ or CDX indexes, WARC files, and WACZ packages.

WARC files and those within a WACZ are read once to list their records. An index names
files beside it, or below the folder given for records.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from fastwarc.warc import ArchiveIterator, WarcRecordType

from corpus.errors import InputError, first_line
from crawl.captures.cdx_server import capture_of, parse_lines
from crawl.captures.index import REVISIT, CaptureIndex, IndexedCapture, Span, surt
from crawl.warc import records, writer
from crawl.warc.archives import http_response

_INDEXES: Final = (".cdxj", ".cdx", ".cdxj.gz", ".cdx.gz")
# Parts of the name of a record inside a WACZ.
INSIDE: Final = "!"


class LocalIndex(CaptureIndex):
    """The captures listed or held by local files."""

    def __init__(self, paths: Sequence[Path], name: str = "local", *, beside: bool = True) -> None:
        """Read the files. `beside`: WARC files are looked for beside the index naming them."""
        self.name = name
        self._found: dict[str, list[IndexedCapture]] = defaultdict(list)
        for path in paths:
            for capture in _captures(path, beside=beside):
                self._found[surt(capture.url)].append(capture)

    def captures(
        self, urls: Sequence[str], spans: Mapping[str, Span] | None = None
    ) -> Iterator[tuple[str, list[IndexedCapture]]]:
        """Yield each address with its captures in order of time."""
        for url in urls:
            found = self._found.get(surt(url), ())
            yield url, sorted(found, key=lambda each: (each.at, each.digest))


def _captures(path: Path, *, beside: bool) -> Iterator[IndexedCapture]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; name CDXJ, WARC or WACZ files")

    if path.name.endswith(_INDEXES):
        try:
            rows = _index_rows(path)
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: not an index of captures ({first_line(error)}); expected CDX or CDXJ lines"
            ) from error
        for row in rows:
            if (capture := capture_of(row)) is not None:
                yield capture._replace(file=str(path.parent / capture.file)) if beside else capture
    elif path.suffix == ".wacz":
        with zipfile.ZipFile(path) as package:
            for name in package.namelist():
                if name.startswith("archive/") and ".warc" in name:
                    member = io.BytesIO(package.read(name))
                    yield from _records(member, f"{path}{INSIDE}{name}")
    else:
        with open(path, "rb") as stream:
            yield from _records(stream, str(path))


def _index_rows(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith((" CDX", "!")))
    return parse_lines(lines)[0]


def _records(stream: BinaryIO, file: str) -> Iterator[IndexedCapture]:
    """The captures of a WARC file, by the position of their records."""
    wanted = WarcRecordType.response | WarcRecordType.revisit
    found: list[tuple[int, IndexedCapture]] = []
    for record in ArchiveIterator(stream, record_types=wanted, parse_http=False):
        at = records.warc_date(record.headers.get("WARC-Date") or "")
        url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
        answer = http_response(record.reader.read())
        if at is None or not url:
            continue
        revisit = record.record_type == WarcRecordType.revisit
        stated = (record.headers.get("WARC-Payload-Digest") or "").removeprefix("sha1:")
        digest = stated or (writer.digest(answer.payload)[5:] if answer else "")
        mime = REVISIT if revisit else (answer.header("content-type") or "" if answer else "")
        status = answer.status if answer else None
        capture = IndexedCapture(url, at, status, mime, digest, file, record.stream_pos)
        found.append((record.stream_pos, capture))

    yield from (capture for _, capture in found)


def read_local(file: str, offset: int, length: int) -> bytes:
    """Bytes of a local record. A length of 0 reads to the end of the file."""
    package, inside, name = file.partition(INSIDE)
    if inside:
        with zipfile.ZipFile(package) as archive:
            data = archive.read(name)
        return data[offset : offset + length] if length else data[offset:]
    with open(file, "rb") as stream:
        stream.seek(offset)
        return stream.read(length) if length else stream.read(records.MAX_RECORD_BYTES)
