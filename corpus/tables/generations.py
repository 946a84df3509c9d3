"""Keeps one generation of files in a table's folder, so that it opens in any Parquet reader.

A rebuild replaces a table's files. Those of a snapshot move to the same path below `earlier/`,
unseen by readers of a table's folder; all others are deleted. The move follows the commit, and
object stores copy and then delete, so a snapshot's file is always at one of its two places, whole.
During a rebuild its finished files are beside the old ones: the folder has one generation between
runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache

from corpus.bulk import read_many
from corpus.snapshots.file_lists import read_lists
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import Manifest

log = logging.getLogger(__name__)

# The folder of replaced files that a snapshot names.
EARLIER = "earlier"


def earlier_path(path: str) -> str:
    """The second place of a file whose first is `path`."""
    return f"{EARLIER}/{path}"


def first_path(path: str) -> str:
    """The path of a file as snapshots name it, whichever of its two places is given."""
    return path.removeprefix(f"{EARLIER}/")


def find_file(store: Store, path: str) -> str:
    """The present place of a snapshot's file; `path` itself if it is at neither place."""
    for place in (path, earlier_path(first_path(path)), first_path(path)):
        if store.exists(place):
            return place
    return path


def files_moved(store: Store, tables: Iterable[str]) -> frozenset[str]:
    """Paths in snapshots of files of these tables now in `earlier/`: one listing."""
    wanted = tuple(f"{table}/" for table in tables)
    # Only files of snapshots move, so the whole folder has little else than what is asked for.
    folder = earlier_path(wanted[0].rstrip("/")) if len(wanted) == 1 else EARLIER
    moved = (first_path(path) for path, _ in store.files(folder, recursive=True))
    return frozenset(path for path in moved if path.startswith(wanted))


def pinned_files(store: Store, without: Iterable[str] = ()) -> set[str]:
    """Paths of snapshots' files, except for the snapshots `without`."""
    left_out = {f"snapshots/{name}.json" for name in without}
    listed = [entry for entry in store.files("snapshots") if entry[0] not in left_out]
    return set(_pinned_by(store.root, tuple(listed)))


def lists_of(store: Store, paths: Iterable[str]) -> set[str]:
    """Digests of the lists of files that snapshots refer to, given the paths of snapshots."""
    documents = read_many(store, paths, store.read_object)
    return {
        str(each.get("files"))
        for document in documents
        for each in document.get("batches", ())
        if isinstance(each, Mapping)
    }


@lru_cache(maxsize=4)
def _pinned_by(root: str, listed: tuple[tuple[str, int], ...]) -> frozenset[str]:
    """Files of these snapshots, which never change: a commit asks for the same ones again."""
    store = open_store(root)
    lists = read_lists(store, lists_of(store, [path for path, _ in listed]))
    return frozenset(
        path
        for each in lists.values()
        for files in each.splits.values()
        for file in files
        for path in (file.path, file.spans_path)
    )


def retire_files(store: Store, folder: str, files: Iterable[str]) -> None:
    """Move or delete files of a table's folder that are not in its manifest.

    The new generation is committed by now, so a lost file of the old one stops nothing.
    """
    paths = [f"{folder}/{file}" for file in files]
    if not paths:
        return

    pinned = pinned_files(store)
    for path in paths:
        if path in pinned:
            try:
                store.move(path, earlier_path(path))
            except FileNotFoundError:
                log.warning("%s/%s is gone, and a snapshot names it", store.root, path)
        else:
            store.delete(path)


def settle(store: Store, folder: str, manifest: Manifest) -> None:
    """Leave only the manifest's files in a table's folder, completing the work of a killed run.

    The caller holds the batch's lease, and no rebuild of the table is unfinished.
    """
    named = {f"{folder}/{part.file}" for part in manifest.parts}
    present = [path for path, _ in store.files(folder, recursive=True) if path.endswith(".parquet")]
    retire_files(
        store,
        folder,
        [path.removeprefix(f"{folder}/") for path in present if path not in named],
    )

    # A rebuild with earlier settings gives files that had moved again, with names and bytes.
    for path in files_moved(store, [folder]) & named:
        store.delete(earlier_path(path))


def delete_unpinned(store: Store, tables: Iterable[str], batch: str) -> None:
    """Delete the replaced files of a batch without a snapshot."""
    pinned = pinned_files(store)
    for table in tables:
        for path, _ in store.files(earlier_path(f"{table}/{batch}"), recursive=True):
            if first_path(path) not in pinned:
                store.delete(path)
