"""Rules of robots.txt (RFC 9309), as pure functions of its status and bytes.

The parser is our own because details of the RFC decide cases: a group is chosen by the whole
product token (Protego, Scrapy's parser, lets `User-agent: web` rule `webtext`), and `/index.html`
does not imply `/`. On thousands of real files the verdicts equal Protego's apart from those two;
tests/crawl/fetch/permission/test_robots.py counts the differences.

Rules about the use of pages (`Content-Usage`, `Content-Signal`, `License`) and the groups of robots
of AI training are kept beside the rules; `crawl.rights.robots_file` reads them.

Sources: RFC 9309 (sections in the comments); `Crawl-delay` is a widespread extension.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from crawl.rights.ai_agents import find_agent

PATH = "/robots.txt"
# Parsed bytes of a longer file (section 2.5).
MAX_PARSED_BYTES = 500 * 1024
# Redirects followed, to any host (section 2.3.1.2).
MAX_REDIRECTS = 5


class Access(StrEnum):
    """The state of a site's robots.txt, before any rule is read."""

    RULES = "rules"
    UNAVAILABLE = "unavailable"
    """There are no rules: everything is allowed (section 2.3.1.3)."""
    UNREACHABLE = "unreachable"
    """Nothing is known, so nothing is allowed (section 2.3.1.4)."""


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of one robots.txt for one product token."""

    access: Access
    rules: str = ""
    """A line for each rule: `+` or `-` and its pattern.

    Longest pattern first, allow before disallow at the same length. One string takes an eighth of
    the memory of parsed patterns, and a crawl keeps the rules of many thousand hosts.
    """
    crawl_delay_s: float | None = None
    cause: str | None = None
    """What made the file unreachable."""
    rights: str = ""
    """Rules about the use of pages, a line each: a letter of `RIGHTS_KINDS` and its text."""
    evidence: str = ""
    """The id of the file's WARC record and its address, if it says anything about rights."""

    def allows(self, url: str) -> bool:
        """True if `url` may be fetched: the longest matching pattern decides (section 2.2.2)."""
        if self.access is not Access.RULES:
            return self.access is Access.UNAVAILABLE
        path = url_path(url)
        if path == PATH:
            return True
        lines = self.rules.split("\n") if self.rules else ()
        return next((line[0] == "+" for line in lines if _matches(line[1:], path)), True)


# Kinds of lines in `Robots.rights`. A line of agents is followed by their rules as in `rules`.
USAGE, SIGNAL, LICENSE, AGENTS = RIGHTS_KINDS = "USLA"
# Most rules about rights kept of one file: a hostile one cannot fill the memory.
MAX_RIGHTS_CHARS = 64 << 10

UNREACHABLE = Robots(Access.UNREACHABLE)
UNAVAILABLE = Robots(Access.UNAVAILABLE)


def decide(status: int | None, body: bytes, product_token: str, *, is_whole: bool = True) -> Robots:
    """Judge the answer to a request for robots.txt; the caller followed redirects.

    No answer (None), 5xx, 429 and a body not read whole are unreachable: unread rules may forbid
    everything. Other 4xx, and redirects to nowhere, are unavailable.
    """
    if status is None or status >= 500 or status == 429 or status < 200:
        return UNREACHABLE
    if status >= 300:
        return UNAVAILABLE
    return parse(body, product_token) if is_whole else UNREACHABLE


def is_whole_range(content_range: str | None) -> bool:
    """True if an unrequested 206 answer holds the whole file, as far as it says."""
    if content_range is None:
        return True
    match = _RANGE.match(content_range.strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


def parse(body: bytes, product_token: str) -> Robots:
    """Parse the rules for `product_token`: its own groups, else those of `*` (section 2.2.1)."""
    ours, everyones, top = _Group(), _Group(), _Group()
    trainers: dict[str, _Group] = {}
    token = product_token.lower()
    # Rules before any group belong to no robot, apart from licences: these are global there.
    current: list[_Group] = [top]
    naming = False
    for key, value in _records(_text(body)):
        if key == "user-agent":
            if not naming:
                current = []
            naming = True
            agent = _agent(value)
            group = ours if agent == token else everyones if agent == "*" else None
            if group is not None:
                group.named = True
                current.append(group)
            if (trainer := find_agent(value)) is not None and agent != token:
                current.append(trainers.setdefault(trainer, _Group()))
        elif key == "crawl-delay":
            # Other records must not interfere with groups (2.2.4): more agents may follow.
            for group in current:
                group.crawl_delay_s = _delay(value, group.crawl_delay_s)
        else:
            naming = False
            for group in current:
                group.add(key, value)

    group = ours if ours.named else everyones
    return Robots(
        Access.RULES,
        "\n".join(group.sorted_rules()),
        group.crawl_delay_s,
        rights=_rights(top, group, trainers),
    )


def _rights(top: _Group, group: _Group, trainers: dict[str, _Group]) -> str:
    """The lines about rights for our agent; groups of AI robots with the same rules together."""
    lines = [LICENSE + value for value in dict.fromkeys((*top.licenses, *group.licenses))]
    lines += list(dict.fromkeys(group.usages))

    alike: dict[tuple[str, ...], list[str]] = {}
    for trainer, each in trainers.items():
        if each.rules:
            alike.setdefault(tuple(each.sorted_rules()), []).append(trainer)
    for rules, names in alike.items():
        lines += [AGENTS + ",".join(names), *rules]

    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > MAX_RIGHTS_CHARS:
            break
        kept.append(line)

    return "\n".join(kept)


def url_path(url: str) -> str:
    """The path and query of `url` in normal percent-encoding, for matching (2.2.3).

    `*` and `$` are encoded.
    """
    parts = urlsplit(url)
    path = parts.path or "/"
    path = _normal(f"{path}?{parts.query}" if parts.query or "?" in url else path)
    return path.replace("*", "%2A").replace("$", "%24")


def _text(body: bytes) -> str:
    """The text of a file in UTF-8 (2.2), or in UTF-16 or UTF-32 as some editors write it.

    Of a longer file, the whole lines before the limit: half of `Disallow: /a` forbids everything.
    """
    encoding = _encoding(body)
    text = body[:MAX_PARSED_BYTES].decode(encoding, "replace")
    if len(body) > MAX_PARSED_BYTES:
        following = body[MAX_PARSED_BYTES : MAX_PARSED_BYTES + 1]
        if encoding != "utf-8" or following not in (b"\r", b"\n"):
            text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]

    # Half of the bytes of UTF-32 are characters of their own in UTF-16.
    return text.replace("\0", "")


def _encoding(body: bytes) -> str:
    """The encoding of a file by its byte order mark, or by zeros of ASCII in two or four bytes."""
    head = body[:_SNIFF_BYTES]
    if head[:2] == b"\xff\xfe":
        return "utf-16-le"
    if head[:2] == b"\xfe\xff":
        return "utf-16-be"
    if head.count(0) * _ZEROS_ONE_IN < len(head):
        return "utf-8"

    return "utf-16-be" if head[0::2].count(0) > head[1::2].count(0) else "utf-16-le"


class _Group:
    def __init__(self) -> None:
        self.named = False
        self.rules: set[str] = set()
        self.crawl_delay_s: float | None = None
        self.licenses: list[str] = []
        self.usages: list[str] = []

    def add(self, key: str, value: str) -> None:
        """Add a rule other than a crawl delay."""
        if key in ("allow", "disallow"):
            pattern = _pattern(value)
            if pattern:
                self.rules.add(("+" if key == "allow" else "-") + pattern)
        elif not value:
            return
        elif key == "license":
            self.licenses.append(value)
        else:
            self.usages.append((USAGE if key == "content-usage" else SIGNAL) + value)

    def sorted_rules(self) -> list[str]:
        """Longest pattern first, allow before disallow."""
        return sorted(self.rules, key=lambda rule: (-len(rule), rule))  # "+" comes before "-"


# Known records, with misspellings that are common enough to be meant (2.2).
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
    "content-usage": "content-usage",
    "content-signal": "content-signal",
    "content-signals": "content-signal",
    "license": "license",
}
# Records whose name is a common word count only with a colon.
_WITH_COLON = frozenset({"license", "content-usage", "content-signal"})

# Bytes in which zeros are counted, and their share in UTF-16 with few letters beyond ASCII.
_SNIFF_BYTES, _ZEROS_ONE_IN = 1024, 8
_RANGE = re.compile(r"bytes\s+0-(\d{1,18})/(\d{1,18})\Z", re.ASCII | re.IGNORECASE)
# Every line end of Unicode: none is part of an address.
_LINE = re.compile("\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
# A byte order mark in UTF-8, read as Latin-1 and written in UTF-8 again.
_TWICE_ENCODED_MARK = "\xef\xbb\xbf"
# Editors and word processors write these for `-`, `:` and `/`, and around values.
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"), "-")
_COLON = re.compile("[:\uff1a]")
_SLASH = "\uff0f"
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"
# No known name is longer, and one character may become eighteen (NFKC).
_MAX_NAME_CHARS = 256
# Within names: characters without width or with a meaning for layout only (general category Cf).
_NO_WIDTH = dict.fromkeys(
    (0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
)
_RARE_SPACES = (0x1680, 0x180E, 0x202F, 0x205F, 0x3000)
# At the ends of lines and values: control characters, spaces, marks as between joined files.
_INVISIBLE = "".join(
    map(chr, {*range(0x21), *range(0x7F, 0xA1), *range(0x2000, 0x2010), *_RARE_SPACES, *_NO_WIDTH})
)
_AGENT = re.compile(r"[A-Za-z_-]+")


def _records(text: str) -> Iterator[tuple[str, str]]:
    """Yield (key, value) of known records; a colon may be missing."""
    for line in _LINE.split(text):
        content = line.partition("#")[0].strip(_INVISIBLE)
        content = content.removeprefix(_TWICE_ENCODED_MARK)
        if not content:
            continue
        name, *values = _COLON.split(content, maxsplit=1)
        key = _KEYS.get(_name(name))
        if key is None or not values:
            words = content.split(None, 1)
            key = _KEYS.get(_name(words[0])) if len(words) == 2 else None
            key = None if key in _WITH_COLON else key
            values = words[-1:]
        if key is not None:
            yield key, _value(values[0])


def _name(text: str) -> str:
    """The name of a record or agent: in lower case, without invisible characters."""
    name = text[:_MAX_NAME_CHARS]
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name).translate(_NO_WIDTH).translate(_DASHES)
    return " ".join(name.split()).lower()


def _value(text: str) -> str:
    """The value of a record, without quotes around it."""
    value = text.strip(_INVISIBLE)
    return value.strip(_QUOTES).strip(_INVISIBLE) if value[:1] in _QUOTES else value


def _agent(value: str) -> str:
    """The product token in a user-agent line: `webtext/1.0 (x)` names `webtext`."""
    name = _name(value)
    if name[:1] == "*" and not _AGENT.match(name, 1) and name[1:2] != "*":
        return "*"  # `*Bot*` names no robot
    match = _AGENT.match(name)
    return match.group() if match else ""


def _pattern(value: str) -> str:
    """A rule's pattern in normal form; empty if it has no effect or matches no path.

    A `$` before the end means itself, and is encoded as in paths.
    """
    if value.startswith(_SLASH):
        value = "/" + value[1:]
    if not value.startswith(("/", "*")):
        return ""
    pattern = re.sub(r"\*+", "*", _normal(value))
    return pattern[:-1].replace("$", "%24") + pattern[-1]


def rule_pattern(value: str) -> str:
    """The pattern of a rule's path in normal form, for `path_matches`; empty for none."""
    return _pattern(value)


def path_matches(pattern: str, path: str) -> bool:
    """True if a pattern of `rule_pattern` matches a path of `url_path` (2.2.2, 2.2.3)."""
    return _matches(pattern, path)


def _delay(value: str, before: float | None) -> float | None:
    try:
        delay = float(value)
    except ValueError:
        return before
    return max(delay, before or 0.0) if math.isfinite(delay) and delay >= 0 else before


def _matches(pattern: str, path: str) -> bool:
    """Match the parts between `*` greedily, in linear time.

    A regular expression could be made to backtrack.
    """
    anchored = pattern.endswith("$")
    first, *rest = pattern[: len(pattern) - anchored].split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return not anchored or len(path) == len(first)
    position = len(first)
    for part in rest[:-1]:
        found = path.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    last = rest[-1]
    if anchored:
        return len(path) - len(last) >= position and path.endswith(last)
    return path.find(last, position) >= 0


_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_OUTSIDE_ASCII = re.compile(r"[^\x21-\x7e]+")


def _normal(text: str) -> str:
    """Normalise percent-encoding (2.2.2): unreserved plain, others in upper case, no raw non-ASCII."""
    if "%" in text:
        text = _ESCAPE.sub(_unescape, text)
    return _OUTSIDE_ASCII.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), text
    )


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match.group(1), 16))
    return char if char in _UNRESERVED else match.group().upper()
