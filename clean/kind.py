"""What a stored response is: HTML, plain text, or nothing that holds a text."""

from __future__ import annotations

PLAIN_TEXT = "plain"
"""What the `extractor` column says of a page that was text already."""
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/xml", "text/xml"})
_SNIFF_BYTES = 1024


def media_type(content_type: str | None) -> str:
    """The type and subtype of a Content-Type header, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def content_kind(content_type: str | None, body: bytes) -> str | None:
    """`html`, `plain`, or None for what is neither. The server's word counts; without one the first bytes tell."""
    kind = media_type(content_type)
    if kind in _HTML_TYPES:
        return "html"
    start = body[:_SNIFF_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    looks_html = (
        start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")) or b"<html" in start
    )
    if kind == "text/plain":
        return "html" if looks_html else PLAIN_TEXT
    if kind in ("", "application/octet-stream", "unknown/unknown", "text/markdown", "text/x-markdown"):
        if looks_html:
            return "html"
        return (
            PLAIN_TEXT
            if kind.startswith("text/")
            else ("html" if b"<" in start and b"\0" not in start else None)
        )
    return None
