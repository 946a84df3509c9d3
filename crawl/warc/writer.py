"""Writes WARC 1.1 segments: responses as received.

A segment is a `.warc.gz` with one record per gzip member, so any record can be read by its offset
and length, and any WARC tool can read the whole file. Payloads keep their content encoding. Only
the transfer coding is undone, since it belongs to the connection; headers made untrue by this are
kept under an `X-Crawler-` name.

Sources: ISO 28500:2017 (WARC 1.1); StormCrawler's WARCRecordFormat for the renamed headers.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from isal import isal_zlib

from corpus.errors import FatalError
from corpus.storage.store import Store

_END_OF_RECORD = b"\r\n\r\n"
# A member without name, time and flags (RFC 1952, 2.3), and its end: CRC-32 and size.
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_GZIP_END = struct.Struct("<II")


class RecordPosition(NamedTuple):
    """The position of a record in its segment, in compressed bytes."""

    offset: int
    length: int


def digest(data: bytes) -> str:
    """The digest checked by WARC tools: `sha1:` and base32."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def http_block(status_line: str, headers: Iterable[tuple[bytes, bytes]], payload: bytes) -> bytes:
    """The block of a response after its transfer coding was undone."""
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
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + _END_OF_RECORD


def gzip_member(data: bytes, level: int, num_plain: int | None = None) -> bytes:
    """One gzip member of level 0 to 3. Bytes from `num_plain` on are stored as they are.

    Most servers compress their pages. A second compression took 0.1 ms a page and saved nothing.
    ISA-L takes a third of zlib's time (docs/decisions/0154).
    """
    if num_plain is None:
        deflater = isal_zlib.compressobj(level, zlib.DEFLATED, 31)
        return deflater.compress(data) + deflater.flush()

    plain = isal_zlib.compressobj(level, zlib.DEFLATED, -15)
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    return b"".join(
        (
            _GZIP_HEAD,
            plain.compress(data[:num_plain]),
            plain.flush(zlib.Z_FULL_FLUSH),
            stored.compress(data[num_plain:]),
            stored.flush(),
            _GZIP_END.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF),
        )
    )


def record_id() -> str:
    """A fresh `WARC-Record-ID`."""
    return f"<urn:uuid:{uuid4()}>"


def timestamp(at: datetime) -> str:
    """A `WARC-Date` with microseconds, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class SegmentWriter:
    """One segment. It appears under its name on `commit`, and never after `abort`.

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
        num_compressed: int = 0,
    ) -> RecordPosition:
        """Write a response, after its request if one is given; the place of the response.

        The last `num_compressed` bytes of the block are stored as they are.
        """
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
            record_bytes("response", own, block, "application/http; msgtype=response"),
            num_compressed,
        )

    def add_metadata(self, url: str, text: str, *, about: str, at: datetime) -> RecordPosition:
        """Write metadata of a record beside its bytes (WARC 1.1, section 6.6)."""
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

    def _write(self, record: bytes, num_compressed: int = 0) -> RecordPosition:
        num_plain = len(record) - len(_END_OF_RECORD) - num_compressed
        member = gzip_member(record, self._gzip_level, num_plain if num_compressed else None)
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
