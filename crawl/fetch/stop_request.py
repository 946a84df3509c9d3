"""A request to stop in the corpus itself, found by a fetch on any machine.

A signal reaches the driver and, through Ray, the tasks beside the workers; not a worker on a node
lost to Ray. So each worker looks every few seconds for a request to stop (`webtext crawl --stop`,
or a stopped driver), and for the lease of its own run: once another run has taken the batch over,
its pages would be asked for twice.
"""

from __future__ import annotations

import json
import logging

from corpus.errors import WebtextError
from corpus.storage.lease import owner
from corpus.storage.store import Store, work_dir

log = logging.getLogger(__name__)

# Between two looks of a worker: two small requests to an object store.
EVERY_S = 5.0


def request_stop(store: Store, batch: str, why: str) -> None:
    """Ask every worker of the batch's fetch to save its state and end."""
    store.write_bytes(stop_path(batch), json.dumps({"why": why}).encode())


def withdraw(store: Store, batch: str) -> None:
    """Remove a request. The caller holds the batch's lease."""
    store.delete(stop_path(batch))


def stop_path(batch: str) -> str:
    """The file of a request."""
    return f"{work_dir(batch)}/crawl.stop"


def lease_token(store: Store, batch: str) -> str | None:
    """The token of the batch's present run; None without one."""
    found = owner(store, f"{work_dir(batch)}/lock.json")
    return str(found["token"]) if found and "token" in found else None


def reason_to_stop(store: Store, batch: str, token: str | None) -> str | None:
    """A reason to stop for a worker started under the lease `token`, or None.

    A store that does not answer is not a reason: it is asked again.
    """
    try:
        if store.exists(stop_path(batch)):
            return "a stop was asked for"
        if token is not None and (found := lease_token(store, batch)) not in (token, None):
            return f"another run took the batch over ({found})"
    except (OSError, WebtextError) as error:
        log.debug("no look for a stop: %s", error)
    return None
