"""Counts a batch's links with a capture in an archive, before anything is fetched."""

from __future__ import annotations

from datetime import UTC
from itertools import islice
from typing import Final

from corpus.storage.store import Store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import iter_part
from crawl.captures.dead_links import DeadLink
from crawl.captures.lookup import look_up, open_terms
from crawl.config import CrawlConfig

# Links of one scan of an index in files.
SCAN_LINKS: Final = 200_000
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

    total = covered = size = 0
    while group := list(islice(links, SCAN_LINKS)):
        for each in look_up(group, terms):
            total += 1
            covered += bool(each.fitting)
            size += each.fitting[0].length if each.fitting else 0

    share = covered / total if total else 0.0
    of = f"a sample of {total:,} of {manifest.rows:,} links" if sampled else f"{total:,} links"
    return (
        f"archives: {covered:,} of {of} have a capture ({share:.0%}), {size:,} bytes to read; "
        f"{_asked(config)}"
    )


def _asked(config: CrawlConfig) -> str:
    if config.fetch.archive == "only":
        return "no site is asked"
    return "they are asked for links whose fetch fails"
