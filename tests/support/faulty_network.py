"""A network between a client and an object store that delays, fails and loses answers, as told.

A proxy on loopback in front of the S3 server: what goes wrong is decided per request, and counted.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["error", "slow_down", "unable", "conflict", "lost", "silent", ""]
"""An answer of 500, 503, 501 or 409 before anything happened; done, but the answer is lost; no answer for `SILENT_S`; none."""
REFUSALS = {
    "error": (500, "InternalError"),
    "slow_down": (503, "SlowDown"),
    "unable": (501, "NotImplemented"),
    "conflict": (409, "ConditionalRequestConflict"),
}
Plan = Callable[[str, str], Fault]
"""(method, path with query) to what goes wrong with this request."""
SILENT_S = 30.0
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Network:
    """What lies between, while it runs."""

    endpoint: str
    plan: Plan = lambda method, path: ""
    latency_s: float = 0.0
    unread: frozenset[str] = frozenset()
    """Request headers, in small letters, that the store never sees: some gateways ignore conditions."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests by method."""
    faults: Counter[str] = field(default_factory=Counter)
    """What went wrong, by kind."""


@contextlib.contextmanager
def between(upstream: str) -> Iterator[Network]:
    """A network in front of the server at `upstream`; clients are given its `endpoint`."""
    where = urlsplit(upstream)
    assert where.hostname is not None
    assert where.port is not None
    network = Network("")
    handler = type(
        "Handler", (_Handler,), {"network": network, "upstream": (where.hostname, where.port)}
    )
    with _Server(("127.0.0.1", 0), handler) as server:
        network.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield network
        server.shutdown()
        thread.join()


def seldom(share: float, seed: int, *kinds: Fault) -> Plan:
    """Faults of these kinds for a share of all requests, drawn by `seed`; never twice in a row for one address."""
    rng, guard, last = random.Random(seed), threading.Lock(), set[tuple[str, str]]()

    def plan(method: str, path: str) -> Fault:
        with guard:
            if (method, path) in last:
                last.discard((method, path))
                return ""
            if rng.random() >= share:
                return ""
            last.add((method, path))
            return rng.choice(kinds)

    return plan


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    network: Network
    upstream: tuple[str, int]

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._store = http.client.HTTPConnection(*self.upstream)

    def finish(self) -> None:
        self._store.close()
        super().finish()

    def _pass_on(self) -> None:
        body = self._body()
        network = self.network
        network.requests[self.command] += 1
        fault = network.plan(self.command, self.path)
        if fault:
            network.faults[fault] += 1
        if network.latency_s:
            time.sleep(network.latency_s)
        if fault == "silent":
            time.sleep(SILENT_S)
            self.close_connection = True
        elif fault in REFUSALS:
            status, code = REFUSALS[fault]
            xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"
            self._answer(status, [("Content-Type", "application/xml")], xml.encode())
        else:
            status, headers, data = self._forward(body)
            if fault == "lost":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self._answer(status, headers, data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - names of http.server

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in HOP_BY_HOP | {"expect"} | self.network.unread
        }
        headers["Content-Length"] = str(len(body))
        try:
            self._store.request(self.command, self.path, body, headers)
            answer = self._store.getresponse()
        except (http.client.HTTPException, OSError):
            self._store.close()
            self._store.request(self.command, self.path, body, headers)
            answer = self._store.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP and not (
                self.command != "HEAD" and name.lower() == "content-length"
            ):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        """Nothing."""
