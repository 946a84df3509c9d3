"""Streaming decoders for HTTP content codings, as lenient as browsers are.

Each decoder is fed received bytes and yields decoded pieces of bounded size. It knows whether its
stream has ended, and names each repair of a fault refused by strict readers.

Sources: RFC 9110 section 8.4 (content codings), RFC 1950 and 1952 (zlib, gzip), RFC 8878 (zstd: a
block of 4 bytes may unpack to 128 KiB).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import brotli
import zstandard

# Decoded bytes per step of a decoder.
STEP_BYTES = 1 << 16
# RFC 8878's recommended limit for decoders.
ZSTD_WINDOW_BYTES = 8 << 20
SNIFF_BYTES = 512
# Bytes that text does not have (WHATWG MIME Sniffing, binary data bytes).
_BINARY = bytes([*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)])
GZIP_MAGIC = b"\x1f\x8b"
# The magic bytes and the only compression method (RFC 1952, section 2.3.1).
_GZIP_DEFLATED = GZIP_MAGIC + b"\x08"
_GZIP_HEAD_BYTES = 10
_GZIP_TRAILER_BYTES = 8
_MAX_GZIP_HEAD_BYTES = 1 << 16
# Flags of a gzip member's header (RFC 1952, section 2.3.1).
_HAS_CRC, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 2, 4, 8, 16
_ZLIB_HEAD_BYTES = 2
_ZLIB_TRAILER_BYTES = 4
# Second bytes written after 0x78 by zlib's own compressor.
_ZLIB_LEVELS = frozenset(b"\x01\x5e\x9c\xda")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = (0x184D2A50, 0x184D2A5F)
_ZSTD_INPUT_BYTES = 64


class EncodingError(ValueError):
    """An unknown content coding, too many of them, or bytes invalid in their claimed coding."""


class Decoder(Protocol):
    """One content coding being undone."""

    repairs: dict[str, None]
    """Names of repairs, in the order in which they were needed."""

    @property
    def ended(self) -> bool:
        """True when nothing more is expected: the stream reached its own end, or it has none."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded pieces. Raises EncodingError."""


def open_decoder(name: str) -> Decoder:
    """The decoder of a coding by its name in `Content-Encoding`. Raises EncodingError."""
    if name in ("gzip", "x-gzip"):
        return _Sniffing("gzip")
    if name == "deflate":
        return _Sniffing("deflate")
    if name == "br":
        return _Brotli()
    if name == "zstd":
        return _Zstd()

    raise EncodingError(f"unknown content encoding {name[:40]!r}")


def open_unlabelled() -> _Sniffing:
    """A decoder for a body without a named coding: gzip bytes are decoded, others pass."""
    return _Sniffing("")


class _Sniffing:
    """Chooses between gzip, zlib, bare deflate and plain bytes by the first bytes.

    Servers confuse the three formats, and some send plain text under the name of a coding.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        # Bytes kept until more arrive, because they may begin a gzip header.
        self.held = b""
        self._stream: Decoder | None = None
        self.repairs: dict[str, None] = {}

    @property
    def ended(self) -> bool:
        return self._stream is None or self._stream.ended

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self.held += data
            if self._label and len(self.held) < _ZLIB_HEAD_BYTES:
                return
            # Without a label, plain bytes must pass: only a whole gzip header is believed.
            begins_gzip = self.held.startswith(_GZIP_DEFLATED[: len(self.held)])
            if not self._label and begins_gzip and len(self.held) < _GZIP_HEAD_BYTES:
                return
            data, self.held = self.held, b""
            self._stream = self._choose(data)

        yield from self._stream.feed(data)

    def _choose(self, head: bytes) -> Decoder:
        if head.startswith(GZIP_MAGIC if self._label else _GZIP_DEFLATED):
            if self._label != "gzip":
                self.repairs["gzip_unlabelled" if not self._label else "gzip_named_deflate"] = None
            return _Gzip(self.repairs)
        if self._label == "deflate":
            return _Deflate(self.repairs, wrapped=_is_zlib(head))
        if self._label == "gzip" and head[0] == 0x78 and head[1] in _ZLIB_LEVELS:
            self.repairs["zlib_named_gzip"] = None
            return _Deflate(self.repairs, wrapped=True)

        if not self._label:
            return _Plain()
        self.repairs["plain_named_gzip"] = None
        return _PlainText()


def _is_zlib(head: bytes) -> bool:
    return head[0] & 0x0F == zlib.DEFLATED and (head[0] << 8 | head[1]) % 31 == 0


class _Plain:
    """Passes bytes as they are."""

    ended = True

    def __init__(self) -> None:
        self.repairs: dict[str, None] = {}

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data


class _PlainText(_Plain):
    """Passes text as it is. Other bytes have a coding that is not the named one."""

    def __init__(self) -> None:
        super().__init__()
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if len(self._head) < SNIFF_BYTES:
            self._head += data[: SNIFF_BYTES - len(self._head)]
            if not looks_like_text(self._head):
                raise EncodingError("neither the named coding nor text")
        yield from super().feed(data)


def looks_like_text(body: bytes) -> bool:
    """True if a body begins as text: no binary data byte, no PDF, no PostScript (WHATWG 7.1)."""
    head = body[:SNIFF_BYTES]
    if head.startswith((b"%PDF-", b"%!PS-Adobe-")):
        return False
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.translate(None, _BINARY) == head


class _Deflate:
    """A bare deflate stream, with zlib's header and checksum around it if `wrapped`.

    The wrapper is read here, since zlib withholds the text if a checksum is wrong.
    """

    def __init__(self, repairs: dict[str, None], *, wrapped: bool) -> None:
        self.repairs = repairs
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._head_bytes = _ZLIB_HEAD_BYTES if wrapped else 0
        self._trailer = b""
        self._sum: int | None = 1 if wrapped else None

    @property
    def ended(self) -> bool:
        return self._inflater.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        skipped = min(self._head_bytes, len(data))
        self._head_bytes -= skipped
        data = data[skipped:]

        if not self._inflater.eof:
            for piece in inflate(self._inflater, data):
                if self._sum is not None:
                    self._sum = zlib.adler32(piece, self._sum)
                yield piece
            data = self._inflater.unused_data

        if self._inflater.eof and self._sum is not None and data:
            self._trailer = (self._trailer + data)[:_ZLIB_TRAILER_BYTES]
            if len(self._trailer) == _ZLIB_TRAILER_BYTES:
                if self._trailer != self._sum.to_bytes(_ZLIB_TRAILER_BYTES, "big"):
                    self.repairs["bad_checksum"] = None
                self._sum = None


class _Gzip:
    """Gzip members one after another; bytes after the last one are ignored."""

    def __init__(self, repairs: dict[str, None]) -> None:
        self.repairs = repairs
        self._buffer = b""
        # The deflate stream of the current member; None between members.
        self._inflater: Any = None
        self._num_members = 0
        self._trailing = False
        self._sum = self._size = 0
        self._awaits_trailer = False

    @property
    def ended(self) -> bool:
        return self._num_members > 0 and (self._inflater is None or self._inflater.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._trailing:
            if self._inflater is None:
                data = self._begin(data)
            elif self._inflater.eof:
                data = self._end(data)
            else:
                for piece in inflate(self._inflater, data):
                    self._sum = zlib.crc32(piece, self._sum)
                    self._size += len(piece)
                    yield piece
                data = self._inflater.unused_data

    def _begin(self, data: bytes) -> bytes:
        """Read the header of a member; the bytes behind it. Raises EncodingError."""
        self._buffer += data
        if self._num_members and not GZIP_MAGIC.startswith(self._buffer[: len(GZIP_MAGIC)]):
            self._trailing = True
            if self._buffer.strip(b"\0"):  # zeros are padding (tar, RFC 1952's gzip tool)
                self.repairs["trailing_bytes"] = None
            return b""

        length = _gzip_head_length(self._buffer)
        if length is None:
            if len(self._buffer) > _MAX_GZIP_HEAD_BYTES:
                raise EncodingError("the header of a gzip member has no end")
            return b""

        rest, self._buffer = self._buffer[length:], b""
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._num_members += 1
        self._sum = self._size = 0

        return rest

    def _end(self, data: bytes) -> bytes:
        """Compare the trailer of a member; the bytes behind it."""
        self._buffer += data
        if len(self._buffer) < _GZIP_TRAILER_BYTES:
            return b""

        stated, rest = self._buffer[:_GZIP_TRAILER_BYTES], self._buffer[_GZIP_TRAILER_BYTES:]
        expected = self._sum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        if stated != expected:
            self.repairs["bad_checksum"] = None
        self._buffer, self._inflater = b"", None

        return rest


def _gzip_head_length(data: bytes) -> int | None:
    """Bytes of a gzip member's header; None when there is not all of it yet."""
    if len(data) < _GZIP_HEAD_BYTES:
        return None

    flags, at = data[3], _GZIP_HEAD_BYTES
    if flags & _HAS_EXTRA:
        if len(data) < at + 2:
            return None
        at += 2 + int.from_bytes(data[at : at + 2], "little")

    for flag in (_HAS_NAME, _HAS_COMMENT):
        if flags & flag:
            end = data.find(b"\0", at)
            if end < 0:
                return None
            at = end + 1

    if flags & _HAS_CRC:
        at += 2
    return at if len(data) >= at else None


def inflate(inflater: Any, data: bytes) -> Iterator[bytes]:
    """Feed a zlib stream; yield pieces of at most `STEP_BYTES`. Raises EncodingError."""
    while data and not inflater.eof:
        try:
            piece = inflater.decompress(data, STEP_BYTES)
        except zlib.error as error:
            raise EncodingError(str(error)) from error
        if piece:
            yield piece
        data = inflater.unconsumed_tail


class _Brotli:
    """Brotli. The library refuses a piece ending behind the stream, so its end is searched for.

    All input is kept for that search: at most a page's limit on the wire.
    """

    def __init__(self) -> None:
        self._inflater: Any = brotli.Decompressor()
        self._fed: list[bytes] = []
        self.repairs: dict[str, None] = {}

    @property
    def ended(self) -> bool:
        return bool(self._inflater.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self.ended:
            if data:
                self.repairs["trailing_bytes"] = None
            return

        piece = data
        try:
            yield from self._inflate(piece)
        except EncodingError:
            yield from self._up_to_the_end(data)

        self._fed.append(data)

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while not self._inflater.is_finished():
            try:
                piece = self._inflater.process(data, output_buffer_limit=STEP_BYTES)
            except brotli.error as error:
                raise EncodingError(str(error)) from error
            if piece:
                yield piece
            data = b""
            # All input taken is not all output given: pieces may still wait behind the limit.
            if not piece and self._inflater.can_accept_more_data():
                return

    def _up_to_the_end(self, data: bytes) -> Iterator[bytes]:
        """Decode `data` byte by byte up to the end of the stream. Raises EncodingError."""
        self._inflater = brotli.Decompressor()
        for fed in self._fed:
            for _ in self._inflate(fed):
                pass  # given out before

        for at in range(len(data)):
            yield from self._inflate(data[at : at + 1])
            if self._inflater.is_finished():
                self.repairs["trailing_bytes"] = None
                return

        raise EncodingError("brotli data that cannot be decoded")


class _Zstd:
    """Zstd frames one after another; bytes after the last one are ignored."""

    def __init__(self) -> None:
        self._frames = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
        self._inflater: Any = None
        self._buffer = b""
        self._num_frames = 0
        self._trailing = False
        self.repairs: dict[str, None] = {}

    @property
    def ended(self) -> bool:
        return self._num_frames > 0 and self._inflater is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_INPUT_BYTES):
            piece = data[start : start + _ZSTD_INPUT_BYTES]
            while piece and not self._trailing:
                if self._inflater is None:
                    piece = self._begin(piece)
                    continue
                decoded, piece = self._decode(piece)
                if decoded:
                    yield decoded

    def _begin(self, data: bytes) -> bytes:
        self._buffer += data
        if len(self._buffer) < len(_ZSTD_MAGIC):
            return b""

        data, self._buffer = self._buffer, b""
        first, last = _ZSTD_SKIPPABLE
        skippable = first <= int.from_bytes(data[:4], "little") <= last
        if self._num_frames and not skippable and not data.startswith(_ZSTD_MAGIC):
            self._trailing = True
            self.repairs["trailing_bytes"] = None
            return b""

        self._inflater = self._frames.decompressobj()
        return data

    def _decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Decoded bytes, and received ones behind the end of the frame. Raises EncodingError."""
        try:
            decoded: bytes = self._inflater.decompress(data)
        except zstandard.ZstdError as error:
            raise EncodingError(str(error)) from error

        if not self._inflater.eof:
            return decoded, b""

        rest: bytes = self._inflater.unused_data
        self._inflater = None
        self._num_frames += 1

        return decoded, rest
