"""WARC 1.1: writes responses as received, and reads them back.

A segment is a `.warc.gz` with one record per gzip member, so any record can be read by its offset
and length, and any WARC tool can read the whole file. Payloads keep their content encoding. Only
the transfer coding is undone, since it belongs to the connection; headers made untrue by this are
kept under an `X-Crawler-` name.

The reader is our own: with offset and length known nothing needs scanning, and a member is a zlib
call and two header blocks. tests/crawl/test_warc.py reads our files with warcio and fastwarc, and
damaged ones with ours.

Sources: ISO 28500:2017 (WARC 1.1); StormCrawler's WARCRecordFormat for the renamed headers.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from corpus.errors import FatalError, WebtextError
from corpus.storage.store import Store
from crawl.warc.body import content_encodings, decode_body

# Decoded bytes that a reader gives out per record; segments may come from anywhere. A longer body
# ends there.
MAX_BODY_BYTES = 32 << 20
# Uncompressed bytes of a record that is believed to be one of ours.
MAX_RECORD_BYTES = 32 << 20
# Bytes of one read when many records of a segment are wanted.
READ_BYTES = 8 << 20
# Unwanted bytes between two records that are read rather than skipped.
GAP_BYTES = 256 << 10

Headers = Sequence[tuple[str, str]]


class WarcError(WebtextError):
    """A record that cannot be read: the page is dropped with this text."""


class RecordPosition(NamedTuple):
    """The position of a record in its segment, in compressed bytes."""

    offset: int
    length: int


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


# --- writing -------------------------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    """The digest that WARC tools check: `sha1:` and base32."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def http_block(status_line: str, headers: Iterable[tuple[bytes, bytes]], payload: bytes) -> bytes:
    """The block of a response whose transfer coding has been undone."""
    lines = [status_line.encode("latin-1", "replace")]
    length = str(len(payload)).encode()
    stated = False

    for name, value in headers:
        lower = name.lower()
        if lower == b"content-length" and value.strip() == length and not stated:
            stated = True
        elif lower in (b"content-length", b"transfer-encoding"):
            name = b"X-Crawler-" + name
        lines.append(name + b": " + value)

    if not stated:
        lines.append(b"Content-Length: " + length)
    return b"\r\n".join(lines) + b"\r\n\r\n" + payload


def record_bytes(
    kind: str, fields: Iterable[tuple[str, str]], block: bytes, content_type: str
) -> bytes:
    """One WARC record, uncompressed. The block digest is computed here."""
    lines = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        *(f"{name}: {_one_line(value)}" for name, value in fields),
        f"WARC-Block-Digest: {digest(block)}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(block)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def record_id() -> str:
    """A fresh `WARC-Record-ID`."""
    return f"<urn:uuid:{uuid4()}>"


def timestamp(at: datetime) -> str:
    """A `WARC-Date` with microseconds, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class SegmentWriter:
    """One segment, which appears under its name on `commit`, and never after `abort`.

    Raises: FatalError if the disk or the object store refuses.
    """

    def __init__(self, store: Store, path: str, *, info: dict[str, str], gzip_level: int) -> None:
        self.path = path
        # Compressed bytes so far.
        self.size = 0
        self._gzip_level = gzip_level
        self._stack = ExitStack()
        output: AbstractContextManager[Any] = store.open_output(path)
        self._stream = self._stack.enter_context(output)
        block = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in info.items()).encode()
        fields = [
            ("WARC-Record-ID", record_id()),
            ("WARC-Date", timestamp(datetime.now(UTC))),
            ("WARC-Filename", path.rpartition("/")[2]),
        ]
        self._write(record_bytes("warcinfo", fields, block, "application/warc-fields"))

    def add_response(
        self,
        url: str,
        *,
        block: bytes,
        payload_digest: str,
        fetched_at: datetime,
        ip: str | None,
        truncated: str | None = None,
        request_block: bytes | None = None,
        fields: Sequence[tuple[str, str]] = (),
        response_id: str | None = None,
    ) -> RecordPosition:
        """Write a response, after its request if one is given; the place of the response."""
        shared = [("WARC-Date", timestamp(fetched_at)), ("WARC-Target-URI", url)]
        if ip is not None:
            shared.append(("WARC-IP-Address", ip))
        response_id = response_id or record_id()

        if request_block is not None:
            own = [("WARC-Record-ID", record_id()), *shared, ("WARC-Concurrent-To", response_id)]
            self._write(
                record_bytes("request", own, request_block, "application/http; msgtype=request")
            )

        own = [
            ("WARC-Record-ID", response_id),
            *shared,
            ("WARC-Payload-Digest", payload_digest),
            *fields,
        ]
        if truncated is not None:
            own.append(("WARC-Truncated", truncated))

        return self._write(
            record_bytes("response", own, block, "application/http; msgtype=response")
        )

    def add_metadata(self, url: str, text: str, *, about: str, at: datetime) -> RecordPosition:
        """Write what is known of a record beside its bytes (WARC 1.1, section 6.6)."""
        fields = [
            ("WARC-Record-ID", record_id()),
            ("WARC-Date", timestamp(at)),
            ("WARC-Target-URI", url),
            ("WARC-Concurrent-To", about),
        ]
        return self._write(record_bytes("metadata", fields, text.encode(), "application/json"))

    def commit(self) -> None:
        """Make the segment durable and visible."""
        self._stack.close()

    def abort(self) -> None:
        """Discard the segment."""
        with ExitStack() as stack:
            stack.push(_swallow_abort)
            stack.push(self._stack)
            raise _AbortError

    def _write(self, record: bytes) -> RecordPosition:
        deflater = zlib.compressobj(self._gzip_level, zlib.DEFLATED, 31)
        member = deflater.compress(record) + deflater.flush()
        try:
            self._stream.write(member)
        except OSError as error:
            raise FatalError(
                f"cannot write {self.path}: {error.strerror or error}; free space or fix access, then run again"
            ) from error

        place = RecordPosition(self.size, len(member))
        self.size += len(member)
        return place


class _AbortError(Exception):
    pass


def _swallow_abort(kind: object, error: BaseException | None, trace: object) -> bool:
    return isinstance(error, _AbortError)


def _one_line(value: str) -> str:
    return (
        value
        if value.isprintable()
        else "".join(char if char.isprintable() else " " for char in value)
    )


# --- reading -------------------------------------------------------------------------------------------------------


def read_response(store: Store, warc_file: str, offset: int, length: int) -> Response:
    """Read the response at a place. Raises WarcError if it or the file cannot be read."""
    return next(iter(_wanted(store, warc_file, [(offset, length)])))


def read_responses(
    store: Store, warc_file: str, places: Iterable[tuple[int, int]]
) -> Iterator[Response | WarcError]:
    """Read the responses at `places` of one segment, in the order given.

    That takes few, large reads if they are ordered by offset. A record that cannot be read is given
    as its error, so that the others still come.
    """
    with _open(store, warc_file) as stream:
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
    data, used = _member(member)
    if not used:
        raise WarcError("the gzip member ends early")
    return _response(parse_record(data))


def _wanted(store: Store, warc_file: str, places: Iterable[tuple[int, int]]) -> Iterator[Response]:
    for result in read_responses(store, warc_file, places):
        if isinstance(result, WarcError):
            raise result
        yield result


def _open(store: Store, warc_file: str) -> Any:
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
    """Group places so that a group is one read: ascending, close together, not too large."""
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
