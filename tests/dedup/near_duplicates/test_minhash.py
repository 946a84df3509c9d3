"""Signatures equal those of datasketch, compiled and by the oracle."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasketch import LeanMinHash, MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.near_duplicates import minhash
from dedup.words import Ragged
from tests.dedup import oracle

hash_rows = st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=30), max_size=5)


def ragged(rows: list[list[int]]) -> Ragged:
    bounds = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return Ragged(np.array([value for row in rows for value in row], np.uint64), bounds)


def theirs(row: list[int], num_perm: int, seed: int) -> MinHash:
    sketch = MinHash(num_perm=num_perm, seed=seed, hashfunc=lambda value: value, scheme="affine32")
    sketch.update_batch([value >> 32 for value in row])
    return sketch


@pytest.mark.parametrize("by", [minhash, oracle])
@settings(max_examples=30)
@given(hash_rows, st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_equal_to_datasketch(by: Any, rows: list[list[int]], num_perm: int, seed: int) -> None:
    ours = by.signatures(ragged(rows), minhash.permutations(num_perm, seed))
    for index, row in enumerate(rows):
        assert np.array_equal(ours[index], theirs(row, num_perm, seed).hashvalues)


def test_lean_bytes_go_both_ways() -> None:
    sketch = theirs([1 << 40, 2 << 40, 3 << 40], 112, 1)
    buffer = bytearray(LeanMinHash(sketch).bytesize("<"))
    LeanMinHash(sketch).serialize(buffer, "<")
    assert bytes(buffer) == minhash.to_lean_bytes(sketch.hashvalues, 1)
    values, seed = minhash.from_lean_bytes(bytes(buffer))
    assert np.array_equal(values, sketch.hashvalues)
    assert seed == 1
    again = LeanMinHash.deserialize(minhash.to_lean_bytes(values, seed), "<")
    assert again.jaccard(sketch) == 1.0


def test_lean_bytes_of_another_scheme_are_refused() -> None:
    legacy = LeanMinHash(MinHash(num_perm=4, scheme="legacy"))
    buffer = bytearray(legacy.bytesize("<"))
    legacy.serialize(buffer, "<")
    with pytest.raises(ValueError, match="another scheme"):
        minhash.from_lean_bytes(bytes(buffer))
    # The size and the code each tell one: ours is negative, and the code is 1.
    for size, code in ((2, 1), (0, 1), (-2, 0), (-2, 2)):
        data = struct.pack("<qiB", 1, size, code) + bytes(8)
        with pytest.raises(ValueError, match="another scheme"):
            minhash.from_lean_bytes(data)
    assert minhash.from_lean_bytes(struct.pack("<qiB", 1, -2, 1) + bytes(8))[0].tolist() == [0, 0]


@settings(max_examples=50)
@given(hash_rows)
def test_distinct_keeps_first_appearances(rows: list[list[int]]) -> None:
    repeated = [[*row, 0, *row] for row in rows]
    for by in (minhash, oracle):
        found = by.distinct(ragged(repeated))
        assert [found.row(index).tolist() for index in range(len(found))] == [
            list(dict.fromkeys(r)) for r in repeated
        ]


def test_texts_are_signed_as_the_oracle_signs_them() -> None:
    texts = pa.array(["", "one", "one two three four five six", "a b c d e " * 50, "— !"])
    perms = minhash.permutations(24, 1)
    compiled, plain = (by.sign(texts, 5, perms) for by in (minhash, oracle))
    assert np.array_equal(compiled.values, plain.values)
    assert np.array_equal(compiled.content, plain.content)
    assert compiled.num_shingles.tolist() == plain.num_shingles.tolist() == [0, 1, 2, 5, 0]
    assert (compiled.values[0] == minhash.EMPTY).all()


def test_estimates_are_as_good_as_theory_says() -> None:
    generator = np.random.default_rng(3)
    perms = minhash.permutations(112, 1)
    for jaccard in (0.3, 0.6, 0.9):
        errors = []
        for _ in range(60):
            pool = generator.integers(0, 2**64, 1000, np.uint64)
            shared = round(2 * jaccard / (1 + jaccard) * 500)
            rows = ragged([pool[:500].tolist(), pool[500 - shared : 1000 - shared].tolist()])
            signed = minhash.signatures(rows, perms)
            errors.append(minhash.similarity(signed[0], signed[1]) - shared / (1000 - shared))
        deviation = np.sqrt(jaccard * (1 - jaccard) / 112)
        assert abs(np.mean(errors)) < 4 * deviation / np.sqrt(60)
        assert np.std(errors) < 1.4 * deviation
