"""The leaves of a snapshot's tree: its sources, its settings, each table's files, each page.

Every leaf is canonical JSON: sorted keys, no spaces, UTF-8. Lines of two publications can so be
compared by their bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from corpus.snapshots.snapshot import SPLITS, SnapshotHead, read_snapshot
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import EXTRA_TABLES, OUTSIDE_INPUTS, Manifest, find_manifest
from corpus.tables.schemas import TABLES
from shards.reader import open_split
from shards.tokenizer.encode import load_tokenizer
from webtext.publish import documents, others


def leaves(store: Store, head: SnapshotHead) -> Iterator[dict[str, Any]]:
    """All leaves in their fixed order; those of pages have an `id`."""
    batches = [each.batch for each in head.batches]
    yield {"kind": "snapshot", "name": head.name, "digest": head.digest, "batches": batches}
    for batch in batches:
        for table in (*TABLES, *EXTRA_TABLES):
            manifest = find_manifest(store, table, batch)
            if manifest is not None:
                yield from _table(store, manifest)

    splits = read_snapshot(store, head.name).splits
    yield from _files(store, [file.path for name in SPLITS for file in splits[name].files])
    yield from _documents(store, head)
    for rows in others.removed(store, batches):
        for row in rows.select(["id", "url", "stage", "reason", "dump"]).to_pylist():
            yield {"kind": "removed", **row}


def encoded(leaf: dict[str, Any]) -> bytes:
    """The bytes to hash."""
    return json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def _table(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    place = {"table": manifest.table, "batch": manifest.batch}
    settings = encoded(manifest.config)
    yield {
        "kind": "settings",
        **place,
        "sha256": hashlib.sha256(settings).hexdigest(),
        "code": manifest.code_version,
    }
    for each in manifest.inputs:
        if each.table in OUTSIDE_INPUTS:
            yield {
                "kind": "input",
                **place,
                "input": each.table,
                "name": each.batch,
                "digest": each.fingerprint,
            }

    # Token files follow from the snapshot, which may keep those of an earlier generation.
    if manifest.table != "tokens":
        folder = table_dir(manifest.table, manifest.batch)
        yield from _files(store, [f"{folder}/{part.file}" for part in manifest.parts])


def _files(store: Store, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield {"kind": "file", "path": path, "sha256": _sha256(store, path)}


def _sha256(store: Store, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in store.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _documents(store: Store, head: SnapshotHead) -> Iterator[dict[str, Any]]:
    tokenizer = load_tokenizer(store)
    for name in SPLITS:
        split = open_split(store.root, head.name, name)
        for rows in documents.documents(store, split, tokenizer, Counter()):
            for row in rows.select(["id", "url", "dump", "text"]).to_pylist():
                text = row.pop("text").encode()
                digest = hashlib.sha256(text).hexdigest()
                yield {"kind": "document", **row, "split": name, "text_sha256": digest}
