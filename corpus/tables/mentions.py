"""Filters that tell which parts of a table may refer to a page, kept in their manifest.

A take-down asks every batch for the redirects to a page (`pages`) and for its duplicates
(`verdicts`). The rows with the answer are in no part that the page's `doc_id` gives, so without
filters every part of both tables is opened: 25,600 files at 200 batches of 64 parts. A Bloom filter
of 10 bits for each reference leaves 1 % of them. It contains no address and can't be inverted.
Parts of earlier versions have no filter and are always read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_intdigest

from corpus.tables.manifest import Part
from corpus.tables.schemas import PAGES, VERDICTS, Table
from corpus.urls import UrlProblem, page_identity, target

# The key in a part's metadata.
MENTIONS = "mentions"
# 1 % of absent keys pass such a filter (Bloom 1970: 0.6185 ** bits).
BITS_PER_KEY, NUM_PROBES = 10, 7
_HALF = (1 << 64) - 1


class MentionCollector:
    """Collects the pages that rows of a part refer to, while the part is written."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._keys: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        """Add rows of the table."""
        if self._table.name in COLUMNS:
            columns = COLUMNS[self._table.name]
            self._keys.update(mentioned(self._table.name, rows.select(columns)))

    def metadata(self) -> dict[str, Any]:
        """The part's metadata: a filter, or nothing for tables that have none."""
        if self._table.name not in COLUMNS:
            return {}
        return {MENTIONS: base64.b64encode(bloom_filter(self._keys)).decode()}


# The columns that refer to pages, by table.
COLUMNS = {PAGES.name: ["url", "final_url"], VERDICTS.name: ["duplicate_of"]}


def mentioned(table: str, rows: pa.Table) -> Iterator[str]:
    """The `doc_id`s that rows refer to: targets of redirects, or pages that stay instead."""
    if table == VERDICTS.name:
        yield from rows["duplicate_of"].drop_null().to_pylist()
        return

    moved = pc.fill_null(pc.not_equal(rows["url"], rows["final_url"]), False)
    for url in rows["final_url"].filter(moved).to_pylist():
        page = target(url)
        if not isinstance(page, UrlProblem):
            yield page_identity(page).doc_id


def bloom_filter(keys: Iterable[str]) -> bytes:
    """A Bloom filter of the keys; no bytes for no key."""
    given = set(keys)
    num_bytes = -(-BITS_PER_KEY * len(given) // 8)
    bits = bytearray(num_bytes)
    for key in given:
        for place in _probes(key, 8 * num_bytes):
            bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def may_mention(part: Part, doc_ids: Iterable[str]) -> bool:
    """False if no row of the part refers to one of these pages."""
    text = part.metadata.get(MENTIONS)
    if not isinstance(text, str):
        return True

    try:
        bits = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return True
    return bool(bits) and any(_has(bits, key) for key in doc_ids)


def _has(bits: bytes, key: str) -> bool:
    return all(bits[place >> 3] >> (place & 7) & 1 for place in _probes(key, 8 * len(bits)))


def _probes(key: str, num_bits: int) -> Iterator[int]:
    # Two halves of one digest give all probes (Kirsch and Mitzenmacher 2006).
    digest = xxh3_128_intdigest(key.encode())
    first, step = digest & _HALF, digest >> 64 | 1
    for number in range(NUM_PROBES):
        yield (first + number * step) % num_bits
