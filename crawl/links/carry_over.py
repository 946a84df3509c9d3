"""Pages left by earlier batches at their deadline, as a small dump for the next batch.

The links stage takes dumps, so it gets one: a submission per page, with the karma of its first
admission (of its best submission, or the sum of all, by the batch's `karma_rule`). The file,
`refresh/deferred-<batch>.jsonl`, is there until the batch is complete: a take-down must find
nothing in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import batches, find_manifest
from corpus.tables.parquet import read_file

REASON = "deferred"


def pick_up(store: Store, batch: str, *, wanted: bool) -> list[str]:
    """The dump of deferred pages for `batch` as a list of one path, or of none where there are none or none are wanted.

    Written when the batch begins; a started batch keeps its file.
    """
    path = dump_path(batch)
    if not store.exists(path):
        if not wanted or find_manifest(store, "links", batch) is not None:
            return []
        lines = [json.dumps(row, sort_keys=True) for row in submissions(store)]
        if not lines:
            return []
        store.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())

    return [f"{store.root}/{path}"]


def dump_path(batch: str) -> str:
    """The path of a batch's dump."""
    return f"refresh/deferred-{batch}.jsonl"


def submissions(store: Store) -> Iterator[dict[str, Any]]:
    """A submission per page that was deferred and that no later batch has taken up."""
    manifests = batches(store, "pages")
    for place, manifest in enumerate(manifests):
        for part in manifest.parts:
            rows = read_file(
                store, f"{table_dir('pages', manifest.batch)}/{part.file}", ["doc_id", "reason"]
            )
            left = (
                rows["doc_id"]
                .filter(pc.fill_null(pc.equal(rows["reason"], REASON), False))
                .combine_chunks()
            )
            later = [each.batch for each in manifests[place + 1 :]]
            left = (
                left.filter(pc.invert(pc.is_in(left, _ids_in(store, later, left))))
                if len(left)
                else left
            )
            yield from _links(store, manifest.batch, left)


def _ids_in(store: Store, names: list[str], ids: Any) -> Any:
    """Those of `ids` that the links of some batches have."""
    found = ids.slice(0, 0)
    for name in names:
        links = find_manifest(store, "links", name)
        for part in links.parts if links else []:
            there = read_file(store, f"{table_dir('links', name)}/{part.file}", ["doc_id"])[
                "doc_id"
            ].combine_chunks()
            found = pa.concat_arrays([found, ids.filter(pc.is_in(ids, there))])

    return found


def _links(store: Store, batch: str, ids: Any) -> Iterator[dict[str, Any]]:
    links = find_manifest(store, "links", batch)
    if links is None or not len(ids):
        return

    by_sum = links.config.get("links", {}).get("karma_rule") == "openwebtext2"
    for part in links.parts:
        rows = read_file(store, f"{table_dir('links', batch)}/{part.file}")
        for row in rows.filter(pc.is_in(rows["doc_id"], ids)).to_pylist():
            yield {
                "id": row["submission_id"],
                "url": row["url"],
                "title": row["title"],
                "score": row["score_sum" if by_sum else "score"],
                "subreddit": row["subreddit"],
                "created_utc": int(row["created"].timestamp()),
                "retrieved_on": int(row["created"].timestamp()) + 30 * 86_400,
                "is_self": False,
                "over_18": row["over_18"],
            }
