"""Search for the pages requested by a take-down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow.compute as pc

from corpus.bulk import read_many
from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import Manifest, find_manifest
from corpus.tables.schemas import LINKS, PAGES
from corpus.tables.takedown_list import Forgotten
from corpus.urls import UrlProblem, host_identity, page_identity, target, with_scheme
from webtext.takedown.rows import row_groups

DOMAIN = "domain:"
# Results of searches that are kept: a few for each of some hundred batches.
SEARCHES_KEPT = 1024


def read_request(urls: Sequence[str], names: Sequence[str], list_path: str | None) -> list[str]:
    """Read a request: addresses, doc_ids, and domains as `domain:example.org`."""
    asked = [*urls, *(f"{DOMAIN}{name}" for name in names)]
    if list_path is not None:
        try:
            lines = Path(list_path).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--list {list_path}: {error}; name a readable UTF-8 text file"
            ) from error
        words = [re.split(r"(?:^|\s)#", line)[0].strip() for line in lines]
        asked += [word if _is_page(word) else f"{DOMAIN}{word}" for word in words if word]

    for each in asked:
        _check(each)
    return list(dict.fromkeys(asked))


def domains(asked: Iterable[str]) -> list[str]:
    """The requested domains and hosts, spelled as in identities."""
    return [
        host_identity(each.removeprefix(DOMAIN).lower().strip(".")).key
        for each in asked
        if each.startswith(DOMAIN)
    ]


def find_pages(
    store: Store, asked: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, str]:
    """Find the requested pages: `doc_id` to identity.

    An address means the page of its identity, with or without a batch, and every page redirected to
    it; a domain means all its pages, and those redirected into it.
    """
    pages: dict[str, str] = {}
    for each in asked:
        if not each.startswith(DOMAIN):
            doc_id, key = _identity(each)
            pages[doc_id] = key

    listed = Forgotten(frozenset(pages), frozenset(domains(asked)))
    batches = batch_names(store) if names is None else names
    for found in read_many(store, batches, lambda batch: in_batch(store, batch, listed)):
        pages.update(found)
    return pages


def known(store: Store, asked: Sequence[str], names: Sequence[str]) -> set[str]:
    """The requested ones with a page in some batch."""
    pages = {each: _identity(each)[0] for each in asked if not each.startswith(DOMAIN)}
    all_pages = Forgotten(frozenset(pages.values()), frozenset())
    linked = _linked(store, names, all_pages)
    found = {each for each, doc_id in pages.items() if doc_id in linked}
    # Domains, and addresses reached by redirects only, are looked for one by one.
    for each in asked:
        if each in found:
            continue
        listed = Forgotten(
            frozenset() if each.startswith(DOMAIN) else frozenset([_identity(each)[0]]),
            frozenset(domains([each])),
        )
        if _linked(store, names, listed):
            found.add(each)
    return found


def _linked(store: Store, names: Sequence[str], listed: Forgotten) -> set[str]:
    """The listed pages of all batches, and those redirecting to listed ones."""
    found = read_many(store, names, lambda batch: in_batch(store, batch, listed))
    return {doc_id for each in found for doc_id in each}


def is_listed(asked: str, listed: Forgotten) -> bool:
    """True if an address or a domain was taken down before."""
    if asked.startswith(DOMAIN):
        return set(domains([asked])) <= listed.domains
    return _identity(asked)[0] in listed.doc_ids


def _is_page(word: str) -> bool:
    return "/" in word or re.fullmatch("[0-9a-f]{32}", word) is not None


def _check(asked: str) -> None:
    name = asked.removeprefix(DOMAIN)
    if asked.startswith(DOMAIN) and not re.fullmatch(
        r"[^\s/:@?#]+\.[^\s/:@?#]+|\[[0-9a-f:]+\]", name
    ):
        raise InputError(f"{name!r} is not a domain; expected one such as example.org")
    if not asked.startswith(DOMAIN):
        _identity(asked)


def _identity(asked: str) -> tuple[str, str]:
    if re.fullmatch("[0-9a-f]{32}", asked):
        return asked, ""

    page = target(with_scheme(asked))
    if isinstance(page, UrlProblem):
        raise InputError(
            f"{asked!r} is not the address of a page ({page.value}); expected one such as http://example.org/page"
        )

    identity = page_identity(page)
    return identity.doc_id, identity.url_key


def in_batch(store: Store, batch: str, listed: Forgotten) -> dict[str, str]:
    """The listed pages of a batch, and those redirecting to listed ones: `doc_id` to identity."""
    links, pages = find_manifest(store, LINKS.name, batch), find_manifest(store, PAGES.name, batch)
    seals = tuple(each.seal if each else "none" for each in (links, pages))
    tables = _SearchedTables(store.root, seals, store, links, pages)
    # Manifests older than seals do not tell one state of a table from another.
    found = _search(tables, listed) if all(seals) else _search.__wrapped__(tables, listed)
    return dict(found)


@dataclass(frozen=True, slots=True)
class _SearchedTables:
    """The tables of a batch that pages are looked for in; equal ones have the same bytes."""

    root: str
    seals: tuple[str, ...]
    store: Store = field(compare=False)
    links: Manifest | None = field(compare=False)
    pages: Manifest | None = field(compare=False)


@lru_cache(maxsize=SEARCHES_KEPT)
def _search(tables: _SearchedTables, listed: Forgotten) -> dict[str, str]:
    """A take-down looks for the same pages before it asks, as it notes them, and as it completes."""
    store, links, pages = tables.store, tables.links, tables.pages
    # Filters of parts know pages, not domains.
    exact = None if listed.domains else listed.doc_ids
    led: set[str] = set()
    for piece in row_groups(store, pages, ["doc_id", "url", "final_url"], mentioned=exact):
        moved = piece.filter(pc.fill_null(pc.not_equal(piece["url"], piece["final_url"]), False))
        led.update(row["doc_id"] for row in moved.to_pylist() if listed.has_page(row["final_url"]))

    found: dict[str, str] = {}
    wanted = Forgotten(listed.doc_ids | led, listed.domains)
    parts = None if listed.domains else wanted.doc_ids
    for piece in row_groups(store, links, ["doc_id", "url_key", "domain", "url"], parts):
        rows = piece.filter(wanted.mask(piece["doc_id"], piece["domain"], piece["url"]))
        found.update(zip(rows["doc_id"].to_pylist(), rows["url_key"].to_pylist(), strict=True))

    return found
