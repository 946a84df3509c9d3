"""Bodies as bytes: undoing content encodings within limits, and telling pages from other things.

The same functions serve the fetch, which counts while bytes arrive, and the reader of WARC records. Every decoder is
fed so that one step gives out a bounded number of bytes: a bomb is noticed after the first mebibyte, not after the
last gigabyte.

Sources: RFC 9110 section 8.4 (content codings), RFC 8878 (zstd: a block of 4 bytes may stand for 128 KiB), the WHATWG
MIME sniffing standard (binary data bytes).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import brotli
import zstandard

STEP_BYTES = 1 << 16
"""Decoded bytes per step of a decoder."""
FEED_BYTES = 1 << 12
"""Received bytes that are decoded before the ratio is looked at again."""
RATIO_FREE_BYTES = 1 << 20
"""Decoded bytes before the ratio counts: small pages of repeated text compress well."""
ZSTD_WINDOW_BYTES = 8 << 20
"""RFC 8878's recommended limit for decoders."""
SNIFF_BYTES = 512
PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
_ZSTD_INPUT_BYTES = 64
_GZIP_MAGIC = b"\x1f\x8b"
_BINARY = bytes([*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)])


class EncodingError(ValueError):
    """An unknown content encoding, too many of them, or bytes that are not what they claim."""


class BombError(ValueError):
    """Decoded bytes out of all proportion to received ones."""


class _Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces. Raises EncodingError."""
        ...


class BodyDecoder:
    """Collects a body: `feed` received bytes, read `body`.

    `full` is set when `max_bytes` are there; what comes later is dropped.
    Raises: EncodingError from the constructor (unknown, too many) and from `feed`; BombError from `feed`.
    """

    def __init__(
        self,
        encodings: Sequence[str],
        *,
        max_bytes: int,
        max_ratio: float = float("inf"),
        max_encodings: int = 4,
    ) -> None:
        if len(encodings) > max_encodings:
            raise EncodingError(f"{len(encodings)} content encodings, limit {max_encodings}")
        self._decoders: list[_Decoder] = [_decoder(name) for name in reversed(encodings)]
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._pieces: list[bytes] = []
        self.wire_bytes = 0
        self.decoded_bytes = 0
        self.full = False

    @property
    def body(self) -> bytes:
        """All that was decoded, at most `max_bytes`."""
        return b"".join(self._pieces)

    def feed(self, data: bytes) -> None:
        """Take received bytes; in small pieces where they are encoded, so that the ratio is that of the bytes used."""
        step = FEED_BYTES if self._decoders else max(1, len(data))
        for start in range(0, len(data), step):
            if self.full:
                return
            self._feed(data[start : start + step])

    def _feed(self, data: bytes) -> None:
        self.wire_bytes += len(data)
        for piece in self._through(data, 0):
            room = self._max_bytes - self.decoded_bytes
            if len(piece) > room:
                piece = piece[:room]
                self.full = True
            self._pieces.append(piece)
            self.decoded_bytes += len(piece)
            if (
                self.decoded_bytes > RATIO_FREE_BYTES
                and self.decoded_bytes > self._max_ratio * self.wire_bytes
            ):
                raise BombError(f"{self.decoded_bytes} bytes out of {self.wire_bytes}")
            if self.full:
                return

    def _through(self, data: bytes, stage: int) -> Iterator[bytes]:
        if stage == len(self._decoders):
            if data:
                yield data
            return
        for piece in self._decoders[stage].feed(data):
            yield from self._through(piece, stage + 1)


def decode_body(wire: bytes, encodings: Sequence[str], max_bytes: int) -> bytes:
    """A stored body without its content encodings; of a damaged one, what comes before the damage."""
    try:
        decoder = BodyDecoder(encodings, max_bytes=max_bytes)
    except EncodingError:
        return wire[:max_bytes]
    with suppress(EncodingError):
        decoder.feed(wire)
    return decoder.body


def content_encodings(values: Sequence[str]) -> list[str]:
    """Codings of `Content-Encoding` headers in the order they were applied, `identity` left out."""
    names = [name.strip().lower() for value in values for name in value.split(",")]
    return [name for name in names if name not in ("", "identity", "none")]


def is_page_type(content_type: str | None) -> bool | None:
    """Whether a `Content-Type` names a page; None when there is none to go by and the bytes must tell."""
    mime = (content_type or "").partition(";")[0].partition(",")[0].strip().lower()
    if "/" not in mime or mime in ("application/unknown", "unknown/unknown", "*/*"):
        return None
    return mime in PAGE_TYPES


def looks_like_text(body: bytes) -> bool:
    """Whether a body begins as text: no binary data byte (WHATWG MIME sniffing, 7.1) or a UTF-16 mark, and no PDF or PostScript."""
    head = body[:SNIFF_BYTES]
    if head.startswith((b"%PDF-", b"%!PS-Adobe-")):
        return False
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.translate(None, _BINARY) == head


def _decoder(name: str) -> _Decoder:
    if name in ("gzip", "x-gzip"):
        return _Gzip()
    if name == "deflate":
        return _Deflate()
    if name == "br":
        return _Brotli()
    if name == "zstd":
        return _Zstd()
    raise EncodingError(f"unknown content encoding {name[:40]!r}")


class _Zlib:
    """A zlib stream; `wbits` chooses the wrapper."""

    def __init__(self, wbits: int) -> None:
        self._inflater = zlib.decompressobj(wbits)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        while data and not self._inflater.eof:
            try:
                piece = self._inflater.decompress(data, STEP_BYTES)
            except zlib.error as error:
                raise EncodingError(str(error)) from error
            if piece:
                yield piece
            data = self._inflater.unconsumed_tail

    @property
    def rest(self) -> bytes | None:
        """Bytes behind the end of the stream; None before it."""
        return self._inflater.unused_data if self._inflater.eof else None


class _Sniffing:
    """Holds back the first two bytes, which tell the wrapper; bytes that are not encoded at all pass as they are."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: _Zlib | None = None
        self._plain = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None and not self._plain:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._head = self._head, b""
            self._stream = self._open(data)
            self._plain = self._stream is None
        if self._stream is None:
            yield data
            return
        yield from self._inflate(data)

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        assert self._stream is not None
        yield from self._stream.inflate(data)

    def _open(self, head: bytes) -> _Zlib | None:
        raise NotImplementedError


class _Gzip(_Sniffing):
    """Members one after another; a server that says gzip and sends plain text is believed by its bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._behind: bytes | None = None
        """What came behind a member and may begin the next one; None inside a member."""
        self._is_padding = False
        """Whether what comes now lies behind the last member: it is ignored."""

    def _open(self, head: bytes) -> _Zlib | None:
        return _Zlib(31) if head.startswith(_GZIP_MAGIC) else None

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while data and not self._is_padding:
            if self._behind is None:
                assert self._stream is not None
                yield from self._stream.inflate(data)
                if self._stream.rest is None:
                    return
                data, self._behind = self._stream.rest, b""
                continue
            data = self._behind + data
            if len(data) < len(_GZIP_MAGIC):  # received in two pieces
                self._behind = data
                return
            self._is_padding = not data.startswith(_GZIP_MAGIC)
            self._behind, self._stream = None, _Zlib(31)


class _Deflate(_Sniffing):
    """zlib's wrapper as the standard says, or the bare stream that some servers send."""

    def _open(self, head: bytes) -> _Zlib | None:
        wrapped = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
        return _Zlib(15 if wrapped else -15)


class _Brotli:
    def __init__(self) -> None:
        self._inflater: Any = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
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


class _Zstd:
    def __init__(self) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
        self._inflater = decompressor.decompressobj(read_across_frames=True)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_INPUT_BYTES):
            try:
                piece = self._inflater.decompress(data[start : start + _ZSTD_INPUT_BYTES])
            except zstandard.ZstdError as error:
                raise EncodingError(str(error)) from error
            if piece:
                yield piece
