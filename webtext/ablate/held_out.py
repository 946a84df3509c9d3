"""The held-out texts of all runs of an ablation, absent from every arm's training data.

A hash of its id puts a page on the validation side, in every arm alike. The set is the pages kept
there by all arms, in the words of the first arm: every run predicts the same bytes. Arms may keep
duplicates, so a page is left out if any arm trains on its text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from corpus.errors import InputError
from corpus.snapshots.snapshot import read_head
from corpus.storage.store import Store, open_corpus
from corpus.tables.parquet import iter_tables, part_paths

# Sorts pages for a sample of them; another number gives another sample.
ORDER_SEED = 20240131
DEFAULT_BYTES = 2_000_000


def write_held_out(path: Path, arms: Sequence[tuple[str, str]], max_bytes: int) -> int:
    """Write the texts as JSON lines, unless the file is there already; the number of texts.

    `arms` are roots of corpora with their snapshots. Raises: InputError if no page is left.
    """
    if not path.exists():
        texts = _texts(arms, max_bytes)
        lines = (json.dumps({"doc_id": key, "text": text}) for key, text in texts.items())
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        temporary.replace(path)

    return len(path.read_bytes().splitlines())


def _texts(arms: Sequence[tuple[str, str]], max_bytes: int) -> dict[str, str]:
    shared: set[str] | None = None
    learnt: set[int] = set()
    counts = []
    for root, snapshot in arms:
        store = open_corpus(root)
        validation = _ids(store, snapshot, "val")
        shared = validation if shared is None else shared & validation
        counts.append(f"{Path(root).name} {len(validation):,}")
        learnt |= _digests(store, snapshot)

    chosen: dict[str, str] = {}
    root, snapshot = arms[0]
    found = dict(_documents(open_corpus(root), snapshot, shared or set()))
    # By a hash: otherwise a few domains could fill the sample.
    for doc_id in sorted(found, key=lambda each: xxh3_64_intdigest(each.encode(), ORDER_SEED)):
        if xxh3_128_intdigest(found[doc_id].encode()) in learnt:
            continue
        if max_bytes <= 0:
            break
        chosen[doc_id] = found[doc_id]
        max_bytes -= len(found[doc_id].encode())

    if not chosen:
        raise InputError(
            f"no page is on the validation side of all arms ({', '.join(counts)} pages), so nothing "
            "can be compared; name texts with --held-out FILE.jsonl, or hold out more with --set shards.writer.val_frac=0.05"
        )
    return chosen


def _ids(store: Store, snapshot: str, split: str) -> set[str]:
    """The pages in one split of a snapshot."""
    return {
        doc_id
        for each in read_head(store, snapshot).batches
        for path in part_paths(store, "spans", each.batch)
        if f"/{split}/" in path
        for table in iter_tables(store, path, ["doc_id"])
        for doc_id in table["doc_id"].to_pylist()
    }


def _digests(store: Store, snapshot: str) -> set[int]:
    """Digests of a snapshot's training texts."""
    texts = _documents(store, snapshot, _ids(store, snapshot, "train"))
    return {xxh3_128_intdigest(text.encode()) for _, text in texts}


def _documents(store: Store, snapshot: str, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Id and text of the wanted pages."""
    ids = pa.array(sorted(wanted), pa.string())
    for each in read_head(store, snapshot).batches:
        for path in part_paths(store, "documents", each.batch):
            for table in iter_tables(store, path, ["doc_id", "text"]):
                rows = table.filter(pc.is_in(table["doc_id"], value_set=ids))
                yield from zip(rows["doc_id"].to_pylist(), rows["text"].to_pylist(), strict=True)
