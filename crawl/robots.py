"""What a robots.txt allows: RFC 9309, as pure functions of its status and bytes.

The parser is our own because the RFC's details decide cases: a group is chosen by the whole product token (Protego,
Scrapy's parser, lets `User-agent: web` rule `webtext`), and `/index.html` does not imply `/`. On thousands of real
files the verdicts are Protego's but for those two; tests/crawl/test_robots.py counts the differences.

Sources: RFC 9309 (sections in the comments); `Crawl-delay` is a widespread extension.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_PARSED_BYTES = 500 * 1024
"""Bytes that are parsed of a longer file (section 2.5)."""
MAX_REDIRECTS = 5
"""Redirects that are followed, to any host (section 2.3.1.2)."""


class Access(StrEnum):
    """What the state of a site's robots.txt says before any rule is read."""

    RULES = "rules"
    UNAVAILABLE = "unavailable"
    """No rules: all is allowed (section 2.3.1.3)."""
    UNREACHABLE = "unreachable"
    """Nothing is known: nothing is allowed (section 2.3.1.4)."""


class Rule(NamedTuple):
    """One allow or disallow line: its pattern in parts between `*`, and whether `$` ends it."""

    length: int
    allow: bool
    parts: tuple[str, ...]
    anchored: bool


@dataclass(frozen=True, slots=True)
class Robots:
    """What one robots.txt means for one product token."""

    access: Access
    rules: tuple[Rule, ...] = ()
    """Longest pattern first; allow before disallow at the same length."""
    crawl_delay_s: float | None = None

    def allows(self, url: str) -> bool:
        """Whether `url` may be fetched: the longest matching pattern decides (section 2.2.2)."""
        if self.access is not Access.RULES:
            return self.access is Access.UNAVAILABLE
        path = url_path(url)
        if path == "/robots.txt":
            return True
        return next((rule.allow for rule in self.rules if _matches(rule, path)), True)


UNREACHABLE = Robots(Access.UNREACHABLE)
UNAVAILABLE = Robots(Access.UNAVAILABLE)


def decide(status: int | None, body: bytes, product_token: str) -> Robots:
    """What the answer to a request for robots.txt means; redirects have been followed by the caller.

    None (no answer), 5xx and 429 are unreachable; other 4xx, and redirects that lead nowhere, unavailable.
    """
    if status is None or status >= 500 or status == 429 or status < 200:
        return UNREACHABLE
    if status >= 300:
        return UNAVAILABLE
    return parse(body, product_token)


def parse(body: bytes, product_token: str) -> Robots:
    """The rules of a robots.txt for `product_token`: its own groups, else those of `*` (section 2.2.1)."""
    text = body[:MAX_PARSED_BYTES].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    ours, everyones = _Group(), _Group()
    token = product_token.lower()
    current: list[_Group] = []
    naming = False
    for key, value in _records(text):
        if key == "user-agent":
            if not naming:
                current = []
            naming = True
            agent = _agent(value)
            group = ours if agent == token else everyones if agent == "*" else None
            if group is not None:
                group.named = True
                current.append(group)
        elif key in ("allow", "disallow"):
            naming = False
            rule = _rule(value, key == "allow")
            if rule is not None:
                for group in current:
                    group.rules.append(rule)
        elif (
            key == "crawl-delay"
        ):  # a record that we interpret is a member of its group: it ends the agents' run
            naming = False
            for group in current:
                group.crawl_delay_s = _delay(value, group.crawl_delay_s)
    group = ours if ours.named else everyones
    rules = sorted(set(group.rules), key=lambda rule: (-rule.length, not rule.allow))
    return Robots(Access.RULES, tuple(rules), group.crawl_delay_s)


def url_path(url: str) -> str:
    """What rules are matched against: path and query in normal percent-encoding."""
    parts = urlsplit(url)
    path = parts.path or "/"
    return _normal(f"{path}?{parts.query}" if parts.query or "?" in url else path)


class _Group:
    def __init__(self) -> None:
        self.named = False
        self.rules: list[Rule] = []
        self.crawl_delay_s: float | None = None


_KEYS = {
    "user-agent": "user-agent",
    "useragent": "user-agent",
    "user agent": "user-agent",
    "allow": "allow",
    "disallow": "disallow",
    "dissallow": "disallow",
    "dissalow": "disallow",
    "disalow": "disallow",
    "diasllow": "disallow",
    "disallaw": "disallow",
    "crawl-delay": "crawl-delay",
    "crawl delay": "crawl-delay",
    "crawldelay": "crawl-delay",
}
"""Records that are read, with misspellings that are common enough to be meant (2.2: crawlers may be lenient)."""

_LINE = re.compile(r"\r\n|\r|\n")
_AGENT = re.compile(r"[A-Za-z_-]+")


def _records(text: str) -> Iterator[tuple[str, str]]:
    """(key, value) of the lines that mean something; a colon may be missing."""
    for line in _LINE.split(text):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        name, colon, value = content.partition(":")
        key = _KEYS.get(name.strip().lower())
        if key is None or not colon:
            words = content.split(None, 1)
            key = _KEYS.get(words[0].lower()) if len(words) == 2 else None
            value = words[-1]
        if key is not None:
            yield key, value.strip()


def _agent(value: str) -> str:
    """The product token of a user-agent line: `webtext/1.0 (x)` names `webtext`."""
    if value[:2].strip() == "*":  # `*Bot*` names nobody
        return "*"
    match = _AGENT.match(value)
    return match.group().lower() if match else ""


def _rule(value: str, allow: bool) -> Rule | None:
    """None for an empty pattern, which has no effect, and for one that no path can begin with."""
    if not value.startswith(("/", "*")):
        return None
    pattern = _normal(value)
    anchored = pattern.endswith("$")
    stem = pattern[:-1] if anchored else pattern
    return Rule(len(pattern), allow, tuple(re.sub(r"\*+", "*", stem).split("*")), anchored)


def _delay(value: str, before: float | None) -> float | None:
    try:
        delay = float(value)
    except ValueError:
        return before
    return max(delay, before or 0.0) if math.isfinite(delay) and delay >= 0 else before


def _matches(rule: Rule, path: str) -> bool:
    """Greedy match of the parts in order: linear, where a regular expression could be made to backtrack."""
    first, *rest = rule.parts
    if not path.startswith(first):
        return False
    if not rest:
        return not rule.anchored or len(path) == len(first)
    position = len(first)
    for part in rest[:-1]:
        found = path.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    last = rest[-1]
    if rule.anchored:
        return len(path) - len(last) >= position and path.endswith(last)
    return path.find(last, position) >= 0


_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_OUTSIDE_ASCII = re.compile(r"[^\x21-\x7e]+")


def _normal(text: str) -> str:
    """Percent-encoding made equal (2.2.2): unreserved characters plain, all others upper case, no raw non-ASCII."""
    if "%" in text:
        text = _ESCAPE.sub(_unescape, text)
    return _OUTSIDE_ASCII.sub(lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), text)


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match.group(1), 16))
    return char if char in _UNRESERVED else match.group().upper()
