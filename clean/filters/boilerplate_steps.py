"""Documents in several steps, with exchanges between extraction and the last verdict.

candidates   the document or reason of each fetched page, as without the exchanges
texts        by text: documents whose text is at many addresses (`clean.soft_failures`)
repeats      the same by `doc_id`
lines        by domain: the boilerplate lines of each document
cuts         the same by `doc_id`
documents    candidates without repeated texts and boilerplate lines, judged again if lines were
             removed; dropped pages
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_intdigest

from clean import pages
from clean.broken_segments import refuse_broken_segments
from clean.by_document import by_document
from clean.config import CleanConfig
from clean.filters import quality
from clean.filters.boilerplate import line_keys, recurring, without
from clean.filters.learned_quality import Scorer, load_scorer
from clean.filters.quality import Judged
from clean.kept_share import share_counts
from clean.reasons import SOFT_FAILURES, Reason
from clean.soft_failures import repeat_steps
from clean.soft_failures.repeat_steps import REPEATS
from corpus.run.step import (
    AnyStep,
    Context,
    Exchange,
    Joins,
    Map,
    MapFunction,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.tables.schemas import DOCUMENTS, DOCUMENTS_DROPPED, Table

# A row of `documents` or of `documents_dropped` per fetched page, and its notes.
CANDIDATES = Table(
    name="candidates",
    schema=pa.schema(
        [
            *(field.with_nullable(field.name != "doc_id") for field in DOCUMENTS.schema),
            *(
                field.with_nullable(True)
                for field in DOCUMENTS_DROPPED.schema
                if field.name not in DOCUMENTS.schema.names
            ),
            pa.field("notes", pa.list_(pa.string())),
        ]
    ),
    scratch=True,
)
LINES = pa.schema(
    [("doc_id", pa.string()), ("domain", pa.string()), ("keys", pa.list_(pa.uint64()))]
)
SITE_CUTS = Table(
    name="site_cuts",
    schema=pa.schema(
        [("domain", pa.string()), ("doc_id", pa.string()), ("keys", pa.list_(pa.uint64()))]
    ),
    scratch=True,
)
# The keys of removed lines, for documents with any.
CUTS = Table(
    name="line_cuts",
    schema=pa.schema([("doc_id", pa.string()), ("keys", pa.list_(pa.uint64()))]),
    scratch=True,
)


def _load_candidates(config: CleanConfig, context: Context) -> MapFunction:
    made = pages.load_made(config, context)

    def apply(fetched: pa.Table, joins: Joins) -> Output:
        rows = [each.row | {"notes": each.result.notes} for each in made(fetched, joins)]
        return Output({CANDIDATES.name: pa.Table.from_pylist(rows, CANDIDATES.schema)})

    return apply


def _load_lines(config: CleanConfig, context: Context) -> ScatterFunction:
    def scatter(candidates: pa.Table) -> Scattered:
        rows = [
            {
                "doc_id": row["doc_id"],
                "domain": row["domain"],
                "keys": line_keys(row["text"], config.boilerplate),
            }
            for row in candidates.to_pylist()
            if row["text"] is not None
        ]
        buckets = [xxh3_64_intdigest(row["domain"].encode()) % context.num_parts for row in rows]

        return Scattered(pa.Table.from_pylist(rows, LINES), np.array(buckets, np.int64))

    return scatter


def _load_sites(config: CleanConfig, context: Context) -> ReduceFunction:
    def reduce(bucket: int, lines: pa.Table) -> Output:
        found = []
        ordered = lines.sort_by([("domain", "ascending"), ("doc_id", "ascending")]).to_pylist()
        for domain, group in groupby(ordered, key=lambda row: row["domain"]):
            site = list(group)
            gone = recurring((row["keys"] for row in site), config.boilerplate)
            for row in site if gone else ():
                keys = [key for key in row["keys"] if key in gone]
                if keys:
                    found.append({"domain": domain, "doc_id": row["doc_id"], "keys": keys})

        return Output({SITE_CUTS.name: pa.Table.from_pylist(found, SITE_CUTS.schema)})

    return reduce


def _load_documents(config: CleanConfig, context: Context) -> MapFunction:
    scorer = load_scorer(config.quality, context.store)

    def apply(candidates: pa.Table, joins: Joins) -> Output:
        cuts = joins.get(CUTS.name, CUTS.schema.empty_table())
        repeats = joins.get(REPEATS.name, REPEATS.schema.empty_table())
        return cut_documents(candidates, cuts, config, repeats, scorer)

    return apply


def cut_documents(
    candidates: pa.Table,
    cuts: pa.Table,
    config: CleanConfig,
    repeats: pa.Table | None = None,
    scorer: Scorer | None = None,
) -> Output:
    """Documents and dropped pages of candidates, in their order. Counts as in `pages.in_tables`.

    `cuts` and `repeats` hold at least the rows of these candidates. `boilerplate:lines` counts
    lines removed.
    """
    failures = {row["doc_id"]: row for row in repeats.to_pylist()} if repeats is not None else {}
    keys = {row["doc_id"]: frozenset(row["keys"]) for row in cuts.to_pylist()}
    documents: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()

    for row in candidates.to_pylist():
        counts.update(row["notes"] or ())
        if row["reason"] is None and (failure := failures.get(row["doc_id"])):
            row |= {"step": SOFT_FAILURES, "reason": failure["kind"], "detail": failure["detail"]}
        if row["reason"] is None and (gone := keys.get(row["doc_id"])):
            counts["boilerplate:lines"] += _cut(row, gone, config)
        if row["reason"] is None and scorer is not None:
            row["quality"], low = scorer.judge(row["text"])
            if low is not None:
                _drop(row, Judged(row["text"], Reason.LOW_QUALITY, low))
        counts[row["reason"] or "kept"] += 1
        table, rows = (
            (DOCUMENTS, documents) if row["reason"] is None else (DOCUMENTS_DROPPED, dropped)
        )
        rows.append({name: row[name] for name in table.schema.names})

    counts.update(share_counts(documents))
    return Output(
        {
            DOCUMENTS.name: pa.Table.from_pylist(documents, DOCUMENTS.schema),
            DOCUMENTS_DROPPED.name: pa.Table.from_pylist(dropped, DOCUMENTS_DROPPED.schema),
        },
        counts,
    )


def _cut(row: dict[str, Any], keys: frozenset[int], config: CleanConfig) -> int:
    """Removes the lines from a candidate, judges the rest, and returns the number removed."""
    cut = without(row["text"], keys, config.boilerplate)
    judged = quality.judge(cut.text, config.quality)
    words = len(judged.text.split())
    row["text"], row["num_words"] = judged.text, words

    _drop(row, judged)
    return cut.num_lines


def _drop(row: dict[str, Any], judged: Judged) -> None:
    """Note the reason to drop a candidate, if there is one."""
    if judged.reason is not None:
        row["step"], row["reason"], row["detail"] = (
            judged.reason.step,
            str(judged.reason),
            judged.detail,
        )


CANDIDATES_STEP = Map(
    name="clean/candidates",
    reads=pages.STEP.reads,
    columns=pages.STEP.columns,
    where=pages.STEP.where,
    joins=pages.STEP.joins,
    writes=(CANDIDATES,),
    conserves=(CANDIDATES,),
    sections=pages.STEP.sections,
    depends=pages.judged_by,
    revision=pages.STEP.revision,
    load=_load_candidates,
    accept=partial(refuse_broken_segments, table=CANDIDATES.name),
)
LINE_STEPS = (
    Exchange(
        name="clean/lines",
        reads=CANDIDATES,
        columns=("doc_id", "domain", "text"),
        writes=(SITE_CUTS,),
        sections=("boilerplate",),
        scattered=LINES,
        load_scatter=_load_lines,
        load_reduce=_load_sites,
        num_buckets=one_bucket_per_part,
    ),
    by_document("clean/cuts", SITE_CUTS, CUTS),
)


def steps(config: CleanConfig) -> tuple[AnyStep, ...]:
    """The steps from pages to documents with the exchanges enabled by the settings."""
    exchanges: tuple[AnyStep, ...] = ()
    joins: dict[Table, tuple[str, ...]] = {}
    if config.soft_failures.remove and config.soft_failures.repeated:
        exchanges += repeat_steps.steps(CANDIDATES)
        joins[REPEATS] = ("doc_id", "kind", "detail")
    if config.boilerplate.remove:
        exchanges += LINE_STEPS
        joins[CUTS] = ("doc_id", "keys")

    documents = Map(
        name="clean/cut_documents",
        reads=CANDIDATES,
        joins=joins,
        writes=(DOCUMENTS, DOCUMENTS_DROPPED),
        conserves=(DOCUMENTS, DOCUMENTS_DROPPED),
        sections=(*pages.STEP.sections, "boilerplate"),
        load=_load_documents,
    )
    return (CANDIDATES_STEP, *exchanges, documents)
