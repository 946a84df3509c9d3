"""The funnel of a batch as bars: rows after each stage, and the rows lost there by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, find_manifest

TABLES = ("links", "pages", "documents", "verdicts")


@dataclass(frozen=True, slots=True)
class Bar:
    """One stage of the funnel."""

    label: str
    rows: int
    lost: list[tuple[str, int]]
    """Rows that did not continue from here, by reason."""
    table: str = ""


def batch_bars(store: Store, batch: str) -> list[Bar]:
    """The bars of a batch, as far as its tables are committed."""
    found = [(name, find_manifest(store, name, batch)) for name in TABLES]
    return [bar for name, manifest in found if manifest is not None for bar in bars(name, manifest)]


def bars(name: str, manifest: Manifest) -> Iterable[Bar]:
    """The bars of one table, from the counts in its manifest."""
    counts = Counter(
        {reason: count for reason, count in manifest.counts.items() if ":" not in reason}
    )

    if name == "links":
        if counts:  # links that came with WARC files have no submissions
            kept = counts.pop("kept", 0)
            read = int(manifest.details.get("rows_read", 0))
            yield Bar("submissions read", read, most_first(counts), name)
            yield Bar("link submissions admitted", kept, [], name)
        yield Bar("distinct links", manifest.rows, [], name)
    elif name == "pages":
        fetched = counts.pop("fetched", 0)
        yield Bar("pages fetched", fetched, most_first(counts), name)
    elif name == "documents":
        counts.pop("kept", None)
        yield Bar("documents", manifest.rows, most_first(counts), name)
    elif name == "verdicts":
        kept = counts.pop("kept", 0)
        yield Bar("documents kept", kept, most_first(counts), name)


def summed(batches: Iterable[Sequence[Bar]]) -> list[Bar]:
    """The funnel over several batches: rows and reasons of equal bars added."""
    rows: Counter[str] = Counter()
    lost: dict[str, Counter[str]] = {}
    tables: dict[str, str] = {}
    for batch in batches:
        for bar in batch:
            rows[bar.label] += bar.rows
            lost.setdefault(bar.label, Counter()).update(dict(bar.lost))
            tables[bar.label] = bar.table

    # Stages in their order, also if the first batch lacks one.
    order = sorted(tables, key=lambda label: TABLES.index(tables[label]))
    return [Bar(label, rows[label], most_first(lost[label]), tables[label]) for label in order]


def most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    """Reasons with a count, the most frequent first."""
    return sorted(
        ((reason, count) for reason, count in counts.items() if count),
        key=lambda item: (-item[1], item[0]),
    )
