"""Pages of earlier batches: those not linked again, and those carried over.

A page left at a crawl's deadline has the reason `deferred`. With `crawl.links.carry_over`
the next batch takes its row of `links` over as it is, with the karma it had then. Batches
need not have the same number of parts, so each part of the new batch reads the parts of an earlier
one with ids of its own range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

from corpus.run.step import Context
from corpus.storage.store import Store
from corpus.tables.conservation import CARRIED
from corpus.tables.manifest import Input, Manifest, find_manifest
from corpus.tables.parquet import read_file
from corpus.tables.schemas import LINKS, part_of
from corpus.urls import UrlProblem, target
from crawl.fetch.pace.politeness import PASSING_REASONS, PASSING_STATUSES
from crawl.links.config import LinksConfig
from crawl.outcomes import Reason
from crawl.rules import Disposition, Rules

# Reasons without a page that say nothing of next month: the network, a host that was down, a
# deadline, a fault of ours.
PASSING_BY_THE_NEXT_BATCH = PASSING_REASONS | {
    Reason.HOST_UNREACHABLE,
    Reason.ROBOTS_UNREACHABLE,
    Reason.DEFERRED,
    Reason.INTERNAL_ERROR,
}

# Reasons of `documents_dropped` that are a failure of the fetch (`clean.reasons.Reason.temporary`).
TEMPORARY_WALLS = ("bot_wall", "consent_wall")


def seen_ids(
    context: Context, earlier: Sequence[str], index: int, *, retry_failed: bool
) -> pa.Array:
    """The ids of part `index` in earlier batches.

    With `retry_failed`, pages whose fetch may succeed now are left out.
    """
    seen = []
    for batch in earlier:
        pages = find_manifest(context.store, "pages", batch)
        if retry_failed and pages is not None:
            rows = _read(context, pages, index, ["doc_id", "reason", "status"])
            refused = walled_ids(context.store, batch)
            passing = pc.or_(_may_pass(rows), pc.is_in(rows["doc_id"], refused))
            rows = rows.filter(pc.invert(passing))
        else:
            rows = _read(context, _links(context, batch), index, ["doc_id"])
        seen.append(rows["doc_id"])

    return (
        pa.chunked_array(seen, pa.string()).combine_chunks() if seen else pa.array([], pa.string())
    )


def walled_ids(store: Store, batch: str) -> pa.Array:
    """The ids of a batch's pages dropped as a wall.

    Such a wall stood before the client, not before the page, so the next fetch may pass it.
    """
    dropped = find_manifest(store, "documents_dropped", batch)
    found: list[pa.Array] = []
    for part in dropped.parts if dropped is not None else ():
        rows = read_file(store, f"documents_dropped/{batch}/{part.file}", ["doc_id", "reason"])
        walled = pc.is_in(rows["reason"], pa.array(TEMPORARY_WALLS))
        found += rows["doc_id"].filter(walled).chunks

    return pa.chunked_array(found, pa.string()).combine_chunks()


def walled_inputs(store: Store, batches: Sequence[str]) -> list[Input]:
    """The sets of walled pages as inputs, since they decide on linking pages again."""
    inputs = []
    for batch in batches:
        ids = walled_ids(store, batch).to_pylist()
        if ids:
            digest = xxh3_128_hexdigest("".join(ids).encode())
            inputs.append(Input(table="walls", batch=batch, fingerprint=digest))
    return inputs


def carried_over(
    context: Context, earlier: Sequence[str], index: int, config: LinksConfig
) -> tuple[pa.Table, Counter[str]]:
    """Rows of LINKS for part `index` whose pages earlier batches deferred, ascending by doc_id.

    A page leaves when a later batch links it. The settings of the new batch decide once more:
    submissions of excluded pages are counted by their reason. The note CARRIED has all.
    """
    left = LINKS.schema.empty_table()
    for batch in earlier:
        links = _links(context, batch)
        if left.num_rows:
            ids = _read(context, links, index, ["doc_id"])["doc_id"]
            left = left.filter(pc.invert(pc.is_in(left["doc_id"], ids.combine_chunks())))

        pages = find_manifest(context.store, "pages", batch)
        if pages is None:
            continue
        rows = _read(context, pages, index, ["doc_id", "reason"])
        deferred = rows["doc_id"].filter(pc.equal(rows["reason"], Reason.DEFERRED.value))
        if len(deferred):
            rows = _read(context, links, index, LINKS.schema.names)
            rows = rows.filter(pc.is_in(rows["doc_id"], deferred.combine_chunks()))
            left = pa.concat_tables([left, rows.cast(LINKS.schema)])

    mine = part_of(left["doc_id"], context.num_parts) == index
    return _admitted(left.filter(pa.array(mine)).sort_by("doc_id"), config)


def _admitted(rows: pa.Table, config: LinksConfig) -> tuple[pa.Table, Counter[str]]:
    """The rows admitted by the settings, with the submissions of the others by disposition."""
    if not rows.num_rows:
        return rows, Counter()

    counts = Counter({CARRIED: pc.sum(rows["num_submissions"]).as_py()})
    rules, keep = config.rules(), []
    for row in rows.to_pylist():
        disposition = _refusal(row, config, rules)
        keep.append(disposition is None)
        if disposition is not None:
            counts[disposition.value] += row["num_submissions"]

    return rows.filter(pa.array(keep, pa.bool_())), counts


def _refusal(row: dict[str, object], config: LinksConfig, rules: Rules) -> Disposition | None:
    """The reason why the settings exclude a linked page, if they do."""
    karma = row["score_sum" if config.karma_rule == "openwebtext2" else "score"]
    assert isinstance(karma, int)
    if karma < config.min_score:
        return Disposition.LOW_KARMA
    if row["over_18"] and config.over_18 == "drop":
        return Disposition.OVER_18
    if (disposition := rules.judge_subreddit(str(row["subreddit"]))) is not None:
        return disposition

    page = target(str(row["url"]))
    if isinstance(page, UrlProblem):
        return Disposition(page.value)
    return rules.judge_host(page.host) or rules.judge_path(page.path)


def _links(context: Context, batch: str) -> Manifest:
    manifest = find_manifest(context.store, "links", batch)
    assert manifest is not None, batch
    return manifest


def _read(context: Context, manifest: Manifest, index: int, columns: list[str]) -> pa.Table:
    """The parts of a committed table with possible ids of part `index` of this batch."""
    low, high = index / context.num_parts, (index + 1) / context.num_parts
    tables = [
        read_file(context.store, f"{manifest.table}/{manifest.batch}/{part.file}", columns)
        for number, part in enumerate(manifest.parts)
        if number / manifest.num_parts < high and (number + 1) / manifest.num_parts > low
    ]
    return pa.concat_tables(tables)


def _may_pass(rows: pa.Table) -> pa.ChunkedArray:
    """Rows of pages that may be fetched successfully weeks later."""
    return pc.or_(
        pc.is_in(rows["reason"], pa.array(sorted(PASSING_BY_THE_NEXT_BATCH), pa.string())),
        pc.is_in(rows["status"], pa.array(sorted(PASSING_STATUSES), pa.int16())),
    )
