"""The settings of the fetch, `[crawl.fetch]`, each with its unit, its reason or its source."""

from __future__ import annotations

import ipaddress
import re
from datetime import MAXYEAR, UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from corpus.config import Section
from corpus.errors import ConfigError
from crawl.fetch.network.addresses import Network
from crawl.fetch.permission.robots_cache import ROBOTS_CACHE_BYTES

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])\Z")
MAX_DURATION_S = 100 * 366 * 86400
_PRODUCT = re.compile(r"[A-Za-z_-]{2,64}\Z")
_CONTACT = re.compile(r"(https?://|mailto:)?[^\s()<>;]+\.[^\s()<>;]+\Z")
_ENDPOINT = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>\d{1,5})\Z")

LARGEST_BODY_BYTES = 1 << 24
"""Half of the readers' limit for records, so that every stored page can be read."""
MAX_RATIO = 100.0
"""Decoded bytes per received byte; more is a decompression bomb (counted from 1 MiB decoded)."""
MAX_ENCODINGS = 2
"""Content encodings applied to one body."""
MAX_RETRY_DELAY_S = 900.0
"""Limit of the doubling delay between tries of a page."""
OWNED_SETTINGS = frozenset(
    {
        "SCHEDULER",
        "DOWNLOAD_HANDLERS",
        "TWISTED_REACTOR_ENABLED",
        "TELNETCONSOLE_ENABLED",
        "REMOTE_CONTROL_ENABLED",
        "CONCURRENT_REQUESTS",
        "JOBDIR",
    }
)
"""Scrapy settings that carry our promises (pace, guard, resume) and can't be changed by config."""


class RightsCheck(StrEnum):
    """Things that `webtext rights check` asks for."""

    FILES = "files"
    """robots.txt and the files that sites have beside it."""
    PAGES = "pages"
    """The pages as well, by conditional requests."""


class FetchConfig(Section):
    """Settings of the fetch: identity, pace, limits, safety."""

    outside_corpus = frozenset(
        {
            "allow_networks",
            "bot_auth_key",
            "allow_ports",
            "connect_to",
            "proxy",
            "scrapy_settings",
            "verify_tls",
        }
    )

    retired = {
        "max_ratio": f"bodies that decode to more than {MAX_RATIO:.0f} times their size end",
        "max_encodings": f"{MAX_ENCODINGS} content encodings are decoded at most",
        "max_retry_delay_s": f"retries wait for {MAX_RETRY_DELAY_S:.0f} s at most",
    }

    user_agent: str = "webtext"
    """Product token: sent in `User-Agent` and looked up in robots.txt; letters, `_` and `-` (RFC 9309)."""
    contact: str = ""
    """URL or mail address of the operator, sent in `User-Agent`. Required unless only loopback is crawled."""
    bot_auth_key: str = ""
    """PEM file of an Ed25519 key that signs requests (Web Bot Auth, RFC 9421). Empty: unsigned."""
    bot_auth_agent: str = ""
    """Site with the directory of that key, sent as `Signature-Agent`, such as https://example.org."""
    shards: int = Field(0, ge=0, le=1 << 16)
    """Shards of domains of a batch, which workers share out among themselves; fixed at the first
    start. 0: one per 500 links, at most 1,024.
    """
    deadline: str = ""
    """Time at which the batch is closed: 36h, 2d or 90m from its first start, or 2026-12-01T06:00.
    Links left end as `deferred`.
    """

    archive: Literal["off", "fallback", "only"] = "off"
    """Captures of `[crawl.captures]` for links whose pages are not there (`fallback`), or for all
    links without asking their sites (`only`).
    """

    probe_missing: bool = False
    """Ask each host that answers with a page once for an address that cannot exist. Pages with the
    same answer are dropped as `soft_404`. One request more a host.
    """

    delay_s: float = Field(1.0, ge=0, le=3600)
    """Seconds between the end of a domain's answer and the next request to it (StormCrawler's default)."""
    jitter_frac: float = Field(0.1, ge=0, le=2)
    """The delay is drawn between itself and itself x (1 + this)."""
    latency_factor: float = Field(2.0, ge=0, le=20)
    """A domain rests at least this many times its last response time, body included (Heritrix: 5).
    """
    max_delay_s: float = Field(30.0, ge=0, le=3600)
    """Limit of the delay that latency and 429/503 answers cause."""
    max_crawl_delay_s: float = Field(30.0, ge=0, le=3600)
    """`Crawl-delay` of robots.txt is honoured up to this."""
    max_retry_after_s: float = Field(3600.0, ge=0, le=86400)
    """`Retry-After` is honoured up to this."""
    concurrency: int = Field(128, ge=1, le=4096)
    """Requests in flight per worker, each to another domain."""
    max_in_flight_per_ip: int = Field(8, ge=1, le=4096)
    """Requests in flight to one IP address (IPv6: one /64) over all workers; also sets its rate,
    this many per `delay_s`.
    """
    per_domain_cap: int = Field(0, ge=0)
    """Links fetched per domain and batch, best score first; others end as `domain_cap`. 0: all."""

    max_body_bytes: int = Field(5 << 20, ge=1024, le=LARGEST_BODY_BYTES)
    """Decoded bytes kept of a page; longer ones are cut and marked (Common Crawl: 5 MiB). At most
    16 MiB.
    """
    max_wire_bytes: int = Field(5 << 20, ge=1024, le=LARGEST_BODY_BYTES)
    """Bytes read from the network per page; longer ones are cut and marked. At most 16 MiB."""
    max_redirects: int = Field(8, ge=0, le=20)
    """Redirects followed per link (browsers: 20). robots.txt has a fixed limit of 5 (RFC 9309)."""
    total_timeout_s: float = Field(30.0, gt=0)
    """Seconds from the dial to the last byte."""
    connect_timeout_s: float = Field(10.0, gt=0)
    """Seconds to connect."""
    read_timeout_s: float = Field(10.0, gt=0)
    """Seconds between two reads."""
    dns_timeout_s: float = Field(10.0, gt=0)
    """Seconds to resolve a name."""

    retries: int = Field(2, ge=0, le=20)
    """Further tries after a failure that may pass (time-outs, resets, 408, 425, 429, 5xx)."""
    retry_delay_s: float = Field(30.0, ge=0)
    """Seconds before the first retry; doubled at each further one, up to 15 minutes."""

    robots_cache_s: float = Field(86400.0, gt=0, le=86400)
    """Seconds for which a robots.txt is used (RFC 9309: at most 24 h)."""
    robots_cache_bytes: int = Field(ROBOTS_CACHE_BYTES, ge=1 << 20)
    """Bytes of robots.txt rules that a worker keeps in memory; others go to disk."""
    refuse_robots_tags: tuple[str, ...] = ()
    """Tags of `X-Robots-Tag` or `<meta name=robots>` that drop a page as `robots_tag`, such as
    "noai".
    """

    allow_networks: tuple[str, ...] = ()
    """Networks (CIDR) that may be dialled beside public addresses."""
    allow_ports: tuple[int, ...] = (80, 443)
    """Ports that a URL may name."""
    connect_to: dict[str, str] = Field(default_factory=dict)
    """Host patterns to `ip:port` that is dialled without resolving; the guard still judges the
    address.
    """
    proxy: str = ""
    """`ip:port` of an HTTP proxy that dials for us; those of the environment are ignored. Names are
    judged before it is asked.
    """
    verify_tls: bool = True
    """Verify certificates. If off, WARC records of https pages have `X-Crawler-TLS-Verified:
    false`.
    """

    segment_bytes: int = Field(1 << 29, ge=1 << 10)
    """Compressed bytes after which a WARC segment is closed (Common Crawl: 1 GB)."""
    segment_age_s: float = Field(900.0, gt=0)
    """Seconds after which an open segment is closed: a kill may cost this much."""
    flush_s: float = Field(30.0, gt=0)
    """Seconds between saves of outcomes without a record, and of retry times."""
    store_requests: bool = False
    """Write a WARC request record beside each response."""
    scrapy_settings: dict[str, Any] = Field(default_factory=dict)
    """Further Scrapy settings, such as DOWNLOADER_MIDDLEWARES."""

    @field_validator("user_agent")
    @classmethod
    def _check_user_agent(cls, value: str) -> str:
        if not _PRODUCT.match(value):
            raise ValueError("expected a product token of letters, '_' and '-'")
        return value

    @field_validator("contact")
    @classmethod
    def _check_contact(cls, value: str) -> str:
        if value and not _CONTACT.match(value):
            raise ValueError(
                "expected a URL or a mail address, such as https://example.org/crawler"
            )
        return value

    @field_validator("allow_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}; expected a network such as 10.1.0.0/16") from error
        return value

    @field_validator("deadline")
    @classmethod
    def _check_deadline(cls, value: str) -> str:
        deadline_at(value, 0.0)
        return value

    @field_validator("allow_ports")
    @classmethod
    def _check_ports(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for port in value:
            if not 1 <= port <= 65535:
                raise ValueError(f"port {port}; expected 1..65535")
        return value

    @field_validator("connect_to")
    @classmethod
    def _check_connect_to(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern, endpoint in value.items():
            try:
                parse_endpoint(endpoint)
            except ValueError as error:
                raise ValueError(f"{pattern!r}: {error}") from error
        return value

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: str) -> str:
        if value:
            parse_endpoint(value)
        return value

    @field_validator("scrapy_settings")
    @classmethod
    def _check_scrapy_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        owned = sorted(OWNED_SETTINGS & value.keys())
        if owned:
            raise ValueError(f"{', '.join(owned)} can't be changed")
        return value

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """`allow_networks`, parsed."""
        return tuple(ipaddress.ip_network(network) for network in self.allow_networks)

    @property
    def ip_interval_s(self) -> float:
        """Seconds between requests to one IP address, over all workers and domains.

        An address receives as much as `max_in_flight_per_ip` domains at their full pace.
        """
        return self.delay_s / self.max_in_flight_per_ip

    @cached_property
    def only_loopback(self) -> bool:
        """True if only loopback may be dialled: no contact, and no other allowed network."""
        return (
            not self.contact and bool(self.networks) and all(n.is_loopback for n in self.networks)
        )

    @property
    def endpoints(self) -> dict[str, tuple[str, int]]:
        """`connect_to`, parsed: host pattern to (ip, port)."""
        return {pattern: parse_endpoint(endpoint) for pattern, endpoint in self.connect_to.items()}

    @property
    def proxy_endpoint(self) -> tuple[str, int] | None:
        """`proxy`, parsed: (ip, port)."""
        return parse_endpoint(self.proxy) if self.proxy else None

    @property
    def user_agent_header(self) -> str:
        """The `User-Agent` header."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent

    def require_contact(self) -> None:
        """Check that a contact is named if hosts beyond loopback can be reached.

        Raises: ConfigError.
        """
        if not self.contact and not self.only_loopback:
            raise ConfigError(
                "crawl.fetch.contact is empty: a crawl of real hosts names its operator; "
                "add --set crawl.fetch.contact=https://your.site/about-this-crawler"
            )


def deadline_at(text: str, started_at: float) -> float | None:
    """Unix seconds of a deadline: `36h` from `started_at`, or a time; None if empty.

    Times are UTC by default. Raises: ValueError.
    """
    if not text:
        return None
    unusable = ValueError(f"{text!r}; expected 36h, 2d, 90m or a time such as 2026-12-01T06:00")
    if match := _DURATION.match(text):
        seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        if seconds > MAX_DURATION_S:
            raise unusable
        return started_at + seconds
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise unusable from None
    if (
        not 1970 <= at.year < MAXYEAR
    ):  # at the ends of the calendar, its neighbours in other zones have no name
        raise unusable
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def parse_endpoint(text: str) -> tuple[str, int]:
    """(ip, port) of `127.0.0.1:8080` or `[::1]:8080`. Raises ValueError."""
    match = _ENDPOINT.match(text)
    if match is None:
        raise ValueError(f"{text!r}; expected ip:port such as 127.0.0.1:8080")
    address, port = match["v6"] or match["v4"], int(match["port"])
    ipaddress.ip_address(address)
    if not 1 <= port <= 65535:
        raise ValueError(f"{text!r}; port {port} is not in 1..65535")
    return address, port
