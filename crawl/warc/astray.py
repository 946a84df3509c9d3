"""Redirects to an error page, a wall, a log-in or the home page: they tell the kind of an answer.

Pure, and about addresses alone: the crawl knows such an answer before its text is read.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from corpus.urls import registered_domain

AstrayKind = Literal[
    "bot_wall", "soft_404", "error_page", "parked", "age_gate", "consent_wall", "login_wall"
]


class Astray(NamedTuple):
    """The kind of an answer by its own address, and the evidence."""

    kind: AstrayKind
    detail: str


# Paths of a final address naming the answer's kind, by whole words between separators.
_PATHS: Final[tuple[tuple[AstrayKind, re.Pattern[str]], ...]] = (
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


def led_astray(url: str, final_url: str, *, password: bool = False) -> Astray | None:
    """The kind named by an answer's own address, if redirects led there from another one.

    `password`: the page has a field for one. Without it an address says nothing about a log-in.
    """
    if url == final_url:
        return None  # most pages: nothing to take apart
    asked, got = split(url), split(final_url)
    if _same_page(asked, got):
        return None

    place = f"redirected to {final_url[:120]}"
    host = got.netloc.lower()
    if _CONSENT_HOSTS.match(host) and host != asked.netloc.lower():
        return Astray("consent_wall", place)
    for kind, pattern in _PATHS:
        if pattern.search(got.path) and not pattern.search(asked.path):
            return Astray(kind, place)

    signs_in = _LOGIN.search(got.path) or _LOGIN.match(host)
    if signs_in and password and not (_LOGIN.search(asked.path) or _LOGIN.match(asked.netloc)):
        return Astray("login_wall", f"{place}, with a field for a password")
    if is_deep(asked) and is_root(got) and _same_site(asked, got):
        return Astray("soft_404", f"{place}, the home page")

    return None


def is_deep(address: SplitResult) -> bool:
    """True for an address below a home page."""
    return not _ROOT_PATHS.fullmatch(address.path) and "~" not in address.path


def is_root(address: SplitResult) -> bool:
    """True for the address of a home page."""
    return bool(_ROOT_PATHS.fullmatch(address.path)) and not address.query


def split(url: str) -> SplitResult:
    """The parts of an address; none of an unreadable one."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _same_page(asked: SplitResult, got: SplitResult) -> bool:
    return (host_of(asked), asked.path.rstrip("/"), asked.query) == (
        host_of(got),
        got.path.rstrip("/"),
        got.query,
    )


def _same_site(asked: SplitResult, got: SplitResult) -> bool:
    return registered_domain(asked.hostname or "") == registered_domain(got.hostname or "")


def host_of(address: SplitResult) -> str:
    """The host of an address without `www.`, in lower case."""
    return (address.hostname or "").lower().removeprefix("www.")
