"""Stream a Reddit dump into rows and rows into submissions.

Containers are told by their first bytes, never by name: zstd (window up to 2^31, several frames), xz, bzip2, gzip (each
also several members), or plain newline-delimited JSON. Rows are split on bytes and decoded one by one: a character on
the border of two chunks costs nothing, a broken row costs itself.

A file that breaks off, or is damaged, gives every row that lies wholly before the break; then TruncatedDump says at which
byte and row. zstd is fed block by block, so that a damaged block takes none of its neighbours along and no input, however
made, unpacks to more than 128 KiB at once. The other containers are bounded by their decoders' `max_length`; on damage the
last chunk is gone through again byte by byte.

Rows are decoded by msgspec, a block in one call: it checks all of a row's syntax but builds only the named fields, and
takes a fifth to an eighth of the time of json.loads. A filter on bytes before it does not pay: one `bytes.find` over a row
takes a third of the decoding, and what it finds may lie in a nested object or in a broken row. Rows that msgspec refuses (a
lone surrogate, a number where a string belongs) get a second chance from the lenient `json` of the standard library.
"""

from __future__ import annotations

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
import zstandard

from corpus.errors import InputError, PartitionError

READ_BYTES = 1 << 18
"""Compressed bytes read at once."""

CHUNK_BYTES = 1 << 20
"""Most bytes that one step of a decoder without blocks of its own gives out."""

MAX_WINDOW_BYTES = 1 << 31
"""The window of the newest dumps (`zstd --long=31`); the decoder holds that much memory."""

MAX_ROW_BYTES = 1 << 24
"""Rows are cut here: the longest submissions known have some hundred KB. No chunk of a container is as long."""

XZ_MEMORY_BYTES = 1 << 30
"""What an xz stream may ask for; `xz -9` asks for 65 MiB."""

FIXED_MEMORY_BYTES = 1 << 28
"""Memory of a reader beside the frame's window: buffers, a batch of rows, caches."""


class TruncatedDump(PartitionError):  # noqa: N818 - the name says what the file is
    """The dump breaks off: all rows before the break were given.

    `byte_offset` counts bytes of the file (compressed where it is), `row_number` the rows that were read before.
    """

    def __init__(self, byte_offset: int, row_number: int, cause: str) -> None:
        super().__init__(
            f"the dump breaks at byte {byte_offset}, after {row_number} rows: {cause}; download the file again and "
            "compare its checksum, or keep these rows with --allow-truncated"
        )
        self.byte_offset = byte_offset
        self.row_number = row_number
        self.cause = cause


class BrokenStreamError(Exception):
    """The container ends or fails at `byte_offset`; `replay_from` is where the decoder's last input began, if it hid rows."""

    def __init__(self, byte_offset: int, cause: str, replay_from: int | None = None) -> None:
        super().__init__(cause)
        self.byte_offset = byte_offset
        self.cause = cause
        self.replay_from = replay_from


NEWLINE, OPEN, CLOSE = b"\n{}"

# --- rows ----------------------------------------------------------------------------------------------------------


class Block:
    """Some whole rows: `data` without the newline behind the last."""

    __slots__ = ("_ends", "data", "num_rows")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._ends = np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)
        self.num_rows = len(self._ends) + 1

    def rows(self) -> list[bytes]:
        """The rows, without newlines."""
        return self.data.split(b"\n")

    def row(self, index: int) -> bytes:
        """Row `index`, 0..num_rows-1."""
        start = int(self._ends[index - 1]) + 1 if index else 0
        return self.data[start : int(self._ends[index]) if index < self.num_rows - 1 else None]

    @property
    def one_object_each(self) -> bool:
        """Whether as many JSON values as rows mean one object per row.

        So it is when every row begins with `{` and ends with `}`: no JSON value goes on over `}`, newline, `{` (a comma
        would stand between, and no string holds a newline), so every newline lies between two values.
        """
        if not (self.data.startswith(b"{") and self.data.endswith(b"}")):
            return False
        characters = np.frombuffer(self.data, np.uint8)
        return bool(
            (characters[self._ends - 1] == CLOSE).all() and (characters[self._ends + 1] == OPEN).all()
        )


class RowReader:
    """The rows of one dump, without their newlines.

    A last row without a newline is a row; where it was cut off by a break, it is not. Rows beyond MAX_ROW_BYTES are cut
    to that length exactly. `bytes_read` counts bytes of the file, `num_rows` rows given.
    """

    def __init__(self, raw: BinaryIO, *, read_bytes: int = READ_BYTES) -> None:
        self._raw = raw
        self._read_bytes = read_bytes
        self.num_rows = 0
        self.bytes_read = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks():
            yield from block.rows()

    def blocks(self) -> Iterator[Block]:
        """The rows in blocks of some hundred KB.

        Raises: TruncatedDump behind the last whole row; InputError where the file is no dump at all.
        """
        tail = b""
        cut = False  # the row in `tail` has reached the limit: skip to its end
        try:
            for chunk in self._chunks():
                last = chunk.rfind(b"\n")
                if last < 0:
                    if not cut:
                        tail += chunk
                    if len(tail) > MAX_ROW_BYTES:
                        tail, cut = tail[:MAX_ROW_BYTES], True
                    continue
                first = chunk.find(b"\n")
                row = tail if cut else (tail + chunk[:first])[:MAX_ROW_BYTES]
                block = Block(row + chunk[first:last])
                tail, cut = chunk[last + 1 :], False
                self.num_rows += block.num_rows
                yield block
        except BrokenStreamError as error:
            raise TruncatedDump(error.byte_offset, self.num_rows, error.cause) from error
        if tail:
            self.num_rows += 1
            yield Block(tail)

    def _chunks(self) -> Iterator[bytes]:
        start = self._raw.tell() if self._raw.seekable() else None
        head = _read_exactly(self._raw, HEAD_BYTES)
        decompressed = _container(head)
        source = Source(self._raw, head, self._read_bytes)
        given = 0
        try:
            for chunk in decompressed(source):
                self.bytes_read = source.position
                given += len(chunk)
                yield chunk
            self.bytes_read = source.position
        except BrokenStreamError as error:
            if error.replay_from is None or start is None:
                raise
            self._raw.seek(start)
            source = Source(self._raw, b"", self._read_bytes, bytewise_from=error.replay_from)
            yield from _behind(decompressed(source), given)


def _behind(chunks: Iterator[bytes], skipped: int) -> Iterator[bytes]:
    """`chunks` without their first `skipped` bytes."""
    for chunk in chunks:
        rest = chunk[skipped:]
        skipped -= len(chunk) - len(rest)
        if rest:
            yield rest


def open_rows(raw: BinaryIO, *, read_bytes: int = READ_BYTES) -> RowReader:
    """The rows of a dump in any of its containers, as an iterable of bytes."""
    return RowReader(raw, read_bytes=read_bytes)


def memory_bytes(raw: BinaryIO) -> int:
    """What reading `raw` may take: the window of its first frame and FIXED_MEMORY_BYTES. Moves the position of `raw`."""
    head = _read_exactly(raw, HEAD_BYTES)
    if head.startswith(ZSTD_MAGIC):
        window = zstandard.get_frame_parameters(head).window_size
        return min(window, MAX_WINDOW_BYTES) + FIXED_MEMORY_BYTES
    return FIXED_MEMORY_BYTES


# --- containers ----------------------------------------------------------------------------------------------------

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
HEAD_BYTES = 512
"""Enough of the beginning to tell the container (a zstd frame header has at most 18 bytes)."""


class Source:
    """Bytes of a file with their position; the head that was read to tell the container comes first."""

    def __init__(
        self, raw: BinaryIO, head: bytes, read_bytes: int, *, bytewise_from: int | None = None
    ) -> None:
        self._raw = raw
        self._buffer = head
        self._read_bytes = read_bytes
        self._bytewise_from = bytewise_from
        self.position = 0
        """Bytes given out so far."""

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end of the file.

        Raises: BrokenStreamError where the file cannot be read on.
        """
        if len(self._buffer) < size:
            parts, missing = [self._buffer], size - len(self._buffer)
            while missing > 0:
                part = self._more(max(missing, self._read_bytes))
                if not part:
                    break
                parts.append(part)
                missing -= len(part)
            self._buffer = b"".join(parts)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        self.position += len(taken)
        return taken

    def read_some(self) -> bytes:
        """What is at hand, or the next READ_BYTES; empty at the end of the file.

        From position `bytewise_from` on it is one byte at a time.
        """
        size = self._read_bytes
        if self._bytewise_from is not None:
            size = max(1, min(size, self._bytewise_from - self.position))
        taken = self._buffer or self._more(size)
        self._buffer = b""
        self.position += len(taken)
        return taken

    def _more(self, size: int) -> bytes:
        try:
            return self._raw.read(size)
        except OSError as error:
            raise BrokenStreamError(self.position + len(self._buffer), f"cannot read on ({error})") from error


def _read_exactly(raw: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = raw.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _container(head: bytes) -> Callable[[Source], Iterator[bytes]]:
    """The decompressor that the first bytes ask for.

    Raises: InputError where they belong to no container that dumps come in.
    """
    if head.startswith(ZSTD_MAGIC) or SKIPPABLE_MAGIC.match(head):
        return _zstd
    if head.startswith(b"\xfd7zXZ\x00"):
        return lambda source: _members(source, _xz_decoder)
    if re.match(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38)", head):
        return lambda source: _members(source, bz2.BZ2Decompressor)
    if head.startswith(b"\x1f\x8b"):
        return lambda source: _members(source, GzipDecoder)
    if b"\x00" in head:
        raise InputError(
            f"not a dump: it begins with {head[:8].hex(' ')}; expected .zst, .xz, .bz2, .gz or newline-delimited JSON"
        )
    return _plain


def _plain(source: Source) -> Iterator[bytes]:
    chunk = source.read_some().removeprefix(b"\xef\xbb\xbf")
    while chunk:
        yield chunk
        chunk = source.read_some()


def _zstd(source: Source) -> Iterator[bytes]:
    """The content of all frames, one block (at most 128 KiB of content) at a time."""
    factory = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    while magic := source.read(4):
        if SKIPPABLE_MAGIC.fullmatch(magic):
            _skip(source, int.from_bytes(_require(source, 4), "little"))
        elif magic == ZSTD_MAGIC:
            yield from _zstd_frame(source, factory.decompressobj())
        elif ZSTD_MAGIC.startswith(magic):
            raise BrokenStreamError(source.position, "the file ends inside a zstd frame")
        else:
            raise BrokenStreamError(
                source.position - len(magic), f"expected a zstd frame, found {magic.hex(' ')}"
            )


def _zstd_frame(source: Source, decoder: Any) -> Iterator[bytes]:
    """One frame, walked by the format's own lengths (RFC 8878, section 3.1.1)."""
    descriptor = _require(source, 1)
    flags = descriptor[0]
    single_segment = flags >> 5 & 1
    header_rest = (1 - single_segment) + (0, 1, 2, 4)[flags & 3] + (single_segment, 2, 4, 8)[flags >> 6]
    _feed(decoder, ZSTD_MAGIC + descriptor + _require(source, header_rest), source)
    last = False
    while not last:
        block = _require(source, 3)
        header = int.from_bytes(block, "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        content = _require(source, 1 if kind == 1 else size)  # kind 1 repeats one byte `size` times
        chunk = _feed(decoder, block + content, source)
        if chunk:
            yield chunk
    if flags >> 2 & 1:
        _feed(decoder, _require(source, 4), source)  # the frame's checksum


def _feed(decoder: Any, data: bytes, source: Source) -> bytes:
    try:
        return decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise BrokenStreamError(source.position - len(data), str(error)) from error


def _require(source: Source, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise BrokenStreamError(source.position, "the file ends inside a zstd frame")
    return data


def _skip(source: Source, size: int) -> None:
    while size > 0:
        size -= len(_require(source, min(size, READ_BYTES)))


class Decoder(Protocol):
    """What bz2 and lzma offer, and GzipDecoder adds: at most `max_length` bytes per call."""

    @property
    def eof(self) -> bool:
        """The member is complete."""

    @property
    def needs_input(self) -> bool:
        """All input so far is unpacked."""

    @property
    def unused_data(self) -> bytes:
        """What follows the member."""

    def decompress(self, data: bytes, max_length: int = ...) -> bytes:
        """Feed `data`, get at most `max_length` bytes of content."""


class GzipDecoder:
    """zlib's decompressor with the manners of bz2's: it keeps what it has not yet unpacked."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        """The member is complete."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """All input so far is unpacked."""
        return not self._inner.unconsumed_tail and not self.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the member."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        """At most `max_length` bytes of content."""
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _xz_decoder() -> Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


DECODER_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def _members(source: Source, new_decoder: Callable[[], Decoder]) -> Iterator[bytes]:
    """The content of all members, at most CHUNK_BYTES at a time.

    A decoder that fails takes the content of its last call along, and has no state to copy: the error says from where the
    reader must go byte by byte.
    """
    decoder = new_decoder()
    begun = False
    start = source.position
    while data := source.read_some():
        full = False  # the last call met its limit: there may be more, though bz2 and zlib have no input left
        while data or full or not decoder.needs_input:
            if decoder.eof:
                data = decoder.unused_data + data
                decoder, begun, full = new_decoder(), False, False
            if not begun:
                data = data.lstrip(b"\x00")  # padding between members
                if not data:
                    break
                begun = True
            try:
                chunk = decoder.decompress(data, CHUNK_BYTES)
            except DECODER_ERRORS as error:
                raise BrokenStreamError(source.position, str(error), replay_from=start) from error
            data = b""
            full = len(chunk) == CHUNK_BYTES
            if chunk:
                yield chunk
        start = source.position
    if begun and not decoder.eof:
        raise BrokenStreamError(source.position, "the file ends inside a compressed stream")


# --- submissions ---------------------------------------------------------------------------------------------------

Number = int | float | str | None
"""Dumps write numbers as integers (most years), strings (2014 and 2015), floats (2024) and null."""


class Parent(msgspec.Struct, gc=False):
    """What is used of the submission that a crosspost repeats."""

    url: str | None = None
    url_overridden_by_dest: str | None = None
    score: Number = None


class Meta(msgspec.Struct, gc=False):
    """What later archives say about their own work."""

    retrieved_2nd_on: Number = None


class Submission(msgspec.Struct, gc=False):
    """The fields that decide nearly all rows; an absent field is None. Every further field would cost every row time."""

    id: str | None = None
    url: str | None = None
    url_overridden_by_dest: str | None = None
    score: Number = None
    is_self: bool | None = None
    over_18: bool | None = None
    promoted: bool | None = None
    is_created_from_ads_ui: bool | None = None
    subreddit: str | None = None
    title: str | None = None
    created_utc: Number = None
    crosspost_parent_list: list[Parent] | None = None


class FullSubmission(Submission, gc=False):
    """And the fields that few rows are asked for."""

    name: str | None = None
    domain: str | None = None
    is_video: bool | None = None
    is_gallery: bool | None = None
    removed_by_category: str | None = None
    retrieved_on: Number = None
    retrieved_utc: Number = None
    meta: Meta | None = msgspec.field(name="_meta", default=None)


decode_strictly = msgspec.json.Decoder(Submission).decode
"""A row as a Submission; raises one of DECODE_ERRORS where it is not what a dump should hold."""

decode_fully_strictly = msgspec.json.Decoder(FullSubmission).decode
_decode_lines = msgspec.json.Decoder(Submission).decode_lines
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SURROGATES = re.compile("[\ud800-\udfff]")


def decode_block(block: Block) -> Sequence[Submission | None]:
    """The submission in every row of a block; None where a row is no JSON object.

    All rows in one call where nothing is amiss: that saves the splitting and a call per row.
    """
    if block.one_object_each:
        try:
            found: list[Submission] = _decode_lines(block.data)
        except DECODE_ERRORS:
            found = []
        if len(found) == block.num_rows:
            return found
    return [decode(row) for row in block.rows()]


def decode(row: bytes) -> Submission | None:
    """The submission in a row, or None where it is no JSON object."""
    try:
        return decode_strictly(row)
    except DECODE_ERRORS:
        return decode_leniently(row)


def decode_fully(row: bytes) -> FullSubmission | None:
    """The submission in a row with all its fields, or None where it is no JSON object."""
    try:
        return decode_fully_strictly(row)
    except DECODE_ERRORS:
        return decode_leniently(row)


def decode_leniently(row: bytes) -> FullSubmission | None:
    """As `decode_fully`, by another parser and forgiving: broken UTF-8, control characters in strings, wrong types.

    A value of a type that cannot be read as the field's own counts as absent. Wherever the strict decoders accept a row,
    this gives the same values (a test compares them); it is slower by a factor of ten.
    """
    try:
        fields = json.loads(row.decode("utf-8", "replace"), strict=False, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    parents = fields.get("crosspost_parent_list")
    meta = fields.get("_meta")
    values: dict[str, Any] = {name: coerce(fields.get(name)) for name, coerce in _COERCIONS.items()}
    if isinstance(parents, list):
        values["crosspost_parent_list"] = [_parent(parent) for parent in parents if isinstance(parent, dict)]
    if isinstance(meta, dict):
        values["meta"] = Meta(_number(meta.get("retrieved_2nd_on")))
    return FullSubmission(**values)


def _parent(fields: dict[str, Any]) -> Parent:
    return Parent(
        _text(fields.get("url")), _text(fields.get("url_overridden_by_dest")), _number(fields.get("score"))
    )


def _integer(digits: str) -> int | float:
    """Python refuses integers of more than 4,300 digits."""
    return int(digits) if len(digits) < 4_300 else float(digits)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())


def _number(value: Any) -> Number:
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None


_COERCIONS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            "id",
            "name",
            "url",
            "url_overridden_by_dest",
            "domain",
            "removed_by_category",
            "subreddit",
            "title",
        ),
        _text,
    ),
    **dict.fromkeys(
        ("is_self", "is_video", "is_gallery", "over_18", "promoted", "is_created_from_ads_ui"), _flag
    ),
    **dict.fromkeys(("score", "created_utc", "retrieved_on", "retrieved_utc"), _number),
}


def whole_number(value: Number) -> int | None:
    """The integer that a field means, cut towards zero, or None where it means none."""
    if type(value) is int:
        return value
    if value is None:
        return None
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        return None
