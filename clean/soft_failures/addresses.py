"""Evidence outside of the text: response headers, and the addresses of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import SplitResult

from clean.soft_failures.config import Kind
from crawl.warc import astray
from crawl.warc.astray import host_of, is_deep, is_root, split
from crawl.warc.refusals import refusing_header

LINK_CHARS: Final = 200_000
LINK_MARGIN: Final = 1500


class SoftFailure(NamedTuple):
    """A kind of soft failure and its evidence."""

    kind: Kind
    detail: str


class StoredAnswer(NamedTuple):
    """An HTTP answer without its body. `status` is None if it was not kept."""

    url: str
    final_url: str
    status: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    redirects: Sequence[str] = ()
    as_missing: bool = False
    """True if its host answers an address that cannot exist with the same words."""


_CANONICAL: Final = re.compile(
    r"<link\s[^<>]{0,500}?rel\s*=\s*[\"']?canonical\b[^<>]{0,1000}>", re.I
)
_HREF: Final = re.compile(r"href\s*=\s*[\"']?([^\"'\s>]{1,2000})", re.I)
_BODY: Final = re.compile(r"<body\s[^<>]{0,2000}?class\s*=\s*[\"']([^\"'<>]{0,2000})", re.I)
_HOME_CLASSES: Final = frozenset(
    ("home", "is-front", "front", "page-home", "path-frontpage", "homepage", "home-page")
)


def refused(answer: StoredAnswer) -> SoftFailure | None:
    """The bot wall named by headers, or the soft 404 shown by a probe."""
    header = refusing_header(answer.headers)
    if header is not None:
        return SoftFailure("bot_wall", f"header {header}")
    if answer.as_missing:
        return SoftFailure("soft_404", "the host's answer for an address that cannot exist")
    return None


def led_astray(answer: StoredAnswer, *, password: bool) -> SoftFailure | None:
    """The kind named by an answer's own address, if redirects led there from another one."""
    found = astray.led_astray(answer.url, answer.final_url, password=password)
    return SoftFailure(found.kind, found.detail) if found is not None else None


def answers_as_home(
    answer: StoredAnswer, html: str, marks: Mapping[str, str]
) -> SoftFailure | None:
    """The home page in place of a page below it, if two of its marks say so.

    The marks are `canonical`, `og:url` and the class of `<body>`. One alone is not enough: of 2,378
    genuine pages below a home page 17 had one of them, and none had two (2026-11).
    """
    asked = split(answer.final_url)
    if not is_deep(asked):
        return None

    signs = []
    at = html.find("canonical", 0, LINK_CHARS)
    link = _CANONICAL.search(html, max(0, at - LINK_MARGIN), at + LINK_MARGIN) if at >= 0 else None
    href = _HREF.search(link[0]) if link else None
    if href and _names_root(href[1], asked):
        signs.append("canonical")
    if _names_root(marks.get("og:url", ""), asked):
        signs.append("og:url")
    body = _BODY.search(html) if signs else None
    if body and not _HOME_CLASSES.isdisjoint(body[1].lower().split()):
        signs.append("the class of its body")

    if len(signs) < 2:
        return None
    return SoftFailure("soft_404", f"{' and '.join(signs)} say that this is the home page")


def _names_root(url: str, asked: SplitResult) -> bool:
    if not url:
        return False
    named = split(url)
    same = not named.netloc or host_of(named) == host_of(asked)
    return same and bool(named.netloc or named.path) and is_root(named) and not named.fragment
