"""The index of pages kept by earlier batches: the table `bands`, sorted by key.

A new batch reads only rows with its own keys. Keys depend on the parameters in the manifest; an
index with others is refused with both values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.config import Section
from corpus.errors import InputError, PartitionError, first_line
from corpus.run.step import Context
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import Input, Manifest, Part, earlier_batches, find_manifest
from corpus.tables.parquet import PartFile
from dedup import doc_ids
from dedup.against import sources
from dedup.config import DedupConfig
from dedup.key_search import matching_rows

# Settings that all batches of a corpus must share.
SECTIONS = ("threshold", "shingles", "minhash", "lsh")
SHARED = (*SECTIONS, "containment", "survivors")
# Of batches from before a setting was there.
BEFORE: dict[str, Any] = {"containment": 0.0, "survivors": {"prefer": ["score"]}}


def earlier_indexes(store: Store, batch: str, config: DedupConfig) -> list[Manifest]:
    """The manifests of `bands` of the previous batches, in order.

    Raises: InputError for an earlier batch without verdicts, or with other parameters.
    """
    found = []
    for name in earlier_batches(store, batch):
        manifest = find_manifest(store, "bands", name)
        if manifest is None or find_manifest(store, "verdicts", name) is None:
            raise InputError(
                f"{store.root}: batch {name!r} comes before {batch!r} and has no verdicts yet; "
                f"run `webtext dedup --corpus {store.root} --batch {name}` first"
            )
        _check_parameters(store, manifest, config)
        found.append(manifest)

    return found


def index_inputs(manifests: Sequence[Manifest]) -> list[Input]:
    """Inputs of a step on these indexes."""
    return [
        Input(table="bands", batch=each.batch, fingerprint=each.fingerprint) for each in manifests
    ]


def depends(config: DedupConfig, context: Context) -> list[Input]:
    """The indexes of the previous batches and the known documents, as inputs of a step.

    Raises: InputError.
    """
    indexes = earlier_indexes(context.store, context.batch, config)
    return [*sources.inputs(context.files), *index_inputs(indexes)]


def part_of_keys(keys: np.ndarray, num_parts: int) -> np.ndarray:
    """The part of every key. Shapes (n,) uint64 to (n,) int64."""
    return doc_ids.part_of_prefix(keys, num_parts)


def read_matching(
    store: Store, manifest: Manifest, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(keys, ids) of the rows with a key in `wanted` (ascending, distinct).

    Reads ids only of matching keys.
    """
    keys, docs = [np.zeros(0, np.uint64)], [np.zeros(0, "S16")]
    if wanted.size:
        first, last = part_of_keys(wanted[[0, -1]], manifest.num_parts).tolist()
        for part in manifest.parts[first : last + 1]:
            with _open_part(store, manifest, part) as stream, _damage_named(store, manifest, part):
                file = PartFile(
                    stream, f"{store.root}/{table_dir('bands', manifest.batch)}/{part.file}"
                )
                for key, rows in matching_rows(file, wanted, "doc_id"):
                    keys.append(key)
                    docs.append(doc_ids.pack(rows["doc_id"]))

    return np.concatenate(keys), np.concatenate(docs)


def _open_part(store: Store, manifest: Manifest, part: Part) -> Any:
    """Open a part. Raises: PartitionError for a missing one, since a retry would not help."""
    path = f"{table_dir('bands', manifest.batch)}/{part.file}"
    try:
        return store.open_input(path)
    except FileNotFoundError as error:
        raise PartitionError(
            f"{store.root}: the index of batch {manifest.batch!r} lacks {path}; bring the file back, or make it again with "
            f"`webtext dedup --corpus {store.root} --batch {manifest.batch} --rebuild`"
        ) from error


@contextmanager
def _damage_named(store: Store, manifest: Manifest, part: Part) -> Iterator[None]:
    """Raises: PartitionError for a part whose bytes changed: trying again gives the same."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # Arrow raises OSError for a broken page; one of the operating system has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        path = f"{table_dir('bands', manifest.batch)}/{part.file}"
        raise PartitionError(
            f"{store.root}/{path}: damaged ({first_line(error)}); bring the file back, or rebuild it with "
            f"`webtext dedup --corpus {store.root} --batch {manifest.batch} --rebuild`"
        ) from error


def _check_parameters(store: Store, manifest: Manifest, config: DedupConfig) -> None:
    for name in SHARED:
        ours = getattr(config, name)
        theirs = manifest.config.get(name, BEFORE.get(name))
        if isinstance(ours, Section):
            # Settings of one run change no verdict.
            free = set(ours.outside_identity)
            ours = ours.model_dump(mode="json", exclude=free)
            if isinstance(theirs, dict):
                theirs = {key: value for key, value in theirs.items() if key not in free}
        if name == "shingles" and isinstance(theirs, dict):
            _check_rule(store, manifest, theirs.get("normalizer"), config)
        if ours != theirs:
            raise InputError(
                f"{store.root}: dedup.{name} is {ours!r} and batch {manifest.batch!r} was made with {theirs!r}; batches of a "
                f"corpus must agree: use its setting, or rebuild it with "
                f"`webtext dedup --corpus {store.root} --batch {manifest.batch} --rebuild` and this one"
            )


def _check_rule(store: Store, manifest: Manifest, theirs: Any, config: DedupConfig) -> None:
    """Raises: InputError for an index whose words were made by another rule."""
    ours = config.shingles.normalizer
    if theirs != ours:
        raise InputError(
            f"{store.root}: the words of batch {manifest.batch!r} were made by the rule {theirs!r}, "
            f"this version makes them by {ours!r} (a newer Unicode), so their hashes cannot be "
            f"compared. Tables stay readable; before a new batch, rebuild the old ones with "
            f"`webtext rebuild --corpus {store.root} --from dedup`"
        )
