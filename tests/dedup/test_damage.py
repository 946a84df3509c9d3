"""A flipped bit in a table is an error, never other values."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from corpus.errors import PartitionError, SchemaError
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import part_paths, read_table
from dedup import index
from tests.dedup.made import MadeCorpus, Page

New = Callable[[], MadeCorpus]


@pytest.mark.parametrize("table", ["bands", "verdicts"])
def test_a_flipped_bit_is_never_read_as_other_values(made_corpus: New, table: str) -> None:
    generator = random.Random(1)
    corpus = made_corpus()
    words = [f"w{index}" for index in range(900)]
    corpus.add("b", [Page(" ".join(generator.choices(words, k=30))) for _ in range(200)], 1)
    assert corpus.dedup("b") == 0
    before = read_table(corpus.store, table, "b")
    (path,) = part_paths(corpus.store, table, "b")
    data = corpus.store.read_bytes(path)
    keys = np.unique(read_table(corpus.store, "bands", "b")["key"].to_numpy())
    manifest = read_manifest(corpus.store, "bands", "b")
    found = index.read_matching(corpus.store, manifest, keys)
    errors = []
    for _ in range(60):
        broken = bytearray(data)
        # Bytes of pages; those of the footer are checked by the format itself or by no one.
        broken[generator.randrange(4, int(len(data) * 0.8))] ^= 1 << generator.randrange(8)
        corpus.store.write_bytes(path, bytes(broken))
        try:
            assert read_table(corpus.store, table, "b").equals(before)
        except SchemaError as error:
            errors.append(str(error))
        if table == "bands":
            try:
                again = index.read_matching(corpus.store, manifest, keys)
                assert all(np.array_equal(a, b) for a, b in zip(again, found, strict=True))
            except PartitionError as error:
                errors.append(str(error))
    assert len(errors) > 50
    assert all(path in error for error in errors)
