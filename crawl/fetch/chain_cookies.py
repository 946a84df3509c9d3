"""Cookies of one redirect chain, as browsers keep and send them (RFC 6265bis).

A chain has its own jar and leaves it behind when it leaves the registered domain. Values are sent
back byte for byte. A jar of another library served before (2026-11-30): it kept cookies that
expired in 1970, the usual form of a deletion, and changed quotes and letters beyond ASCII.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from urllib.parse import urlsplit

# Name and value together (6265bis, 5.6).
MAX_COOKIE_BYTES = 4096
MAX_COOKIES = 50
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class _Cookie:
    text: str
    """`name=value` as it came, or a value without a name."""
    domain: str
    is_host_only: bool
    path: str
    is_secure: bool

    def is_sent_to(self, host: str, path: str, *, secure: bool) -> bool:
        """True if a request for this address bears the cookie."""
        if self.is_secure and not secure:
            return False
        if host != self.domain and (self.is_host_only or not _is_below(host, self.domain)):
            return False
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


class ChainCookies:
    """The cookies that the answers of one chain have set."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._cookies: dict[tuple[str, str, str], _Cookie] = {}

    def update(self, url: str, values: Sequence[str]) -> None:
        """Take `Set-Cookie` values, decoded as Latin-1, of an answer from `url`."""
        for value in values:
            self._take(url, value)

    def header(self, url: str) -> str | None:
        """The `Cookie` header of a request for `url`; None without cookies."""
        parts = urlsplit(url)
        host, path, secure = parts.hostname or "", parts.path or "/", parts.scheme == "https"
        sent = [
            each for each in self._cookies.values() if each.is_sent_to(host, path, secure=secure)
        ]
        sent.sort(key=lambda each: -len(each.path))
        return "; ".join(each.text for each in sent) or None

    def _take(self, url: str, value: str) -> None:
        if any((ord(char) < 0x20 and char != "\t") or ord(char) == 0x7F for char in value):
            return
        try:
            # Sent as the bytes that came. Others than UTF-8 cannot be sent through aiohttp.
            value = value.encode("latin-1").decode()
        except UnicodeError:
            return

        pair, *rest = value.split(";")
        name, equals, content = pair.partition("=")
        if not equals:
            name, content = "", name
        name, content = name.strip(_BLANKS), content.strip(_BLANKS)
        attributes = _attributes(rest)
        if not 0 < len((name + content).encode()) <= MAX_COOKIE_BYTES:
            return

        cookie = _scoped(f"{name}={content}" if name else content, url, attributes)
        if cookie is None or not _may_have_prefix(name, cookie, attributes):
            return

        key = (name, cookie.domain, cookie.path)
        if self._is_over(attributes):
            self._cookies.pop(key, None)
        elif key in self._cookies or len(self._cookies) < MAX_COOKIES:
            self._cookies[key] = cookie

    def _is_over(self, attributes: dict[str, str]) -> bool:
        """True for a cookie that its answer deletes."""
        age = attributes.get("max-age", "")
        if age.removeprefix("-").isdecimal():
            return age.startswith("-") or not age.strip("0")
        return _expires_at(attributes.get("expires", "")) <= self._wall()


def _expires_at(text: str) -> float:
    """Unix seconds of a date; infinite if it cannot be read."""
    try:
        parts = parsedate_tz(text)
        return math.inf if parts is None else mktime_tz(parts)
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.inf


def _attributes(parts: Sequence[str]) -> dict[str, str]:
    """Attributes by lower-case name; of several, the last counts."""
    found = {}
    for part in parts:
        name, _, value = part.partition("=")
        found[name.strip(_BLANKS).lower()] = value.strip(_BLANKS)
    return found


def _scoped(text: str, url: str, attributes: dict[str, str]) -> _Cookie | None:
    """The cookie with its domain and path; None if this host may not set it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    domain = attributes.get("domain", "").removeprefix(".").lower()
    if domain and domain != host and not _is_below(host, domain):
        return None

    is_secure = "secure" in attributes
    if is_secure and parts.scheme != "https":
        return None

    path = attributes.get("path", "")
    if not path.startswith("/"):
        path = parts.path.rpartition("/")[0] or "/"
    return _Cookie(text, domain or host, not domain, path, is_secure)


def _may_have_prefix(name: str, cookie: _Cookie, attributes: dict[str, str]) -> bool:
    """False for names that promise more than the cookie keeps (6265bis, 4.1.3).

    A value without a name is sent like a name, so it may not begin with a prefix.
    """
    if not name:
        return not cookie.text.lower().startswith(("__secure-", "__host-"))

    lowered = name.lower()
    if lowered.startswith("__host-"):
        return cookie.is_secure and cookie.is_host_only and attributes.get("path") == "/"
    return cookie.is_secure or not lowered.startswith("__secure-")


def _is_below(host: str, domain: str) -> bool:
    is_address = ":" in host or host.rpartition(".")[2].isdecimal()
    return host.endswith("." + domain) and not is_address
