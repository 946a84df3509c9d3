"""Groups submissions into one row of `links` per page.

The result depends on the set of submissions, never on their order, so an exchange by `doc_id` may
bring them in any order.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.tables.schemas import LINKS
from crawl.links.select import SUBMISSIONS, LinksConfig
from crawl.rules import Fate


def group(table: pa.Table, config: LinksConfig) -> tuple[pa.Table, Counter[str]]:
    """Group all link submissions of some pages (SUBMISSIONS) to LINKS, ascending by doc_id.

    A submission that several dumps hold counts once, with its highest score. The counters move
    submissions from `kept` to `repeated_submission` and, under the rule `openwebtext2`, to
    `low_karma`: together with those of `read_dump` they still add up to the rows read.
    """
    counts: Counter[str] = Counter()
    table = table.select(SUBMISSIONS.names).combine_chunks()
    best = _first_of_each(table, ["doc_id"])
    pages = _totals(table)
    assert best["doc_id"].equals(pages["doc_id"])
    repeated = table.num_rows - (pc.sum(pages["num_submissions"]).as_py() or 0)
    _move(counts, "repeated_submission", repeated)

    if config.karma_rule == "openwebtext2":
        enough = pc.greater_equal(pages["score_sum"], config.min_score)
        _move(
            counts,
            Fate.LOW_KARMA.value,
            pc.sum(pages.filter(pc.invert(enough))["num_submissions"]).as_py() or 0,
        )
        best, pages = best.filter(enough), pages.filter(enough)

    columns = {name: best[name] for name in SUBMISSIONS.names} | {
        name: pages[name] for name in ("score_sum", "num_submissions", "over_18")
    }

    return pa.table(
        [columns[field.name].cast(field.type) for field in LINKS.schema], schema=LINKS.schema
    ), counts


def _move(counts: Counter[str], fate: str, number: int) -> None:
    if number:
        counts[fate] += number
        counts[Fate.KEPT.value] -= number


def _first_of_each(table: pa.Table, key: list[str]) -> pa.Table:
    """The best submission of each page: highest score, then earliest, then smallest id.

    Ids are numbers in base 36: a shorter one is smaller. The remaining columns decide between
    copies of one submission, so that the order of the input never does.
    """
    keyed = table.append_column("id_length", pc.binary_length(table["submission_id"]))
    order = [
        *((name, "ascending") for name in key),
        ("score", "descending"),
        *(
            (name, "ascending")
            for name in ("created", "id_length", "submission_id", "url", "subreddit", "title")
        ),
    ]
    ranked = table.take(pc.sort_indices(keyed, sort_keys=order))
    ids = ranked["doc_id"].combine_chunks()
    if len(ids) == 0:
        return ranked

    new = pc.not_equal(ids[1:], ids[:-1])
    return ranked.filter(pa.concat_arrays([pa.array([True]), _flat(new)]))


def _flat(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _totals(table: pa.Table) -> pa.Table:
    """score_sum, num_submissions and any over_18 of each page's distinct submissions, by doc_id."""
    each = table.group_by(["doc_id", "submission_id"], use_threads=False).aggregate(
        [("score", "max"), ("over_18", "max")]
    )
    pages = each.group_by(["doc_id"], use_threads=False).aggregate(
        [("score_max", "sum"), ("submission_id", "count"), ("over_18_max", "max")]
    )
    pages = pages.select(["doc_id", "score_max_sum", "submission_id_count", "over_18_max_max"])

    return pages.rename_columns(["doc_id", "score_sum", "num_submissions", "over_18"]).sort_by(
        "doc_id"
    )
