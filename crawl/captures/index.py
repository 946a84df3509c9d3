"""The interface of indexes of captures, and their common parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

REVISIT = "warc/revisit"


class IndexedCapture(NamedTuple):
    """A capture as an index lists it. `status` is None for a revisit without one."""

    url: str
    at: datetime
    status: int | None
    mime: str
    digest: str
    """SHA-1 of the payload in base32, without `sha1:`."""
    file: str = ""
    offset: int = 0
    length: int = 0

    @property
    def is_revisit(self) -> bool:
        """True if another capture holds the payload."""
        return self.mime == REVISIT

    @property
    def timestamp(self) -> str:
        """The 14 digits of an archive's addresses."""
        return self.at.astimezone(UTC).strftime("%Y%m%d%H%M%S")


# The first and the last time of interest.
Span = tuple[datetime, datetime]


class CaptureIndex(ABC):
    """A source of captures. Implementations pass the laws in `tests/crawl/capture_laws.py`."""

    name: str
    """Names the archive in reports."""

    @abstractmethod
    def captures(
        self, urls: Sequence[str], spans: Mapping[str, Span] | None = None
    ) -> Iterator[tuple[str, list[IndexedCapture]]]:
        """Yield each address with its captures in order of time.

        Nothing is left out, except that an index with very many captures may omit those beyond an
        address's span.

        Raises: RetryableError if the index stays unavailable.
        """


def parse_timestamp(text: str) -> datetime | None:
    """The time of 4 to 14 digits, or None."""
    digits = text.strip()
    if not digits.isascii() or not digits.isdigit() or not 4 <= len(digits) <= 14:
        return None
    padded = digits + "00000101000000"[len(digits) :]
    try:
        return datetime.strptime(padded, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def status_of(text: object) -> int | None:
    """The status of a field, or None for `-`."""
    value = str(text or "")
    # Python refuses to read thousands of digits, and no size or status has more than these.
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else None


def surt(url: str) -> str:
    """The sort key of an address in CDX indexes: `com,example)/path?query`.

    Host without `www.`, in reverse; scheme and usual ports left out; lower case; query parameters
    in order. Source: the `surt` package of the Internet Archive, its default canonicalization.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    host = (parts.hostname or "").rstrip(".").lower()
    labels = host.split(".")
    if len(labels) > 2 and labels[0].rstrip("0123456789") == "www":
        labels = labels[1:]
    port = f":{parts.port}" if parts.port and parts.port not in (80, 443) else ""
    path = parts.path.lower() or "/"
    if len(path) > 1:
        path = path.rstrip("/") or "/"
    query = "&".join(sorted(parts.query.lower().split("&"))) if parts.query else ""

    return f"{','.join(reversed(labels))}{port}){path}" + (f"?{query}" if query else "")
