"""Take-downs: requests, times, removals, and pages that must never come back.

One record per take-down, `forgotten/<id>.json`, written before any removal and completed batch by
batch, so an interrupted one is found and continued. All records together are the list for the links
stage, and for redirects of the fetch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from corpus.errors import SchemaError
from corpus.storage.store import Store, is_name
from corpus.tables.manifest import record_seal
from corpus.tables.record import Record
from corpus.urls import UrlProblem, page_identity, target

FOLDER = "forgotten"
# The host in a WHATWG-serialised address, which has no userinfo here.
HOST = re.compile(r"[a-z]+://(\[[^]]*\]|[^/:]*)")


class TakenContent(Record):
    """The content of a page that was taken down, as far as it can tell copies: no word of it."""

    content_hash: str
    """Of its words, as in `signatures`."""
    signature: str = ""
    """Base64 of its MinHash values, little-endian uint32; empty for a page that had none."""
    shingles: int = 0
    """Words of a shingle."""
    seed: int = 0
    """Of the permutations."""


class Takedown(Record):
    """One take-down."""

    id: str
    asked: list[str]
    """As given: addresses, domains, the name of a list."""
    when: str
    url_keys: dict[str, str]
    """`doc_id` to identity of every page that is taken down or must never come."""
    domains: list[str] = []
    """Registered domains, or hosts, that are taken down as a whole, for ever."""
    why: str = ""
    done: list[str] = []
    """Batches in which nothing of it is left."""
    opened: list[str] | None = None
    """Batches from which rows may have been removed already; None in records older than it."""
    removed: dict[str, int] = {}
    """What went, by kind: `pages`, `documents`, `warc_records`, `tokens`, ..."""
    withdrawn: dict[str, str] = {}
    """Snapshot to its replacement."""
    keep_copies: bool = False
    """True if copies of the pages stay, and may come again."""
    contents: list[TakenContent] = []
    """What tells copies that come later."""
    digests: list[str] = []
    """Payload digests of the stored responses, by which `--prove` finds them."""
    runs: list[str] = []
    """Training runs on a snapshot that held a page."""
    exports: list[str] = []
    """Exports of such a snapshot, as `format to place`."""
    revoked: str | None = None
    """When the take-down was withdrawn for the future; what it removed stays removed."""
    finished: str | None = None
    seal: str = ""
    """Over all of the above, for `webtext.verify`; empty in records older than it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """All taken-down pages and hosts."""

    doc_ids: frozenset[str]
    domains: frozenset[str]

    def mask(
        self, doc_ids: pa.ChunkedArray, domains: pa.ChunkedArray, urls: pa.ChunkedArray
    ) -> pa.ChunkedArray:
        """Mask of rows on the list. Columns of `links`; a listed host includes all below it."""
        listed = pc.is_in(doc_ids, pa.array(sorted(self.doc_ids), pa.string()))
        if self.domains:
            listed = pc.or_(listed, pc.is_in(domains, pa.array(sorted(self.domains), pa.string())))
            hosts = [self.has_host(url) for url in urls.to_pylist()]
            listed = pc.or_(listed, pa.chunked_array([pa.array(hosts, pa.bool_())]))

        return listed

    def has_page(self, url: str) -> bool:
        """True if an address, such as a redirect's target, is of a page on the list."""
        page = target(url)
        return not isinstance(page, UrlProblem) and (
            page_identity(page).doc_id in self.doc_ids or self.has_host(page.url)
        )

    def has_host(self, url: str) -> bool:
        """True if the host of a WHATWG-serialised address, or one above it, is listed."""
        found = HOST.match(url)
        host = found[1].rstrip(".") if found else ""
        while host:
            if host in self.domains:
                return True
            host = host.partition(".")[2]

        return False


def takedowns(store: Store) -> list[Takedown]:
    """All take-downs, oldest first. Raises SchemaError for a foreign record."""
    found = []
    for path, _ in store.files(FOLDER):
        try:
            record = Takedown.model_validate_json(store.read_bytes(path))
        except ValidationError as error:
            raise SchemaError(f"{store.root}/{path}: not a take-down record; restore it") from error

        if path != f"{FOLDER}/{record.id}.json" or not is_name(record.id):
            raise SchemaError(f"{store.root}/{path}: has the id {record.id!r}; restore the file")
        found.append(record)

    return sorted(found, key=lambda each: (each.when, each.id))


def unfinished(store: Store) -> list[Takedown]:
    """Interrupted take-downs, and those waiting for a batch."""
    return [record for record in takedowns(store) if record.finished is None]


def load_forgotten(store: Store) -> Forgotten:
    """Load the list of taken-down pages."""
    return together(standing(store))


def standing(store: Store) -> list[Takedown]:
    """The take-downs that hold for what comes: all but the revoked ones."""
    return [record for record in takedowns(store) if record.revoked is None]


def taken_contents(store: Store) -> list[TakenContent]:
    """The contents whose copies must not come back, each once."""
    found = {each.content_hash: each for record in standing(store) for each in record.contents}
    return [found[key] for key in sorted(found)]


def together(records: Iterable[Takedown]) -> Forgotten:
    """Several take-downs as one list."""
    records = list(records)
    return Forgotten(
        frozenset(doc_id for each in records for doc_id in each.url_keys),
        frozenset(domain for each in records for domain in each.domains),
    )


def write_takedown(store: Store, record: Takedown) -> None:
    """Make a take-down, or its progress, durable."""
    sealed = record.model_copy(update={"seal": record_seal(record.model_dump(mode="json"))})
    store.write_bytes(
        f"{FOLDER}/{record.id}.json", sealed.model_dump_json(indent=1).encode() + b"\n"
    )
