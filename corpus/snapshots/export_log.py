"""The exports of snapshots: a record of each in `exports/`, so that a take-down can name them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from xxhash import xxh3_64_hexdigest

from corpus.errors import InputError, WebtextError
from corpus.storage.store import Store

log = logging.getLogger(__name__)

FOLDER = "exports"


def note_export(store: Store, snapshot: str, form: str, place: str) -> None:
    """Record that a snapshot, or a run on it, was exported to `place`.

    A corpus that cannot be written is left as it is: the export itself succeeded.
    """
    record = {
        "snapshot": snapshot,
        "format": form,
        "place": place,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    name = xxh3_64_hexdigest(f"{snapshot} {form} {place}".encode())
    try:
        store.write_bytes(f"{FOLDER}/{name}.json", json.dumps(record, indent=1).encode() + b"\n")
    except (OSError, WebtextError) as error:
        log.warning("the export is not recorded in the corpus: %s", error)


def exports(store: Store) -> list[dict[str, Any]]:
    """All recorded exports, by time."""
    found = []
    for path, _ in store.files(FOLDER):
        try:
            found.append(store.read_object(path))
        except InputError:
            log.warning("%s/%s is not a record of an export", store.root, path)
    return sorted(found, key=lambda each: str(each.get("when", "")))
