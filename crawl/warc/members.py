"""Members of gzipped WARC files that are stored as they are.

Most archives hold one record per gzip member, as our segments do. Compressing such a record again
takes more time than all else of an import. A member is therefore copied if its record says all
that a record of ours says, and nothing that is not so. Only the header of the gzip member is
replaced: it may hold a time and a file name, and no checksum covers it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from crawl.warc import records
from crawl.warc.verify import MEMBER_HEAD, PLAIN, inflate_member
from crawl.warc.writer import digest, http_block

# A member of deflated data, without a time, from Unix (RFC 1952).
_HEAD: Final = MEMBER_HEAD + bytes((PLAIN, 0, 0, 0, 0, 0, 3))
# Bits of the first deflated byte for the type of a block; 0 is a block of stored bytes.
_BLOCK_TYPE: Final = 6
_HEAD_LINE = re.compile(rb"[A-Za-z-]{1,60}: [\x20-\x7e]*")
_VERSIONS: Final = (b"WARC/1.0", b"WARC/1.1")
_RECORD_END: Final = b"\r\n\r\n"
# Fields of WARC 1.1 that a stored record may have beside ours. Those of segmented records and
# revisits change what the block means.
_HARMLESS: Final = frozenset(
    (
        *("warc-type", "warc-concurrent-to", "warc-warcinfo-id", "warc-identified-payload-type"),
        *("warc-block-digest", "content-type", "content-length"),
    )
)


class Member(NamedTuple):
    """A gzip member and the record in it."""

    start: int
    data: bytes
    record: bytes


def members_of(stream: BinaryIO) -> Iterator[Member]:
    """The members of a gzipped file, from its beginning up to the first that holds no one record.

    Behind damage, or in a file that is compressed as a whole, other readers must continue.
    """
    stream.seek(0)
    start, position, buffer = 0, 0, b""
    while True:
        try:
            record, used = (
                inflate_member(buffer, position, start + position)
                if position < len(buffer)
                else (b"", 0)
            )
        except records.WarcError:
            return

        if used:
            if not _is_one_record(record):
                return
            yield Member(start + position, buffer[position : position + used], record)
            position += used
            continue
        more = stream.read(records.READ_BYTES)
        if not more:
            return
        start, buffer, position = start + position, buffer[position:] + more, 0


def _is_one_record(data: bytes) -> bool:
    """True if the bytes are a record, and end with it."""
    try:
        record = records.parse_record(data)
    except records.WarcError:
        return False
    return len(data) == data.find(_RECORD_END) + len(record.block) + 2 * len(_RECORD_END)


def stored_as_it_is(
    member: Member,
    own: Sequence[tuple[str, str]],
    status_line: str,
    headers: Sequence[tuple[bytes, bytes]],
    payload: bytes,
) -> bytes | None:
    """The member to store for a response, or None if its record needs a change.

    `own` are the fields that a record of ours would have, and the response is without its transfer
    coding.
    """
    data = member.data
    if data[3] != PLAIN or not data[len(_HEAD)] & _BLOCK_TYPE:
        return None

    head, _, rest = member.record.partition(_RECORD_END)
    lines = head.split(b"\r\n")
    if lines[0] not in _VERSIONS or not all(_HEAD_LINE.fullmatch(line) for line in lines[1:]):
        return None
    parts = [line.decode("ascii").partition(": ") for line in lines[1:]]
    fields = {name.lower(): value for name, _, value in parts}
    wanted = {name.lower(): value for name, value in own}
    if len(fields) != len(lines) - 1 or not fields.keys() - wanted.keys() <= _HARMLESS:
        return None
    if any(fields.get(name) != value for name, value in wanted.items()):
        return None

    block = http_block(status_line, headers, payload)
    if block != rest[: -len(_RECORD_END)]:
        return None
    stated = fields.get("warc-block-digest")
    return None if stated not in (None, digest(block)) else _HEAD + data[len(_HEAD) :]
