"""Reads stored responses back from WARC segments.

The reader is our own: with offset and length known nothing needs scanning, and a member is a zlib
call and two header blocks. tests/crawl/warc/test_warc.py reads our files with warcio and fastwarc, and
damaged ones with ours. `writer` says what a segment is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from corpus.errors import WebtextError
from corpus.storage.store import Store
from corpus.tables.segments import is_segment
from crawl.warc.body import content_encodings, decode_body

# Decoded bytes that a reader gives out per record; segments may come from anywhere. A longer body
# ends there.
MAX_BODY_BYTES = 32 << 20
# Most uncompressed bytes of a record of ours.
MAX_RECORD_BYTES = 32 << 20
# Bytes of one read when many records of a segment are wanted.
READ_BYTES = 8 << 20
# Unwanted bytes between two records, up to which they are read rather than skipped.
GAP_BYTES = 256 << 10

Headers = Sequence[tuple[str, str]]


class WarcError(WebtextError):
    """An unreadable record: the page is dropped with this text."""


@dataclass(frozen=True, slots=True)
class WarcRecord:
    """A WARC record: its header fields and its block."""

    fields: dict[str, str]
    """By lower-case name."""
    block: bytes

    @property
    def kind(self) -> str:
        """`response`, `request`, `warcinfo`, ..."""
        return self.fields.get("warc-type", "")


@dataclass(frozen=True, slots=True)
class Response:
    """A stored HTTP response."""

    url: str
    status: int
    headers: Headers
    body: bytes
    """Without transfer and content encodings; of a damaged body, the bytes before the damage."""
    fetched_at: datetime | None
    truncated: str | None = None
    """`length`, `time` or `disconnect`."""
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    """WARC header fields by lower-case name."""


def read_response(
    store: Store, warc_file: str, offset: int, length: int, batch: str | None = None
) -> Response:
    """Read the response at a place. Raises: as `read_responses`, and for an unreadable record."""
    return next(iter(_wanted(store, warc_file, [(offset, length)], batch)))


def read_responses(
    store: Store, warc_file: str, places: Iterable[tuple[int, int]], batch: str | None = None
) -> Iterator[Response | WarcError]:
    """Read the responses at `places` of one segment (of `batch`, if given), in the order given.

    Raises: WarcError if the file cannot be read, or is not a segment.

    Ordered by offset they take few, large reads. An unreadable record is given as its error, so the
    others still come.
    """
    with _open(store, warc_file, batch) as stream:
        for run in _runs(places):
            start = run[0][0]
            data = _read_at(stream, start, max(offset + length for offset, length in run) - start)
            for offset, length in run:
                try:
                    yield parse_response(data[offset - start : offset - start + length])
                except WarcError as error:
                    yield WarcError(f"{warc_file} at {offset}: {error}")


def parse_response(member: bytes) -> Response:
    """The response in one gzip member. Raises WarcError."""
    return _response(parse_record(first_member(member)))


def _wanted(
    store: Store, warc_file: str, places: Iterable[tuple[int, int]], batch: str | None
) -> Iterator[Response]:
    for result in read_responses(store, warc_file, places, batch):
        if isinstance(result, WarcError):
            raise result
        yield result


def _open(store: Store, warc_file: str, batch: str | None) -> Any:
    if not is_segment(warc_file, batch):
        raise WarcError(
            f"{warc_file!r} is not a WARC segment of {'the corpus' if batch is None else f'batch {batch}'}"
        )
    try:
        return store.open_input(warc_file)
    except FileNotFoundError as error:
        raise WarcError(f"{warc_file} is missing") from error


def _read_at(stream: Any, offset: int, length: int) -> bytes:
    try:
        stream.seek(offset)
        data: bytes = stream.read(length)
    except OSError as error:
        raise WarcError(f"cannot be read at {offset}: {error}") from error
    return data


def _runs(places: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Group places for one read per group: ascending, close together, not too large."""
    run: list[tuple[int, int]] = []
    for offset, length in places:
        if run:
            start, end = run[0][0], run[-1][0] + run[-1][1]
            if not (end <= offset <= end + GAP_BYTES) or offset + length - start > READ_BYTES:
                yield run
                run = []
        run.append((offset, length))

    if run:
        yield run


def first_member(data: bytes) -> bytes:
    """The record in the first gzip member of `data`. Raises WarcError if it is cut off or damaged."""
    record, used = _member(data)
    if not used:
        raise WarcError("the gzip member ends early")
    return record


def _member(data: bytes) -> tuple[bytes, int]:
    """Unpack the first gzip member of `data`; also its compressed length, 0 if it is cut off.

    Raises: WarcError if it is not a gzip member, damaged, or larger than a record may be.
    """
    inflater = zlib.decompressobj(31)
    try:
        record = inflater.decompress(data, MAX_RECORD_BYTES)
    except zlib.error as error:
        raise WarcError(f"broken gzip member ({error})") from error

    if inflater.eof:
        return record, len(data) - len(inflater.unused_data)
    if inflater.unconsumed_tail:
        raise WarcError(f"a record of more than {MAX_RECORD_BYTES} bytes")

    return record, 0


def parse_record(data: bytes) -> WarcRecord:
    """Parse the record in an uncompressed member. Raises WarcError."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not separator or not lines[0].startswith(b"WARC/"):
        raise WarcError("no WARC record")

    fields = {name.lower(): value for name, value in _fields(lines[1:], "utf-8")}
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or int(length) > len(rest):
        raise WarcError(f"content length {length[:20]!r}, {len(rest)} bytes there")

    return WarcRecord(fields, rest[: int(length)])


def _response(record: WarcRecord) -> Response:
    if record.kind != "response":
        raise WarcError(f"a {record.kind[:20] or 'nameless'} record, expected a response")

    head, separator, payload = record.block.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split(None, 2)
    if (
        not separator
        or len(words) < 2
        or not words[0].startswith(b"HTTP/")
        or not words[1].isdigit()
    ):
        raise WarcError("no HTTP response")

    headers = list(_fields(lines[1:], "latin-1"))
    encodings = content_encodings(
        [value for name, value in headers if name.lower() == "content-encoding"]
    )

    return Response(
        url=record.fields.get("warc-target-uri", "").strip("<>"),
        status=int(words[1]),
        headers=headers,
        body=decode_body(payload, encodings, MAX_BODY_BYTES),
        fetched_at=warc_date(record.fields.get("warc-date", "")),
        truncated=record.fields.get("warc-truncated"),
        fields=record.fields,
    )


def _fields(lines: Sequence[bytes], encoding: str) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            yield (
                name.decode(encoding, "replace").strip(),
                value.decode(encoding, "replace").strip(),
            )


def warc_date(text: str) -> datetime | None:
    """The time in a `WARC-Date` field (WARC 1.1, section 5.4), UTC by default.

    None if unreadable.
    """
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
