"""The download handler: http and https with aiohttp, every dial judged, every quantity limited.

It is our own, on aiohttp's public interface: Scrapy's is private, has one time limit for all, and
guards no addresses. The `FetchResult` of a request's permit says how far it got, whether it
succeeded or not.
"""

from __future__ import annotations

import asyncio
import functools
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

from crawl.fetch.network import addresses
from crawl.fetch.network.body_budget import SMALL_BYTES, BodyShare
from crawl.fetch.network.wire import FLOOD, MAX_HEAD_BYTES, LenientProtocol
from crawl.fetch.requests import (
    PAGE_STATUSES,
    PERMIT,
    REDIRECTS,
    FetchResult,
    Permit,
    ProxyLostError,
    RequestSource,
)
from crawl.fetch.settings import MAX_ENCODINGS, MAX_RATIO
from crawl.outcomes import Reason
from crawl.warc.body import (
    XML_SNIFF_BYTES,
    BodyDecoder,
    BombError,
    content_encodings,
    decode_body,
    ignored_encodings,
    is_page_type,
    looks_like_page,
    looks_like_text,
)
from crawl.warc.codings import EncodingError

# Seconds until an idle connection is closed.
KEEPALIVE_S = 5.0
# Bytes read of a body that is not a page's (redirects).
ASIDE_BYTES = 16 << 10
# Between two pieces of a long body: other pages go first.
LONG_PAUSE_S = 0.05


class AddressRefusedError(OSError):
    """The guard's refusal of a dial."""


class FetchHandler(BaseDownloadHandler):
    """Downloads http and https."""

    lazy = False

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        source: RequestSource = crawler.spider.source
        config = source.config
        self._config = config
        self._networks = config.networks
        self._budget = source.budget
        self._proxy = config.proxy_endpoint
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                resolver=source.resolver,
                use_dns_cache=False,
                socket_factory=self._socket,
                ssl=_tls(config.verify_tls),
                limit=0,
                keepalive_timeout=KEEPALIVE_S,
            ),
            timeout=aiohttp.ClientTimeout(
                total=config.total_timeout_s,
                sock_connect=config.connect_timeout_s,
                sock_read=config.read_timeout_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_field_size=MAX_HEAD_BYTES,
            proxy=f"http://{config.proxy}" if config.proxy else None,
            trust_env=False,  # a proxy of the environment would dial for us, past the guard
            response_class=_Answer,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        # aiohttp would send a request again by itself, at once, when a kept connection turns out
        # dead: a second request that no pace allowed. There is no public switch in 3.14.
        self._session._retry_connection = False

    async def download_request(self, request: Request) -> Response:
        """The answer as Scrapy sees it: decoded.

        Raises: Scrapy's download errors; the result of the permit has the reason.
        """
        permit = request.meta.get(PERMIT)
        if not isinstance(permit, Permit):
            raise DownloadFailedError(f"{request.url}: not a request of the crawl's own")

        result = permit.result
        result.started_at = time.monotonic()
        result.fetched_at = datetime.now(UTC)

        try:
            await self._fetch(request, result)
        except Exception as error:
            translated = _translated(error, result)
            if translated is error:
                raise
            raise translated from error
        finally:
            result.ended_at = time.monotonic()

        return _scrapy_response(request, result)

    async def close(self) -> None:
        """Close all connections; requests in flight fail."""
        await self._session.close()

    async def _fetch(self, request: Request, result: FetchResult) -> None:
        headers = [
            (name.decode("latin-1"), value.decode("utf-8", "replace"))
            for name, values in request.headers.items()
            for value in values
        ]
        url = URL(result.url, encoded=True)
        result.request_block = _request_block(url, headers)

        async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
            if not isinstance(answer, _Answer) or answer.reader is None:
                raise TypeError("aiohttp answered without our protocol")

            reader = answer.reader
            # Behind a proxy the answering address is unknown.
            result.ip = answer.peer_ip if not self._proxy else None
            result.status = answer.status
            if reader.head is not None:
                result.status_line = reader.head.status_line
                result.headers = reader.head.fields

            try:
                with self._budget.share() as share:
                    if not await self._read_body(answer, result, share):
                        answer.close()  # the rest of the body is not wanted
            finally:
                result.repairs.update(reader.repairs)
                result.cpu_s += reader.cpu_s

    async def _read_body(
        self, answer: aiohttp.ClientResponse, result: FetchResult, share: BodyShare
    ) -> bool:
        """Read the wanted part of the body; True if it was the whole."""
        status = answer.status
        if status in REDIRECTS:
            return await self._read_aside(answer, result, share)
        # A robots.txt is read under any status of success: its rules count (RFC 9309, 2.3.1.1).
        if status not in PAGE_STATUSES and (result.page or not 200 <= status < 300):
            result.truncated = "length"
            return False
        if result.page and is_page_type(result.content_type) is False:
            result.problem = Reason.WRONG_TYPE
            return False

        encodings = content_encodings(result.header_values("content-encoding"))
        try:
            return await self._read(answer, result, share, encodings, result.max_body_bytes)
        except EncodingError:
            result.problem = Reason.BAD_ENCODING
        except BombError:
            result.problem = Reason.DECOMPRESSION_BOMB

        result.body = b""
        result.truncated = "length"
        if result.page:
            result.wire = b""

        return False

    async def _read_aside(
        self, answer: aiohttp.ClientResponse, result: FetchResult, share: BodyShare
    ) -> bool:
        """Read the unneeded body of a redirect."""
        try:
            return await self._read(answer, result, share, [], ASIDE_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            if result.header("location") is None:
                raise
            # Its target is known, and browsers do not wait for the rest either.
            result.truncated = "time" if isinstance(error, TimeoutError) else "disconnect"
            return False

    async def _read(
        self,
        answer: aiohttp.ClientResponse,
        result: FetchResult,
        share: BodyShare,
        encodings: list[str],
        max_bytes: int,
    ) -> bool:
        config = self._config
        decoder = BodyDecoder(
            encodings,
            max_bytes=max_bytes,
            max_ratio=MAX_RATIO,
            max_encodings=MAX_ENCODINGS,
        )
        judge = _ContentJudge(result, decoder)

        try:
            async for chunk in answer.content.iter_any():
                room = config.max_wire_bytes - decoder.wire_bytes
                began_at = time.perf_counter()
                decoder.feed(chunk[:room])
                result.cpu_s += time.perf_counter() - began_at
                share.add(chunk[:room])
                if not judge.may_continue():
                    share.clear()
                    return False

                encoded_bytes = decoder.wire_bytes if decoder.is_encoded else 0
                if share.grow_to(decoder.decoded_bytes + encoded_bytes):
                    decoder.stop_keeping()
                if decoder.full or len(chunk) > room:
                    result.truncated = "length"
                    return False
                if decoder.decoded_bytes > SMALL_BYTES:
                    await asyncio.sleep(LONG_PAUSE_S)

            judge.at_end()
        finally:
            result.repairs.update(dict.fromkeys(decoder.repairs))
            self._hand_out(result, decoder, share, encodings, max_bytes)

        return True

    @staticmethod
    def _hand_out(
        result: FetchResult,
        decoder: BodyDecoder,
        share: BodyShare,
        encodings: list[str],
        max_bytes: int,
    ) -> None:
        """Give the result its body; the stored part of a plain one ends where the decoder did."""
        if result.problem is Reason.WRONG_TYPE:
            return

        received = share.received()
        if share.is_spooled:
            result.body = decode_body(received, encodings, max_bytes)
        else:
            result.body = decoder.body

        result.wire = received if decoder.is_encoded else result.body

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an allowed address: the proxy's, or one accepted by the guard.

        Raises: AddressRefusedError.
        """
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


class _ContentJudge:
    """Checks the first bytes of a body against its headers, if these leave doubt."""

    def __init__(self, result: FetchResult, decoder: BodyDecoder) -> None:
        self._result = result
        self._decoder = decoder
        self._ignored = ignored_encodings(result.header_values("content-encoding"))
        self._unsure = (
            result.page
            and result.status not in REDIRECTS
            and is_page_type(result.content_type) is None
        )

    def may_continue(self) -> bool:
        """False if the bytes so far are not a page's. Raises EncodingError."""
        if self._decoder.decoded_bytes < XML_SNIFF_BYTES:
            return True
        return self._is_page()

    def at_end(self) -> None:
        """Judge an ended body. Raises EncodingError."""
        if self._is_page() and not self._decoder.is_complete:
            # The transfer ended as stated, the content did not: it was cut before it was sent or by a proxy.
            self._result.problem = Reason.CONNECTION_LOST

    def _is_page(self) -> bool:
        if self._unsure:
            self._unsure = False
            if not looks_like_page(self._result.content_type, self._decoder.body):
                self._result.problem = Reason.WRONG_TYPE
                return False

        if self._ignored:
            name, self._ignored = self._ignored[0], []
            if not looks_like_text(self._decoder.body):
                raise EncodingError(f"unknown content encoding {name[:40]!r}")
            self._result.repairs["unknown_encoding"] = None

        return True


class _Connector(aiohttp.TCPConnector):
    """Connects through `LenientProtocol`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = functools.partial(LenientProtocol, loop=self._loop)


class _Answer(aiohttp.ClientResponse):
    """Remembers the reader and the peer's address.

    A finished response no longer has its connection (aiohttp issue 2205).
    """

    peer_ip: str | None = None
    reader: Any = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        self.reader = getattr(connection.protocol, "reader", None)
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
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _translated(error: Exception, result: FetchResult) -> Exception:
    """The error in Scrapy's terms; its reason goes to the result."""
    if isinstance(error, aiohttp.ClientError) and FLOOD in str(error):
        result.problem, result.is_flood = Reason.BAD_RESPONSE, True
        return DownloadFailedError(f"{result.url}: {error!r}")
    if isinstance(error, aiohttp.ClientError) and _refused(error):
        result.problem = Reason.ADDRESS_REFUSED
        return DownloadConnectionRefusedError(str(error))
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyLostError(
            f"the proxy {error.host}:{error.port} cannot be reached: {error.os_error}"
        )

    for kind, reason, translated in _ERRORS:
        if isinstance(error, kind):
            result.problem = reason
            return translated(f"{result.url}: {error!r}")

    return error


# First match wins: aiohttp's error, the recorded reason, the error for Scrapy's users.
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


def _refused(error: BaseException | None) -> bool:
    """True if the guard's refusal ended a dial."""
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


def _scrapy_response(request: Request, result: FetchResult) -> Response:
    headers = Headers()
    for name, value in result.headers:
        if name.lower() not in (b"content-encoding", b"transfer-encoding"):
            headers.appendlist(name, value)

    kind: type[Response] = Response
    if result.body:
        html = b"html" in (headers.get(b"content-type") or b"html").lower()
        kind = HtmlResponse if html else TextResponse

    return kind(
        request.url,
        status=result.status or 0,
        headers=headers,
        body=result.body,
        request=request,
        ip_address=result.ip,
    )
