"""Captures in WARC files from elsewhere (Common Crawl's, Heritrix's, wget's).

A capture is a stored answer with status 200 and HTML or text, under an http(s) address. Files may
be compressed by record (gzip, zstd, lz4), as a whole, or not at all. After damage in a gzip file,
reading continues at the next member. If a crawler stored chunked bytes, the chunked coding is
undone here, as in our own segments. Every record is counted under one `RecordDisposition`.

Sources: ISO 28500:2017 (WARC 1.1); RFC 9112 section 7.1 (chunked coding).
"""

from __future__ import annotations

import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from fastwarc.warc import ArchiveIterator, WarcRecordType
from pydantic import Field

from corpus.config import Section
from corpus.urls import Target, page_identity, target
from crawl.warc import records
from crawl.warc.kind import content_kind
from crawl.warc.members import Member, members_of, stored_as_it_is
from crawl.warc.writer import digest, http_block, record_bytes

_GZIP = b"\x1f\x8b\x08"
_SEARCH_BYTES = 1 << 20
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")


class WarcConfig(Section):
    """Import of WARC files from elsewhere as a batch (`--warc`)."""

    num_parts: int = Field(default=0, ge=0)
    """Parts of the batch's tables; 0: by the size of the files."""


class RecordDisposition(StrEnum):
    """The disposition of a record: a closed list."""

    CAPTURE = "record:capture"
    NO_RESPONSE = "record:no_response"
    """Requests, metadata, revisits (which hold no page) and descriptions of files."""
    STATUS = "record:status"
    """An answer other than 200, or not HTTP."""
    BAD_URL = "record:bad_url"
    """Not an http(s) address."""
    ROBOTS_FILE = "record:robots_file"
    """A site's robots.txt, which crawlers store beside its pages."""
    WRONG_TYPE = "record:wrong_type"
    """Neither HTML nor text."""
    TOO_LARGE = "record:too_large"
    DAMAGED = "record:damaged"
    """A damaged stretch up to the next readable record, counted once."""


class Capture(NamedTuple):
    """A page of an archive; the fields are columns.

    `record` is a WARC record of our own form, or the archive's own if it needs no change.
    """

    doc_id: str
    url: str
    url_key: str
    domain: str
    final_url: str
    fetched_at: datetime | None
    ip: str | None
    content_type: str | None
    body_bytes: int
    payload_digest: str
    truncated: bool
    record_id: str
    capture: str | None
    """The archive that the page came from, if the record names its origin."""
    record: bytes
    member: bytes | None = None
    """The gzip member of a record that needs no change."""


def read_captures(stream: BinaryIO, counts: Counter[str]) -> Iterator[Capture]:
    """Yield the captures of one file in its order; each record adds one to a `RecordDisposition` in `counts`."""
    start = 0
    is_gzip = stream.read(len(_GZIP)) == _GZIP
    # The last readable member is where other readers begin: its record is passed over there.
    again = end = 0
    for member in members_of(stream) if is_gzip else ():
        plain = ArchiveIterator(io.BytesIO(member.record), parse_http=False, quirks_mode=True)
        if (record := next(plain, None)) is None:
            break
        found = _capture(record, member)
        counts[RecordDisposition.CAPTURE if isinstance(found, Capture) else found] += 1
        if isinstance(found, Capture):
            yield found
        start, again = member.start, 1
        end = member.start + len(member.data)

    if end and stream.seek(0, io.SEEK_END) == end:
        return
    while True:
        stream.seek(start)
        last = start
        try:
            for record in ArchiveIterator(stream, parse_http=False, quirks_mode=True):
                last = max(last, record.stream_pos)
                if again:
                    again -= 1
                    continue
                found = _capture(record)
                counts[RecordDisposition.CAPTURE if isinstance(found, Capture) else found] += 1
                if isinstance(found, Capture):
                    yield found
            return
        except OSError:  # a member that cannot be inflated, or a header block that is none
            counts[RecordDisposition.DAMAGED] += 1
            again = 0

        following = _next_member(stream, last + 1) if is_gzip else None
        while following is not None and not _begins_record(stream, following):
            following = _next_member(stream, following + 1)
        if following is None:
            return

        start = following


def _capture(record: Any, member: Member | None = None) -> Capture | RecordDisposition:
    """The page in a record, or the reason why it holds none."""
    if record.record_type != WarcRecordType.response:
        return RecordDisposition.NO_RESPONSE
    if record.content_length > records.MAX_RECORD_BYTES:
        return RecordDisposition.TOO_LARGE

    length = record.content_length
    block = record.reader.read()
    response = http_response(block)
    if response is None:
        return RecordDisposition.DAMAGED if len(block) < length else RecordDisposition.STATUS
    if response.status != 200:
        return RecordDisposition.STATUS

    address = (record.headers.get("WARC-Target-URI") or "").strip().strip("<>")
    page = target(address)
    if not isinstance(page, Target):
        return RecordDisposition.BAD_URL
    if page.path == "/robots.txt":
        return RecordDisposition.ROBOTS_FILE

    content_type = response.header("content-type")
    encoded = response.header("content-encoding")
    if not encoded and content_kind(content_type, response.payload) is None:
        return RecordDisposition.WRONG_TYPE

    identity = page_identity(page)
    payload_digest = digest(response.payload)
    date = record.headers.get("WARC-Date") or ""
    ip = record.headers.get("WARC-IP-Address")
    cut = record.headers.get("WARC-Truncated") or ("disconnect" if len(block) < length else None)
    record_id = record.record_id
    if not record_id:
        # Some writers leave it out. A made one is the same in every reading.
        record_id = f"<urn:uuid:{uuid5(NAMESPACE_URL, f'{date} {address} {payload_digest}')}>"
    own = [("WARC-Record-ID", record_id), ("WARC-Date", date), ("WARC-Target-URI", address)]
    own += [("WARC-IP-Address", ip)] if ip else []
    own += [("WARC-Payload-Digest", payload_digest)]
    origin = record.headers.get("WARC-Source-URI")
    own += [("WARC-Source-URI", origin)] if origin else []
    own += [("WARC-Truncated", cut)] if cut else []
    parts = (response.status_line, response.headers, response.payload)
    unchanged = stored_as_it_is(member, own, *parts) if member else None
    if member and unchanged:
        whole = member.record
    else:
        whole = record_bytes(
            "response", own, http_block(*parts), "application/http; msgtype=response"
        )

    return Capture(
        doc_id=identity.doc_id,
        url=page.url,
        url_key=identity.url_key,
        domain=identity.domain,
        final_url=address,
        fetched_at=records.warc_date(date),
        ip=ip,
        content_type=content_type,
        body_bytes=len(response.payload),
        payload_digest=payload_digest,
        truncated=cut is not None,
        record_id=record_id,
        capture=archive_name(origin) if origin else None,
        record=whole,
        member=unchanged,
    )


def archive_name(origin: str) -> str:
    """The name of the archive in a `WARC-Source-URI`: its host or bucket, or the file's name."""
    try:
        parts = urlsplit(origin.strip().strip("<>"))
    except ValueError:
        return origin
    if parts.netloc:
        return parts.netloc.rpartition("@")[2].lower()
    # A local path says nothing to others but its last part.
    return parts.path.rstrip("/").rpartition("/")[2] or origin


class HttpResponse(NamedTuple):
    """A stored answer without its transfer coding."""

    status_line: str
    status: int
    headers: list[tuple[bytes, bytes]]
    payload: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, by lower-case name."""
        wanted = name.encode()
        return next(
            (value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None
        )


def http_response(block: bytes) -> HttpResponse | None:
    """The answer in a record's block, or None if it is not HTTP."""
    end = _HEAD_END.search(block)
    if end is None or not block.startswith(b"HTTP/"):
        return None

    first, *lines = _LINE_END.split(block[: end.start()])
    words = first.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        return None

    headers = [
        (name.strip(), value.strip())
        for name, colon, value in (line.partition(b":") for line in lines)
        if colon
    ]
    payload = block[end.end() :]
    coding = b",".join(
        value.lower() for name, value in headers if name.lower() == b"transfer-encoding"
    )
    if b"chunked" in coding:
        payload = dechunked(payload)

    return HttpResponse(first.decode("latin-1"), int(words[1]), headers, payload)


def dechunked(payload: bytes) -> bytes:
    """The content of a chunked payload.

    A payload without a chunk at its beginning is returned as it is: some crawlers keep the header
    of a coding already undone. Of a truncated or damaged one, the content before the break is
    returned.
    """
    pieces: list[bytes] = []
    place = 0
    while size := _CHUNK.match(payload, place):
        start, length = size.end(), int(size[1], 16)
        pieces.append(payload[start : start + length])
        place = start + length
        if length == 0 or payload[place : place + 2] in (b"", b"\r"):
            break
        end = _LINE_END.match(payload, place)
        if end is None:
            return payload if len(pieces) == 1 else b"".join(pieces)
        place = end.end()

    return b"".join(pieces) if pieces else payload


def _next_member(stream: BinaryIO, start: int) -> int | None:
    """The next possible position of a gzip member, from `start` on."""
    while True:
        stream.seek(start)
        data = stream.read(_SEARCH_BYTES)
        found = data.find(_GZIP)
        if found >= 0:
            return start + found
        if len(data) < len(_GZIP):
            return None
        start += len(data) - len(_GZIP) + 1


def _begins_record(stream: BinaryIO, place: int) -> bool:
    """True if the bytes at `place` inflate to the beginning of a WARC record."""
    stream.seek(place)
    try:
        return zlib.decompressobj(31).decompress(stream.read(512), 8).startswith(b"WARC/")
    except zlib.error:
        return False
