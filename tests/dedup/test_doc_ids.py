"""Packed ids against what they stand for, by plain Python."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from corpus.tables.schemas import part_of, part_of_id
from dedup import doc_ids

# With leading, inner and trailing zeros, which strings of numpy lose.
IDS = sorted(
    {
        "0" * 32,
        "f" * 32,
        "00" * 15 + "01",
        "01" + "00" * 15,
        *(f"{random.Random(n).getrandbits(128):032x}" for n in range(40)),
    }
)


def test_packed_ids_come_back_and_sort_alike() -> None:
    packed = doc_ids.pack(pa.array(IDS))
    assert doc_ids.unpack(packed).to_pylist() == IDS
    assert doc_ids.to_list(packed) == [bytes.fromhex(each) for each in IDS]
    assert (np.sort(packed) == packed).all()
    column = doc_ids.to_arrow(packed)
    assert column.to_pylist() == [bytes.fromhex(each) for each in IDS]
    assert (doc_ids.from_arrow(column) == packed).all()
    assert (doc_ids.from_arrow(column.slice(3, 5)) == packed[3:8]).all()
    assert (
        doc_ids.from_arrow(pa.chunked_array([column[:2], column[2:]])).tolist() == packed.tolist()
    )
    assert doc_ids.from_arrow(column[:0]).size == 0


def test_hashes_are_the_two_halves_of_an_id() -> None:
    packed = doc_ids.pack(pa.array(IDS))
    pairs = doc_ids.bytes_to_hashes(packed)
    assert pairs.tolist() == [[int(each[:16], 16), int(each[16:], 16)] for each in IDS]
    assert doc_ids.to_list(doc_ids.hashes_to_bytes(pairs)) == doc_ids.to_list(packed)


@pytest.mark.parametrize("num_parts", [1, 3, 256])
def test_the_part_of_an_id(num_parts: int) -> None:
    packed = doc_ids.pack(pa.array(IDS))
    expected = [part_of_id(each, num_parts) for each in IDS]
    assert part_of(pa.array(IDS), num_parts).tolist() == expected
    assert doc_ids.parts(packed, num_parts).tolist() == expected
    prefix = doc_ids.bytes_to_hashes(packed)[:, 0]
    assert doc_ids.part_of_prefix(prefix, num_parts).tolist() == expected


def test_places_and_values_of_ids() -> None:
    there = IDS[5:30:2]
    table = pa.table({"doc_id": there, "value": range(len(there))})
    asked = [IDS[0], *reversed(IDS[4:33]), IDS[-1]]
    packed = doc_ids.pack(pa.array(asked))
    places = [there.index(each) if each in there else -1 for each in asked]
    assert doc_ids.places(packed, table["doc_id"]).tolist() == places
    assert doc_ids.join(packed, table, "value", 99).tolist() == [
        99 if at < 0 else at for at in places
    ]
    nowhere = doc_ids.places(packed, table["doc_id"][:0]).tolist()
    assert nowhere == [-1] * len(asked)
