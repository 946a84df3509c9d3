"""Groups of near-duplicates, and kept pages that resemble each other, for a person to judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import Manifest, read_manifest
from corpus.tables.parquet import open_file, read_table
from corpus.tables.schemas import BANDS, DOCUMENTS
from dedup import doc_ids, document_rows
from dedup.words import jaccard

# Pairs of kept pages whose texts are compared for a sample. Their pages fit into memory.
MOST_PAIRS = 2_000


@dataclass(frozen=True, slots=True)
class Band:
    """A range of similarity, both ends included."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Band:
        """Read `LOW-HIGH`, as in `.70-.75`. Raises: InputError."""
        low, dash, high = text.partition("-")
        try:
            band = cls(float(low), float(high))
        except ValueError:
            band = cls(1.0, 0.0)
        if not dash or not 0 <= band.low <= band.high <= 1:
            raise InputError(
                f"--similarity is {text!r}; expected a range between 0 and 1, such as 0.70-0.75"
            )
        return band


@dataclass(frozen=True, slots=True)
class KeptPair:
    """Two pages of a batch that are both kept, and their exact similarity."""

    first: str
    second: str
    similarity: float


def members(store: Store, batch: str, survivor: str) -> pa.Table:
    """The pages of a batch that are removed for `survivor`, most similar first."""
    rows = read_table(store, "verdicts", batch, ["doc_id", "kept", "duplicate_of", "similarity"])
    removed = rows.filter(
        pc.and_(pc.invert(rows["kept"]), pc.equal(rows["duplicate_of"], survivor))
    )
    return removed.sort_by([("similarity", "descending"), ("doc_id", "ascending")])


def kept_pairs(store: Store, batch: str, band: Band, count: int) -> list[KeptPair]:
    """Up to `count` pairs of kept pages of a similarity in `band`; the same ones every time.

    Pairs are drawn from neighbours in the buckets of the index.
    """
    first, second = _drawn(store, read_manifest(store, BANDS.name, batch))
    documents = read_manifest(store, DOCUMENTS.name, batch)
    n = int(read_manifest(store, "verdicts", batch).config["shingles"]["n"])
    wanted = np.unique(np.concatenate([first, second]))
    sets = {
        doc: found.sets.row(row)
        for found in document_rows.shingle_sets(store, documents, wanted, n)
        for row, doc in enumerate(doc_ids.to_list(found.doc))
    }

    pairs = []
    for one, other in zip(doc_ids.to_list(first), doc_ids.to_list(second), strict=True):
        # A page that was taken down has no text.
        if one not in sets or other not in sets:
            continue
        similarity = jaccard(sets[one], sets[other])
        if band.low <= similarity <= band.high:
            pairs.append(KeptPair(one.hex(), other.hex(), similarity))

    return pairs[:count]


def _drawn(store: Store, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Up to MOST_PAIRS distinct pairs of pages that share a key, in the order of a hash."""
    pairs = np.zeros((0, 2), "S16")
    for keys, docs in _parts(store, manifest):
        same = np.flatnonzero(keys[1:] == keys[:-1])
        ordered = np.sort(np.stack([docs[same], docs[same + 1]], axis=1), axis=1)
        pairs = np.unique(np.concatenate([pairs, ordered]), axis=0)
        # Ids are hashes, so their difference is as good as a draw.
        lots = np.subtract(*(doc_ids.bytes_to_hashes(pairs[:, side])[:, 1] for side in (0, 1)))
        pairs = pairs[np.argsort(lots, kind="stable")[:MOST_PAIRS]]

    return pairs[:, 0], pairs[:, 1]


def _parts(store: Store, manifest: Manifest) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(keys, ids) of every part of the index, by ascending key."""
    for part in manifest.parts:
        path = f"{table_dir(manifest.table, manifest.batch)}/{part.file}"
        with open_file(store, path) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, ("key", "doc_id"))
                yield rows["key"].to_numpy(), doc_ids.pack(rows["doc_id"])
