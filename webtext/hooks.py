"""Hooks of a refresh: a webhook and a command that get each event as JSON."""

from __future__ import annotations

import http.client
import json
import logging
import shlex
import subprocess
import urllib.request
from typing import Any

log = logging.getLogger(__name__)

HOOK_TIMEOUT_S = 30


def call_hooks(webhook: str, command: str, event: dict[str, Any]) -> None:
    """Hand an event to the hooks that are set.

    The failure of a hook is a warning: it must not stop a refresh.
    """
    data = json.dumps(event, sort_keys=True).encode()
    if webhook:
        _post(webhook, data)
    if command:
        _run(command, data)


def _post(webhook: str, data: bytes) -> None:
    try:
        request = urllib.request.Request(webhook, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=HOOK_TIMEOUT_S):
            pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        log.warning("refresh.webhook = %r: %s", webhook, error)


def _run(command: str, data: bytes) -> None:
    try:
        done = subprocess.run(shlex.split(command), input=data, timeout=HOOK_TIMEOUT_S, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.warning("refresh.command = %r: %s", command, error)
        return

    if done.returncode:
        log.warning("refresh.command = %r: exit code %d", command, done.returncode)
