"""Links by year of submission: live, revived from an archive, soft-failed, or lost.

A link of several batches counts once, as in the last of them. A page is revived if it came from an
archive, or from an imported batch with a submission for its link.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest, is_imported
from corpus.tables.parquet import iter_tables, part_paths
from webtext.reports.charts import escaped

LIVE, REVIVED, SOFT_FAILED, LOST = "live", "revived", "soft-failed", "lost"
# Disposition to its colour, in the order of a bar.
COLOURS: Final = {LIVE: "#2f7d4f", REVIVED: "#3b6fb6", SOFT_FAILED: "#d59f2a", LOST: "#b8b8b8"}
UNNAMED: Final = "WARC files that name no archive"
YearCounts = Mapping[int, Mapping[str, int]]


def section(store: Store, batches: Sequence[str]) -> str:
    """The section of the report, empty for a corpus without fetched links."""
    counts = by_year(store, batches)
    if not counts:
        return ""

    key = " ".join(
        f"<span style='color:{colour}'>&#9632;</span> {escaped(name)}"
        for name, colour in COLOURS.items()
    )
    most = max(sum(each.values()) for each in counts.values())
    rows = "".join(_row(year, counts[year], most) for year in sorted(counts))
    archives = ", ".join(
        f"{escaped(name)} {pages:,}" for name, pages in by_archive(store, batches).most_common()
    )
    origin = f"<p>Pages from archives: {archives}</p>" if archives else ""
    return (
        "<section><h2>Links by year of submission</h2>"
        f"<p class=key>{key}</p><table class=bars>{rows}</table>{origin}</section>"
    )


def by_archive(store: Store, batches: Sequence[str]) -> Counter[str]:
    """Stored pages by the archive they came from, without pages of their own sites."""
    counts: Counter[str] = Counter()
    for batch in batches:
        manifest = find_manifest(store, "links", batch)
        if manifest is None or not _has_pages(store, batch):
            continue
        imported = is_imported(manifest)
        for row in _rows(store, "pages", batch, ["reason", "capture"]):
            if row["reason"] is None and (imported or _is_archived(row["capture"])):
                counts[row["capture"] or UNNAMED] += 1

    return counts


def _is_archived(capture: str | None) -> bool:
    return capture not in (None, LIVE)


def _has_pages(store: Store, batch: str) -> bool:
    return find_manifest(store, "pages", batch) is not None


def _row(year: int, counts: Mapping[str, int], most: int) -> str:
    pieces = "".join(
        f"<i style='display:inline-block;background:{colour};width:{100 * counts[name] / most:.2f}%'"
        f" title='{name} {counts[name]:,}'></i>"
        for name, colour in COLOURS.items()
        if counts.get(name)
    )
    words = ", ".join(f"{name} {counts[name]:,}" for name in COLOURS if counts.get(name))
    return f"<tr><td>{year}</td><td style='width:55%'>{pieces}</td><td>{escaped(words)}</td></tr>"


def by_year(store: Store, batches: Sequence[str]) -> YearCounts:
    """Counts of dispositions by year, over all links of fetched batches."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for place, batch in enumerate(batches):
        links, pages = find_manifest(store, "links", batch), find_manifest(store, "pages", batch)
        if links is None or pages is None:
            continue

        found = _dispositions(store, batch, imported=is_imported(links))
        # A live page is not fetched again, so only the others can be in a later batch.
        again = pa.array(sorted(id_ for id_, name in found.items() if name != LIVE), pa.string())
        later = _linked_later(store, batches[place + 1 :], again)
        for row in _rows(store, "links", batch, ["doc_id", "created", "submission_id"]):
            if row["submission_id"] and row["doc_id"] not in later and row["doc_id"] in found:
                counts[row["created"].year][found[row["doc_id"]]] += 1

    return counts


def _dispositions(store: Store, batch: str, *, imported: bool) -> dict[str, str]:
    """Each page's disposition by id."""
    found = {}
    for row in _rows(store, "pages", batch, ["doc_id", "reason", "capture"]):
        revived = imported or _is_archived(row["capture"])
        stored = REVIVED if revived else LIVE
        found[row["doc_id"]] = stored if row["reason"] is None else LOST
    if find_manifest(store, "documents_dropped", batch) is not None:
        for row in _rows(store, "documents_dropped", batch, ["doc_id", "step"]):
            if row["step"] == "soft_failures":
                found[row["doc_id"]] = SOFT_FAILED

    return found


def _linked_later(store: Store, batches: Sequence[str], ids: pa.Array) -> set[str]:
    """Those of `ids` linked by a later batch."""
    found: set[str] = set()
    for batch in batches:
        if find_manifest(store, "links", batch) is None or not len(ids):
            continue
        for path in part_paths(store, "links", batch):
            for piece in iter_tables(store, path, ["doc_id"]):
                column = piece["doc_id"]
                found.update(column.filter(pc.is_in(column, ids)).to_pylist())
    return found


def _rows(store: Store, table: str, batch: str, columns: list[str]) -> Any:
    for path in part_paths(store, table, batch):
        for piece in iter_tables(store, path, columns):
            yield from piece.to_pylist()
