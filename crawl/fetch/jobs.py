"""Work items of a crawl: links, the jobs they become, and the sites of URLs. Pure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, urlsplit

import can_ada

from corpus.urls import host_identity
from crawl.fetch.chain_cookies import ChainCookies
from crawl.fetch.pace.frontier import pace_key
from crawl.fetch.permission.rights_files import FileKey, Findings, RightsFile
from crawl.fetch.permission.robots import Robots
from crawl.fetch.requests import FetchResult


class Link(NamedTuple):
    """A row of the shard. A handed-over one continues at `target`, after its redirects."""

    doc_id: str
    url: str
    target: str | None = None
    redirects: tuple[str, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()
    """Headers that ask for the page only if it changed (RFC 9110, section 13.1)."""

    def job(self) -> PageJob:
        """The job of an untried link."""
        return PageJob(self, self.target or self.url, redirects=self.redirects)


@dataclass(slots=True, frozen=True)
class Site:
    """The server behind a URL, as gates and pace see it."""

    host: str
    port: int
    origin: str
    key: str

    @property
    def robots_url(self) -> str:
        """The address of the site's robots.txt, without a default port."""
        scheme, _, authority = self.origin.partition("://")
        default = ":443" if scheme == "https" else ":80"
        return f"{scheme}://{authority.removesuffix(default)}/robots.txt"


@dataclass(slots=True)
class PageJob:
    """A link being fetched: the address of its current hop and its state so far."""

    link: Link
    url: str
    redirects: tuple[str, ...] = ()
    num_tries: int = 0
    """Requests for `url` that failed."""
    attempts: int = 0
    """Requests for any hop."""
    cookies: ChainCookies | None = None
    """Cookies set by earlier hops in the same domain."""
    robots_waits: int = 0
    """Times that this hop waited for a robots.txt."""
    is_cleared: bool = False
    """True if robots.txt allowed this hop when its rules arrived."""
    ended: bool = False
    """True if the outcome is noted."""
    rules: Robots | None = None
    """Rules of robots.txt for this hop, as far as they are known."""
    files: dict[FileKey, RightsFile] = field(default_factory=dict)
    """Files about rights that arrived for this hop."""
    findings: Findings | None = None
    """The statements of the site about this hop."""
    shard: int = 0
    """The shard that the link belongs to at this hop: only its owner asks the domain."""

    def at(self, url: str, key: str) -> PageJob:
        """The job at the next hop. Cookies do not leave the domain `key` of their origin.

        So the pages do not depend on the number of workers either: a hop into another domain may be
        made by another worker.
        """
        site = locate(self.url)
        stays = site is not None and site.key == key
        return replace(
            self,
            url=url,
            redirects=(*self.redirects, self.url),
            num_tries=0,
            cookies=self.cookies if stays else None,
            robots_waits=0,
            is_cleared=False,
            rules=None,
            files={},
            findings=None,
        )


@dataclass(slots=True)
class RobotsJob:
    """A robots.txt being fetched for the page jobs of one origin."""

    origin: str
    url: str
    redirects: tuple[str, ...] = ()
    num_tries: int = 0
    waiting: list[tuple[str, PageJob]] = field(default_factory=list)
    """Page jobs that wait for these rules, with their pace keys."""

    def at(self, url: str) -> RobotsJob:
        """The job at the next hop."""
        return replace(self, url=url, redirects=(*self.redirects, self.url), num_tries=0)


@dataclass(slots=True)
class FileJob:
    """A file about rights being fetched for page jobs."""

    key: FileKey
    url: str
    redirects: tuple[str, ...] = ()
    num_tries: int = 0
    waiting: list[tuple[str, PageJob]] = field(default_factory=list)
    """Page jobs that wait for the file before their request, with their pace keys."""
    answered: list[tuple[PageJob, FetchResult]] = field(default_factory=list)
    """Pages that were fetched and name the file."""

    def at(self, url: str) -> FileJob:
        """The job at the next hop."""
        return replace(self, url=url, redirects=(*self.redirects, self.url), num_tries=0)


Job = PageJob | RobotsJob | FileJob
# An untried row, or a job.
FrontierItem = int | PageJob | RobotsJob | FileJob


class Resume(NamedTuple):
    """Progress of a link tried before the worker was stopped."""

    attempts: int
    num_tries: int
    not_before: float
    """Monotonic seconds."""


@lru_cache(maxsize=1 << 14)  # asked several times per request: 15 us each
def locate(url: str) -> Site | None:
    """The site of `url`; None if it is not an http(s) address."""
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
    return Site(
        host,
        number,
        f"{parts.scheme}://{bracketed}:{number}",
        pace_key(host_identity(bracketed).domain),
    )


def redirect_target(url: str, location: str) -> str | None:
    """The absolute target of a `Location`, serialised, without fragment; else None.

    Resolved by one WHATWG parser from base to result, so `///host` means a host, as in browsers.
    """
    text = location.strip()
    if not text:
        return None

    try:
        found = can_ada.parse(url) + _header_text(text)
    except (ValueError, TypeError):
        return None

    if found.protocol not in ("http:", "https:") or not found.hostname:
        return None

    found.hash = found.username = found.password = ""
    href: str = found.href.rstrip("#")
    return href if locate(href) is not None else None


def _header_text(text: str) -> str:
    """The address in a header decoded as Latin-1.

    Most servers send UTF-8. Bytes of other encodings are escaped as they are, as browsers do: their
    server knows the meaning.
    """
    with suppress(UnicodeError):
        raw = text.encode("latin-1")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(
                chr(byte) if byte < 0x80 else quote_from_bytes(bytes([byte])) for byte in raw
            )

    return text
