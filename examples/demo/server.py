"""A loopback web server for the demo: many hosts on one port, told apart by the Host header.

HTTP/1.1 with keep-alive on asyncio, in a thread of its own. It logs every request and serves some
thousand pages a second, so a crawl does not wait for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from types import TracebackType
from urllib.parse import parse_qsl, urlencode

MAX_HEADER_BYTES = 32 * 1024
TRACKING_PREFIX = "utm_"
TRACKING_PARAMETERS = frozenset({"fbclid", "gclid"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer for one address."""

    body: bytes = b""
    status: int = 200
    content_type: str | None = "text/html; charset=utf-8"
    location: str | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the access log."""

    time_s: float
    """Monotonic time of arrival, seconds."""
    host: str
    target: str
    status: int


NOT_FOUND = Answer(b"<!DOCTYPE html><title>404</title><h1>Not Found</h1>", status=404)


def address(host: str, target: str) -> tuple[str, str]:
    """The key of an answer: lower-case host without port and `www.`, target without tracking."""
    name = host.lower().partition(":")[0].removeprefix("www.")
    path, _, query = target.partition("?")
    kept = [
        (key, value)
        for key, value in parse_qsl(query, keep_blank_values=True)
        if not key.startswith(TRACKING_PREFIX) and key not in TRACKING_PARAMETERS
    ]
    return name, f"{path}?{urlencode(sorted(kept))}" if kept else path


class DemoServer:
    """Serves `answers` on 127.0.0.1 while its `with` block runs.

    `port` is known inside the block; `log` keeps every request in order of arrival.
    """

    def __init__(self, answers: Mapping[tuple[str, str], Answer], port: int = 0) -> None:
        self._answers = answers
        self.port = port
        self.log: list[Request] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="demo-server", daemon=True)
        self._ready = threading.Event()
        self._failure: OSError | None = None

    def __enter__(self) -> DemoServer:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def answer(self, host: str, target: str) -> Answer:
        """The answer for one request; it goes to the log."""
        found = self._answers.get(address(host, target), NOT_FOUND)
        self.log.append(Request(time.monotonic(), host, target, found.status))
        return found

    def _run(self) -> None:
        """The thread: an event loop with the listening socket, until `__exit__` stops it."""
        loop = self._loop
        connections: set[asyncio.Transport] = set()
        try:
            server = loop.run_until_complete(
                loop.create_server(lambda: _Connection(self, connections), "127.0.0.1", self.port)
            )
        except OSError as failure:
            self._failure = failure
            loop.close()
            self._ready.set()
            return

        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            loop.run_forever()
        finally:
            server.close()
            for connection in list(connections):
                connection.abort()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()


class _Connection(asyncio.Protocol):
    """One keep-alive connection: requests are answered in the order they came, one at a time."""

    def __init__(self, server: DemoServer, connections: set[asyncio.Transport]) -> None:
        self._server = server
        self._connections = connections
        self._transport: asyncio.Transport
        self._buffer = b""
        self._delayed: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._transport)
        if self._delayed is not None:
            self._delayed.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        """Answer all whole requests in the buffer, unless an answer is being held back."""
        while self._delayed is None and not self._transport.is_closing():
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                if len(self._buffer) > MAX_HEADER_BYTES:
                    self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
            self._buffer = rest
            self._respond(head)

    def _respond(self, head: bytes) -> None:
        request_line, *lines = head.decode("latin-1").split("\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        method, _, rest = request_line.partition(" ")
        target, _, version = rest.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or (
            version == "HTTP/1.1" and "host" not in fields
        ):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if method not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.NOT_IMPLEMENTED)
            return

        options = fields.get("connection", "").lower()
        keep_alive = "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)
        answer = self._server.answer(fields.get("host", ""), target)
        message = _message(answer, with_body=method == "GET", keep_alive=keep_alive)

        if answer.delay_s:
            loop = asyncio.get_running_loop()
            self._delayed = loop.call_later(answer.delay_s, self._send_delayed, message, keep_alive)
        else:
            self._send(message, keep_alive)

    def _send_delayed(self, message: bytes, keep_alive: bool) -> None:
        self._delayed = None
        self._send(message, keep_alive)
        self._advance()

    def _send(self, message: bytes, keep_alive: bool) -> None:
        self._transport.write(message)
        if not keep_alive:
            self._transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer a malformed request and close the connection."""
        body = Answer(status.phrase.encode(), status.value, "text/plain; charset=utf-8")
        self._send(_message(body, with_body=True, keep_alive=False), keep_alive=False)


def _message(answer: Answer, *, with_body: bool, keep_alive: bool) -> bytes:
    """The bytes of one response."""
    fields = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Date: {formatdate(usegmt=True)}",
        "Server: demo",
        f"Content-Length: {len(answer.body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    if answer.content_type is not None:
        fields.append(f"Content-Type: {answer.content_type}")
    if answer.location is not None:
        fields.append(f"Location: {answer.location}")
    head = "\r\n".join((*fields, "", "")).encode("latin-1")

    return head + answer.body if with_body else head
