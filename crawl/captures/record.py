"""The record of a capture: by range from a file, or by the archive's replay of raw content.

The payload's digest is compared with the index, so a wrong range or a rewritten page is not taken
for the capture. A revisit is resolved to the payload of the capture with the same digest; it keeps
its own date, since the page was the same then.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from corpus.errors import InputError, first_line
from corpus.tables.external_files import open_source
from crawl.captures.client import ArchiveClient
from crawl.captures.index import IndexedCapture
from crawl.captures.local import INSIDE, read_local, read_size
from crawl.warc import records, writer
from crawl.warc.archives import HttpResponse, http_response

# Headers added or changed by an archive's replay; the original ones come with this prefix.
ORIGINAL: Final = "x-archive-orig-"
_OF_REPLAY: Final = frozenset(
    [
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "date",
        "server",
        "link",
        "vary",
    ]
)


class CaptureError(InputError):
    """An unavailable record: missing, damaged, or another page's."""


@dataclass(frozen=True, slots=True)
class RecordSource:
    """The origin of records.

    `base` is put before a file's name: an http(s) prefix, or a path or URI for `pyarrow.fs`.
    `replay` is an address with `{timestamp}` and `{url}` for the raw content, such as
    `https://archive.example/web/{timestamp}id_/{url}`.
    """

    base: str = ""
    replay: str = ""


@dataclass(frozen=True, slots=True)
class FetchedCapture:
    """A capture with its payload, as an HTTP response."""

    capture: IndexedCapture
    source: str
    """The address or file of the record."""
    record_id: str
    """The original record's id, or an empty string if the source does not tell it."""
    response: HttpResponse

    def record(self) -> bytes:
        """A WARC record of our own form with its origin."""
        own = [
            ("WARC-Record-ID", self.record_id or writer.record_id()),
            ("WARC-Date", self.capture.at.strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("WARC-Target-URI", self.capture.url),
            ("WARC-Source-URI", self.source),
            ("WARC-Payload-Digest", writer.digest(self.response.payload)),
        ]
        block = writer.http_block(
            self.response.status_line, self.response.headers, self.response.payload
        )
        return writer.record_bytes("response", own, block, "application/http; msgtype=response")


def fetch_record(
    capture: IndexedCapture,
    others: Sequence[IndexedCapture],
    source: RecordSource,
    client: ArchiveClient | None,
) -> FetchedCapture:
    """Fetch a capture's record. `others` are all captures of the page, among them a revisit's.

    Raises: CaptureError if the record is not there or not the capture's.
    """
    by_replay = bool(source.replay) and client is not None
    holder = _holder(capture, others)
    if holder is None and by_replay:
        # The archive resolves revisits of other addresses itself.
        holder = capture._replace(file="")
    if holder is None:
        raise CaptureError(f"{capture.url}: no capture holds the payload of this revisit")
    if holder.file and (source.base or not source.replay):
        place, record_id, response = _by_range(holder, source, client)
    elif source.replay and client is not None:
        place, record_id, response = _by_replay(holder, source, client)
    else:
        raise CaptureError(f"{capture.url}: the index names no file, and no replay is configured")

    if holder.digest and not _has_digest(response.payload, holder.digest):
        raise CaptureError(f"{place}: the payload is not the one of digest {holder.digest}")
    if response.status != 200:
        raise CaptureError(f"{place}: status {response.status}, the index says 200")
    return FetchedCapture(capture, place, record_id, response)


def _holder(capture: IndexedCapture, others: Sequence[IndexedCapture]) -> IndexedCapture | None:
    """The capture with the payload: itself, or the original of a revisit."""
    if not capture.is_revisit:
        return capture
    same = [each for each in others if each.digest == capture.digest and not each.is_revisit]
    if not same or not capture.digest:
        return None
    return min(same, key=lambda each: (abs(each.at - capture.at), each.at))


def _by_range(
    capture: IndexedCapture, source: RecordSource, client: ArchiveClient | None
) -> tuple[str, str, HttpResponse]:
    place = f"{source.base}{capture.file}"
    if place.startswith(("http://", "https://")):
        if client is None:
            raise CaptureError(f"{place}: no client")
        data = _range(place, capture, client)
    else:
        try:
            data = _stored(place, capture)
        except OSError as error:
            raise CaptureError(f"{place}: {first_line(error)}") from error

    where = f"{place}#{capture.offset}"
    try:
        record = records.parse_record(_member(data))
    except records.WarcError as error:
        raise CaptureError(f"{where}: {error}") from error

    named = record.fields.get("warc-target-uri", "").strip("<>")
    response = http_response(record.block)
    if record.kind != "response" or response is None or named != capture.url:
        raise CaptureError(f"{where}: a {record.kind} record of {named}, not of {capture.url}")
    return where, record.fields.get("warc-record-id", ""), response


def _stored(place: str, capture: IndexedCapture) -> bytes:
    """Bytes of a record in a file or a store. Raises: OSError, InputError."""
    if "://" not in place or INSIDE in place:
        return read_local(place, capture.offset, capture.length)

    with open_source(place, "--records") as stream:
        stream.seek(capture.offset)
        return stream.read(read_size(capture.length))


def _range(place: str, capture: IndexedCapture, client: ArchiveClient) -> bytes:
    end = capture.offset + capture.length - 1
    answer = client.get(place, {"Range": f"bytes={capture.offset}-{end}"})
    if answer.status == 206:
        return answer.body
    if answer.status == 200:  # a server without ranges sends the file
        return answer.body[capture.offset : end + 1]
    raise CaptureError(f"{place}: status {answer.status} for bytes {capture.offset} to {end}")


def _member(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    return records.first_member(data)


def _by_replay(
    capture: IndexedCapture, source: RecordSource, client: ArchiveClient
) -> tuple[str, str, HttpResponse]:
    place = source.replay.format(timestamp=capture.timestamp, url=capture.url)
    answer = client.get(place)
    if answer.status != 200:
        raise CaptureError(f"{place}: status {answer.status}")

    original = {
        name.removeprefix(ORIGINAL): value
        for name, value in answer.headers.items()
        if name.startswith(ORIGINAL)
    }
    headers = original or dict(answer.headers)
    kept = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
        if name not in _OF_REPLAY
    ]
    return place, "", HttpResponse("HTTP/1.1 200 OK", 200, kept, answer.body)


def _has_digest(payload: bytes, digest: str) -> bool:
    found = hashlib.sha1(payload, usedforsecurity=False).digest()
    return digest in (base64.b32encode(found).decode(), found.hex())
