"""The download handler: http and https with aiohttp, every dial judged, every quantity limited.

It is our own, on aiohttp's public interface: Scrapy's is private, has one time limit for all, and guards no
addresses. What it saw of a request, and how far it got, is in the `Exchange` of the request's ticket, whether it
succeeded or not.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

import aiohttp
from scrapy import Request
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.crawler import Crawler
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
)
from scrapy.http import Headers, HtmlResponse, Response, TextResponse
from yarl import URL

from crawl.fetch import addresses
from crawl.fetch.body_budget import SMALL_BYTES, Holding
from crawl.fetch.requests import REDIRECTS, TICKET, Exchange, ProxyLostError, Source, Ticket
from crawl.outcomes import Reason
from crawl.warc.body import (
    XML_SNIFF_BYTES,
    BodyDecoder,
    BombError,
    content_encodings,
    ignored_encodings,
    is_page_type,
    looks_like_page,
    looks_like_text,
)
from crawl.warc.codings import EncodingError

ASIDE_BYTES = 16 << 10
"""Bytes read of a body that is not a page's (redirects)."""

LONG_PAUSE_S = 0.05
"""Between two pieces of a long body: other pages go first, and endless ones take little of the worker's time."""


class AddressRefusedError(OSError):
    """The guard's word at a dial."""


class FetchHandler(BaseDownloadHandler):
    """Downloads http and https."""

    lazy = False

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        source: Source = crawler.spider.source
        config = source.config
        self._config = config
        self._networks = config.networks
        self._allowance = source.allowance
        self._proxy = config.proxy_endpoint
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=source.resolver,
                use_dns_cache=False,
                socket_factory=self._socket,
                ssl=_tls(config.verify_tls),
                limit=0,
                keepalive_timeout=config.keepalive_s or None,
                force_close=not config.keepalive_s,
            ),
            timeout=aiohttp.ClientTimeout(
                total=config.total_timeout_s,
                sock_connect=config.connect_timeout_s,
                sock_read=config.read_timeout_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=f"http://{config.proxy}" if config.proxy else None,
            trust_env=False,  # a proxy that nobody chose would dial in our place, past the guard
            response_class=_Answer,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        # aiohttp would send a request again by itself, at once, when a kept connection turns out dead: a second
        # request that no pace allowed. There is no public switch in 3.14.
        self._session._retry_connection = False

    async def download_request(self, request: Request) -> Response:
        """The answer as Scrapy sees it: decoded. Raises Scrapy's download errors; the exchange has the reason."""
        ticket = request.meta.get(TICKET)
        if not isinstance(ticket, Ticket):
            raise DownloadFailedError(f"{request.url}: not a request of the crawl's own")
        exchange = ticket.exchange
        exchange.started_at = time.monotonic()
        exchange.fetched_at = datetime.now(UTC)
        try:
            await self._fetch(request, exchange)
        except Exception as error:
            translated = _translated(error, exchange)
            if translated is error:
                raise
            raise translated from error
        finally:
            exchange.ended_at = time.monotonic()
        return _scrapy_response(request, exchange)

    async def close(self) -> None:
        """Close all connections; requests in flight fail."""
        await self._session.close()

    async def _fetch(self, request: Request, exchange: Exchange) -> None:
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in request.headers.items()
            for value in values
        ]
        url = URL(exchange.url, encoded=True)
        exchange.request_block = _request_block(url, headers)
        async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
            # Behind a proxy nobody knows which address answered.
            exchange.ip = (
                answer.peer_ip if isinstance(answer, _Answer) and not self._proxy else None
            )
            exchange.status = answer.status
            version = answer.version
            number = f"{version.major}.{version.minor}" if version else "1.1"
            exchange.status_line = f"HTTP/{number} {answer.status} {answer.reason or ''}"
            exchange.headers = tuple(answer.raw_headers)
            with self._allowance.holding(answer.close) as holding:
                if not await self._read_body(answer, exchange, holding):
                    answer.close()  # what is left of the body is not wanted

    async def _read_body(
        self, answer: aiohttp.ClientResponse, exchange: Exchange, holding: Holding
    ) -> bool:
        """Read what is wanted of the body; whether that was all of it."""
        status = answer.status
        if status in REDIRECTS:
            try:
                return await self._read(answer, exchange, holding, [], ASIDE_BYTES)
            except (aiohttp.ClientError, OSError) as error:
                if exchange.header("location") is None:
                    raise
                # Where it leads is known, and nobody reads the rest: browsers do not wait for it either.
                exchange.truncated = "time" if isinstance(error, TimeoutError) else "disconnect"
                return False
        # A robots.txt is read under any status of success: its rules count (RFC 9309, 2.3.1.1).
        if status not in (200, 203) and (exchange.page or not 200 <= status < 300):
            exchange.truncated = "length"
            return False
        if exchange.page and is_page_type(exchange.content_type) is False:
            exchange.problem = Reason.WRONG_TYPE
            return False

        encodings = content_encodings(exchange.header_values("content-encoding"))
        try:
            return await self._read(answer, exchange, holding, encodings, exchange.max_body_bytes)
        except EncodingError:
            exchange.problem = Reason.BAD_ENCODING
        except BombError:
            exchange.problem = Reason.DECOMPRESSION_BOMB
        exchange.body = b""
        exchange.truncated = "length"
        if exchange.page:
            exchange.wire = b""
        return False

    async def _read(
        self,
        answer: aiohttp.ClientResponse,
        exchange: Exchange,
        holding: Holding,
        encodings: list[str],
        max_bytes: int,
    ) -> bool:
        config = self._config
        decoder = BodyDecoder(
            encodings,
            max_bytes=max_bytes,
            max_ratio=config.max_ratio,
            max_encodings=config.max_encodings,
        )
        ignored = ignored_encodings(exchange.header_values("content-encoding"))
        wire: list[bytes] = []
        unsure = (
            exchange.page
            and exchange.status not in REDIRECTS
            and is_page_type(exchange.content_type) is None
        )
        try:
            async for chunk in answer.content.iter_any():
                room = config.max_wire_bytes - decoder.wire_bytes
                decoder.feed(chunk[:room])
                wire.append(chunk[:room])
                if unsure and decoder.decoded_bytes >= XML_SNIFF_BYTES:
                    unsure = False
                    if not looks_like_page(exchange.content_type, decoder.body):
                        exchange.problem = Reason.WRONG_TYPE
                        wire.clear()
                        return False
                holding.grow_to(
                    decoder.decoded_bytes + (decoder.wire_bytes if decoder.is_encoded else 0)
                )
                if decoder.full or len(chunk) > room or holding.is_cut:
                    exchange.truncated = "length"
                    return False
                if holding.num_bytes > SMALL_BYTES:
                    await asyncio.sleep(LONG_PAUSE_S)
            if unsure and not looks_like_page(exchange.content_type, decoder.body):
                exchange.problem = Reason.WRONG_TYPE
                wire.clear()
            elif ignored and not looks_like_text(decoder.body):
                raise EncodingError(f"unknown content encoding {ignored[0][:40]!r}")
            elif not decoder.is_complete:
                # The transfer ended as stated, the content did not: somebody on the way cut it.
                exchange.problem = Reason.CONNECTION_LOST
        except (aiohttp.ClientError, OSError):
            if not holding.is_cut:
                raise
        finally:
            if wire:
                # Of a plain body, what is stored ends where the decoder stopped.
                received = b"".join(wire)
                exchange.body = decoder.body
                exchange.wire = received if decoder.is_encoded else exchange.body
        if holding.is_cut:
            exchange.truncated = "length"
        return not holding.is_cut

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address, if it is the proxy's, or the guard lets it be dialled. Raises AddressRefusedError."""
        family, kind, protocol, _, address = info
        if self._proxy is not None:
            why = None if address[:2] == self._proxy else f"{address[0]} is not the proxy"
        else:
            why = addresses.refusal(
                str(address[0]), self._networks, public=not self._config.only_loopback
            )
        if why is not None:
            raise AddressRefusedError(None, why)
        return socket.socket(family, kind, protocol)


class _Answer(aiohttp.ClientResponse):
    """Remembers the peer's address, which a finished response no longer has (aiohttp issue 2205)."""

    peer_ip: str | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        peer = (
            connection.transport.get_extra_info("peername")
            if connection.transport is not None
            else None
        )
        if peer:
            self.peer_ip = str(peer[0])
        return await super().start(connection)


@cache
def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _request_block(url: URL, headers: list[tuple[str, str]]) -> bytes:
    """The request as it is sent, for a WARC request record."""
    host = url.host_port_subcomponent or ""
    lines = [f"GET {url.raw_path_qs} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() != "host"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _translated(error: Exception, exchange: Exchange) -> Exception:
    """The error in Scrapy's terms; its reason goes to the exchange."""
    if isinstance(error, aiohttp.ClientError) and _refused(error):
        exchange.problem = Reason.ADDRESS_REFUSED
        return DownloadConnectionRefusedError(str(error))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyLostError(
            f"the proxy {error.host}:{error.port} cannot be reached: {error.os_error}"
        )
    for kind, reason, translated in _ERRORS:
        if isinstance(error, kind):
            exchange.problem = reason
            return translated(f"{exchange.url}: {error!r}")
    return error


_ERRORS: tuple[tuple[type[BaseException], Reason, type[Exception]], ...] = (
    (aiohttp.ConnectionTimeoutError, Reason.CONNECT_FAILED, DownloadTimeoutError),
    (TimeoutError, Reason.TIMEOUT, DownloadTimeoutError),
    (aiohttp.InvalidURL, Reason.BAD_URL, DownloadFailedError),
    (aiohttp.ClientConnectorDNSError, Reason.DNS_FAILED, CannotResolveHostError),
    (aiohttp.ClientConnectorCertificateError, Reason.TLS_FAILED, DownloadConnectionRefusedError),
    (aiohttp.ClientSSLError, Reason.TLS_FAILED, DownloadConnectionRefusedError),
    (aiohttp.ClientConnectorError, Reason.CONNECT_FAILED, DownloadConnectionRefusedError),
    (aiohttp.ClientHttpProxyError, Reason.CONNECT_FAILED, DownloadConnectionRefusedError),
    (aiohttp.ClientResponseError, Reason.BAD_RESPONSE, DownloadFailedError),
    (aiohttp.ClientError, Reason.CONNECTION_LOST, DownloadFailedError),
    (OSError, Reason.CONNECTION_LOST, DownloadFailedError),
    (ValueError, Reason.BAD_URL, DownloadFailedError),
)
"""First match wins: what aiohttp raised, the reason recorded, what Scrapy's users see."""


def _refused(error: BaseException | None) -> bool:
    """Whether the guard's refusal is what ended a dial."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, AddressRefusedError):
            return True
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
            error.os_error, AddressRefusedError
        ):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _scrapy_response(request: Request, exchange: Exchange) -> Response:
    headers = Headers()
    for name, value in exchange.headers:
        if name.lower() not in (b"content-encoding", b"transfer-encoding"):
            headers.appendlist(name, value)
    kind: type[Response] = Response
    if exchange.body:
        html = b"html" in (headers.get(b"content-type") or b"html").lower()
        kind = HtmlResponse if html else TextResponse
    return kind(
        request.url,
        status=exchange.status or 0,
        headers=headers,
        body=exchange.body,
        request=request,
        ip_address=exchange.ip,
    )
