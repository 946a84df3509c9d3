"""Answers that refuse the client: response headers and titles of bot walls.

A vendor's header, cookie or script alone says only that the vendor guards the site, so good pages
have it too. Sources: Heritrix 3.17 BotBlockDetector, is-antibot, the vendors' documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

_ANY: Final = re.compile("")
# Header to the values that say "refused".
_REFUSING: Final[Mapping[str, re.Pattern[str]]] = {
    "cf-mitigated": re.compile("challenge|block", re.I),
    "x-vercel-mitigated": re.compile("challenge|deny", re.I),
    "x-amzn-waf-action": re.compile("captcha|challenge|block", re.I),
    "x-datadome": re.compile(r"(?!protected\b).+", re.I),
    "x-dd-b": _ANY,
    "x-sucuri-block": _ANY,
    "x-px-authorization": _ANY,
    "akamai-cache-status": re.compile("error", re.I),
    "x-wzws-requested-method": _ANY,
}
# `pages.cause` of a stored answer that its host also gives for an address that cannot exist.
SOFT_404: Final = "soft_404"
# Bytes of a page in which its title is looked for.
TITLE_BYTES: Final = 4096
_TITLE: Final = re.compile(
    rb"<title[^<>]{0,100}>\s{0,50}(?:Just a moment\.\.\.|Attention Required!\s*\|\s*Cloudflare"
    rb"|Access Denied\s*</|Access to this page has been denied|Request Rejected|Pardon Our Interruption"
    rb"|Are you a (?:robot|human)\??\s*<|Robot (?:Check|or human)|DDoS-Guard|Security Check(?:point)?\s*<"
    rb"|Human Verification|Sucuri WebSite Firewall|Making sure you|Checking your browser"
    rb"|Please (?:wait|verify)[^<]{0,60}(?:human|robot)|Vercel Security Checkpoint|Web Page Blocked)",
    re.I,
)


def refusing_header(headers: Iterable[tuple[str, str]]) -> str | None:
    """The first header saying that the client was refused, as `name: value`."""
    for name, value in headers:
        pattern = _REFUSING.get(name.lower())
        if pattern is not None and pattern.match(value.strip()):
            return f"{name.lower()}: {value.strip()[:60]}"
    return None


def is_wall(headers: Iterable[tuple[str, str]], body: bytes) -> bool:
    """True for an answer with the headers or the title of a bot wall. Cheap enough for each."""
    return refusing_header(headers) is not None or bool(_TITLE.search(body, 0, TITLE_BYTES))
