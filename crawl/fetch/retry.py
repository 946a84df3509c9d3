"""When to try again: which failures may pass, how long to wait, what `Retry-After` asks for. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from crawl.outcomes import Reason

PASSING_REASONS = frozenset(
    {Reason.TIMEOUT, Reason.CONNECT_FAILED, Reason.CONNECTION_LOST, Reason.DNS_FAILED}
)
"""Failures of the network that may be gone in a minute."""
PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Answers that may differ in a minute; 501 and 505 will not."""
SLOWING_STATUSES = frozenset({429, 503})
"""Answers by which a server asks for a slower pace."""


def may_pass(reason: Reason | None, status: int | None) -> bool:
    """Whether the same request may succeed later."""
    return reason in PASSING_REASONS or status in PASSING_STATUSES


def backoff_s(num_tries: int, first_s: float, limit_s: float) -> float:
    """Seconds to wait after `num_tries` failed tries (1 or more): doubled each time, up to the limit."""
    return float(min(limit_s, first_s * 2 ** min(num_tries - 1, 30)))


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for, in either of its forms (RFC 9110, 10.2.3); None if unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 12 else None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
