"""RSL 1.0 (Really Simple Licensing): licence documents, and their answer for a page. Pure.

Source: rslstandard.org/rsl, recommendation of 2025-11. The `content` element with the longest
matching `url` decides. Its licences are offers: a page may be used to train if one of them permits
it for nothing, and no element prohibits it. A `permits` element of type `usage` leaves out every
use not in its list (section 3.5). A crawl cannot pay a price or ask a licence server, so such an
offer is a "no". Limits to users or regions depend on who trains: they grant nothing here and refuse
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lxml import etree

from corpus.rights.statements import Answer, Signal, Statement, statement
from crawl.fetch.permission.robots import path_matches, rule_pattern, url_path

MEDIA_TYPE = "application/rsl+xml"
NAMESPACE = "rslstandard.org/rsl"
# `train-ai` is the label of AIPREF, which the guides of RSL use as well.
TRAINING_USES = frozenset({"all", "ai-all", "ai-train", "train-ai"})
# Payments that ask for no money. Attribution is kept with the page: its address.
FREE_PAYMENTS = frozenset({"free", "attribution"})
MAX_DOCUMENT_BYTES = 1 << 20
_SPACES = re.compile(r"[\s,]+")
_LINK = re.compile(r"<([^<>]*)>([^,<]*(?:,(?!\s*<)[^,<]*)*)")
_PARAMETER = re.compile(r";\s*([\w*-]+)\s*=\s*(?:\"([^\"]*)\"|([^\s\";,]+))")


class Licence(NamedTuple):
    """One `license` element: an offer."""

    permits: tuple[str, ...] | None
    """Uses that are listed as permitted; None without such an element."""
    prohibits: tuple[str, ...]
    limited: bool
    """True if it depends on the kind of user or the region."""
    payments: tuple[str, ...]


class Content(NamedTuple):
    """One `content` element: an address or a pattern, and the licences of its pages."""

    url: str
    server: str
    licences: tuple[Licence, ...]


def parse_document(data: bytes) -> list[Content] | None:
    """The contents of an RSL document or of a feed with RSL elements; None if it is neither."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, recover=True, huge_tree=False, load_dtd=False
    )
    try:
        root = etree.fromstring(data[:MAX_DOCUMENT_BYTES].strip(), parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root is None:
        return None

    contents = [_content(element) for element in root.iter() if _is(element, "content")]
    return contents if contents or _is(root, "rsl") else None


def read_document(
    data: bytes, page_url: str, *, place: str, where: str, embedded: bool = False
) -> list[Statement]:
    """The statement of an RSL document about a page; none if no content of it is the page.

    In a document embedded in the page, an empty `url` is the page itself, and one of another host
    is the original of the page.
    """
    contents = parse_document(data)
    if contents is None:
        return [statement(Signal.RSL, "not an RSL document", place, where, Answer.UNSAID)]

    ranked = [(_reach(each.url, page_url, embedded), each) for each in contents]
    longest = max((reach for reach, _ in ranked if reach is not None), default=None)
    if longest is None:
        return []

    found = []
    for reach, content in ranked:
        if reach == longest:
            said, words = judge(content)
            found.append(statement(Signal.RSL, words, place, where, said))
    return found


def judge(content: Content) -> tuple[Answer, str]:
    """The answer of the licences of one content, and their words."""
    if not content.licences:
        return Answer.UNSAID, f'<content url="{content.url}"> without a license'

    verdicts = [_judge_licence(licence, content.server) for licence in content.licences]
    words = "; ".join(text for _, text in verdicts)
    answers = [answer for answer, _ in verdicts]
    prohibited = any(TRAINING_USES & {*licence.prohibits} for licence in content.licences)
    if prohibited:
        return Answer.NO, words
    for decided in (Answer.YES, Answer.UNSAID, Answer.NO):
        if decided in answers:
            return decided, words
    return Answer.UNSAID, words


def link_targets(headers: Sequence[str]) -> list[str]:
    """Addresses of RSL licences in `Link` headers (RFC 8288)."""
    targets = []
    for header in headers:
        for target, rest in _LINK.findall(header):
            parameters = {
                name.lower(): (quoted or plain).lower()
                for name, quoted, plain in _PARAMETER.findall(rest)
            }
            is_licence = "license" in parameters.get("rel", "").split()
            if is_licence and parameters.get("type", "").strip() == MEDIA_TYPE:
                targets.append(target.strip())

    return targets


def _judge_licence(licence: Licence, server: str) -> tuple[Answer, str]:
    words = []
    if licence.permits is not None:
        words.append(f"permits usage {' '.join(licence.permits)}")
    if licence.prohibits:
        words.append(f"prohibits usage {' '.join(licence.prohibits)}")
    words += [f"payment {kind}" for kind in licence.payments]
    words += ["for some users or regions"] if licence.limited else []
    words += [f"server {server}"] if server else []
    text = ", ".join(words) or "permits everything"

    if TRAINING_USES & {*licence.prohibits}:
        return Answer.NO, text
    if licence.permits is not None and not TRAINING_USES & {*licence.permits}:
        return Answer.NO, text
    if server or not FREE_PAYMENTS.issuperset(licence.payments):
        return Answer.NO, text
    return (Answer.UNSAID if licence.limited else Answer.YES), text


def _content(element: Any) -> Content:
    url = (element.get("url") or "").strip()
    if not url and element.get("url") is None:
        url = _feed_link(element)
    licences = tuple(_licence(child) for child in element if _is(child, "license"))
    return Content(url, (element.get("server") or "").strip(), licences)


def _feed_link(element: Any) -> str:
    """The address of the feed's item around an element."""
    parent = element.getparent()
    if parent is None:
        return ""
    links = (child for child in parent if _local(child) == "link")
    return next((text for link in links if (text := (link.text or "").strip())), "")


def _licence(element: Any) -> Licence:
    permits: list[str] | None = None
    prohibits: list[str] = []
    limited = False
    for child in element:
        kind = (child.get("type") or "usage").strip().lower() if _local(child) else ""
        if _is(child, "permits") and kind == "usage":
            permits = [*(permits or []), *_words(child)]
        elif _is(child, "prohibits") and kind == "usage":
            prohibits += _words(child)
        elif _is(child, "permits") or _is(child, "prohibits"):
            limited = True

    payments = tuple(_payment(child) for child in element if _is(child, "payment"))
    return Licence(None if permits is None else tuple(permits), tuple(prohibits), limited, payments)


def _payment(element: Any) -> str:
    """The type of a payment; without one it is free, unless it names an amount or terms."""
    kind = (element.get("type") or "").strip()
    if kind:
        return kind
    priced = any(_local(child) in ("amount", "standard", "custom") for child in element)
    return "on unstated terms" if priced else "free"


def _words(element: Any) -> list[str]:
    return [word.lower() for word in _SPACES.split("".join(element.itertext())) if word]


def _reach(url: str, page_url: str, embedded: bool) -> int | None:
    """The length of a content's pattern if it matches the page, else None."""
    if not url:
        # The page is more specific than any pattern.
        return 1 << 30 if embedded else None

    location = url
    if "://" in url or url.startswith("//"):
        try:
            theirs, ours = urlsplit(url), urlsplit(page_url)
        except ValueError:
            return None
        if (theirs.hostname or "") != (ours.hostname or ""):
            return 1 << 30 if embedded else None
        location = url.partition("//")[2]
        location = "/" + location.partition("/")[2]

    pattern = rule_pattern(location)
    return len(pattern) if pattern and path_matches(pattern, url_path(page_url)) else None


def _is(element: Any, name: str) -> bool:
    """True for an element of RSL's namespace, or of none, as many sites write it."""
    if _local(element) != name:
        return False
    namespace = etree.QName(element).namespace
    return namespace is None or NAMESPACE in namespace


def _local(element: Any) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
