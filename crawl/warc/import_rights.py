"""The table `rights` of an imported batch: the statements of the captured responses themselves.

The files of their sites at that time, such as robots.txt, are not known. Nothing is left out here:
the import keeps all of the archive, and `clean.rights.policy` decides later.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.rights.rows import rights_counts, signal_row
from corpus.rights.statements import answer
from corpus.run.step import Context, Joins, Map, MapFunction, Output
from corpus.tables.schemas import PAGES, RIGHTS
from crawl.config import CrawlConfig
from crawl.rights.page import read_response
from crawl.warc import records

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _stored(pages: pa.Table) -> pa.Table:
    return pages.filter(pc.is_null(pages["reason"]))


def _load(config: CrawlConfig, context: Context) -> MapFunction:
    def apply(pages: pa.Table, joins: Joins) -> Output:
        rows = []
        for page in pages.to_pylist():
            try:
                response = records.read_response(
                    context.store,
                    page["warc_file"],
                    page["warc_offset"],
                    page["warc_length"],
                    context.batch,
                )
            except records.WarcError:
                continue
            rows.append(_row(page, response, config.fetch.user_agent))

        table = pa.Table.from_pylist(rows, RIGHTS.schema)
        counts = rights_counts(table)
        return Output({RIGHTS.name: table}, Counter(counts))

    return apply


def _row(page: dict[str, Any], response: records.Response, user_agent: str) -> dict[str, Any]:
    headers = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in response.headers
    ]
    url = page["final_url"] or page["url"]
    said = read_response(headers, response.body, url, user_agent).statements
    record = response.fields.get("warc-record-id", "").strip("<>")
    return {
        "doc_id": page["doc_id"],
        "training": answer(said).value,
        "signals": [signal_row(each) for each in said],
        "evidence": [record] if said and record else [],
        "checked_at": page["fetched_at"] or EPOCH,
    }


STEP = Map(
    name="crawl/import_rights",
    reads=PAGES,
    columns=(
        "doc_id",
        "url",
        "final_url",
        "reason",
        "fetched_at",
        "warc_file",
        "warc_offset",
        "warc_length",
    ),
    where=_stored,
    writes=(RIGHTS,),
    load=_load,
)
