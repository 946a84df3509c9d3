"""Objects passed between dispatcher, spider and download handler: a permit and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from crawl.fetch.network.body_budget import BodyBudget
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason
from crawl.warc.body import content_type

if TYPE_CHECKING:
    # It imports aiohttp, .4 s that an import of WARC files does without.
    from crawl.fetch.network.resolver import Resolver

# Key of a request's `Permit` in its meta.
PERMIT = "permit"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PAGE_STATUSES = frozenset({200, 203})


class ProxyLostError(Exception):
    """The operator's proxy cannot be reached: not the fault of a page, and no page can be had."""


@dataclass(slots=True)
class FetchResult:
    """One request and its answer. Times ending in `_at` are monotonic seconds."""

    url: str
    max_body_bytes: int
    page: bool = True
    """True if a page is wanted, so that only its types are read; robots.txt may have any type."""
    started_at: float = 0.0
    ended_at: float = 0.0
    fetched_at: datetime | None = None
    ip: str | None = None
    status: int | None = None
    status_line: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    request_block: bytes = b""
    wire: bytes = b""
    """The body as received, without transfer coding."""
    body: bytes = b""
    """The body without content encodings."""
    truncated: str | None = None
    problem: Reason | None = None
    repairs: dict[str, None] = field(default_factory=dict)
    """Names of the deviations from HTTP that were repaired, as browsers do."""
    is_flood: bool = False
    """True if the answer went beyond the limits of the wire."""
    cpu_s: float = 0.0
    """Time that its bytes took to parse and decode."""

    @property
    def content_type(self) -> str | None:
        """The deciding `Content-Type`, if there are several."""
        return content_type(self.header_values("content-type"))

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        values = self.header_values(name)
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        """All headers of this name, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission to make one request now."""

    result: FetchResult
    key: str
    """The pace key under which the request is made."""
    job: Any
    """The source's own; others pass it back."""
    ip: str = ""
    """The address that the request was admitted for."""
    cookie: str | None = None
    conditions: tuple[tuple[str, str], ...] = ()


class RequestSource(Protocol):
    """Hands out requests and takes results: `crawl.fetch.dispatcher.Dispatcher`."""

    config: FetchConfig
    resolver: Resolver
    budget: BodyBudget

    async def next_permit(self) -> Permit | None:
        """Wait for the next request to fall due; None when there are no more."""

    def finished(self, permit: Permit, failure: BaseException | None) -> None:
        """Take back the permit of an ended request, successful or not."""
