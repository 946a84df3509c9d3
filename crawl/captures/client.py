"""A slow HTTP client for archives: one request at a time, paced, guarded, patient.

An archive is a host like any other: its robots.txt is asked, its addresses pass the guard, a
request follows the end of the last one after `delay_s`, and `Retry-After` is obeyed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from corpus.errors import InputError, RetryableError
from crawl.fetch.network import addresses
from crawl.fetch.permission import robots
from crawl.fetch.settings import FetchConfig

MAX_BYTES: Final = 64 << 20
MAX_REDIRECTS: Final = 5
TIMEOUT_S: Final = 60.0
FIRST_WAIT_S, MAX_WAIT_S = 5.0, 600.0
TRIES: Final = 6
_PASSING: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))


class ArchiveAnswer(NamedTuple):
    """An answer of an archive. `headers` are by lower-case name."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class ArchiveClient:
    """Asks archives politely. Counts requests and bytes."""

    def __init__(self, config: FetchConfig, *, sleep: Callable[[float], None] = time.sleep) -> None:
        config.require_contact()
        self._config = config
        self._sleep = sleep
        self._rules: dict[str, robots.Robots] = {}
        self._free_at: dict[str, float] = {}
        self.requests = 0
        self.bytes = 0

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> ArchiveAnswer:
        """Get an address, following redirects.

        Raises: InputError if robots.txt or the guard refuses it, RetryableError if the archive
        stays unavailable.
        """
        for _ in range(MAX_REDIRECTS + 1):
            self._check_robots(url)
            answer = self._patiently(url, headers or {})
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            url = urljoin(url, location)

        raise RetryableError(f"{url}: more than {MAX_REDIRECTS} redirects")

    def _check_robots(self, url: str) -> None:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._rules:
            answer = self._patiently(f"{site}/robots.txt", {})
            self._rules[site] = robots.decide(answer.status, answer.body, self._config.user_agent)
        if not self._rules[site].allows(url):
            raise InputError(f"{url}: the robots.txt of the archive disallows it")

    def _patiently(self, url: str, headers: Mapping[str, str]) -> ArchiveAnswer:
        wait_s = FIRST_WAIT_S
        problem = ""
        for attempt in range(TRIES):
            try:
                answer = self._once(url, headers)
            except (OSError, http.client.HTTPException) as error:
                problem = str(error) or type(error).__name__
                asked = 0.0
            else:
                if answer.status not in _PASSING:
                    return answer
                problem = f"status {answer.status}"
                asked = _seconds(answer.headers.get("retry-after", ""))
            if attempt + 1 < TRIES:
                self._sleep(min(MAX_WAIT_S, max(wait_s, asked)))
                wait_s *= 2

        raise RetryableError(f"{url}: the archive does not answer ({problem}); run again later")

    def _once(self, url: str, headers: Mapping[str, str]) -> ArchiveAnswer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url}: not an http(s) address")
        rest = self._free_at.get(parts.netloc, 0.0) - time.monotonic()
        if rest > 0:
            self._sleep(rest)

        connection = self._connect(parts.scheme, parts.hostname, parts.port)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            sent = {
                "Host": parts.netloc,
                "User-Agent": self._config.user_agent_header,
                "Accept-Encoding": "identity",
                "Connection": "close",
                **headers,
            }
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            body = response.read(MAX_BYTES + 1)
        finally:
            connection.close()
            self._free_at[parts.netloc] = time.monotonic() + self._config.delay_s

        self.requests += 1
        self.bytes += len(body)
        if len(body) > MAX_BYTES:
            raise InputError(f"{url}: an answer of more than {MAX_BYTES} bytes")
        found = {name.lower(): value for name, value in response.getheaders()}
        return ArchiveAnswer(url, response.status, response.reason, found, body)

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        """A connection to an address of the host, if the guard allows it."""
        number = port or (443 if scheme == "https" else 80)
        problem = f"{host} has no address"
        for *_, place in socket.getaddrinfo(host, number, type=socket.SOCK_STREAM):
            ip = str(place[0])
            refused = addresses.refusal(ip, self._config.networks)
            if refused is not None:
                problem = f"{host}: {ip} is refused ({refused})"
                continue

            raw = socket.create_connection((ip, number), timeout=TIMEOUT_S)
            connection = http.client.HTTPConnection(host, number, timeout=TIMEOUT_S)
            connection.sock = raw
            if scheme == "https":
                context = ssl.create_default_context()
                connection.sock = context.wrap_socket(raw, server_hostname=host)
            return connection

        raise InputError(problem)


def _seconds(value: str) -> float:
    return float(value) if value.strip().isdigit() else 0.0
