"""The step from fetched pages to documents: reads WARC records and processes each in the sandbox.

Records are read in file order, and results are in the order of the rows. An unreadable record is a
page dropped as `warc_broken`, not an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from clean import plugins
from clean.broken_segments import refuse_broken_segments
from clean.config import CleanConfig
from clean.document import Document, Dropped, Page, Result
from clean.filters.learned_quality import Scorer, load_scorer, quality_input
from clean.kept_share import share_counts
from clean.learned import extraction
from clean.reasons import Reason
from clean.rights import refused_pages, rights_input
from clean.sandbox import Failure, Sandbox
from clean.soft_failures.model import judge_digest
from corpus.run.step import Context, Joins, Map, MapFunction, Output
from corpus.tables.manifest import Input
from corpus.tables.schemas import DOCUMENTS, DOCUMENTS_DROPPED, LINKS, PAGES, Table
from crawl.warc import records
from crawl.warc.refusals import SOFT_404

_LINK_COLUMNS = ("doc_id", "url", "domain", "score", "subreddit")
_decode_result = msgspec.msgpack.Decoder(Result).decode
ProcessFunction = Callable[[Page], Result]
# (WARC file, places in it by offset) to the responses there. It raises WarcError if the file cannot
# be read at all.
ReadFunction = Callable[
    [str, list[tuple[int, int]]], Iterator[records.Response | records.WarcError]
]


def fetched(pages: pa.Table) -> pa.Table:
    """The rows with a stored response."""
    return pages.filter(pc.is_null(pages["reason"]))


def load(config: CleanConfig, context: Context) -> MapFunction:
    """The step's function."""
    made = load_made(config, context)
    scorer = load_scorer(config.quality, context.store)

    def apply(pages: pa.Table, joins: Joins) -> Output:
        found = made(pages, joins)
        return in_tables([_scored(each, scorer) for each in found] if scorer else found)

    return apply


def judged_by(config: CleanConfig, context: Context) -> list[Input]:
    """Models as inputs, since other models make other documents: the learned extractor's and the
    judge of soft failures'. The rights as well.
    """
    models = {}
    if config.extract.extractor == "learned":
        models["learned"] = extraction.model_digest()
    if config.soft_failures.remove:
        models["soft_failures"] = judge_digest()

    inputs = [
        Input(table="model", batch=name, fingerprint=digest) for name, digest in models.items()
    ]
    return [
        *inputs,
        *plugins.inputs(config.plugins),
        *quality_input(config.quality, context.store),
        *rights_input(config, context),
    ]


STEP = Map(
    name="clean/documents",
    revision=14,
    reads=PAGES,
    columns=(
        "doc_id",
        "url",
        "final_url",
        "redirects",
        "reason",
        "content_type",
        "fetched_at",
        "warc_file",
        "warc_offset",
        "warc_length",
        "cause",
    ),
    where=fetched,
    joins={LINKS: _LINK_COLUMNS},
    writes=(DOCUMENTS, DOCUMENTS_DROPPED),
    conserves=(DOCUMENTS, DOCUMENTS_DROPPED),
    sections=(
        "extract",
        "soft_failures",
        "normalize",
        "language",
        "wikipedia",
        "quality",
        "plugins",
        "personal",
        "sandbox",
    ),
    depends=judged_by,
    load=load,
    accept=partial(refuse_broken_segments, table=DOCUMENTS_DROPPED.name),
)


@lru_cache(maxsize=1)
def _sandbox(config_json: str) -> Sandbox:
    config = CleanConfig.model_validate_json(config_json)
    return Sandbox("clean.document:program", config_json, config.sandbox)


def process(page: Page, sandbox: Sandbox) -> Result:
    """The page's document, or the reason to drop it, also for a page killing the process."""
    answer = sandbox.ask(msgspec.msgpack.encode(page))
    return (
        Dropped(answer.reason, answer.detail)
        if isinstance(answer, Failure)
        else _decode_result(answer)
    )


class Made(NamedTuple):
    """The result of a page, and its row of `documents` or `documents_dropped`."""

    result: Result
    row: dict[str, Any]


def make(
    pages: pa.Table, links: pa.Table, read: ReadFunction, document: ProcessFunction
) -> list[Made]:
    """The result of each page in the order of the rows. `links` has at least these pages' rows."""
    rows = pages.to_pylist()
    results: list[Result | None] = [None] * len(rows)
    in_file_order = sorted(range(len(rows)), key=lambda index: _place(rows[index]))

    for warc_file, group in groupby(in_file_order, key=lambda index: rows[index]["warc_file"]):
        indices = list(group)
        places = [_place(rows[index])[1:] for index in indices]
        for index, response in zip(indices, _responses(read, warc_file, places), strict=True):
            results[index] = _result(rows[index], response, document)

    link_of = links.take(pc.index_in(pages["doc_id"], links["doc_id"])).to_pylist()
    made = []
    for row, link, result in zip(rows, link_of, results, strict=True):
        assert result is not None
        if isinstance(result, Document):
            made.append(Made(result, _document_row(row, link, result)))
        else:
            made.append(Made(result, _dropped_row(row, link, result)))

    return made


def _scored(made: Made, scorer: Scorer) -> Made:
    """A document with its learned quality, or dropped for it."""
    if not isinstance(made.result, Document):
        return made
    quality, low = scorer.judge(made.result.text)
    if low is None:
        return Made(made.result, made.row | {"quality": quality})

    dropped = Dropped(Reason.LOW_QUALITY, low, made.result.notes)
    return Made(dropped, _dropped_row(made.row, made.row, dropped))


def in_tables(made: Sequence[Made]) -> Output:
    """Documents and dropped pages, in the order given. Counts: `kept`, one per reason, and the
    notes.
    """
    counts = Counter[str]()
    rows: dict[Table, list[dict[str, Any]]] = {DOCUMENTS: [], DOCUMENTS_DROPPED: []}
    for result, row in made:
        counts.update(result.notes)
        if isinstance(result, Document):
            counts["kept"] += 1
            rows[DOCUMENTS].append(row)
        else:
            counts[str(result.reason)] += 1
            rows[DOCUMENTS_DROPPED].append(row)

    counts.update(share_counts(rows[DOCUMENTS]))
    return Output(
        {table.name: pa.Table.from_pylist(each, table.schema) for table, each in rows.items()},
        counts,
    )


def load_made(config: CleanConfig, context: Context) -> Callable[[pa.Table, Joins], list[Made]]:
    """Returns the function to process pages. Its sandbox is this process's own and outlives the
    task.
    """
    sandbox = _sandbox(config.model_dump_json())
    read = partial(records.read_responses, context.store, batch=context.batch)

    refused = refused_pages(config, context)

    def made(pages: pa.Table, joins: Joins) -> list[Made]:
        links = joins[LINKS.name]
        left_out = pc.is_in(pages["doc_id"], pa.array(sorted(refused), pa.string()))
        dropped = _refuse(pages.filter(left_out), links, refused)
        kept = pages.filter(pc.invert(left_out))
        others = make(kept, links, read, lambda page: process(page, sandbox))

        rows = iter(dropped), iter(others)
        return [next(rows[0] if out else rows[1]) for out in left_out.to_pylist()]

    return made


def _refuse(pages: pa.Table, links: pa.Table, refused: Mapping[str, str]) -> list[Made]:
    """The results of pages dropped by the policy. Their records are not read."""
    link_of = links.take(pc.index_in(pages["doc_id"], links["doc_id"])).to_pylist()
    made = []
    for row, link in zip(pages.to_pylist(), link_of, strict=True):
        detail = f"{refused[row['doc_id']]} says no, and clean.rights.policy obeys it"
        result = Dropped(Reason.TRAINING_OPT_OUT, detail)
        made.append(Made(result, _dropped_row(row, link, result)))
    return made


def _place(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["warc_file"] or "", row["warc_offset"] or 0, row["warc_length"] or 0


def _responses(
    read: ReadFunction, warc_file: str | None, places: Sequence[tuple[int, int]]
) -> Iterator[records.Response | records.WarcError]:
    """As many results as places. After an error of the file itself, the rest is that error."""
    given = 0
    try:
        if not warc_file:
            raise records.WarcError("the page has no WARC file")
        for response in read(warc_file, list(places)):
            yield response
            given += 1
    except records.WarcError as error:
        for _ in range(len(places) - given):
            yield error


def _result(
    row: dict[str, Any], response: records.Response | records.WarcError, document: ProcessFunction
) -> Result:
    if isinstance(response, records.WarcError):
        return Dropped(Reason.WARC_BROKEN, str(response)[:200])

    stated = [value for name, value in response.headers if name.lower() == "content-type"]
    at = row["fetched_at"]
    return document(
        Page(
            url=row["url"],
            final_url=row["final_url"] or row["url"],
            content_type=stated[0]
            if stated
            else row["content_type"],  # the first, as the fetch took it
            latest_day=at.astimezone(UTC).date().toordinal() if at is not None else None,
            body=response.body,
            status=response.status,
            headers=[*response.headers],
            redirects=list(row["redirects"] or ()),
            as_missing=row.get("cause") == SOFT_404,
        )
    )


def _document_row(row: dict[str, Any], link: dict[str, Any], result: Document) -> dict[str, Any]:
    """The row of a document. `url` is the link's, and `doc_id` its hash; the redirect target is in
    `pages`.
    """
    return {
        "doc_id": row["doc_id"],
        "url": link["url"],
        "domain": link["domain"],
        "title": result.title,
        "text": result.text,
        "language": result.language,
        "language_score": result.language_score,
        "num_words": result.num_words,
        "visible_words": result.visible_words,
        "published": date.fromordinal(result.published_day) if result.published_day else None,
        "extractor": result.extractor,
        "score": link["score"],
        "subreddit": link["subreddit"],
        "fetched_at": row["fetched_at"],
    }


def _dropped_row(row: dict[str, Any], link: dict[str, Any], result: Dropped) -> dict[str, Any]:
    return {
        "doc_id": row["doc_id"],
        "url": link["url"],
        "step": result.reason.step,
        "reason": str(result.reason),
        "detail": result.detail,
    }
