"""Captures in local files: CDXJ or CDX indexes, WARC files, and WACZ packages.

WARC files and those within a WACZ are read once to list their records. An index names
files beside it, or below the folder given for records.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, cast

from fastwarc.warc import ArchiveIterator, WarcRecordType

from corpus.errors import InputError, first_line
from crawl.captures.cdx_server import capture_of, parse_lines
from crawl.captures.index import REVISIT, CaptureIndex, IndexedCapture, Span, surt
from crawl.warc import records, writer
from crawl.warc.archives import http_response

_INDEXES: Final = (".cdxj", ".cdx", ".cdxj.gz", ".cdx.gz")
# Parts of the name of a record inside a WACZ.
INSIDE: Final = "!"
# Lines of an index parsed at a time, and the most that one line or an answer in one array may have.
PIECE_BYTES: Final = 16 << 20
# An index as a stranger packed it. Memory is taken by captures: 0.7 KB each.
MAX_INDEX_BYTES: Final = 4 << 30
MAX_CAPTURES: Final = 4_000_000
_OTHER_FORM: Final = "split it, or convert it to Parquet and name it as columnar:PATH"
# Damage, a missing name, an unknown packing, and an encrypted member.
_PACKAGE_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)


class LocalIndex(CaptureIndex):
    """The captures listed or held by local files."""

    def __init__(self, paths: Sequence[Path], name: str = "local", *, beside: bool = True) -> None:
        """Read the files. `beside`: WARC files are looked for beside the index naming them.

        Raises: InputError for a missing or broken file, and for one beyond the limits.
        """
        self.name = name
        self._found: dict[str, list[IndexedCapture]] = defaultdict(list)
        num_captures = 0
        for path in paths:
            for capture in _captures(path, beside=beside):
                num_captures += 1
                if num_captures > MAX_CAPTURES:
                    raise InputError(
                        f"{path}: more than {MAX_CAPTURES:,} captures, the limit; {_OTHER_FORM}"
                    )
                try:
                    key = surt(capture.url)
                except ValueError:  # no address, so no link has it
                    continue
                self._found[key].append(capture)

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
            for row in _index_rows(path):
                capture = capture_of(row)
                if capture is not None:
                    file = str(path.parent / capture.file) if beside else capture.file
                    yield capture._replace(file=file)
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: not an index of captures ({first_line(error)}); expected CDX or CDXJ lines"
            ) from error
    else:
        try:
            yield from _archived(path)
        except (*_PACKAGE_ERRORS, OSError) as error:
            raise InputError(f"{path}: not a readable archive ({first_line(error)})") from error


def _archived(path: Path) -> Iterator[IndexedCapture]:
    if path.suffix != ".wacz":
        with open(path, "rb") as stream:
            yield from _records(stream, str(path))
        return

    with zipfile.ZipFile(path) as package:
        for name in package.namelist():
            if name.startswith("archive/") and ".warc" in name:
                with package.open(name) as member:
                    yield from _records(member, f"{path}{INSIDE}{name}")


def _index_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an index. Raises: InputError if it is too large; ValueError for another form."""
    with open(path, "rb") as file:
        stream: IO[bytes] = (
            cast(IO[bytes], gzip.GzipFile(fileobj=file)) if path.suffix == ".gz" else file
        )
        for lines in _pieces(stream, path):
            text = lines.decode("utf-8", "replace")
            kept = (
                each for each in text.splitlines() if each and each[:4] != " CDX" and each[0] != "!"
            )
            yield from parse_lines("\n".join(kept))[0]


def _pieces(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """Some whole lines at a time. An answer of a server in one array is one piece."""
    rest, size = b"", 0
    while piece := stream.read(PIECE_BYTES):
        size += len(piece)
        if size > MAX_INDEX_BYTES:
            raise InputError(
                f"{path}: unpacks to more than {MAX_INDEX_BYTES:,} bytes, the limit; {_OTHER_FORM}"
            )
        lines, newline, rest = (rest + piece).rpartition(b"\n")
        is_array = size == len(piece) and piece.lstrip().startswith(b"[")
        if (is_array and stream.read(1)) or (not newline and len(rest) >= PIECE_BYTES):
            raise ValueError(f"an array or a line of more than {PIECE_BYTES:,} bytes")
        if is_array:
            yield piece
            return
        yield lines

    yield rest


def _records(stream: IO[bytes], file: str) -> Iterator[IndexedCapture]:
    """The captures of a WARC file, by the position of their records.

    A record of more than `MAX_RECORD_BYTES` is left out.
    """
    wanted = WarcRecordType.response | WarcRecordType.revisit
    for record in ArchiveIterator(stream, record_types=wanted, parse_http=False):
        at = records.warc_date(record.headers.get("WARC-Date") or "")
        url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
        if at is None or not url or record.content_length > records.MAX_RECORD_BYTES:
            continue

        answer = http_response(record.reader.read())
        revisit = record.record_type == WarcRecordType.revisit
        stated = (record.headers.get("WARC-Payload-Digest") or "").removeprefix("sha1:")
        digest = stated or (writer.digest(answer.payload)[5:] if answer else "")
        mime = REVISIT if revisit else (answer.header("content-type") or "" if answer else "")
        status = answer.status if answer else None
        yield IndexedCapture(url, at, status, mime, digest, file, record.stream_pos)


def read_size(length: int) -> int:
    """Bytes to read for a record of a stated length; an index may state any, or 0 for none."""
    return min(length or records.MAX_RECORD_BYTES, records.MAX_RECORD_BYTES)


def read_local(file: str, offset: int, length: int) -> bytes:
    """Bytes of a local record, `MAX_RECORD_BYTES` at most. A length of 0 reads as many.

    An index is a stranger's: it may name a file that is none, and any numbers.

    Raises: OSError if the file cannot be read.
    """
    package, inside, name = file.partition(INSIDE)
    size = read_size(length)
    if not Path(package).is_file():
        raise FileNotFoundError(f"{package}: no such file")
    if inside:
        try:
            with zipfile.ZipFile(package) as archive, archive.open(name) as member:
                member.seek(offset)
                return member.read(size)
        except _PACKAGE_ERRORS as error:
            raise OSError(f"{package}: {first_line(error)}") from error

    with open(file, "rb") as stream:
        stream.seek(offset)
        return stream.read(size)
