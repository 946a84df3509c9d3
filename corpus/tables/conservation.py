"""Conservation: no row disappears between tables. The runner checks these at every commit.

submissions read + carried over = counted;  links = pages;  fetched pages = documents + documents_dropped;
documents = verdicts;  kept verdicts = spans
"""

from __future__ import annotations

from corpus.errors import FatalError
from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, find_manifest

# Note in the manifest of `links`: submissions of pages that come from earlier batches.
CARRIED = "carried:submissions"
# Count in the manifest of `pages`: rows with a stored response.
FETCHED = "fetched"
# Note in the manifest of `pages`: requests for pages, without those for robots.txt.
REQUESTS = "requests:pages"
# Count in the manifest of `verdicts`: rows that stay.
KEPT = "kept"
# Note in the manifest of `verdicts`: rows that stay without some passages.
CUT = "cut:test_overlap"
# Count in the manifest of `tokens`: documents that do not stay, and have none.
NOT_KEPT = "not_kept"


def check(store: Store, manifests: dict[str, Manifest], batch: str) -> None:
    """Check every invariant over tables of `manifests` (about to be committed) or committed ones.

    Raises: FatalError with both numbers; nothing is committed then.
    """
    for name in manifests:
        if name == "links":
            _check_dispositions(manifests[name])
        elif name == "pages":
            _equal("links", _rows(store, manifests, "links", batch), "pages", manifests[name].rows)
        elif name == "documents":
            # Dropped documents are a table of their own; together they are all fetched pages.
            made = manifests[name].rows + (_rows(store, manifests, "documents_dropped", batch) or 0)
            _equal(
                "fetched pages",
                _count(store, manifests, "pages", batch, FETCHED),
                "documents and documents_dropped",
                made,
            )
        elif name == "verdicts":
            _equal(
                "documents",
                _rows(store, manifests, "documents", batch),
                "verdicts",
                manifests[name].rows,
            )
        elif name == "spans":
            _equal(
                "kept verdicts",
                _count(store, manifests, "verdicts", batch, KEPT),
                "spans",
                manifests[name].rows,
            )


def _check_dispositions(links: Manifest) -> None:
    """Check that every submission has one reason. Imported links have none."""
    dispositions = {reason: count for reason, count in links.counts.items() if ":" not in reason}
    read = links.details.get("rows_read")
    if dispositions and read is not None:
        given = int(read) + links.counts.get(CARRIED, 0)
        _equal("submissions read", given, "counted ones", sum(dispositions.values()))


def _find(store: Store, manifests: dict[str, Manifest], table: str, batch: str) -> Manifest | None:
    return manifests.get(table) or find_manifest(store, table, batch)


def _rows(store: Store, manifests: dict[str, Manifest], table: str, batch: str) -> int | None:
    manifest = _find(store, manifests, table, batch)
    return manifest.rows if manifest else None


def _count(
    store: Store, manifests: dict[str, Manifest], table: str, batch: str, key: str
) -> int | None:
    manifest = _find(store, manifests, table, batch)
    return manifest.counts.get(key, 0) if manifest else None


def _equal(left: str, left_rows: int | None, right: str, right_rows: int) -> None:
    if left_rows is not None and left_rows != right_rows:
        raise FatalError(
            f"conservation broken: {left_rows:,} {left} became {right_rows:,} {right}; nothing was "
            "committed. A file of the corpus may have been changed: run `webtext verify`; if it "
            "finds nothing, please report this line as a defect"
        )
