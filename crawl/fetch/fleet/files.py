"""Files of a batch's fetch as one worker reads and writes them. Everything here blocks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.run.task import read_bucket
from corpus.storage.store import Store
from crawl.fetch.fleet.journals import Journals, merge_run
from crawl.fetch.pace.frontier import pace_key, shard_of
from crawl.fetch.shard_state import STATE, Mirror, write_state
from crawl.outcomes import merge_outcomes, outcome_files, remove_uncommitted

# Of a worker's life, or of the captures that were taken after a fetch.
_SEGMENT = re.compile(r"(?:part-(\d+)|archive-\d+)-\d+\.warc\.gz")


class FleetFiles:
    """The links of shards, the journal of one life, and the states of others."""

    def __init__(
        self,
        store: Store,
        journals: Journals,
        folder: Path,
        life: int,
        *,
        scattered: str,
        num_buckets: int,
        num_shards: int,
    ) -> None:
        """`folder` is the life's own local folder; `scattered` has the links by bucket."""
        self._store = store
        self._journals = journals
        self._folder = folder
        self._durable = journals.life_folder(life)
        self._scattered = scattered
        self._num_buckets = num_buckets
        self._num_shards = num_shards
        self._mirror = Mirror(store, self._durable, folder)

    def links(self, shards: Sequence[int]) -> Mapping[int, pa.Table]:
        """All links of some shards."""
        return dict(self._links(shards))

    def _links(self, shards: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
        buckets: dict[int, list[int]] = {}
        for shard in shards:
            buckets.setdefault(shard % self._num_buckets, []).append(shard)

        for bucket, members in buckets.items():
            table = read_bucket(self._store, self._scattered, bucket, self._num_buckets)
            owners = shards_of(table["domain"], self._num_shards)
            for shard in members:
                yield shard, table.filter(pa.array(owners == shard))

    def states(self, lives: Iterable[int]) -> list[dict[str, Any]]:
        """The saved states of lives, as far as they have any."""
        found = []
        for life in lives:
            with contextlib.suppress(FileNotFoundError):
                found.append(self._store.read_object(f"{self._journals.life_folder(life)}/{STATE}"))
        return found

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, and on an object store the new part of the journal."""
        write_state(self._folder, state)
        self._mirror.save()

    def mirror(self) -> None:
        """Copy the new part of the journal to an object store."""
        self._mirror.save()

    def merge(self) -> None:
        """Merge many small outcome files into one: others then have few to read."""
        paths = {path.name: path for path in outcome_files(self._folder)}
        run = merge_run([*paths])
        if not run:
            return

        merge_outcomes(self._folder, [paths[name] for name in run])
        self._mirror.save()
        for name in run:
            paths[name].unlink()
            if not self._store.is_local:
                self._store.delete(f"{self._durable}/{name}")


def shards_of(domains: pa.ChunkedArray, num_shards: int) -> np.ndarray:
    """The shard of each domain. Shape (rows,), int64."""
    encoded = domains.combine_chunks().dictionary_encode()
    owners = [shard_of(pace_key(domain), num_shards) for domain in encoded.dictionary.to_pylist()]
    if not owners:
        return np.zeros(0, np.int64)
    return np.array(owners, np.int64)[encoded.indices.to_numpy()]


def remove_leftovers(store: Store, journals: Journals, warc_folder: str, life: int) -> None:
    """Delete segments of a lost worker without outcomes: their links are fetched again."""
    names = [path.rpartition("/")[2] for path in journals.files().get(life, ())]
    remove_uncommitted(store, segment_prefix(warc_folder, life), names)


def remove_other_segments(store: Store, warc_folder: str, num_lives: int) -> None:
    """Delete segments written by no life of this fetch: an earlier fetch of the batch left them."""
    for path, _ in store.files(warc_folder):
        found = _SEGMENT.fullmatch(path.rpartition("/")[2])
        if found is not None and (found[1] is None or int(found[1]) >= num_lives):
            store.delete(path)


def segment_prefix(warc_folder: str, life: int) -> str:
    """The beginning of the names of a life's segments."""
    return f"{warc_folder}/part-{life:05}"
