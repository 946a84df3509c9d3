"""Verification of WARC segments: damaged records, wrong digests, rows pointing elsewhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corpus.storage.store import Store
from crawl.warc import records
from crawl.warc.writer import digest

MEMBER_HEAD = b"\x1f\x8b\x08"
FEED_BYTES = 1 << 15
# Flags of a gzip member: as records are written, and as `erase_records` leaves their place.
PLAIN, COMMENTED = 0, 16


def segment_problems(store: Store, path: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Problems of a segment: bytes outside any record, wrong digests, rows pointing elsewhere.

    `rows` are those of `pages` pointing into it: warc_offset, warc_length, payload_digest,
    final_url.
    """
    problems: list[str] = []
    expected = {(row["warc_offset"], row["warc_length"]): row for row in rows}
    try:
        for place, record in members(store, path):
            if (broken := _digest_problem(record)) is not None:
                problems.append(f"{path} at {place[0]}: {broken}")
            row = expected.pop(place, None)
            if row is not None and (differs := _row_problem(record, row)) is not None:
                problems.append(f"{path} at {place[0]}: {differs}")
    except records.WarcError as error:
        problems.append(f"{path}: {error}")
        return problems

    problems += [
        f"{path} at {row['warc_offset']}: no record there, page {row['doc_id']} points to it"
        for row in expected.values()
    ]

    return problems


def members(store: Store, path: str) -> Iterator[tuple[tuple[int, int], records.WarcRecord]]:
    """((offset, length), record) of every member, without gaps between them.

    Raises: WarcError at bytes outside a record.
    """
    try:
        stream = store.open_input(path)
    except FileNotFoundError as error:
        raise records.WarcError("missing") from error

    start, position, buffer, ended = 0, 0, b"", False
    with stream:
        while True:
            if position < len(buffer):
                record, used = inflate_member(buffer, position, start + position)
                if used:
                    _check_head(buffer[position : position + used], start + position)
                    yield (start + position, used), records.parse_record(record)
                    position += used
                    continue
            if ended:
                if position < len(buffer):
                    raise records.WarcError(f"the record at {start + position} ends early")
                return
            more = stream.read(records.READ_BYTES)
            ended = not more
            start, buffer, position = start + position, buffer[position:] + more, 0


def inflate_member(data: bytes, position: int, offset: int) -> tuple[bytes, int]:
    """The gzip member at `position`, uncompressed, and its length; 0 if the data end before it.

    Fed in small pieces: zlib copies unused input. Raises: WarcError naming `offset`.
    """
    inflater = zlib.decompressobj(31)
    pieces, size, at = [], 0, position
    while at < len(data) and not inflater.eof:
        try:
            piece = inflater.decompress(data[at : at + FEED_BYTES])
        except zlib.error as error:
            raise records.WarcError(f"broken record at {offset} ({error})") from error
        at = min(len(data), at + FEED_BYTES)
        size += len(piece)
        if size > records.MAX_RECORD_BYTES:
            raise records.WarcError(
                f"the record at {offset} has more than {records.MAX_RECORD_BYTES} bytes"
            )
        pieces.append(piece)

    if not inflater.eof:
        return b"", 0

    return b"".join(pieces), at - len(inflater.unused_data) - position


def _check_head(member: bytes, offset: int) -> None:
    """Check a gzip header against our own: no checksum covers it. Raises WarcError."""
    flags = member[3]
    blank = member[10:].partition(b"\0")[0].strip(b" ") == b"" if flags == COMMENTED else True
    if (
        member[:3] != MEMBER_HEAD
        or flags not in (PLAIN, COMMENTED)
        or member[4:8] != bytes(4)
        or not blank
    ):
        raise records.WarcError(f"the head of the record at {offset} was changed")
    if member[8] not in (0, 2, 4) or member[9] not in (3, 255):
        raise records.WarcError(f"the head of the record at {offset} was changed")


def _digest_problem(record: records.WarcRecord) -> str | None:
    stated = record.fields.get("warc-block-digest")
    if stated is not None and (found := digest(record.block)) != stated:
        return f"block digest {found}, expected {stated}"
    return None


def _row_problem(record: records.WarcRecord, row: Mapping[str, Any]) -> str | None:
    if record.kind != "response":
        return f"a {record.kind} record, page {row['doc_id']} expects its response"

    payload = record.block.partition(b"\r\n\r\n")[2]
    if (found := digest(payload)) != row["payload_digest"]:
        return f"payload digest {found}, page {row['doc_id']} has {row['payload_digest']}"

    uri = record.fields.get("warc-target-uri", "").strip("<>")
    if row["final_url"] is not None and uri != row["final_url"]:
        return f"holds {uri}, page {row['doc_id']} expects {row['final_url']}"

    return None
