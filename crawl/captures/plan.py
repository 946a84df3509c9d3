"""Counts a batch's links with a capture in an archive, before anything is fetched."""

from __future__ import annotations

from datetime import UTC
from itertools import islice
from typing import Final

from corpus.storage.store import Store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import iter_part
from crawl.captures.dead_links import DeadLink
from crawl.captures.lookup import SCAN_LINKS, coverage, open_terms
from crawl.config import CrawlConfig

# Links asked for at a server, one request each. The share is then known to 3 points.
SAMPLE_LINKS: Final = 1000
_COLUMNS: Final = ["doc_id", "url", "created"]


def of_batch(store: Store, batch: str, config: CrawlConfig) -> str:
    """The links covered by the indexes, as text. No record is fetched.

    An index behind a server is asked for a sample: ids are hashes, so the first
    links of a batch are a random choice.
    """
    manifest = read_manifest(store, "links", batch)
    terms = open_terms(config.captures, config.fetch)
    rows = (
        row
        for part in range(len(manifest.parts))
        for table in iter_part(store, "links", batch, part, _COLUMNS)
        for row in table.to_pylist()
    )
    links = (
        DeadLink(row["doc_id"], row["url"], row["created"].astimezone(UTC), "") for row in rows
    )
    sampled = terms.asks_server and manifest.rows > SAMPLE_LINKS
    if sampled:
        links = islice(links, SAMPLE_LINKS)  # type: ignore[assignment]

    found = coverage(links, terms, SCAN_LINKS)
    of = (
        f"a sample of {found.total:,} of {manifest.rows:,} links"
        if sampled
        else f"{found.total:,} links"
    )
    return (
        f"archives: {found.covered:,} of {of} have a capture ({found.share:.0%}), "
        f"{found.size:,} bytes to read; {_asked(config)}"
    )


def _asked(config: CrawlConfig) -> str:
    if config.fetch.archive == "only":
        return "no site is asked"
    return "they are asked for links whose fetch fails"
