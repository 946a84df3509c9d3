"""Removals of a batch, near-duplicates and test-set overlap, as parts of the report.

They are read from the reports of `dedup.run`: `dedup-<batch>.json` and `overlap-<batch>.json`.
"""

from __future__ import annotations

from corpus.storage.store import Store
from corpus.tables.dedup_reports import (
    DuplicatesReport,
    OverlapReport,
    read_duplicates,
    read_overlap,
)
from webtext.reports.charts import bar, escaped, table

SHOWN = 10
PASSAGE_CHARACTERS = 300


def section(store: Store, batch: str) -> str:
    """Both parts as HTML, as far as the batch has them."""
    duplicates, overlap = read_duplicates(store, batch), read_overlap(store, batch)
    return (_duplicates(duplicates) if duplicates else "") + (_overlap(overlap) if overlap else "")


def _duplicates(found: DuplicatesReport) -> str:
    """The removed share, the histogram of similarities, the largest groups, the top domains."""
    histogram = found.similarity_histogram
    if not histogram:
        return ""

    most = max(histogram.values())
    bars = "".join(
        f"<tr><th>{escaped(span)}</th><td class=n>{count:,}</td><td class=w>{bar(count, most)}</td></tr>"
        for span, count in histogram.items()
    )
    groups = [
        (each.url or each.survivor, f"{each.removed:,}") for each in found.largest_groups[:SHOWN]
    ]
    sources = [(each.source, f"{each.removed:,}") for each in found.elsewhere]
    domains = [
        (each.domain, f"{each.pages:,}", f"{each.removed:,}", f"{each.removed_frac:.1%}")
        for each in found.domains[:SHOWN]
    ]

    return (
        f"<h3>Removed by dedup: {found.removed_frac:.1%} of the documents</h3>"
        f"<p>Exact similarity with the page that stayed (Jaccard):</p><table class=bars>{bars}</table>"
        f"{table(('largest groups: the page that stayed', 'removed'), groups)}"
        f"{table(('known elsewhere: the collection', 'removed'), sources) if sources else ''}"
        f"{table(('domains that lost most', 'documents', 'removed', 'share'), domains)}"
    )


def _overlap(found: OverlapReport) -> str:
    """GPT-2's table 6 for this corpus beside the paper's columns; the worst entries and pages."""
    rows = [
        (
            row.testset,
            row.n,
            f"{row.ngrams:,}",
            *(_percent(value) for value in (row.share, row.share_so_far, row.share_of_own_train)),
            *(_percent((row.gpt2 or {}).get(name)) for name in ("webtext", "train")),
            *(_percent(value) for value in (row.share_left, row.share_left_so_far)),
        )
        for row in found.table
    ]
    head = (
        "test set",
        "n",
        "n-grams",
        "this batch",
        "so far",
        "own train",
        "paper: WebText",
        "paper: own train",
        "left: this batch",
        "left: so far",
    )
    entries = [
        (
            f"{row.testset} {row.entry}: {row.text[:PASSAGE_CHARACTERS]}",
            f"{row.words_found:,} of {row.words:,}",
        )
        for row in found.worst_entries[:SHOWN]
    ]
    pages = [
        (f"{row.url}: {row.passage[:PASSAGE_CHARACTERS]}", f"{row.overlap_ngrams:,}")
        for row in found.worst_pages[:SHOWN]
    ]
    shown = f"<h3>Overlap with test sets: the share of their n-grams that the corpus contains</h3>{table(head, rows)}"
    if entries:
        shown += table(("entries of which most was found", "words"), entries)
    if pages:
        shown += table(("pages that hold most of them", "n-grams"), pages)

    return shown


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
