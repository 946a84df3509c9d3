"""The Scrapy side: a spider that asks for permits, a queue, and our required settings.

Scrapy runs the requests, so its users' settings and middlewares apply. `crawl.fetch.dispatcher`
decides about requests and answers: it hands out permits one by one (`LinkSpider.start`) and takes
back their results. Scrapy's own robots, retry, redirect, cookie, referer, telnet and remote control
parts are left out, and so are its handlers for other schemes; `crawl.fetch.network.download` serves http
and https.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from scrapy import Request, Spider
from scrapy.core.scheduler import BaseScheduler
from scrapy.http import Response
from scrapy.logformatter import LogFormatter

from crawl.fetch.network.bot_auth import load_signer
from crawl.fetch.network.download import FetchHandler
from crawl.fetch.requests import PERMIT, Permit, RequestSource
from crawl.fetch.settings import OWNED_SETTINGS, FetchConfig

REQUEST_HEADERS = {
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.1",
    "Accept-Language": "en,*;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}


class LinkSpider(Spider):
    """Yields the requests of its source."""

    name = "webtext"

    def __init__(self, source: RequestSource, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self._signer = load_signer(source.config.bot_auth_key, source.config.bot_auth_agent)

    async def start(self) -> AsyncIterator[Request]:
        """Yield requests as they fall due."""
        while (permit := await self.source.next_permit()) is not None:
            yield self._request(permit)

    def answered(self, response: Response) -> None:
        """Take an answer."""
        assert response.request is not None
        self._finish(response.request, None)

    def failed(self, failure: Any) -> None:
        """Take a failure."""
        self._finish(failure.request, failure.value)

    def _finish(self, request: Request, failure: BaseException | None) -> None:
        permit = request.meta.pop(PERMIT, None)
        if permit is not None:  # else a middleware gave one request two ends; the first one counted
            self.source.finished(permit, failure)

    def _request(self, permit: Permit) -> Request:
        headers = {**REQUEST_HEADERS, "User-Agent": self.source.config.user_agent_header}
        if permit.cookie is not None:
            headers["Cookie"] = permit.cookie
        headers.update(permit.conditions)
        if self._signer is not None:
            headers.update(self._signer.headers(permit.result.url))

        return Request(
            permit.result.url,
            callback=self.answered,
            errback=self.failed,
            headers=headers,
            dont_filter=True,
            meta={PERMIT: permit, "download_slot": permit.key, "verbatim_url": True},
        )


class Queue(BaseScheduler):
    """A plain queue: all requests are due, and the frontier has decided their order."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()

    def has_pending_requests(self) -> bool:
        return bool(self._requests)

    def enqueue_request(self, request: Request) -> bool:
        self._requests.append(request)
        return True

    def next_request(self) -> Request | None:
        return self._requests.popleft() if self._requests else None


class QuietLogFormatter(LogFormatter):
    """Writes no line per page: a crawl has millions, and `pages` has a row for each."""

    def crawled(self, request: Request, response: Response, spider: Spider) -> Any:
        return None


def scrapy_settings(config: FetchConfig) -> dict[str, Any]:
    """Scrapy settings: our defaults, the operator's, and those required by our guarantees."""
    ours: dict[str, Any] = {
        "ADDONS": {},
        "DOWNLOADER_MIDDLEWARES_BASE": {},
        "SPIDER_MIDDLEWARES_BASE": {},
        "EXTENSIONS_BASE": {},
        "LOG_FORMATTER": QuietLogFormatter,
        "STATS_DUMP": False,
        # One task for a callback's yields (none) instead of a hundred: 3 ms of CPU per page.
        "CONCURRENT_ITEMS": 1,
        "COOKIES_ENABLED": False,
        "REFERER_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DOWNLOAD_DELAY": 0,
        "SCRAPER_SLOT_MAX_ACTIVE_SIZE": 32 << 20,
    }
    promised: dict[str, Any] = {
        "SCHEDULER": Queue,
        "DOWNLOAD_HANDLERS": {
            "http": FetchHandler,
            "https": FetchHandler,
            "data": None,
            "file": None,
            "ftp": None,
            "s3": None,
        },
        "TWISTED_REACTOR_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "CONCURRENT_REQUESTS": 0,
        "JOBDIR": None,
    }
    assert promised.keys() == OWNED_SETTINGS

    return {**ours, **config.scrapy_settings, **promised}
