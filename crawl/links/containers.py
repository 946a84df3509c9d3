"""Containers of dumps: recognised by their first bytes, unpacked in bounded pieces.

Containers are zstd (window up to 2^31, several frames), xz, bzip2, gzip (each also with several
members), and plain newline-delimited JSON. zstd is fed block by block, so a damaged block costs
none of its neighbours and no input unpacks to more than 128 KiB at once. The other containers are
bounded by their decoders' `max_length`; after damage, their last chunk is decoded again byte by
byte.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

import zstandard

from corpus.errors import InputError
from crawl.links import dump_memory
from crawl.links.xz_blocks import XzDecoder

# Compressed bytes read at once, and given to a decoder at most.
READ_BYTES = 1 << 18

# Compressed bytes of one request to an object store.
REMOTE_READ_BYTES = 1 << 22

# Most bytes from one step of a decoder without blocks of its own.
CHUNK_BYTES = 1 << 20

# The window of the newest dumps (`zstd --long=31`); the decoder holds that much memory.
MAX_WINDOW_BYTES = 1 << 31


class BrokenStreamError(Exception):
    """The container ends or fails at `byte_offset`.

    `replay_from` is the start of the decoder's last input, if that input hid rows.
    """

    def __init__(self, byte_offset: int, cause: str, replay_from: int | None = None) -> None:
        super().__init__(cause)
        self.byte_offset = byte_offset
        self.cause = cause
        self.replay_from = replay_from


class UnreadableError(BrokenStreamError):
    """The connection or the disk fails, and not the content."""


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
XZ_MAGIC = b"\xfd7zXZ\x00"
SKIPPABLE_MAGIC = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
# Enough of the beginning to tell the container (a zstd frame header has at most 18 bytes).
HEAD_BYTES = 512


class BufferedSource:
    """Bytes of a file with their position, beginning with the head read to recognise it.

    The file is read `read_bytes` at a time; on an object store each read is a request.
    """

    def __init__(
        self, raw: BinaryIO, head: bytes, read_bytes: int, *, bytewise_from: int | None = None
    ) -> None:
        self._raw = raw
        self._buffer = head
        # Bytes of the buffer that were returned.
        self._start = 0
        self._read_bytes = read_bytes
        self._bytewise_from = bytewise_from
        # Bytes returned so far.
        self.position = 0

    def read(self, size: int) -> bytes:
        """Read `size` bytes, or fewer at the end of the file.

        Raises: UnreadableError if the file cannot be read further.
        """
        while (missing := size - self._at_hand()) > 0 and self._fill(missing):
            pass
        return self._take(size)

    def read_some(self) -> bytes:
        """Read buffered bytes, or the next ones; empty at the end of the file.

        At most READ_BYTES, and from position `bytewise_from` on one byte at a time.
        """
        size = READ_BYTES
        if self._bytewise_from is not None:
            size = max(1, min(size, self._bytewise_from - self.position))
        if not self._at_hand():
            self._fill(1)
        return self._take(size)

    def _at_hand(self) -> int:
        return len(self._buffer) - self._start

    def _take(self, size: int) -> bytes:
        taken = self._buffer[self._start : self._start + size]
        self._start += len(taken)
        self.position += len(taken)
        return taken

    def _fill(self, least: int) -> bool:
        """Read more into the buffer; False at the end of the file."""
        try:
            part = self._raw.read(max(least, self._read_bytes))
        except OSError as error:
            raise UnreadableError(
                self.position + self._at_hand(), f"cannot read on ({error})"
            ) from error

        self._buffer = self._buffer[self._start :] + part
        self._start = 0
        return bool(part)


def read_exactly(raw: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, or fewer at the end of the file, although one read may return less."""
    parts: list[bytes] = []
    while size > 0:
        part = raw.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)

    return b"".join(parts)


def _container(head: bytes) -> Callable[[BufferedSource], Iterator[bytes]]:
    """Choose the decompressor by the first bytes.

    Raises: InputError if no container of dumps begins with them.
    """
    if head.startswith(ZSTD_MAGIC) or SKIPPABLE_MAGIC.match(head):
        return _zstd
    if head.startswith(XZ_MAGIC):
        return lambda source: _members(source, XzDecoder)
    if re.match(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38)", head):
        return lambda source: _members(source, bz2.BZ2Decompressor)
    if head.startswith(b"\x1f\x8b"):
        return lambda source: _members(source, GzipDecoder)
    if b"\x00" in head:
        raise InputError(
            f"not a dump: it begins with {head[:8].hex(' ')}; expected .zst, .xz, .bz2, .gz or newline-delimited JSON"
        )

    return _plain


def _plain(source: BufferedSource) -> Iterator[bytes]:
    while chunk := source.read_some():
        yield chunk


def _zstd(source: BufferedSource) -> Iterator[bytes]:
    """Yield the content of all frames, one block (at most 128 KiB of content) at a time.

    Raises: MemoryLimitError for a window larger than readers may hold.
    """
    factory, largest = None, 0
    while magic := source.read(4):
        if SKIPPABLE_MAGIC.fullmatch(magic):
            _skip(source, int.from_bytes(_require(source, 4), "little"))
        elif magic == ZSTD_MAGIC:
            header = _zstd_header(source)
            window = zstd_window(header)
            if factory is None or window > largest:
                factory, largest = None, window  # its buffers go before more memory is waited for
                dump_memory.enlarge(window + dump_memory.FIXED_BYTES)
                factory = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
            yield from _zstd_frame(source, factory.decompressobj(), header)
        elif ZSTD_MAGIC.startswith(magic):
            raise BrokenStreamError(source.position, "the file ends inside a zstd frame")
        else:
            raise BrokenStreamError(
                source.position - len(magic), f"expected a zstd frame, found {magic.hex(' ')}"
            )


def zstd_window(header: bytes) -> int:
    """The window bytes of a frame, after reserving them; 0 if its header is damaged."""
    try:
        return min(zstandard.get_frame_parameters(header).window_size, MAX_WINDOW_BYTES)
    except zstandard.ZstdError:
        return 0


def _zstd_header(source: BufferedSource) -> bytes:
    """Read the header of a frame behind its magic number (RFC 8878, section 3.1.1.1)."""
    descriptor = _require(source, 1)
    flags = descriptor[0]
    single_segment = flags >> 5 & 1
    rest = (1 - single_segment) + (0, 1, 2, 4)[flags & 3] + (single_segment, 2, 4, 8)[flags >> 6]
    return ZSTD_MAGIC + descriptor + _require(source, rest)


def _zstd_frame(source: BufferedSource, decoder: Any, header: bytes) -> Iterator[bytes]:
    """Yield the content of one frame, block by block (RFC 8878, section 3.1.1)."""
    _feed(decoder, header, source)
    last = False
    while not last:
        block = _require(source, 3)
        fields = int.from_bytes(block, "little")
        last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
        content = _require(source, 1 if kind == 1 else size)  # kind 1 repeats one byte `size` times
        chunk = _feed(decoder, block + content, source)
        if chunk:
            yield chunk

    if header[len(ZSTD_MAGIC)] >> 2 & 1:
        _feed(decoder, _require(source, 4), source)  # the frame's checksum


def _feed(decoder: Any, data: bytes, source: BufferedSource) -> bytes:
    try:
        return decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise BrokenStreamError(source.position - len(data), str(error)) from error


def _require(source: BufferedSource, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise BrokenStreamError(source.position, "the file ends inside a zstd frame")
    return data


def _skip(source: BufferedSource, size: int) -> None:
    while size > 0:
        size -= len(_require(source, min(size, READ_BYTES)))


class Decompressor(Protocol):
    """The interface of bz2, lzma and GzipDecoder: at most `max_length` bytes per call."""

    @property
    def eof(self) -> bool:
        """The member is complete."""

    @property
    def needs_input(self) -> bool:
        """All input so far is unpacked."""

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the member."""

    def decompress(self, data: bytes, max_length: int = ...) -> bytes:
        """Feed `data`, get at most `max_length` bytes of content."""


class GzipDecoder:
    """zlib's decompressor with the interface of bz2's: it keeps input not unpacked yet."""

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
        """Bytes behind the member."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        """At most `max_length` bytes of content."""
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


DECODER_ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def _members(source: BufferedSource, new_decoder: Callable[[], Decompressor]) -> Iterator[bytes]:
    """Yield the content of all members, at most CHUNK_BYTES at a time.

    A failing decoder loses the content of its last call and has no state to copy. The error says
    where the reader must continue byte by byte.
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


class Content:
    """The content of a container, in chunks of some hundred KB."""

    def __init__(self, raw: BinaryIO, read_bytes: int = READ_BYTES) -> None:
        self._raw = raw
        self._read_bytes = read_bytes

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks.

        Raises: BrokenStreamError behind the last readable byte, UnreadableError if a later try may
        read more, InputError if the file is not a dump.
        """
        start = self._raw.tell() if self._raw.seekable() else None
        head = read_exactly(self._raw, HEAD_BYTES)
        unpacked = _container(head)
        source = BufferedSource(self._raw, head, self._read_bytes)
        given = 0

        try:
            for chunk in unpacked(source):
                given += len(chunk)
                yield chunk
        except BrokenStreamError as error:
            if error.replay_from is None or start is None:
                raise
            self._raw.seek(start)
            source = BufferedSource(
                self._raw, b"", self._read_bytes, bytewise_from=error.replay_from
            )
            yield from _behind(unpacked(source), given)


def _behind(chunks: Iterator[bytes], skipped: int) -> Iterator[bytes]:
    """Yield `chunks` without their first `skipped` bytes."""
    for chunk in chunks:
        rest = chunk[skipped:]
        skipped -= len(chunk) - len(rest)
        if rest:
            yield rest
