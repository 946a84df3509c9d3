"""Replaces e-mail addresses and public IP addresses in a text by examples. Off by default.

It does what FineWeb did (Penedo et al. 2024), with two differences. The addresses put in are
reserved for examples by the standards (RFC 2606, RFC 5737, RFC 3849), so they can never belong to
somebody. The choice of the example depends on the page alone: the same address is replaced by the
same example throughout a page, different ones in turn. Private, loopback and documentation
addresses stay. Version numbers stay too: they have four parts but no such range.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

from corpus.config import Section

EMAILS = ("email@example.com", "firstname.lastname@example.org")
IPV4 = tuple(
    f"{net}.{host}" for host in (1, 2, 3, 4) for net in ("192.0.2", "198.51.100", "203.0.113")
)
IPV6 = tuple(f"2001:db8::{host}" for host in range(1, 5))
_OWN = frozenset(EMAILS)

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.%+'-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z][A-Za-z0-9-]{0,22}[A-Za-z]"
    r"(?![\w@])"
)
_IPV4 = re.compile(r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
# Colons before an @ are no address: a stand-in there would end in what begins an e-mail address.
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?!@))(?![\w:]|\.\d)")


class PersonalConfig(Section):
    """Settings for personal data in texts."""

    replace: bool = False
    """Replace e-mail addresses and public IP addresses by examples. FineWeb does, WebText did not.
    """


class Replaced(NamedTuple):
    """A text without the addresses, and the number replaced of each kind."""

    text: str
    num_emails: int
    num_ips: int


def replace(text: str) -> Replaced:
    """`text` with every e-mail address and public IP address replaced. Replacing again changes
    nothing.
    """
    emails = _Replacer(EMAILS, lambda found: found.lower() not in _OWN)
    ipv4 = _Replacer(IPV4, _is_public)
    ipv6 = _Replacer(IPV6, _is_public)
    if "@" in text:
        text = _EMAIL.sub(emails, text)
    text = _IPV4.sub(ipv4, text)
    if "::" in text or text.count(":") > 6:
        text = _IPV6.sub(ipv6, text)
    return Replaced(text, emails.count, ipv4.count + ipv6.count)


class _Replacer:
    """Chooses the example for each different address of a page."""

    def __init__(self, stand_ins: tuple[str, ...], wanted: Callable[[str], bool]) -> None:
        self.count = 0
        self._stand_ins = stand_ins
        self._wanted = wanted
        self._given: dict[str, str] = {}

    def __call__(self, match: re.Match[str]) -> str:
        found = match[0]
        if not self._wanted(found):
            return found
        self.count += 1
        return self._given.setdefault(
            found.lower(), self._stand_ins[len(self._given) % len(self._stand_ins)]
        )


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
