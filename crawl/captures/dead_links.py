"""The links of a batch without their pages: permanent failures of the fetch, soft failures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_file
from corpus.tables.takedown_list import load_forgotten
from crawl.fetch.pace.politeness import PASSING_STATUSES
from crawl.outcomes import Reason

# Outcomes of another fetch as well: the page, its host or its site is gone.
PERMANENT: Final = (
    Reason.DNS_NOT_FOUND,
    Reason.HOST_UNREACHABLE,
    Reason.CONNECT_FAILED,
    Reason.TLS_FAILED,
    Reason.HTTP_STATUS,
    Reason.REDIRECT_LOOP,
    Reason.REDIRECT_LIMIT,
    Reason.REDIRECT_INVALID,
    Reason.EMPTY_BODY,
    Reason.WRONG_TYPE,
    Reason.NO_CAPTURE,
    Reason.CAPTURE_UNREADABLE,
)
SOFT_FAILURES: Final = "soft_failures"


class DeadLink(NamedTuple):
    """A link without a page, and the time of its first submission."""

    doc_id: str
    url: str
    created: datetime
    why: str


def dead_links(store: Store, batch: str) -> Iterator[DeadLink]:
    """Yield the dead links of a batch in order of `doc_id`, without those taken down.

    Raises: InputError if the batch has no pages yet.
    """
    links, pages = find_manifest(store, "links", batch), find_manifest(store, "pages", batch)
    if links is None or pages is None:
        raise InputError(
            f"{store.root}: batch {batch!r} was not fetched yet; "
            f"run `webtext crawl --corpus {store.root} --batch {batch}` first"
        )

    why = {row["doc_id"]: row["reason"] for row in _soft_failures(store, batch)}
    for row in _rows(store, "pages", batch, ["doc_id", "reason", "status"]):
        if is_permanent(row["reason"], row["status"]):
            why[row["doc_id"]] = row["reason"]

    forgotten = load_forgotten(store)
    for part in links.parts:
        table = read_file(
            store, f"links/{batch}/{part.file}", ["doc_id", "url", "domain", "created"]
        )
        gone = forgotten.mask(table["doc_id"], table["domain"], table["url"])
        for row in table.filter(pc.invert(gone)).to_pylist():
            if row["doc_id"] in why:
                created = row["created"].astimezone(UTC)
                yield DeadLink(row["doc_id"], row["url"], created, why[row["doc_id"]])


def is_permanent(reason: str | None, status: int | None) -> bool:
    """True for an outcome to be expected of another fetch as well."""
    return reason in PERMANENT and status not in PASSING_STATUSES


def _soft_failures(store: Store, batch: str) -> Iterator[dict[str, Any]]:
    for row in _rows(store, "documents_dropped", batch, ["doc_id", "step", "reason"]):
        if row["step"] == SOFT_FAILURES:
            yield row


def _rows(store: Store, table: str, batch: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    manifest = find_manifest(store, table, batch)
    for part in manifest.parts if manifest is not None else ():
        yield from read_file(store, f"{table}/{batch}/{part.file}", columns).to_pylist()
