"""Title, language and date of publication, from a page's own metadata.

Only metadata for machines counts (`og:title`, `<title>`, `article:published_time`, JSON-LD,
`<time>`): a date in running text is often another event's. The clock is not read, so a page gives
the same date on any day. A date after the day of the fetch is wrong and is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from html import unescape

# Characters searched for metadata. Heads of some real pages hold 100 KB of scripts.
HEAD_CHARS = 200_000
MAX_TITLE_CHARS = 500
# The first web page.
EARLIEST = date(1991, 1, 1)

_META = re.compile(r"<meta\s([^<>]{1,2000})>", re.I)
_ATTRIBUTE = re.compile(r"([a-z:_-]{1,40})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.I)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,2000})", re.I)
_ROOT = re.compile(r"<html(?=[\s/])[^<>]{1,2000}>", re.I)
_LANGUAGE = re.compile(r"\s(?:xml:)?lang\s*=\s*[\"']?\s*([a-z]{2,3})(?![a-z])", re.I)
_JSON_KEY = '"datePublished"'
_JSON_DATE = re.compile(r"\"datePublished\"\s{0,5}:\s{0,5}\"([^\"]{4,40})\"")
_TIME = re.compile(r"<time\s[^<>]{0,300}?datetime\s*=\s*[\"']?([0-9T:.+Z -]{8,40})", re.I)
_DATE = re.compile(r"\s*(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?!\d)")
_TITLE_KEYS = ("og:title", "twitter:title", "dc.title")
_DATE_KEYS = (
    "article:published_time",
    "datepublished",
    "og:published_time",
    "dc.date.issued",
    "dc.date",
    "date",
    "pubdate",
    "publishdate",
    "publish_date",
    "sailthru.date",
    "parsely-pub-date",
    "citation_publication_date",
)


def head_marks(html: str) -> dict[str, str]:
    """The page's `<meta>` marks: lower-case name or property to content.

    The first of a name stays.
    """
    marks: dict[str, str] = {}
    for key, content in metas(html):
        marks.setdefault(key, content)
    return marks


def metas(html: str) -> Iterator[tuple[str, str]]:
    """Lower-case name or property, and content, of the page's `<meta>` elements with both."""
    for match in _META.finditer(html, 0, HEAD_CHARS):
        attributes = {
            found[1].lower(): found[2] or found[3] or found[4] or ""
            for found in _ATTRIBUTE.finditer(match[1])
        }
        key = attributes.get("property") or attributes.get("name") or attributes.get("itemprop")
        content = attributes.get("content")
        if key and content:
            yield key.lower(), content


def title(html: str, marks: dict[str, str]) -> str | None:
    """The page's own title, white space collapsed, at most `MAX_TITLE_CHARS` characters."""
    texts = [marks.get(key, "") for key in _TITLE_KEYS]
    if match := _TITLE.search(html, 0, HEAD_CHARS):
        texts.append(match[1])
    for text in texts:
        if cleaned := " ".join(unescape(text).split()):
            return cleaned[:MAX_TITLE_CHARS]

    return None


def language(html: str) -> str | None:
    """The language that `<html>` declares: the first part of its tag in lower case, or None."""
    root = _ROOT.search(html, 0, HEAD_CHARS)
    found = _LANGUAGE.search(root[0]) if root else None
    return found[1].lower() if found else None


def published(html: str, marks: dict[str, str], latest: date | None) -> date | None:
    """The day of publication, not before the web and not after `latest` (the day of the fetch)."""
    texts = [marks[key] for key in _DATE_KEYS if key in marks]
    # A search for a string is twice as fast as that of a pattern beginning with it.
    if (key := html.find(_JSON_KEY)) >= 0 and (stated := _JSON_DATE.search(html, key)):
        texts.append(stated[1])
    if shown := _TIME.search(html):
        texts.append(shown[1])

    for text in texts:
        found = parse_date(text)
        if found and found >= EARLIEST and (latest is None or found <= latest):
            return found

    return None


def parse_date(text: str) -> date | None:
    """The day at the start of a machine-readable date (ISO 8601 and close kin), or None."""
    match = _DATE.match(text)
    if match is None:
        return None

    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None
