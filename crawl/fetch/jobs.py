"""A link on its way: the job it becomes, where its address lies, and where a redirect takes it. Pure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import can_ada

from corpus.urls import host_identity
from crawl.fetch.frontier import pace_key


class Link(NamedTuple):
    """A row of the shard. One that was handed over goes on at `target`, behind the redirects it had met."""

    doc_id: str
    url: str
    target: str | None = None
    redirects: tuple[str, ...] = ()

    def job(self) -> Job:
        """The link at its beginning."""
        return Job(self, self.target or self.url, redirects=self.redirects)


@dataclass(slots=True, frozen=True)
class Place:
    """Where a URL lies: what gates and pace go by."""

    host: str
    port: int
    origin: str
    key: str


@dataclass(slots=True)
class Job:
    """A link on its way, or a robots.txt (`robots_of` names the origin it is for)."""

    link: Link | None
    url: str
    robots_of: str | None = None
    redirects: tuple[str, ...] = ()
    num_tries: int = 0
    """Requests made for `url` that failed."""
    attempts: int = 0
    ended: bool = False
    """Whether its outcome is noted."""


Item = int | Job
"""In the frontier: a row that has not begun, or a job."""


class Resume(NamedTuple):
    """What is known of a link that was tried before the worker was stopped."""

    attempts: int
    num_tries: int
    not_before: float
    """Monotonic seconds."""


def locate(url: str) -> Place | None:
    """Where `url` lies; None when it is no http(s) address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        return None
    number = port if port is not None else 443 if parts.scheme == "https" else 80
    bracketed = f"[{host}]" if ":" in host else host
    return Place(
        host,
        number,
        f"{parts.scheme}://{bracketed}:{number}",
        pace_key(host_identity(bracketed).domain),
    )


def redirect_target(url: str, location: str) -> str | None:
    """The absolute address a `Location` leads to, WHATWG-serialised, without fragment; None when it is none."""
    text = location.strip()
    if not text:
        return None
    with suppress(UnicodeError):
        # Header bytes are latin-1 to HTTP and UTF-8 to most servers.
        text = text.encode("latin-1").decode("utf-8")
    try:
        found = can_ada.parse(urljoin(url, text))
    except (ValueError, TypeError):
        return None
    if found.protocol not in ("http:", "https:") or not found.hostname:
        return None
    found.hash = found.username = found.password = ""
    href: str = found.href.rstrip("#")
    return href if locate(href) is not None else None
