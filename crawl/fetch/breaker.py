"""Hosts that don't answer: left alone for a while after failures in a row, given up after some such rests.

Old links are full of dead hosts; without this, each of their URLs would cost a connect time-out and its retries.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Host:
    failures: int = 0
    openings: int = 0
    open_until: float = 0.0


class Breaker:
    """Connect failures by host. Times are the caller's clock, in seconds."""

    def __init__(self, *, failures: int, open_s: float, openings: int) -> None:
        self._failures = failures
        self._open_s = open_s
        self._openings = openings
        self._hosts: dict[str, _Host] = {}

    def failed(self, host: str, now: float) -> None:
        """A connect attempt failed."""
        state = self._hosts.setdefault(host, _Host())
        state.failures += 1
        if state.failures >= self._failures:
            state.failures = 0
            state.openings += 1
            state.open_until = now + self._open_s

    def answered(self, host: str) -> None:
        """The host gave an answer, of whatever status."""
        self._hosts.pop(host, None)

    def open_until(self, host: str, now: float) -> float | None:
        """When the host may be tried again, or None if it may be now."""
        state = self._hosts.get(host)
        return state.open_until if state is not None and state.open_until > now else None

    def gave_up(self, host: str) -> bool:
        """Whether the host has had its last rest."""
        state = self._hosts.get(host)
        return state is not None and state.openings >= self._openings
