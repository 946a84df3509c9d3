"""The signals of one response: its headers, and the elements of its page. Pure.

Most pages say nothing. They are recognised by a search for a few words, in some microseconds; only
the others are parsed. Comments, scripts, styles and templates count for nothing, apart from scripts
of RSL's media type.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from urllib.parse import urljoin, urlsplit

from corpus.rights.statements import HEADER, INLINE, LINK, META, Statement
from crawl.markup import MAX_TAG_BYTES, elements, start_pattern
from crawl.rights import content_signal, content_usage, licences, robots_tags, rsl, tdmrep

# Bytes of a page in which elements are looked for.
MAX_SCANNED_BYTES = 1 << 20
MAX_TAGS = 2000
MAX_ATTRIBUTES = 40
_META_WORDS = (b"noai", b"noml", b"noimageai", b"noarchive", b"tdm-")
# Half of all pages have the word in the comment of a script.
_LICENCE_MARK = re.compile(rb"rel\s*=\s*[\"']?[^\"'<>]{0,60}\blicense\b")
# Bytes around the word that are searched for the rest of the mark.
MAX_MARK_BYTES = 256
_TEXT = rb"script|style|template|noscript|textarea|title"
_START = start_pattern(_TEXT, rb"(?:meta|link)(?=[\s/])|a(?=\s[^<>]{0,600}license)")
_TAG = re.compile(rb"""<[a-z]+((?:[^>"']|"[^"]*"|'[^']*')*+)>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    rb"""([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?""", re.IGNORECASE
)
_UTF16_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(slots=True)
class PageRights:
    """The statements of a response."""

    statements: list[Statement] = field(default_factory=list)
    licence_urls: list[tuple[str, str]] = field(default_factory=list)
    """Addresses of RSL documents that it names, each with its place."""


def read_response(
    headers: Sequence[tuple[bytes, bytes]], body: bytes, page_url: str, product_token: str
) -> PageRights:
    """The statements of a response, and the licence documents named by it."""
    rights = PageRights()
    _read_headers(headers, page_url, product_token, rights)

    if body[:2] in _UTF16_MARKS:
        codec = _UTF16_MARKS[body[:2]]
        body = body[: 2 * MAX_SCANNED_BYTES].decode(codec, "replace").encode()
    if _may_speak(body.lower()):
        _read_elements(_Elements.find(body[:MAX_SCANNED_BYTES]), page_url, product_token, rights)

    return rights


def _may_speak(lowered: bytes) -> bool:
    """True if a page has a word of some signal where it may count. Most pages have none."""
    if b"rsl+xml" in lowered:
        return True
    for place in _places(b"license", lowered, 0):
        before = max(0, place - MAX_MARK_BYTES)
        if _LICENCE_MARK.search(lowered, before, place + MAX_MARK_BYTES) is not None:
            return True

    # Nearly all meta elements are in the head, so the long rest is searched once for others.
    start = max(0, lowered.find(b"<body"))
    head = lowered[: start + MAX_TAG_BYTES]
    tags = (lowered[place : place + MAX_TAG_BYTES] for place in _places(b"<meta", lowered, start))
    return any(word in piece for piece in chain((head,), tags) for word in _META_WORDS)


def _places(piece: bytes, data: bytes, start: int) -> Iterator[int]:
    """The places of a piece from `start` on, one after the other."""
    while (start := data.find(piece, start)) >= 0:
        yield start
        start += len(piece)


def _read_headers(
    headers: Sequence[tuple[bytes, bytes]], page_url: str, product_token: str, rights: PageRights
) -> None:
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name.lower() in _HEADERS:
            values.setdefault(name.lower(), []).append(value.decode("latin-1").strip())
    if not values:
        return

    links = values.get(b"link", [])
    rights.statements += [
        *content_usage.read_headers(values.get(b"content-usage", [])),
        *content_signal.read_headers(values.get(b"content-signal", [])),
        *robots_tags.read_headers(values.get(b"x-robots-tag", []), product_token),
        *tdmrep.read_fields(
            values.get(b"tdm-reservation", []), values.get(b"tdm-policy", []), HEADER
        ),
        *licences.read_links(_licence_links(links), HEADER, "Link"),
    ]
    _add_urls(rights, rsl.link_targets(links), HEADER, page_url)


_HEADERS = frozenset(
    {
        b"content-usage",
        b"content-signal",
        b"x-robots-tag",
        b"tdm-reservation",
        b"tdm-policy",
        b"link",
    }
)
_LICENCE_LINK = re.compile(r"<([^<>]*)>[^<]*?\brel\s*=\s*\"?[^\",;]*\blicense\b", re.IGNORECASE)


def _licence_links(headers: Sequence[str]) -> list[str]:
    return [target for header in headers for target in _LICENCE_LINK.findall(header)]


def _read_elements(found: _Elements, page_url: str, product_token: str, rights: PageRights) -> None:
    metas = found.metas
    rights.statements += robots_tags.read_metas(metas, product_token)
    reservations = [content for name, content in metas if name == tdmrep.RESERVATION]
    policies = [content for name, content in metas if name == tdmrep.POLICY]
    rights.statements += tdmrep.read_fields(reservations, policies, META)
    rights.statements += licences.read_links(found.licences, LINK, "rel=license")

    _add_urls(rights, found.rsl_links, LINK, page_url)
    for document in found.rsl_scripts:
        rights.statements += rsl.read_document(
            document, page_url, place=INLINE, where=f"script {rsl.MEDIA_TYPE}", embedded=True
        )


def _add_urls(rights: PageRights, targets: Sequence[str], place: str, page_url: str) -> None:
    for target in targets:
        try:
            url = urljoin(page_url, target)
            parts = urlsplit(url)
        except ValueError:
            continue
        known = {each for each, _ in rights.licence_urls}
        if parts.scheme in ("http", "https") and parts.hostname and url not in known:
            rights.licence_urls.append((url, place))


@dataclass(slots=True)
class _Elements:
    """The elements of a page with possible signals."""

    metas: list[tuple[str, str]] = field(default_factory=list)
    """(name in lower case, content)."""
    licences: list[str] = field(default_factory=list)
    rsl_links: list[str] = field(default_factory=list)
    rsl_scripts: list[bytes] = field(default_factory=list)

    @classmethod
    def find(cls, body: bytes) -> _Elements:
        """Parse a page, in time linear in its length."""
        found = cls()
        for name, piece in elements(body, _START, MAX_TAGS):
            if name in (b"meta", b"link", b"a"):
                found._take_tag(name, piece)
            elif name == b"script":
                found._take_script(piece)

        return found

    def _take_script(self, text: bytes) -> None:
        start, _, content = text.partition(b">")
        if rsl.MEDIA_TYPE.encode() in start.lower():
            content = content.strip().removeprefix(b"<![CDATA[").removesuffix(b"]]>")
            self.rsl_scripts.append(content)

    def _take_tag(self, name: bytes, text: bytes) -> None:
        attributes = _attributes(text)
        if name == b"meta":
            if "name" in attributes:
                self.metas.append(
                    (attributes["name"].strip().lower(), attributes.get("content", ""))
                )
            return

        if "license" not in attributes.get("rel", "").lower().split():
            return
        target = attributes.get("href", "").strip()
        if attributes.get("type", "").strip().lower() == rsl.MEDIA_TYPE:
            if name == b"link":
                self.rsl_links.append(target)
        else:
            self.licences.append(target)


def _attributes(text: bytes) -> dict[str, str]:
    """The attributes of the tag at the start of `text`; the first of equal names counts."""
    tag = _TAG.match(text)
    # A tag with an unclosed quote is read up to its first bracket, as the least that it says.
    inside = tag[1] if tag is not None else text.partition(b">")[0].partition(b" ")[2]
    found: dict[str, str] = {}
    for match in islice(_ATTRIBUTE.finditer(inside), MAX_ATTRIBUTES):
        value = next((each for each in match.groups()[1:] if each is not None), b"")
        key = match[1].decode("latin-1").lower()
        found.setdefault(key, html.unescape(value.decode("utf-8", "replace")))

    return found
