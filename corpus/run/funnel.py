"""What became of the rows: the funnel as text, from the manifests alone."""

from __future__ import annotations

from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, find_manifest

ORDER = ("links", "pages", "documents", "documents_dropped", "marks", "verdicts", "tokens", "spans")
WIDTH = 28


def text(store: Store, batch: str) -> str:
    """A table of the batch: every table that is committed, its rows, and its counts by reason."""
    lines = [f"{store.root}  batch {batch}"]
    for name in ORDER:
        manifest = find_manifest(store, name, batch)
        if manifest is not None and name != "documents_dropped":
            lines.extend(_section(manifest))
    return "\n".join(lines)


def _section(manifest: Manifest) -> list[str]:
    """Rows and bytes, then the reasons by size, then the notes (names with a colon), which add nothing up.

    The reasons of `links` add up to the submissions read, which no table holds; links that came with WARC files have none.
    """
    read = int(manifest.details.get("rows_read", 0))
    of = f"  of {read:,} submissions" if manifest.table == "links" and manifest.counts else ""
    lines = [
        f"  {manifest.table:<{WIDTH - 2}}{manifest.rows:>12,} rows {size(manifest.bytes):>10}{of}"
    ]
    for reason, count in sorted(
        manifest.counts.items(), key=lambda item: (":" in item[0], -item[1], item[0])
    ):
        share = f"{count / read:>8.1%}" if read and count <= read else ""
        lines.append(f"    {reason:<{WIDTH - 4}}{count:>12,}{share}")
    return lines


def size(num_bytes: int) -> str:
    """`num_bytes` as 12 B, 3.4 KB, 5.6 GB; powers of 1,000."""
    value = float(num_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
