"""Erasure of records from WARC segments, for take-downs: every other record stays in its place."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from corpus.errors import InputError
from corpus.storage.store import Store
from crawl.warc import records
from crawl.warc.verify import COMMENTED, MEMBER_HEAD, inflate_member


def erase_records(
    store: Store, path: str, uris: frozenset[str], keep: frozenset[tuple[int, int]]
) -> int:
    """Erase the records of some addresses from a segment; their number.

    Blank members of the same length replace them, so every other record stays at its place in
    `pages`, and the file changes in one step. Records at the places `keep` stay: they are other
    pages' responses. Damage elsewhere in the segment is left as it is.
    """
    with store.open_input(path) as stream:
        data: bytes = stream.read()
    erased = [
        (offset, length)
        for (offset, length), record in readable_records(data)
        if record.fields.get("warc-target-uri", "").strip("<>") in uris
        and (offset, length) not in keep
    ]

    if erased:
        pieces = bytearray(data)
        for offset, length in erased:
            pieces[offset : offset + length] = blank_member(length)
        store.write_bytes(path, bytes(pieces))

    return len(erased)


def readable_records(data: bytes) -> Iterator[tuple[tuple[int, int], records.WarcRecord]]:
    """All readable records with their places."""
    offset = 0
    while 0 <= offset < len(data):
        try:
            record, length = inflate_member(data, offset, offset)
            if not length:
                raise records.WarcError("cut")
            read = records.parse_record(record)
        except records.WarcError:
            offset = data.find(MEMBER_HEAD, offset + 1)
            continue
        yield (offset, length), read
        offset += length


def blank_member(length: int) -> bytes:
    """A gzip member of exactly `length` bytes: an empty WARC record, padded in the member's comment.

    Raises: InputError below some 130 bytes; all of our records are longer.
    """
    fields = (
        b"WARC/1.1",
        b"WARC-Type: metadata",
        b"WARC-Record-ID: <urn:webtext:taken-down>",
        b"WARC-Date: 1970-01-01T00:00:00Z",
        b"Content-Length: 0",
    )
    record = b"\r\n".join(fields) + b"\r\n\r\n\r\n\r\n"
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflater.compress(record) + deflater.flush()
    tail = zlib.crc32(record).to_bytes(4, "little") + len(record).to_bytes(4, "little")
    head = MEMBER_HEAD + bytes([COMMENTED, 0, 0, 0, 0, 2, 3])
    padding = length - len(head) - 1 - len(body) - len(tail)
    if padding < 0:
        raise InputError(
            f"a WARC record of {length} bytes cannot be blanked; remove its segment by hand"
        )

    return head + b" " * padding + b"\0" + body + tail
