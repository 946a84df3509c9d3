"""What a stored response is: HTML, plain text, or nothing that holds a text.

The server's word counts. Where it gives none, or none that is a type (`text`, `*/*`, `text/html, text/html` is the
first of the two), the first bytes tell: markup, or text that holds no byte of binary data.
Source: WHATWG MIME Sniffing, sections 5.1 (types that are as good as none) and 7.1.
"""

from __future__ import annotations

import re

PLAIN_TEXT = "plain"
"""What the `extractor` column says of a page that was text already."""
_HTML_TYPES = frozenset(
    {
        "text/html",
        "application/xhtml+xml",
        "application/xml",
        "text/xml",
        "application/vnd.wap.xhtml+xml",
        "text/x-server-parsed-html",
    }
)
_MARKDOWN = frozenset({"text/markdown", "text/x-markdown"})
_DOWNLOAD = "application/octet-stream"
_NO_TYPES = frozenset({"application/unknown", "unknown/unknown", "*/*"})
_TYPE = re.compile(r"[\w!#$&^.+*-]+/[\w!#$&^.+*-]+")
_SNIFF_BYTES = 1024
_BINARY = bytes([*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)])
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def media_type(content_type: str | None) -> str:
    """The type and subtype of a Content-Type header, in lower case; empty where it names none."""
    found = _TYPE.match((content_type or "").strip().lower())
    return "" if found is None or found[0] in _NO_TYPES else found[0]


def content_kind(content_type: str | None, body: bytes) -> str | None:
    """`html`, `plain`, or None for what is neither."""
    kind = media_type(content_type)
    if kind in _HTML_TYPES:
        return "html"
    start = body[:_SNIFF_BYTES]
    if kind == "text/plain" or kind in _MARKDOWN:
        return "html" if _names_html(start) else PLAIN_TEXT
    if kind in ("", _DOWNLOAD):
        if _names_html(start):
            return "html"
        if start.translate(None, _BINARY) != start and not start.startswith(_UTF16_MARKS):
            return None
        if b"<" in start:
            return "html"
        return PLAIN_TEXT if not kind else None
    return None


def _names_html(start: bytes) -> bool:
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return (
        start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"))
        or b"<html" in start
    )
