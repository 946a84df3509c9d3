"""The funnel of a batch as text: rows and reasons of every table, read from the manifests alone."""

from __future__ import annotations

from corpus.storage.store import Store
from corpus.tables.conservation import KEPT
from corpus.tables.manifest import Manifest, find_manifest

ORDER = (
    "links",
    "pages",
    "rights",
    "documents",
    "documents_dropped",
    "marks",
    "verdicts",
    "tokens",
    "spans",
)
WIDTH = 28  # columns of a name
# Rows that pass a stage, in words of their own: only verdicts keep a page.
PASSED = {"links": "admitted", "documents": "usable", "documents_dropped": "usable"}


def render(store: Store, batch: str, *, stage: str | None = None) -> str:
    """Every committed table of the batch, or of one stage, with rows, bytes and counts by reason."""
    lines = [f"{store.root}  batch {batch}"]
    for name in ORDER:
        manifest = find_manifest(store, name, batch)
        # The reasons of dropped documents are counts of `documents` already.
        if manifest is None or name == "documents_dropped":
            continue
        if stage is None or manifest.stage == stage:
            lines.extend(_section(manifest))

    return "\n".join(lines)


def _section(manifest: Manifest) -> list[str]:
    """Rows and bytes, then reasons by size, then notes.

    Notes are counts with a colon in their name; they are not part of a total. The reasons of
    `links` add up to the submissions read, which no table holds. Links that were imported with
    WARC files have no reasons.
    """
    read = int(manifest.details.get("rows_read", 0))
    of = _read_of(manifest, read)
    lines = [
        f"  {manifest.table:<{WIDTH - 2}}{manifest.rows:>12,} rows {size(manifest.bytes):>10}{of}"
    ]

    by_size = sorted(manifest.counts.items(), key=lambda item: (":" in item[0], -item[1], item[0]))
    for reason, count in by_size:
        # Tokens and requests are not rows: they have no share of them.
        of_rows = read and count <= read and not reason.startswith(("tokens:", "requests:"))
        share = f"{count / read:>8.1%}" if of_rows else ""
        name = PASSED.get(manifest.table, KEPT) if reason == KEPT else reason
        name = name.replace("kept_share:", "extracted_share:")
        lines.append(f"    {name:<{WIDTH - 4}}{count:>12,}{share}")

    return lines


def _read_of(manifest: Manifest, read: int) -> str:
    """The number that the shares below are of, where it is not the number of rows."""
    if manifest.table == "links" and manifest.counts:
        return f"  of {read:,} submissions"
    if manifest.table == "pages" and read and read != manifest.rows:
        return f"  of {read:,} WARC records"
    if manifest.table == "documents" and read and read != manifest.rows:
        return f"  of {read:,} pages"
    return ""


def size(num_bytes: int) -> str:
    """Format a size as 12 B, 3.4 KB or 5.6 GB; units are powers of 1,000."""
    value = float(num_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        # 999.96 KB is 1.0 MB once it is rounded.
        if round(value, 1) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
