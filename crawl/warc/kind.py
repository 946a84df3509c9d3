"""Classifies a stored response: HTML, plain text, or neither.

The server's type counts. `text/plain` and its relatives are never HTML, since source files, mailing
lists and manuals quote markup. Without a valid type in the header (`text`, `*/*`), the first bytes
decide: markup, or text without binary data. In `text/html, text/html` the first counts. Source:
WHATWG MIME Sniffing, sections 5.1 (types as good as none) and 7.1.
"""

from __future__ import annotations

import re

# Value of the `extractor` column for plain-text pages.
PLAIN_TEXT = "plain"
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
# Types shown to readers as they are written.
_PLAIN_TYPES = frozenset(
    {
        "text/plain",
        "text/markdown",
        "text/x-markdown",
        "text/x-web-markdown",
        "text/x-gfm",
        "text/x-rst",
        "text/prs.fallenstein.rst",
        "text/x-asciidoc",
        "text/asciidoc",
        "text/x-org",
        "text/org",
        "text/x-readme",
        "text/troff",
        "text/x-tex",
    }
)
_DOWNLOAD = "application/octet-stream"
_NO_TYPES = frozenset({"application/unknown", "unknown/unknown", "*/*"})
_TYPE = re.compile(r"[\w!#$&^.+*-]+/[\w!#$&^.+*-]+")
_SNIFF_BYTES = 1024
_BINARY = bytes([*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)])
_PDF = b"%PDF-"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def media_type(content_type: str | None) -> str:
    """The type and subtype of a Content-Type header, in lower case, or empty if it names none."""
    found = _TYPE.match((content_type or "").strip().lower())
    return "" if found is None or found[0] in _NO_TYPES else found[0]


def content_kind(content_type: str | None, body: bytes) -> str | None:
    """`html`, `plain`, or None for neither."""
    kind = media_type(content_type)
    if kind in _HTML_TYPES:
        return "html"
    if kind in _PLAIN_TYPES:
        return PLAIN_TEXT

    start = body[:_SNIFF_BYTES]
    if kind in ("", _DOWNLOAD):
        if _names_html(start):
            return "html"
        if is_binary(body):
            return None
        if b"<" in start:
            return "html"
        return PLAIN_TEXT if not kind else None

    return None


def is_binary(body: bytes) -> bool:
    """True if the first bytes cannot be text: control codes except white space, or a PDF mark."""
    start = body[:_SNIFF_BYTES]
    if start.startswith(_UTF16_MARKS):
        return False
    return start.startswith(_PDF) or start.translate(None, _BINARY) != start


def _names_html(start: bytes) -> bool:
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return (
        start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--"))
        or b"<html" in start
    )
