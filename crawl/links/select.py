"""Selects a dump's submissions with a link to a page.

`read_dump` gives every row of a dump exactly one disposition and passes the link submissions on in
batches; `group.group` makes rows of `links` from all submissions of a set of pages. Between them is
an exchange by `doc_id`, so no table of all pages is ever in memory.

There are two karma rules. `webtext` (the GPT-2 paper): a submission counts if its own score reaches
`min_score`, so others are dropped while reading. `openwebtext2`: a page counts if the scores of all
its submissions add up to `min_score`, so all of them pass and the group decides. A crosspost
represents its original: it takes its URL if it has none, and under `webtext` its score if higher.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
from msgspec.structs import astuple

from corpus.errors import InputError
from crawl.links import rows
from crawl.links.config import LinksConfig
from crawl.links.containers import READ_BYTES
from crawl.links.judge import SUBMISSIONS, Judge, LinkSubmission
from crawl.links.maturity import ImmatureScoresError, ScoreStatistics, immature
from crawl.rules import Disposition

log = logging.getLogger(__name__)

# Link submissions per batch: some 3 MB of Arrow, and 6 MB before that.
BATCH_ROWS = 8_000

# Dispositions proving a dump of submissions: some row of any such dump has one.
KNOWS_WHERE = (
    Disposition.KEPT,
    Disposition.SELF_POST,
    Disposition.INTERNAL,
    Disposition.MEDIA_HOST,
    Disposition.WIKIPEDIA,
    Disposition.BLOCKED_HOST,
    Disposition.FILE_TYPE,
    Disposition.URL_TOO_LONG,
    Disposition.BAD_URL,
    Disposition.NOT_HTTP,
    Disposition.PROMOTED,
    Disposition.OVER_18,
)


def read_dump(
    raw: BinaryIO,
    *,
    name: str,
    config: LinksConfig,
    counts: Counter[str],
    on_progress: Callable[[int], None] | None = None,
    statistics: ScoreStatistics | None = None,
    read_bytes: int = READ_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Yield the link submissions of a dump in batches of about BATCH_ROWS (SUBMISSIONS).

    Every row read adds one to exactly one Disposition in `counts`, before its batch is given, so
    the caller may take counts between batches. `statistics` collects the scores, `on_progress`
    receives numbers of rows, and `raw` is read `read_bytes` at a time.

    Raises: TruncatedDump behind the last batch of a truncated file, unless `allow_truncated`;
    UnreadableDump if reading fails, with any options; ImmatureScoresError at the end, unless
    `allow_immature_scores`; InputError if the file is not a dump.
    """
    judge = Judge(config)
    statistics = ScoreStatistics() if statistics is None else statistics
    reader = rows.open_rows(raw, read_bytes=read_bytes)
    pending: list[LinkSubmission] = []
    dispositions: Counter[str] = Counter()

    try:
        for block in reader.blocks():
            judged = judge.block(block, reader.num_rows - block.num_rows, pending, statistics)
            dispositions.update(judged)
            counts.update(judged)
            if on_progress is not None:
                on_progress(block.num_rows)
            if len(pending) >= BATCH_ROWS:
                yield _batch(pending)
                pending.clear()
    except rows.TruncatedDump as error:
        if pending:
            yield _batch(pending)
        if not config.allow_truncated:
            raise rows.TruncatedDump(
                error.byte_offset, error.row_number, f"{name}: {error.cause}"
            ) from error
        statistics.truncated = True
        log.warning(
            "%s: kept the %d rows before byte %d: %s",
            name,
            error.row_number,
            error.byte_offset,
            error.cause,
        )
    else:
        if pending:
            yield _batch(pending)
    assert dispositions.total() == reader.num_rows, (name, dispositions, reader.num_rows)
    _require_a_dump(name, dispositions)
    verdict = immature(name, statistics)
    if verdict is not None and not config.allow_immature_scores:
        raise ImmatureScoresError(str(verdict))


def _require_a_dump(name: str, dispositions: Counter[str]) -> None:
    """Refuse other files: a web page under a dump's name, a table, a dump of comments."""
    bad, total = dispositions[Disposition.BAD_JSON], dispositions.total()
    if bad and (
        bad + dispositions[Disposition.BLANK] == total or (total >= 100 and bad * 2 > total)
    ):
        raise InputError(
            f"{name}: {bad:,} of {total:,} rows are no JSON objects; expected a Reddit submission dump, one object a line"
        )
    if dispositions[Disposition.NO_URL] >= 100 and not any(
        dispositions[disposition] for disposition in KNOWS_WHERE
    ):
        raise InputError(
            f"{name}: none of {total:,} rows has a URL or is a self post; expected a Reddit submission dump (RS_...), "
            "not one of comments (RC_...)"
        )


def _batch(found: list[LinkSubmission]) -> pa.RecordBatch:
    columns = [
        pa.array(values, field.type)
        for values, field in zip(zip(*map(astuple, found), strict=True), SUBMISSIONS, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SUBMISSIONS)
