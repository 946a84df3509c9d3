"""What passes between dispatcher, spider and download handler: leave to make one request, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from crawl.fetch.body_budget import Allowance
from crawl.fetch.resolver import Resolver
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason
from crawl.warc.body import content_type

TICKET = "ticket"
"""Key of a request's `Ticket` in its meta."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ProxyLostError(Exception):
    """The operator's proxy cannot be reached: no fault of a page, and none can be had."""


@dataclass(slots=True)
class Exchange:
    """One request and what came of it. Times ending in `_at` are monotonic seconds."""

    url: str
    max_body_bytes: int
    page: bool = True
    """Whether a page is wanted: only its types are read. robots.txt is read whatever its type."""
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

    @property
    def content_type(self) -> str | None:
        """The `Content-Type` that counts, if there are several."""
        return content_type(self.header_values("content-type"))

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        values = self.header_values(name)
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        """All headers of that name, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to make one request: its exchange, the pace key it goes under, and what the source keeps with it."""

    exchange: Exchange
    key: str
    subject: Any


class Source(Protocol):
    """Where a spider gets its requests and brings their exchanges: `crawl.fetch.dispatcher.Dispatcher`."""

    config: FetchConfig
    resolver: Resolver
    allowance: Allowance

    async def next_ticket(self) -> Ticket | None:
        """The next request, when it is due; None when there is no more."""

    def finished(self, ticket: Ticket, failure: BaseException | None) -> None:
        """A request came to its end, well or not."""
