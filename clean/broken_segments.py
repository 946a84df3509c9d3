"""WARC segments without one readable page: a sign of a damaged store, not of pages.

Two crawls of one batch, overwriting each other's segments, leave this behind, and so does a
truncated copy. Nothing is committed then. Single broken records are pages with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from clean.config import CleanConfig
from clean.reasons import Reason
from corpus.errors import FatalError
from corpus.run.step import Context
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_file
from corpus.tables.schemas import PAGES

MOST_NAMED = 3


def refuse_broken_segments(
    config: CleanConfig, context: Context, written: Mapping[str, Sequence[str]], table: str
) -> None:
    """Refuse the result if whole segments could not be read. `table` has the reasons.

    Raises: FatalError.
    """
    if config.allow_broken_segments:
        return

    found = broken_segments(context.store, context.batch, written[table])
    if not found:
        return

    shown = ", ".join(found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")
    raise FatalError(
        f"{context.store.root}: no page of {len(found):,} WARC segments could be read ({shown}): "
        "the files are damaged or missing, and nothing was committed. Restore them from a copy and "
        "run the same command again, or accept the loss with --set clean.allow_broken_segments=true"
    )


def broken_segments(store: Store, batch: str, parts: Iterable[str]) -> list[str]:
    """Sorted paths of segments whose pages all have the reason `warc_broken` in `parts`."""
    lost = [_broken_ids(store, path) for path in parts]
    ids = pa.concat_arrays(lost) if lost else pa.array([], pa.string())
    if not len(ids):
        return []

    total, broken = Counter[str](), Counter[str]()
    for part in read_manifest(store, PAGES.name, batch).parts:
        path = f"{table_dir(PAGES.name, batch)}/{part.file}"
        rows = read_file(store, path, ["doc_id", "warc_file"])
        rows = rows.filter(pc.is_valid(rows["warc_file"]))
        total.update(rows["warc_file"].to_pylist())
        gone = rows.filter(pc.is_in(rows["doc_id"], value_set=ids))
        broken.update(gone["warc_file"].to_pylist())

    return sorted(path for path, count in broken.items() if count == total[path])


def _broken_ids(store: Store, path: str) -> pa.Array:
    rows = read_file(store, path, ["doc_id", "reason"])
    lost = pc.fill_null(pc.equal(rows["reason"], str(Reason.WARC_BROKEN)), False)
    return rows["doc_id"].filter(lost).combine_chunks()
