"""What the spine asks of the crawl: is a segment whole, what would refuse an address.

`webtext.verify`, `webtext.explain` and `webtext.forget` look these functions up when they are
called.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from corpus.errors import ConfigError, InputError
from corpus.storage.store import Store
from corpus.urls import UrlProblem, host_identity, target
from crawl.links.select import LinksConfig
from crawl.rules import EXTENSION_RULES, HOST_RULES, Fate, Rules, read_hosts, read_subreddits
from crawl.warc import records

MEMBER_HEAD = b"\x1f\x8b\x08"
FEED_BYTES = 1 << 15
# Flags of a gzip member: as we write records, and as `erase_records` leaves the place of one.
PLAIN, COMMENTED = 0, 16


def segment_problems(store: Store, path: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a segment: bytes that are no record, digests that differ, rows that point elsewhere.

    `rows` are those of `pages` that point into it: warc_offset, warc_length, payload_digest,
    final_url.
    """
    problems: list[str] = []
    expected = {(row["warc_offset"], row["warc_length"]): row for row in rows}
    try:
        for place, record in _members(store, path):
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


class Refusal(NamedTuple):
    """How the links stage judges an address."""

    reason: str | None
    """The rule that refuses it, in words; None where none does."""
    doubt: str | None
    """Why the batch may have been made under other rules than are there now; None where it was not."""


def refusal(url: str, settings: Mapping[str, Any] | None, made_under: str | None = None) -> Refusal:
    """Which rule of the links stage refuses an address.

    `settings` are those of a batch's manifest, `[crawl.links]`, and `made_under` the digest of its
    rules; None stands for the defaults.
    """
    config = LinksConfig.model_validate(dict(settings or {}))
    rules, doubt = _rules_now(config, made_under)
    return Refusal(_reason(url, config, rules), doubt)


def _rules_now(config: LinksConfig, made_under: str | None) -> tuple[Rules, str | None]:
    """The rules as far as they can be read, and what has become of their files since."""
    lists: list[tuple[str, ...]] = []
    lost = []
    for read, path in (
        (read_hosts, config.blocked_hosts_file),
        (read_subreddits, config.blocked_subreddits_file),
    ):
        try:
            lists.append(read(path) if path else ())
        except ConfigError:
            lists.append(())
            lost.append(f"the block list {path} can no longer be read, and is left out")

    rules = Rules(config.preset, *lists)
    if lost:
        return rules, "; ".join(lost)
    if made_under is None or rules.digest() == made_under:
        return rules, None

    files = [path for path in (config.blocked_hosts_file, config.blocked_subreddits_file) if path]
    return rules, f"the rules are others now: {' or '.join((*files, 'the program'))} has changed"


def _reason(url: str, config: LinksConfig, rules: Rules) -> str | None:
    if len(url) > config.max_url_chars:
        return f"{Fate.URL_TOO_LONG}: {len(url):,} characters, crawl.links.max_url_chars = {config.max_url_chars:,}"

    page = target(url)
    if isinstance(page, UrlProblem):
        return {
            "bad_url": "bad_url: a WHATWG parser refuses it",
            "not_http": "not_http: its scheme is not http or https",
        }[page.value]
    if (fate := rules.judge_host(page.host)) is not None:
        return _host_reason(page.host, fate, config)
    if (fate := rules.judge_path(page.path)) is not None:
        return _path_reason(page.path, fate, config.preset)

    return None


def _host_reason(host: str, fate: Fate, config: LinksConfig) -> str:
    labels = host_identity(host).key
    while labels:
        for rule in HOST_RULES:
            if rule.host == labels and config.preset in rule.presets:
                return f"{fate}: {rule.host} and all below it ({rule.why}; preset {config.preset})"
        labels = labels.partition(".")[2]
    return f"{fate}: {host} is below a host of crawl.links.blocked_hosts_file {config.blocked_hosts_file}"


def _path_reason(path: str, fate: Fate, preset: Any) -> str:
    extension = path.rpartition("/")[2].partition(";")[0].rpartition(".")[2].lower()
    for rule in EXTENSION_RULES:
        if extension in rule.extensions.split() and preset in rule.presets:
            return f"{fate}: the path ends in .{extension} ({rule.why}; preset {preset})"
    return f"{fate}: the path ends like a file"


def _members(store: Store, path: str) -> Iterator[tuple[tuple[int, int], records.Record]]:
    """((offset, length), record) of every member, nothing between them. Raises WarcError at what is no record."""
    try:
        stream = store.open_input(path)
    except FileNotFoundError as error:
        raise records.WarcError("missing") from error

    start, position, buffer, ended = 0, 0, b"", False
    with stream:
        while True:
            if position < len(buffer):
                record, used = _inflate(buffer, position, start + position)
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


def _inflate(data: bytes, position: int, offset: int) -> tuple[bytes, int]:
    """The gzip member that begins at `position`, uncompressed, and its length; length 0 when the data end before it.

    Fed in small pieces: zlib copies what it was given too much. Raises: WarcError naming `offset`.
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
    """The gzip header is outside the checksum of its member: it must be what we write. Raises WarcError."""
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


def _digest_problem(record: records.Record) -> str | None:
    stated = record.fields.get("warc-block-digest")
    if stated is not None and (found := records.digest(record.block)) != stated:
        return f"block digest {found}, expected {stated}"
    return None


def _row_problem(record: records.Record, row: Mapping[str, Any]) -> str | None:
    if record.kind != "response":
        return f"a {record.kind} record, page {row['doc_id']} expects its response"

    payload = record.block.partition(b"\r\n\r\n")[2]
    if (found := records.digest(payload)) != row["payload_digest"]:
        return f"payload digest {found}, page {row['doc_id']} has {row['payload_digest']}"

    uri = record.fields.get("warc-target-uri", "").strip("<>")
    if row["final_url"] is not None and uri != row["final_url"]:
        return f"holds {uri}, page {row['doc_id']} expects {row['final_url']}"

    return None


# --- erasing -------------------------------------------------------------------------------------------------------


def erase_records(
    store: Store, path: str, uris: frozenset[str], keep: frozenset[tuple[int, int]]
) -> int:
    """Take the records of some addresses out of a segment; how many went.

    Their places hold blank members of the same length, so that every other record stays where
    `pages` says it is, and the file changes in one step. Records at the places `keep` stay: other
    pages' responses. Damage elsewhere in the segment is passed on as it is.
    """
    with store.open_input(path) as stream:
        data: bytes = stream.read()
    erased = [
        (offset, length)
        for (offset, length), record in _readable(data)
        if record.fields.get("warc-target-uri", "").strip("<>") in uris
        and (offset, length) not in keep
    ]

    if erased:
        pieces = bytearray(data)
        for offset, length in erased:
            pieces[offset : offset + length] = blank_member(length)
        store.write_bytes(path, bytes(pieces))

    return len(erased)


def _readable(data: bytes) -> Iterator[tuple[tuple[int, int], records.Record]]:
    """Every record that can be read, with its place."""
    offset = 0
    while 0 <= offset < len(data):
        try:
            record, length = _inflate(data, offset, offset)
            if not length:
                raise records.WarcError("cut")
            read = records.parse_record(record)
        except records.WarcError:
            offset = data.find(MEMBER_HEAD, offset + 1)
            continue
        yield (offset, length), read
        offset += length


def blank_member(length: int) -> bytes:
    """A gzip member of exactly `length` bytes: a WARC record that says nothing, padded in the member's comment.

    Raises: InputError below some 130 bytes, which no record of ours is.
    """
    record = b"WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <urn:webtext:taken-down>\r\nWARC-Date: 1970-01-01T00:00:00Z\r\nContent-Length: 0\r\n\r\n\r\n\r\n"
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
