"""Robots tags of a page: `X-Robots-Tag` headers and `<meta name="robots">`. Pure.

Obeyed only if the config names tags (`noai`, `noindex`). The header is kept with the record and the
meta element with the page, so a later step can still decide. Sources: the convention documented by
search engines; img2dataset for `noai`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from crawl.fetch.meta_elements import HEAD_BYTES, meta_elements

# What may name a robot before a colon; the hours of a date do not.
_TOKEN = re.compile(r"\*|[\w./-]+")


def is_tagged(
    headers: Sequence[str], body: bytes, refused: Collection[str], product_token: str
) -> bool:
    """True if a page bears one of the `refused` tags (lower case), for all robots or for `product_token`."""
    if not refused:
        return False

    return any(
        tag in refused
        for tag in (*header_tags(headers, product_token), *meta_tags(body, product_token))
    )


def header_tags(values: Sequence[str], product_token: str) -> Iterator[str]:
    """Tags of `X-Robots-Tag` headers for us, lower case; other robots' begin with `otherbot:`."""
    for value in values:
        ours = True
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and _TOKEN.fullmatch(name.strip()) and name.strip() not in _WITH_VALUE:
                ours = name.strip() in ("*", product_token.lower())
                part = rest
            if ours:
                yield part.strip()


def meta_tags(body: bytes, product_token: str) -> Iterator[str]:
    """Tags of meta elements named `robots` or after our product token, lower case."""
    if b"<meta" not in body[:HEAD_BYTES].lower():
        return
    for _, attributes in meta_elements(body):
        if attributes.get("name", "").strip().lower() in ("robots", product_token.lower()):
            for tag in attributes.get("content", "").split(","):
                yield tag.strip().lower()


# Tags with a colon of their own.
_WITH_VALUE = frozenset(
    {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
)
