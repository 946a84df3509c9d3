"""The meta elements at the head of a page, as browsers read them. Pure.

Comments count for nothing, and neither does text of elements whose content is not markup. Sources:
WHATWG HTML, 13.2.5 (tags and attributes) and 4.2.4.3 (shared declarative refresh steps).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from crawl.markup import ATTRIBUTE, elements, start_pattern

# Bytes of a page in which meta elements are looked for.
HEAD_BYTES = 16 << 10
MAX_TAGS = 200
MAX_ATTRIBUTES = 40
_TEXT = rb"script|style|template|noscript|textarea|title|xmp|iframe|noembed|noframes"
_START = start_pattern(_TEXT, rb"(?:meta|base)(?=[\s/])")
# Without a semicolon, browsers leave most references in attributes alone: `&copy=1` is a parameter.
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SECONDS = re.compile(r"[ \t\n\f\r]*(?:([0-9]+)|(?=\.))[0-9.]*(?=[;, \t\n\f\r]|\Z)")
_SEPARATOR = re.compile(r"[ \t\n\f\r]*[;,]?[ \t\n\f\r]*")
_URL_NAME = re.compile(r"url[ \t\n\f\r]*=[ \t\n\f\r]*", re.IGNORECASE)


def meta_elements(body: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    """(`meta` or `base`, attributes) of a page's head, in their order. Linear in its length."""
    for name, tag in elements(body[:HEAD_BYTES], _START, MAX_TAGS):
        if name in (b"meta", b"base"):
            yield name.decode(), _attributes(tag[1 + len(name) :])


def _attributes(tag: bytes) -> dict[str, str]:
    """Attributes by lower-case name. Of those with one name the first counts."""
    found: dict[str, str] = {}
    position = 0
    for _ in range(MAX_ATTRIBUTES):
        match = ATTRIBUTE.match(tag, position)
        if match is None:
            break
        position = match.end()
        value = (match[2] or match[3] or match[4] or b"").decode("latin-1")
        found.setdefault(
            match[1].decode("latin-1").lower(),
            _REFERENCE.sub(lambda reference: html.unescape(reference[0]), value),
        )

    return found


def refresh(value: str) -> tuple[int, str] | None:
    """Seconds and address of a refresh, in a header or a meta element; None if it names neither.

    Pages that only load themselves again name no address.
    """
    seconds = _SECONDS.match(value)
    if seconds is None:
        return None

    separator = _SEPARATOR.match(value, seconds.end())
    address = value[separator.end() if separator else seconds.end() :]
    name = _URL_NAME.match(address)
    if name is not None:
        address = address[name.end() :]
    # Quotes are undone after `url=` and where nothing looks like its beginning.
    is_plain = name is None and address[:1] in ("u", "U")
    if not is_plain and address[:1] in ("'", '"'):
        address = address[1:].partition(address[0])[0]

    # The first digits of a long number are enough to know that it is one.
    whole = (seconds[1] or "").lstrip("0")[:9]
    return (int(whole or 0), address) if address else None
