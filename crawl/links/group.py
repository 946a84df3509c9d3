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
from crawl.links.config import LinksConfig
from crawl.links.judge import SUBMISSIONS
from crawl.rules import Disposition


def group(
    table: pa.Table, config: LinksConfig, carried: pa.Table | None = None
) -> tuple[pa.Table, Counter[str]]:
    """Group all link submissions of some pages (SUBMISSIONS) to LINKS, ascending by doc_id.

    A submission of several dumps counts once, with its highest score. New submissions of a page
    `carried` over (LINKS) are added to its earlier ones. The counters add the latter
    to `kept` and move submissions from there to `repeated_submission` and, under the rule
    `openwebtext2`, to `low_karma`: together with those of `read_dump` they still add up to the
    rows read.
    """
    counts: Counter[str] = Counter()
    carried = LINKS.schema.empty_table() if carried is None else carried
    num_carried = pc.sum(carried["num_submissions"]).as_py() or 0
    if num_carried:
        counts[Disposition.KEPT.value] += num_carried

    table = table.select(SUBMISSIONS.names).cast(SUBMISSIONS)
    ranked = pa.concat_tables([table, carried.select(SUBMISSIONS.names).cast(SUBMISSIONS)])
    best = _first_of_each(ranked.combine_chunks(), ["doc_id"])
    pages = _totals(table.combine_chunks(), carried)
    assert best["doc_id"].equals(pages["doc_id"])
    repeated = table.num_rows + num_carried - (pc.sum(pages["num_submissions"]).as_py() or 0)
    _move(counts, "repeated_submission", repeated)

    if config.karma_rule == "openwebtext2":
        enough = pc.greater_equal(pages["score_sum"], config.min_score)
        _move(
            counts,
            Disposition.LOW_KARMA.value,
            pc.sum(pages.filter(pc.invert(enough))["num_submissions"]).as_py() or 0,
        )
        best, pages = best.filter(enough), pages.filter(enough)

    columns = {name: best[name] for name in SUBMISSIONS.names} | {
        name: pages[name] for name in ("score_sum", "num_submissions", "over_18")
    }

    return pa.table(
        [columns[field.name].cast(field.type) for field in LINKS.schema], schema=LINKS.schema
    ), counts


def _move(counts: Counter[str], disposition: str, number: int) -> None:
    if number:
        counts[disposition] += number
        counts[Disposition.KEPT.value] -= number


def _first_of_each(table: pa.Table, key: list[str]) -> pa.Table:
    """The best submission of each page: highest score, then earliest, then smallest id.

    Ids are numbers in base 36: a shorter one is smaller. The remaining columns decide between
    copies of one submission, so the order of the input never does.
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


def _totals(table: pa.Table, carried: pa.Table) -> pa.Table:
    """score_sum, num_submissions and any over_18 of each page's distinct submissions, by doc_id."""
    each = table.group_by(["doc_id", "submission_id"], use_threads=False).aggregate(
        [("score", "max"), ("over_18", "max")]
    )
    # A dump given again holds the submission behind a carried page.
    known = pc.is_in(_submission(each), _submission(carried).combine_chunks())
    each = each.filter(pc.invert(known)).select(["doc_id", "score_max", "over_18_max"])
    each = each.append_column("num_submissions", pa.repeat(pa.scalar(1, pa.int64()), len(each)))
    names = ["doc_id", "score_sum", "over_18", "num_submissions"]
    schema = pa.schema(zip(names, (pa.string(), pa.int64(), pa.bool_(), pa.int64()), strict=True))

    rows = [each.rename_columns(names).cast(schema), carried.select(names).cast(schema)]
    pages = pa.concat_tables(rows).group_by(["doc_id"], use_threads=False)
    pages = pages.aggregate([("score_sum", "sum"), ("over_18", "max"), ("num_submissions", "sum")])
    pages = pages.select(["doc_id", "score_sum_sum", "over_18_max", "num_submissions_sum"])
    return pages.rename_columns(names).sort_by("doc_id")


def _submission(rows: pa.Table) -> pa.ChunkedArray:
    """A key of a page's submission; neither part has a space in it."""
    return pc.binary_join_element_wise(rows["doc_id"], rows["submission_id"], " ")
