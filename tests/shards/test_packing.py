"""Whole documents in rows: nothing cut that fits, every token predicted once an epoch, resumed exactly by any ranks."""

from __future__ import annotations

import json
from collections import Counter
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from shards.reader import (
    IGNORED,
    BlockStream,
    PackedStream,
    Source,
    open_mixture,
    open_split,
    packed_fields,
)
from shards.stream import packing
from shards.stream.best_fit import best_fit
from shards.tokenizer import vocabulary
from shards.tokenizer.encode import Tokenizer

EOT = 50256


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.lists(st.integers(1, 40), max_size=60))
def test_rows_are_those_of_best_fit_decreasing(capacity: int, wanted: list[int]) -> None:
    lengths = np.array(sorted((min(each, capacity) for each in wanted), reverse=True), np.int64)
    rows, num_rows = best_fit(lengths, capacity)
    rooms: list[int] = []
    for (
        length
    ) in lengths.tolist():  # one document after another, into the fullest row that takes it
        fitting = [index for index, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=rooms.__getitem__)] -= length
        else:
            rooms.append(capacity - length)
    assert num_rows == len(rooms)
    loads = np.bincount(rows, lengths, num_rows)
    assert sorted(capacity - loads) == sorted(rooms)


def stream(built: str, block_size: int = 400, **options: Any) -> PackedStream:
    split = open_split(built, "b2", "train")
    return PackedStream(split, block_size=block_size, seed=3, **options)


def pieces_of(rows: np.ndarray) -> list[list[int]]:
    """The pieces of documents in rows, by their end-of-text; what only fills up is left out."""
    found = []
    for row in rows.tolist():
        while row[-2:] == [EOT, EOT]:
            row.pop()
        start = 0
        for place, token in enumerate(row):
            if token == EOT or place == len(row) - 1:
                found.append(row[start : place + 1])
                start = place + 1
    return found


@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("block_size", [37, 400, 5000])
def test_an_epoch_has_every_document_whole(built: str, block_size: int, window: int) -> None:
    packed = stream(built, block_size, window=window)
    split = open_split(built, "b2", "train")
    documents = [
        split.slice(part.start, part.stop).tolist() for part in split.documents(0, split.num_tokens)
    ]
    expected = Counter()
    for document in documents:
        starts = range(0, max(1, len(document) - 1), block_size)
        expected.update(tuple(document[start : start + block_size + 1]) for start in starts)
    rows = packed.next_batch(packed.num_blocks)
    assert rows.shape == (packed.num_blocks, block_size + 1)
    lone = expected.pop((EOT,), 0)  # empty documents look as what fills a row up
    found = Counter(map(tuple, pieces_of(rows)))
    found.pop((EOT,), 0)
    assert found == expected
    assert lone < 10
    assert packed.epoch == 1
    labels = packed_fields(rows, EOT).labels
    predicted = Counter(labels[labels != IGNORED].tolist())
    assert predicted == Counter(token for document in documents for token in document[1:])


def test_a_document_has_other_neighbours_in_every_epoch(
    built: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = stream(built, 300)
    epochs = [packed.next_batch(packed.num_blocks) for _ in range(3)]
    assert sorted(map(len, pieces_of(epochs[0]))) == sorted(map(len, pieces_of(epochs[1])))
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(
        stream(built, 300).rows(np.arange(2 * packed.num_blocks, 3 * packed.num_blocks)), epochs[2]
    )


@pytest.mark.parametrize("group_documents", [64, 1 << 16])
def test_it_resumes_exactly_on_any_number_of_ranks(
    built: str, group_documents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "GROUP_DOCUMENTS", group_documents)
    whole = stream(built)
    expected = [whole.next_batch(12) for _ in range(3 * whole.num_blocks // 12)]
    state: Any = stream(built).state_dict()
    found = []
    for turn in range(len(expected)):
        world = (1, 3, 4, 12, 2)[turn % 5]
        shares = []
        for rank in range(world):
            one = stream(built)
            one.load_state_dict(json.loads(json.dumps(state)))
            shares.append(one.next_batch(12, rank, world))
            after = one.state_dict()
        state = after
        found.append(np.concatenate(shares))
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    # Rows looked up a chunk at a time are those looked up one by one.
    each = stream(built).rows(np.arange(12 * len(expected)))
    assert np.array_equal(each, np.concatenate(expected))


def test_documents_of_a_sample_are_those_in_its_tokens(built: str) -> None:
    packed = stream(built)
    split = open_split(built, "b2", "train")
    row = packed.rows(np.array([5]))[0]
    parts = packed.documents(5)
    tokens = np.concatenate([split.slice(part.start, part.stop) for part in parts])
    assert np.array_equal(row[: len(tokens)], tokens)
    assert (row[len(tokens) :] == EOT).all()


def test_little_is_wasted_on_real_lengths(shared: Path) -> None:
    """Web prose at GPT-2's block size."""
    tokenizer = Tokenizer(vocabulary.gpt2())
    texts = []
    for path in sorted((shared / "prose/dev").glob("*.jsonl.zst")):
        with path.open("rb") as file:
            reader = TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
            texts += [json.loads(line)["text"] for line, _ in zip(reader, range(150), strict=False)]
    _, counts = tokenizer.encode_array(pa.array(texts, pa.large_string()), end_of_text=True)
    pieces = []
    for count in counts.tolist():
        pieces += [min(count - at, 1025) for at in range(0, max(1, count - 1), 1024)]
    _, num_rows = best_fit(np.array(sorted(pieces, reverse=True)), 1025)
    assert 1 - sum(pieces) / (num_rows * 1025) < 0.01


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([7, 8, EOT]), min_size=9, max_size=9), min_size=1, max_size=4)
)
def test_fields_are_those_of_a_loop(wanted: list[list[int]]) -> None:
    rows = np.array(wanted)
    fields = packed_fields(rows, EOT)
    lengths = []
    for number, row in enumerate(wanted):
        position = document = 0
        for place in range(8):
            if place and row[place - 1] == EOT:
                fills = place >= 2 and row[place] == row[place - 2] == EOT
                if not fills:
                    position, document = 0, document + 1
            if position == 0:
                lengths.append(0)
            lengths[-1] += 1
            assert fields.position_ids[number, place] == position
            assert fields.document_ids[number, place] == document
            assert fields.labels[number, place] == (
                IGNORED if row[place] == EOT else row[place + 1]
            )
            position += 1
    assert np.diff(fields.cu_seqlens).tolist() == lengths
    assert fields.max_seqlen == max(lengths)


@pytest.mark.parametrize("bad", [None, [], "x", 3, {}, {"index": 0}, {1: 2}])
def test_anything_else_than_a_state_is_refused(built: str, bad: Any) -> None:
    split = open_split(built, "b2", "train")
    plain = BlockStream(split, block_size=400, seed=3)
    for each in (plain, stream(built)):
        with pytest.raises(InputError, match="state"):
            each.load_state_dict(bad)
        for key, value in (("index", True), ("epoch", 1.0), ("seed", "a"), ("index", -1)):
            with pytest.raises(InputError, match="whole number"):
                each.load_state_dict({**each.state_dict(), key: value})
    with pytest.raises(InputError, match="expected"):
        stream(built).load_state_dict(plain.state_dict())
    with pytest.raises(InputError, match="block_size"):
        stream(built).load_state_dict(stream(built, 401).state_dict())


def test_mixtures_pack_too(built: str) -> None:
    def mixture() -> Any:
        sources = [Source(weight=3, batches=["b1"]), Source(weight=1, domains=["example.org"])]
        return open_mixture(
            built, "b2", "train", sources, block_size=300, seed=2, packing="documents"
        )

    whole = mixture()
    rows = [whole.next_batch(8) for _ in range(12)]
    split = open_split(built, "b2", "train")
    known = {
        tuple(split.slice(part.start, part.stop).tolist())
        for part in split.documents(0, split.num_tokens)
    }
    pieces = [piece for piece in pieces_of(np.concatenate(rows)) if len(piece) < 301]
    whole_ones = [piece for piece in pieces if piece[-1] == EOT]
    assert sum(tuple(piece) in known for piece in whole_ones) > 0.7 * len(whole_ones)
    later = mixture()
    later.load_state_dict({**mixture().state_dict(), "index": 40})
    assert np.array_equal(later.next_batch(8, 1, 2), rows[5][4:])
    plain = open_mixture(
        built, "b2", "train", [Source(weight=1)], block_size=300, seed=2
    ).state_dict()
    with pytest.raises(InputError, match="mixture"):
        mixture().load_state_dict(plain)
