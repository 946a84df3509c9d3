"""Response bodies: undoing content codings within limits, and telling pages from other things.

The same functions serve the fetch, counting while bytes arrive, and the reader of WARC records. A
decompression bomb is noticed after the first mebibyte, not after the last gigabyte.

Sources: RFC 9110 section 8.4 (content codings); the WHATWG MIME sniffing standard (parsing a type,
binary data bytes); the Fetch standard (extracting a type from several headers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

from crawl.warc.codings import (
    SNIFF_BYTES,
    STEP_BYTES,
    Decoder,
    EncodingError,
    looks_like_text,
    open_decoder,
    open_unlabelled,
)

__all__ = ["SNIFF_BYTES", "STEP_BYTES", "EncodingError", "looks_like_text"]

# Received bytes that are decoded before the ratio is looked at again.
FEED_BYTES = 1 << 12
# Decoded bytes before the ratio counts: small pages of repeated text compress well.
RATIO_FREE_BYTES = 1 << 20
# Bytes in which the root element of an XHTML page is looked for.
XML_SNIFF_BYTES = 1024
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/x-server-parsed-html"})
# Types of pages only if the root element is `html`; feeds and sitemaps have them as well.
XML_TYPES = frozenset({"application/xml", "text/xml", "application/vnd.wap.xhtml+xml"})
# Text types that hold data, styles or markup other than HTML. Scripts are recognised by their names.
NOT_PROSE = frozenset(
    {
        "text/css",
        "text/csv",
        "text/tab-separated-values",
        "text/calendar",
        "text/vcard",
        "text/x-vcard",
        "text/x-vcalendar",
        "text/directory",
        "text/vtt",
        "text/srt",
        "text/x-json",
        "text/json",
        "text/cache-manifest",
        "text/event-stream",
        "text/x-component",
        "text/rtf",
        "text/richtext",
        "text/vnd.wap.wml",
        "text/vnd.wap.wmlscript",
        "text/sgml",
        "text/xsl",
        "text/vbscript",
    }
)
UNKNOWN_TYPES = frozenset({"application/unknown", "unknown/unknown", "*/*"})
# Names of byte transformations, supported or not. Browsers ignore any other `Content-Encoding`.
CODINGS = frozenset(
    {
        *("gzip", "x-gzip", "deflate", "br", "zstd"),
        *("compress", "x-compress", "exi", "pack200-gzip", "dcb", "dcz", "aes128gcm", "sdch"),
        *("bzip2", "x-bzip2", "bz2", "xz", "x-xz", "lzma", "lz4", "snappy", "base64", "rot13"),
    }
)
_TYPE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+\Z", re.ASCII)
_XHTML = re.compile(rb"<(?:[\w.-]+:)?html[\s>]|<!doctype\s+html", re.IGNORECASE)


class BombError(ValueError):
    """Decoded bytes out of all proportion to received ones."""


class BodyDecoder:
    """Collects a body: `feed` takes received bytes, `body` is the decoded content.

    `full` is set at `max_bytes`; later bytes are dropped.
    Raises: EncodingError from the constructor (unknown, too many) and from `feed`; BombError from
    `feed`.
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

        self._decoders: list[Decoder] = [open_decoder(name) for name in reversed(encodings)]
        self._unlabelled = None if encodings else open_unlabelled()
        if self._unlabelled is not None:
            self._decoders.append(self._unlabelled)
        self._named = bool(encodings)
        self._step_bytes = FEED_BYTES if encodings else STEP_BYTES
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._pieces: list[bytes] = []
        self._keeps = True
        self.wire_bytes = 0
        self.decoded_bytes = 0
        self.full = False

    @property
    def body(self) -> bytes:
        """All decoded bytes except dropped ones, at most `max_bytes`."""
        held = self._unlabelled.held if self._unlabelled is not None else b""
        return b"".join(self._pieces) + held

    @property
    def is_complete(self) -> bool:
        """True if every coding reached the end of its stream."""
        return all(decoder.ended for decoder in self._decoders)

    @property
    def is_encoded(self) -> bool:
        """True if a content coding was undone: the received bytes then differ from the body."""
        return self._named or bool(self.repairs)

    @property
    def repairs(self) -> tuple[str, ...]:
        """Names of the repairs needed by the codings."""
        return tuple(name for decoder in self._decoders for name in decoder.repairs)

    def stop_keeping(self) -> None:
        """Forget the decoded bytes and continue to count: the received ones are kept elsewhere."""
        self._pieces.clear()
        self._keeps = False

    def feed(self, data: bytes) -> None:
        """Take received bytes, in small pieces so that the ratio is that of the bytes used."""
        for start in range(0, len(data), self._step_bytes):
            if self.full:
                return
            self._feed(data[start : start + self._step_bytes])

    def _feed(self, data: bytes) -> None:
        self.wire_bytes += len(data)
        for piece in self._through(data, 0):
            room = self._max_bytes - self.decoded_bytes
            if len(piece) > room:
                piece = piece[:room]
                self.full = True

            if self._keeps:
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
    """A stored body without its content codings; of a damaged one, the part before the damage."""
    try:
        decoder = BodyDecoder(encodings, max_bytes=max_bytes)
    except EncodingError:
        return wire[:max_bytes]

    with suppress(EncodingError):
        decoder.feed(wire)
    return decoder.body


def content_encodings(values: Sequence[str]) -> list[str]:
    """Codings of `Content-Encoding` headers in the order of their application.

    Names other than codings (`utf-8`, `binary`, `text/html`) are ignored, as browsers do.
    """
    return [name for name in _coding_names(values) if name in CODINGS]


def ignored_encodings(values: Sequence[str]) -> list[str]:
    """Names in `Content-Encoding` headers other than codings, `identity` left out."""
    return [name for name in _coding_names(values) if name not in CODINGS]


def _coding_names(values: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for value in values for name in value.split(",")]
    return [name for name in names if name not in ("", "identity", "none")]


def content_type(values: Sequence[str]) -> str | None:
    """The deciding `Content-Type`: the last valid one (Fetch, extract a MIME type).

    None if there is no such header. If none of them is a type, the first one as it is.
    """
    parts = [part.strip() for value in values for part in value.split(",")]
    valid = [part for part in parts if media_type(part) not in ("", "*/*")]
    if valid:
        return valid[-1]

    return values[0] if values else None


@lru_cache(maxsize=1024)  # asked several times per answer
def media_type(value: str | None) -> str:
    """The essence of a `Content-Type` in lower case; empty if it cannot be parsed (WHATWG 4.4)."""
    essence = (value or "").partition(";")[0].strip().lower()
    return essence if _TYPE.match(essence) else ""


def is_page_type(value: str | None) -> bool | None:
    """True if a `Content-Type` names a page; None if the bytes must tell."""
    mime = media_type((value or "").partition(",")[0])
    if not mime or mime in UNKNOWN_TYPES or mime in XML_TYPES:
        return None
    if mime in HTML_TYPES:
        return True
    return mime.startswith("text/") and mime not in NOT_PROSE and "script" not in mime


def looks_like_page(value: str | None, body: bytes) -> bool:
    """True if a body with an undecided type is a page: XHTML under an XML type, else text."""
    if media_type(value) in XML_TYPES:
        return _XHTML.search(body[:XML_SNIFF_BYTES]) is not None
    return looks_like_text(body)
