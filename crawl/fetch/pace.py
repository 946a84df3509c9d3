"""How long a pace key rests: the configured delay, robots.txt's, the server's slowness and what it asks for.

No clock and no queue of its own: times are arguments, and what is to be postponed is returned.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime

from crawl.fetch.requests import Exchange
from crawl.fetch.retry import SLOWING_STATUSES, retry_after_s
from crawl.fetch.settings import FetchConfig


class Pace:
    """Rests by pace key. Times are monotonic seconds."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self.crawl_delay_s: dict[str, float] = {}
        """What robots.txt asks for, where that is more than our own delay."""
        self._slow_s: dict[str, float] = {}
        """Seconds between requests, while a server asks for a slower pace."""

    def rest_until(self, key: str, exchange: Exchange, now: float) -> float:
        """When the key may be asked again: the rest is counted from the end of the answer."""
        config = self._config
        delay_s = max(config.delay_s, self.crawl_delay_s.get(key, 0.0), self._slow_s.get(key, 0.0))
        delay_s *= 1 + random.random() * config.jitter_frac
        ended_at = exchange.ended_at or now
        latency_s = ended_at - exchange.started_at if exchange.started_at else 0.0
        if config.delay_s > 0:
            delay_s = max(delay_s, min(config.latency_factor * latency_s, config.max_delay_s))
        return ended_at + delay_s

    def asked_wait_s(self, key: str, exchange: Exchange) -> tuple[float, float]:
        """Slow down or recover. Seconds for which the server asks to be left alone, and for which the key rests."""
        config = self._config
        status = exchange.status or 0
        asked_s = (
            retry_after_s(exchange.header("retry-after"), datetime.now(UTC))
            if status >= 300
            else None
        )
        wait_s = min(asked_s or 0.0, config.max_retry_after_s)
        if status not in SLOWING_STATUSES:
            slow_s = self._slow_s.pop(key, 0.0) / 2
            if slow_s > config.delay_s:
                self._slow_s[key] = slow_s
            return wait_s, wait_s
        slow_s = 2 * max(self._slow_s.get(key, 0.0), config.delay_s)
        slow_s = self._slow_s[key] = min(slow_s, max(config.max_delay_s, config.delay_s))
        return wait_s, max(wait_s, slow_s)

    def heed(self, key: str, crawl_delay_s: float | None) -> float:
        """Note a `Crawl-delay`; the seconds that the key rests from now because of it, 0 where it asks no more than before."""
        delay_s = min(crawl_delay_s or 0.0, self._config.max_crawl_delay_s)
        if delay_s <= self.crawl_delay_s.get(key, self._config.delay_s):
            return 0.0
        self.crawl_delay_s[key] = delay_s
        return delay_s
