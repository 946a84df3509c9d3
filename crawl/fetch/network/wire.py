"""HTTP/1 responses as browsers read them, with limits on untrusted bytes.

`ResponseReader` is placed between the transport and aiohttp's parser. It reads the head itself,
repairs the faults browsers tolerate, names each repair, and passes on a minimal head and a
well-formed body. So a server decides neither the accepted syntax nor our parsing time: interim
answers, blank lines, header bytes and chunk framing are counted where they arrive, and not only in
the decoded body.

Why not another parser (2026-11-30): h11 and httptools refuse repeated and conflicting lengths as
well; pycurl repairs without naming the repairs, and hides interim answers from limits.

Sources: RFC 9112 (sections in the comments); WHATWG Fetch; Chromium's HttpStreamParser and curl for
the tolerated faults.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

# Bytes before the body: the final head, interim answers and blank lines (Chromium: 256 KiB).
MAX_HEAD_BYTES = 64 << 10
# Answers 100, 102 and 103 before the final one.
MAX_INTERIM = 32
# Free chunk framing; beyond it, `MAX_FRAMING_RATIO` times the body's bytes.
MAX_FRAMING_BYTES = 64 << 10
MAX_FRAMING_RATIO = 1.0
# Free chunks; beyond them, the body has at least so many bytes per chunk. A chunk costs
# 1.3 us at any size, and no other host gets an answer meanwhile.
MAX_CHUNKS = 4096
LEAST_CHUNK_BYTES = 16
# Begins the message of an error for answers beyond these limits.
FLOOD = "flood"
_STATUS_LINE = re.compile(
    rb"(?:HTTP/(\d{1,3})(?:\.(\d{1,3}))?|ICY)[ \t]+(\d{3})(?:[ \t]+(.*))?\Z", re.I
)
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONTROL = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_CHUNK_SIZE = re.compile(rb"\s*([0-9A-Fa-f]{1,16})\s*(?:;|\Z)")
# The line end after a chunk and the size of the next one, as most servers write them.
_PLAIN_SIZE = re.compile(rb"\r?\n([0-9A-Fa-f]{1,16})\r?\n")
_EMPTY_LINE = re.compile(rb"\r?\n")


class HeadError(ValueError):
    """Bytes that are not an HTTP response, or beyond the limits."""


class BodyError(ValueError):
    """Unreadable chunks, or chunk framing beyond the limits."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response as it came, unfolded; nothing is left out but lines without a name."""

    version: tuple[int, int]
    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    @property
    def status_line(self) -> str:
        """The status line in its standard form."""
        major, minor = self.version
        return f"HTTP/{major}.{minor} {self.status} {self.reason.decode('latin-1')}"


class _Framing(Enum):
    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


class ResponseReader:
    """One response. `feed` takes received bytes and returns well-formed ones for a strict parser.

    If the body cannot be read further, `failure` says why; everything before it was returned.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.repairs: dict[str, None] = {}
        # True when the body has ended; later bytes are not part of the response.
        self.is_done = False
        self.failure: BodyError | None = None
        self.cpu_s = 0.0
        self._buffer = b""
        self._head_bytes = 0
        self._num_interim = 0
        self._framing = _Framing.NONE
        self._left = 0
        self._chunks = _ChunkReader(self.repairs)

    def feed(self, data: bytes) -> bytes:
        """Well-formed bytes for the received ones. Raises HeadError."""
        if self.head is None:
            head, data = self._read_head(data)
            return head + self._body(data) if head else b""
        return self._body(data)

    def _body(self, data: bytes) -> bytes:
        if self.is_done or self.failure is not None:
            if data:
                self.repairs["bytes_after_body"] = None
            return b""
        if self._framing is _Framing.CLOSE:
            return data
        if self._framing is _Framing.CHUNKED:
            rest = self._chunks.feed(data)
            self.is_done, self.failure = self._chunks.is_done, self._chunks.failure
            return rest

        body, beyond = data[: self._left], data[self._left :]
        self._left -= len(body)
        self.is_done = self._left == 0
        if beyond:
            self.repairs["bytes_after_body"] = None

        return body

    # The head

    def _read_head(self, data: bytes) -> tuple[bytes, bytes]:
        """The minimal head, and bytes of the body; two empty ones while there is not all of it."""
        searched = max(0, len(self._buffer) - 2)
        self._buffer += data
        self._head_bytes += len(data)

        while True:
            lead = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
            if lead:
                self._buffer = self._buffer[lead:]
                self.repairs["leading_blank_lines"] = None

            end = _END_OF_HEAD.search(self._buffer, max(0, searched - lead))
            searched = 0
            limit = self._head_bytes - len(self._buffer) + (end.end() if end else len(self._buffer))
            if limit > MAX_HEAD_BYTES:
                raise HeadError(f"{FLOOD}: more than {MAX_HEAD_BYTES} bytes before the body")
            if end is None:
                self._check_beginning()
                return b"", b""

            lines = self._buffer[: end.start()].split(b"\n")
            self._buffer = self._buffer[end.end() :]
            version, status, reason = _status(lines[0].removesuffix(b"\r"))
            if status >= 200:
                break

            # Their fields are not read: they cost time and decide nothing.
            self._num_interim += 1
            if status == 101 or self._num_interim > MAX_INTERIM:
                raise HeadError(f"{FLOOD}: {self._num_interim} interim answers")

        fields = self._fields([line.removesuffix(b"\r") for line in lines[1:]])
        head = self.head = Head(version, status, reason, tuple(fields))
        body, self._buffer = self._buffer, b""
        return self._frame(head), body

    def _check_beginning(self) -> None:
        """Refuse bytes that cannot become a status line, rather than wait for their end."""
        beginning = self._buffer[:5].upper()
        if not b"HTTP/".startswith(beginning) and not b"ICY ".startswith(beginning[:4]):
            raise HeadError(f"not HTTP: {self._buffer[:20]!r}")

    def _fields(self, lines: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Fields with their values; folded lines are joined (RFC 9112, 5.2)."""
        pending: tuple[bytes, bytes] | None = None
        for line in lines:
            if line[:1] in (b" ", b"\t"):
                self.repairs["folded_field"] = None
                if pending is not None:
                    pending = (pending[0], b" ".join((pending[1], self._clean(line))))
                continue

            if pending is not None:
                yield pending
            pending = None

            name, colon, value = line.partition(b":")
            if not colon:
                self.repairs["field_without_colon"] = None
                continue

            if name != name.rstrip():
                self.repairs["space_before_colon"] = None
                name = name.rstrip()

            if not _FIELD_NAME.match(name):
                self.repairs["bad_field_name"] = None
                continue

            pending = (name, self._clean(value))

        if pending is not None:
            yield pending

    def _clean(self, value: bytes) -> bytes:
        cleaned = value.translate(None, _CONTROL)
        if cleaned != value:
            self.repairs["control_in_field"] = None
        return cleaned.strip()

    # The framing of the body (RFC 9112, 6.3)

    def _frame(self, head: Head) -> bytes:
        """Decide where the body ends, and return a head with only this framing."""
        by_name: dict[bytes, list[bytes]] = {}
        for name, value in head.fields:
            by_name.setdefault(name.lower(), []).append(value)
        self._framing, self._left = self._body_framing(head, by_name)
        self.is_done = self._framing is _Framing.NONE or (
            self._framing is _Framing.LENGTH and self._left == 0
        )

        minor = 0 if head.version == (1, 0) else 1
        lines = [b"HTTP/1.%d %d" % (minor, head.status)]

        if self._framing is _Framing.LENGTH:
            lines.append(b"Content-Length: %d" % self._left)
        elif self._framing is _Framing.CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")

        lines += [b"Connection: " + value for value in by_name.get(b"connection", ()) if value]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _body_framing(self, head: Head, by_name: dict[bytes, list[bytes]]) -> tuple[_Framing, int]:
        if head.status in (204, 304):
            return _Framing.NONE, 0

        codings = b",".join(by_name.get(b"transfer-encoding", ())).lower()
        lengths = by_name.get(b"content-length", [])
        if b"chunked" in [coding.strip() for coding in codings.split(b",")]:
            if lengths:
                self.repairs["length_with_chunked"] = None  # chunked counts (6.3, rule 3)
            return _Framing.CHUNKED, 0
        if not lengths:
            return _Framing.CLOSE, 0

        stated = {part.strip() for value in lengths for part in value.split(b",")}
        if len(lengths) > 1 or len(stated) != len(b",".join(lengths).split(b",")):
            self.repairs["repeated_length"] = None
        numbers = {int(part) for part in stated if part.isdigit() and len(part) < 19}
        if len(numbers) > 1:
            raise HeadError(f"content lengths that differ: {sorted(numbers)[:3]}")
        if not numbers or not all(part.isdigit() for part in stated):
            self.repairs["bad_length"] = None  # browsers read to the end of the connection
            return _Framing.CLOSE, 0

        return _Framing.LENGTH, numbers.pop()


def _status(line: bytes) -> tuple[tuple[int, int], int, bytes]:
    """Version, status and reason of a status line. Raises HeadError."""
    status = _STATUS_LINE.match(line.strip())
    if status is None:
        raise HeadError(f"not an HTTP status line: {line[:40]!r}")

    version = (int(status[1]), int(status[2] or 0)) if status[1] else (1, 0)
    code = int(status[3])
    if code < 100:
        raise HeadError(f"status {code}")

    return version, code, status[4] or b""


class _ChunkReader:
    """Undoes the chunked coding and writes it again in few chunks (RFC 9112, 7.1)."""

    def __init__(self, repairs: dict[str, None]) -> None:
        self._repairs = repairs
        self._buffer = b""
        self._left = 0
        self._at_line_end = False
        self._in_trailer = False
        self._framing_bytes = 0
        self._body_bytes = 0
        self._num_chunks = 0
        self.is_done = False
        self.failure: BodyError | None = None

    def feed(self, data: bytes) -> bytes:
        """The chunks again, up to a failure."""
        pieces: list[bytes] = []
        try:
            self._split(self._buffer + data, pieces)
        except BodyError as error:
            self.failure = error

        body = b"".join(pieces)
        written = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return written + (b"0\r\n\r\n" if self.is_done else b"")

    def _split(self, buffer: bytes, pieces: list[bytes]) -> None:
        """Append the content of chunks to `pieces`, keep the rest. Raises BodyError."""
        at = 0
        while at < len(buffer) and not self.is_done:
            if self._left:
                piece = buffer[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                self._body_bytes += len(piece)
                at += len(piece)
                self._at_line_end = self._left == 0
                continue

            if self._at_line_end and (plain := _PLAIN_SIZE.match(buffer, at)):
                self._at_line_end = False
                self._count(plain.end() - at)
                at = plain.end()
                self._begin_chunk(plain[1])
                continue

            if self._in_trailer:
                at = self._skip_trailer(buffer, at)
                break

            line_end = buffer.find(b"\n", at)
            if line_end < 0:
                self._count(0, pending=len(buffer) - at)
                break

            line = buffer[at:line_end].removesuffix(b"\r")
            self._count(line_end + 1 - at)
            at = line_end + 1
            self._take_line(line)

        if self.is_done:
            if at < len(buffer):
                self._repairs["bytes_after_body"] = None
            at = len(buffer)

        self._buffer = buffer[at:]

    def _skip_trailer(self, buffer: bytes, at: int) -> int:
        """The position behind the trailer, or of its last line while it has not ended.

        Its fields are not read (RFC 9110, 6.5.1), so a long one is searched for its end at once.
        """
        end = _EMPTY_LINE.match(buffer, at) or _END_OF_HEAD.search(buffer, at)
        self.is_done = end is not None
        beyond = end.end() if end else max(at, buffer.rfind(b"\n") + 1)
        self._count(beyond - at, pending=0 if end else len(buffer) - beyond)

        return beyond

    def _take_line(self, line: bytes) -> None:
        if self._at_line_end:
            self._at_line_end = False
            if not line:
                return
            self._repairs["no_line_end_after_chunk"] = None

        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise BodyError(f"not the size of a chunk: {line[:20]!r}")
        self._begin_chunk(size[1])

    def _begin_chunk(self, size: bytes) -> None:
        self._left = int(size, 16)
        self._in_trailer = self._left == 0
        self._num_chunks += 1
        if self._num_chunks > MAX_CHUNKS + self._body_bytes / LEAST_CHUNK_BYTES:
            raise BodyError(f"{FLOOD}: {self._num_chunks} chunks of {self._body_bytes} bytes")

    def _count(self, num_bytes: int, *, pending: int = 0) -> None:
        self._framing_bytes += num_bytes
        free = MAX_FRAMING_BYTES + MAX_FRAMING_RATIO * self._body_bytes
        if self._framing_bytes + pending > free:
            raise BodyError(f"{FLOOD}: {self._framing_bytes + pending} bytes of chunk framing")


class LenientProtocol(ResponseHandler):
    """aiohttp's protocol behind a `ResponseReader`."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self.reader: ResponseReader | None = None

    def set_response_params(self, **params: Any) -> None:
        """Begin a response."""
        self.reader = ResponseReader()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Pass on the reader's output for received bytes."""
        reader = self.reader
        if reader is None or not data:  # without data, aiohttp continues with what it has
            super().data_received(data)
            return
        if reader.is_done or reader.failure is not None:
            self._close_early()
            return

        began_at = time.perf_counter()
        try:
            passed = reader.feed(bytes(data))
        except HeadError as error:
            self._close_early()
            self.set_exception(HttpProcessingError(code=400, message=str(error)), error)
            return

        if passed:
            super().data_received(passed)
        else:
            self._reschedule_timeout()

        reader.cpu_s += time.perf_counter() - began_at
        if reader.failure is not None:
            # Not at once: the reader waiting for the bytes before the failure gets them first.
            self._loop.call_soon(self._fail_body, reader.failure)
        elif "bytes_after_body" in reader.repairs:
            self._close_early()

    def _fail_body(self, failure: BodyError) -> None:
        payload, self._payload, self._parser = self._payload, None, None
        if payload is not None:
            payload.set_exception(ClientPayloadError(str(failure)))
        self._close_early()

    def _close_early(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()
