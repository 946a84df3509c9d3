"""The step from decisions to verdicts: a row for every page."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.run.step import Context, Joins, Map, MapFunction, Output
from corpus.tables.conservation import CUT, KEPT
from corpus.tables.manifest import Input
from corpus.tables.schemas import DOCUMENTS, SIGNATURES, VERDICTS, Table
from dedup import doc_ids, index, passage_steps
from dedup.config import DedupConfig
from dedup.contamination import overlap_steps
from dedup.contamination.overlap import merge_ranges
from dedup.tables import (
    DECISIONS,
    KEPT_KEYS,
    KEYS,
    OVERLAPS,
    PARAGRAPHS,
    REPEATS,
)
from dedup.taken_down import REASON

log = logging.getLogger(__name__)


def load_verdicts(config: DedupConfig, context: Context) -> MapFunction:
    """A verdict for every page, and the keys of kept pages."""

    def apply(documents: pa.Table, joins: Joins) -> Output:
        doc = doc_ids.pack(documents["doc_id"])
        has_words = doc_ids.join(doc, joins[SIGNATURES.name], "num_shingles", np.int32(0)) > 0
        decision = doc_ids.places(doc, joins[DECISIONS.name]["doc_id"])
        taken = doc_ids.join(doc, joins[KEYS.name], "taken_down", np.bool_(False))
        overlap = (
            doc_ids.places(doc, joins[OVERLAPS.name]["doc_id"])
            if OVERLAPS.name in joins
            else np.full(doc.size, doc_ids.NOWHERE)
        )
        decided = joins[DECISIONS.name].drop_columns(["doc_id"]).to_pylist()
        repeated = _repeated_ranges(doc, joins) if PARAGRAPHS.name in joins else {}
        overlapping = (
            joins[OVERLAPS.name].drop_columns(["doc_id"]).to_pylist()
            if OVERLAPS.name in joins
            else []
        )
        rows = [
            _verdict(
                bool(words),
                decided[at] if at != doc_ids.NOWHERE else None,
                overlapping[over] if over != doc_ids.NOWHERE else None,
                repeated.get(row, []),
                is_taken=bool(is_taken),
            )
            for row, (words, at, over, is_taken) in enumerate(
                zip(has_words, decision, overlap, taken, strict=True)
            )
        ]
        verdicts = pa.Table.from_pylist(
            rows, pa.schema([field for field in VERDICTS.schema if field.name != "doc_id"])
        )
        verdicts = verdicts.add_column(0, VERDICTS.schema.field("doc_id"), documents["doc_id"])
        kept = verdicts["kept"].to_numpy()
        keys = joins[KEYS.name]["keys"].take(
            pa.array(doc_ids.places(doc[kept], joins[KEYS.name]["doc_id"]))
        )
        if PARAGRAPHS.name in joins:
            keys = _with_paragraphs(doc[kept], keys, joins[PARAGRAPHS.name], joins[REPEATS.name])
        counts = Counter(KEPT if row["kept"] else row["reason"] for row in rows)
        counts[CUT] = sum(bool(row["cuts"]) for row in rows)
        kept_keys = pa.table({"doc_id": documents["doc_id"].filter(kept), "keys": keys})

        return Output({VERDICTS.name: verdicts, KEPT_KEYS.name: kept_keys}, +counts)

    return apply


def depends_on_testsets_too(config: DedupConfig, context: Context) -> list[Input]:
    """Earlier indexes, and the test sets by digest, recorded with `verdicts`."""
    return [*index.depends(config, context), *overlap_steps.depends_on_testsets(config, context)]


def _repeated_ranges(doc: np.ndarray, joins: Joins) -> dict[int, list[tuple[int, int]]]:
    """The ranges of repeated paragraphs of every row that has some."""
    repeats, paragraphs = joins[REPEATS.name], joins[PARAGRAPHS.name]
    at = doc_ids.places(doc, repeats["doc_id"])
    place = doc_ids.places(doc, paragraphs["doc_id"])
    found = {}
    for row in np.flatnonzero(at != doc_ids.NOWHERE).tolist():
        lost = set(repeats["keys"][int(at[row])].as_py())
        found[row] = passage_steps.ranges_of(
            paragraphs.slice(int(place[row]), 1).to_pylist()[0], lost
        )

    return found


def _with_paragraphs(
    doc: np.ndarray, keys: pa.ChunkedArray, paragraphs: pa.Table, repeats: pa.Table
) -> pa.Array:
    """The keys of kept pages with those of the passages that stay on them.

    A passage that a page loses is in the index already, by the page that keeps it.
    """
    at, lost_at = (doc_ids.places(doc, table["doc_id"]) for table in (paragraphs, repeats))
    more, lost = paragraphs["keys"].to_pylist(), repeats["keys"].to_pylist()
    return pa.array(
        [
            [*own, *sorted(set(more[place]).difference(lost[gone] if gone >= 0 else ()))]
            if place != doc_ids.NOWHERE
            else own
            for own, place, gone in zip(
                keys.to_pylist(), at.tolist(), lost_at.tolist(), strict=True
            )
        ],
        keys.type,
    )


def _verdict(
    has_words: bool,
    decision: dict[str, Any] | None,
    overlap: dict[str, Any] | None,
    repeated: list[tuple[int, int]],
    *,
    is_taken: bool,
) -> dict[str, Any]:
    """One row of `verdicts`, its id aside."""
    reason = None
    if not has_words:
        reason = "no_words"
    elif is_taken:
        reason = REASON
    elif overlap is not None and overlap["dropped"]:
        reason = "test_overlap"
    elif decision is not None:
        reason = "exact_duplicate" if decision["exact"] else "near_duplicate"
        reason = "contained" if decision["contained"] else reason

    return {
        "kept": reason is None,
        "reason": reason,
        "duplicate_of": decision["duplicate_of"] if decision is not None else None,
        "similarity": decision["similarity"] if decision is not None else None,
        "testsets": overlap["testsets"] if overlap is not None else [],
        "overlap_ngrams": overlap["overlap_ngrams"] if overlap is not None else 0,
        "cuts": _cuts(overlap, repeated) if reason is None else [],
    }


def _cuts(overlap: dict[str, Any] | None, repeated: list[tuple[int, int]]) -> list[dict[str, int]]:
    cuts: list[dict[str, int]] = overlap["cuts"] if overlap is not None else []
    if not repeated:
        return cuts
    ranges = merge_ranges([*((cut["start"], cut["end"]) for cut in cuts), *repeated])
    return [{"start": start, "end": end} for start, end in ranges]


def verdicts_step(*, overlap: bool, passages: bool = False) -> Map:
    """Decisions to verdicts, joined with those of `overlap_steps` and `passage_steps` if asked."""
    joined: dict[Table, tuple[str, ...]] = {}
    if overlap:
        joined[OVERLAPS] = tuple(OVERLAPS.schema.names)
    if passages:
        joined[PARAGRAPHS] = tuple(PARAGRAPHS.schema.names)
        joined[REPEATS] = tuple(REPEATS.schema.names)
    sections = ("threshold", "shingles", "minhash", "lsh", "overlap")
    return Map(
        name="dedup/verdicts",
        reads=DOCUMENTS,
        columns=("doc_id",),
        joins={
            SIGNATURES: ("doc_id", "num_shingles"),
            DECISIONS: tuple(DECISIONS.schema.names),
            KEYS: ("doc_id", "keys", "taken_down"),
            **joined,
        },
        writes=(VERDICTS, KEPT_KEYS),
        conserves=(VERDICTS,),
        sections=(*sections, "passages") if passages else sections,
        depends=depends_on_testsets_too,
        load=load_verdicts,
    )
