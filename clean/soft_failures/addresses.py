"""Evidence outside of the text: response headers, and the addresses that an answer came from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from clean.soft_failures.config import Kind
from corpus.urls import registered_domain
from crawl.warc.refusals import refusing_header

LINK_CHARS: Final = 200_000
LINK_MARGIN: Final = 1500


class SoftFailure(NamedTuple):
    """A kind of soft failure and its evidence."""

    kind: Kind
    detail: str


class StoredAnswer(NamedTuple):
    """An HTTP answer without its body. `status` is None if nobody kept it."""

    url: str
    final_url: str
    status: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    redirects: Sequence[str] = ()


# Paths of a final address that say what the answer is, by whole words between separators.
_PATHS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    (
        "bot_wall",
        re.compile(
            r"/cdn-cgi/(l/)?(chk|challenge)|are-you-(a-)?(human|robot)|/captcha|/blocked\b"
            r"|/distil_|/_incapsula_|/sorry/index|/robot-?check|/px/captcha|/validatecaptcha",
            re.I,
        ),
    ),
    (
        "soft_404",
        re.compile(
            r"/(error[-_/]?)?40[34](\.\w+)?/?$|/(page[-_]?)?not[-_]?found(\.\w+)?/?$"
            r"|/error[-_]?404|/404[-_/]|/missing[-_]page|/page-introuvable|/seite-nicht-gefunden",
            re.I,
        ),
    ),
    ("error_page", re.compile(r"/(error|errors|errorpage|error-page|50[0234])(\.\w+)?/?$", re.I)),
    ("parked", re.compile(r"/suspendedpage\.cgi|/defaultsite\.cgi|/domain-?for-?sale", re.I)),
    ("age_gate", re.compile(r"/(age-?gate|age-?verification|verify-?age|age-?check)\b", re.I)),
    ("consent_wall", re.compile(r"/(cookie-?wall|consent|privacy-?gate|collectconsent)\b", re.I)),
)
_CONSENT_HOSTS: Final = re.compile(r"^(consent|guce|cmp|cookiewall|privacygate|myprivacy)\.", re.I)
_LOGIN: Final = re.compile(
    r"/(log-?in|sign-?in|log-?on|signon|sso|auth|cas|login\.\w+|users?/sign_in|account/login)\b"
    r"|^(login|signin|sso|accounts?|auth|idp|passport)\.",
    re.I,
)
_ROOT_PATHS: Final = re.compile(
    r"/?((index|default|home|main|welcome)(\.\w{2,5})?/?)?|/[a-z]{2}([-_][a-z]{2})?/?", re.I
)
_CANONICAL: Final = re.compile(
    r"<link\s[^<>]{0,500}?rel\s*=\s*[\"']?canonical\b[^<>]{0,1000}>", re.I
)
_HREF: Final = re.compile(r"href\s*=\s*[\"']?([^\"'\s>]{1,2000})", re.I)
_BODY: Final = re.compile(r"<body\s[^<>]{0,2000}?class\s*=\s*[\"']([^\"'<>]{0,2000})", re.I)
_HOME_CLASSES: Final = frozenset(
    ("home", "is-front", "front", "page-home", "path-frontpage", "homepage", "home-page")
)


def refused(answer: StoredAnswer) -> SoftFailure | None:
    """The bot wall that the headers of an answer name."""
    header = refusing_header(answer.headers)
    return SoftFailure("bot_wall", f"header {header}") if header is not None else None


def led_astray(answer: StoredAnswer, *, password: bool) -> SoftFailure | None:
    """The kind that an answer's own address names, if redirects led there from another one."""
    asked, got = _split(answer.url), _split(answer.final_url)
    if _same_page(asked, got):
        return None

    place = f"redirected to {answer.final_url[:120]}"
    host = got.netloc.lower()
    if _CONSENT_HOSTS.match(host) and host != asked.netloc.lower():
        return SoftFailure("consent_wall", place)
    for kind, pattern in _PATHS:
        if pattern.search(got.path) and not pattern.search(asked.path):
            return SoftFailure(kind, place)

    signs_in = _LOGIN.search(got.path) or _LOGIN.match(host)
    if signs_in and password and not (_LOGIN.search(asked.path) or _LOGIN.match(asked.netloc)):
        return SoftFailure("login_wall", f"{place}, with a field for a password")
    if is_deep(asked) and is_root(got) and _same_site(asked, got):
        return SoftFailure("soft_404", f"{place}, the home page")

    return None


def answers_as_home(
    answer: StoredAnswer, html: str, marks: Mapping[str, str]
) -> SoftFailure | None:
    """The home page in place of a page below it, if two of its marks say so.

    The marks are `canonical`, `og:url` and the class of `<body>`. One alone is not enough: of 2,378
    genuine pages below a home page 17 had one of them, and none had two (2026-11).
    """
    asked = _split(answer.final_url)
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


def is_deep(address: SplitResult) -> bool:
    """True for an address below a home page."""
    return not _ROOT_PATHS.fullmatch(address.path) and "~" not in address.path


def is_root(address: SplitResult) -> bool:
    """True for the address of a home page."""
    return bool(_ROOT_PATHS.fullmatch(address.path)) and not address.query


def _names_root(url: str, asked: SplitResult) -> bool:
    if not url:
        return False
    named = _split(url)
    same = not named.netloc or _host(named) == _host(asked)
    return same and bool(named.netloc or named.path) and is_root(named) and not named.fragment


def _split(url: str) -> SplitResult:
    """The parts of an address; of one that cannot be read, none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _same_page(asked: SplitResult, got: SplitResult) -> bool:
    return (_host(asked), asked.path.rstrip("/"), asked.query) == (
        _host(got),
        got.path.rstrip("/"),
        got.query,
    )


def _same_site(asked: SplitResult, got: SplitResult) -> bool:
    return registered_domain(asked.hostname or "") == registered_domain(got.hostname or "")


def _host(address: SplitResult) -> str:
    return (address.hostname or "").lower().removeprefix("www.")
