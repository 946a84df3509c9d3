"""Hooks of a refresh: a webhook, a command and a heartbeat, notified of its end.

The webhook and the command get every event as JSON. The heartbeat address is requested only after a
healthy refresh: a dead man's switch raises the alarm when it stays silent, also if the machine, the
timer or this program is gone.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import shlex
import socket
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from corpus.config import ENV_PREFIX, given_settings
from corpus.credentials import blotted
from corpus.errors import ConfigError

log = logging.getLogger(__name__)

HOOK_TIMEOUT_S = 30
# After a signal: a stop must not take longer than the grace of a service manager.
STOP_TIMEOUT_S = 2
NAMES = ("corpus", "webhook", "command", "heartbeat")


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of one refresh, and the corpus named in its events."""

    corpus: str
    webhook: str = ""
    command: str = ""
    heartbeat: str = ""

    def send(
        self, event: str, details: Mapping[str, Any], *, timeout_s: float = HOOK_TIMEOUT_S
    ) -> None:
        """Send an event with its details."""
        document = {"event": event, "corpus": self.corpus, **details}
        call_hooks(self.webhook, self.command, document, timeout_s=timeout_s)

    def beat(self) -> None:
        """Report the refresh as healthy to the dead man's switch."""
        if self.heartbeat:
            stamp = {"corpus": self.corpus, "when": now(), "host": socket.gethostname()}
            _post("heartbeat", self.heartbeat, json.dumps(stamp).encode(), HOOK_TIMEOUT_S)


def find_hooks(toml_path: str | None, sets: Sequence[str]) -> Hooks:
    """The hooks as they are named, without checking any other setting: a refresh with a bad config
    has to tell somebody as well.
    """
    try:
        given = given_settings("refresh", toml_path=toml_path, sets=sets)
    except ConfigError:
        given = _from_sets(sets)

    found = {}
    for name in NAMES:
        in_environment = os.environ.get(f"{ENV_PREFIX}REFRESH__{name.upper()}", "")
        chosen = _from_sets(sets).get(name) or in_environment or given.get(name, "")
        found[name] = chosen if isinstance(chosen, str) else ""
    return Hooks(**{**found, "corpus": blotted(found["corpus"])})


def _from_sets(sets: Sequence[str]) -> dict[str, Any]:
    try:
        return given_settings("refresh", sets=sets)
    except ConfigError:
        return {}


def now() -> str:
    """The time of an event."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def call_hooks(
    webhook: str, command: str, event: dict[str, Any], *, timeout_s: float = HOOK_TIMEOUT_S
) -> None:
    """Hand an event to the configured hooks.

    The failure of a hook is a warning: it must not stop a refresh.
    """
    data = blotted(json.dumps(event, sort_keys=True)).encode()
    if webhook:
        _post("webhook", webhook, data, timeout_s)
    if command:
        _run(command, data, timeout_s)


def _post(name: str, address: str, data: bytes, timeout_s: float) -> None:
    try:
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout_s):
            pass
    except OSError as error:
        log.warning("refresh.%s = %r: %s", name, _without_secret(address), error)
    except (ValueError, http.client.HTTPException) as error:
        # The message of an unknown scheme, or of a space in the path, has the whole address.
        log.warning(
            "refresh.%s = %r: %s; expected an http:// or https:// address and its answer",
            name,
            _without_secret(address),
            type(error).__name__,
        )


def _without_secret(address: str) -> str:
    """The address without its path and query: chat services keep their secret there."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return blotted(address)
    if not parts.netloc:
        # Without its scheme: all that can be told apart is the host.
        host, slash, _ = address.partition("/")
        return blotted(host) + ("/***" if slash else "")
    if parts.path in ("", "/") and not parts.query:
        return blotted(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def _run(command: str, data: bytes, timeout_s: float) -> None:
    try:
        done = subprocess.run(shlex.split(command), input=data, timeout=timeout_s, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.warning("refresh.command = %r: %s", command, error)
        return

    if done.returncode:
        log.warning("refresh.command = %r: exit code %d", command, done.returncode)
