"""The order of packed rows is the same in every version, and what is kept between batches is bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shards.stream import packing
from shards.stream.packing import PackedStream, packed_fields

LENGTHS = (3, 9, 1, 12, 7, 30, 5, 2, 16, 17, 4, 8, 33, 6, 10, 11)


def made(lengths: tuple[int, ...] = LENGTHS, window: int = 0, **options: Any) -> PackedStream:
    """Documents of numbered tokens in rows of eight predictions."""
    ends = np.cumsum(lengths)
    tokens = np.arange(1, ends[-1] + 1)
    tokens[ends - 1] = 0

    def read_pieces(
        starts: np.ndarray,
        counts: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        out: np.ndarray,
    ) -> None:
        for start, count, row, place in zip(starts, counts, rows, places, strict=True):
            out[row, place : place + count] = tokens[start : start + count]

    split = SimpleNamespace(
        name="train",
        digest="d",
        end_of_text=0,
        ahead=0,
        run_tokens=20,
        document_ends=lambda: ends,
        read_pieces=read_pieces,
        piece_reader=lambda *given: None,
    )
    return PackedStream(split, block_size=8, seed=3, window=window, **options)  # type: ignore[arg-type]


def first_tokens(stream: PackedStream, epoch: int) -> list[int]:
    stream.seek(epoch, 0)
    rows: list[int] = stream.rows(np.arange(stream.num_blocks))[:, 0].tolist()
    return rows


def test_the_order_of_packed_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change would reorder an epoch on resume."""
    stream = made()
    assert (stream.num_blocks, round(stream.waste, 4)) == (21, 0.0212)
    assert first_tokens(stream, 0) == [
        162,
        154,
        41,
        164,
        107,
        57,
        115,
        86,
        63,
        4,
        123,
        172,
        68,
        94,
        139,
        131,
        49,
        33,
        70,
        14,
        78,
    ]
    assert first_tokens(stream, 1) == [
        164,
        78,
        123,
        1,
        4,
        94,
        70,
        115,
        162,
        172,
        14,
        63,
        154,
        139,
        86,
        103,
        107,
        49,
        131,
        33,
        41,
    ]
    windowed = made(window=2)
    neighbours = [
        103,
        131,
        115,
        107,
        123,
        148,
        139,
        4,
        14,
        1,
        49,
        41,
        78,
        33,
        94,
        86,
        26,
        57,
        70,
        68,
        154,
        164,
        172,
    ]
    assert first_tokens(windowed, 0) == neighbours
    monkeypatch.setattr(packing, "RUN_DOCUMENTS", 2)
    monkeypatch.setattr(packing, "GROUP_DOCUMENTS", 4)
    assert first_tokens(made(), 0) == neighbours


def test_pieces_of_a_long_document_overlap_by_one_token() -> None:
    """Nine tokens fill a row of eight predictions; a tenth begins another."""
    for length, pieces in ((1, 1), (8, 1), (9, 1), (10, 2), (17, 2), (18, 3)):
        stream = made((length,))
        starts, lengths = stream._group_pieces(0)
        assert starts.tolist() == [8 * number for number in range(pieces)]
        assert (starts + lengths)[-1] == length
        assert stream.num_blocks == pieces
        assert all(lengths[:-1] == 9)


def test_few_groups_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "RUN_DOCUMENTS", 1)
    monkeypatch.setattr(packing, "GROUP_DOCUMENTS", 2)
    stream = made()
    assert len(stream._dealt) == 8
    first_tokens(stream, 0)
    assert (len(stream._groups), len(stream._fits)) == (packing.KEPT_GROUPS, packing.KEPT_GROUPS)
    # The ones that were used last stay.
    order = stream._order(0).tolist()
    assert [group for _, group in stream._groups] == order[-3:]
    stream._group(0, order[-3])
    stream._group(0, order[0])
    assert [group for _, group in stream._groups] == [order[-1], order[-3], order[0]]


def test_batches_within_a_chunk_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to its last row, and the last of the epoch; a batch across the end is read alone."""
    monkeypatch.setattr(packing, "CHUNK_SAMPLES", 8)
    stream = made()
    num_blocks = stream.num_blocks
    expected = stream.rows(np.arange(num_blocks))
    asked = []
    original = stream._pieces
    monkeypatch.setattr(
        stream, "_pieces", lambda indices: (asked.append(len(indices)), original(indices))[1]
    )
    for first, count, looked_up in (
        (0, 4, [8]),
        (4, 4, []),
        (5, 4, [4]),
        (8, 4, [8]),
        (16, num_blocks - 16, [num_blocks - 16]),
        (num_blocks - 1, 1, []),
    ):
        asked.clear()
        assert stream._next_rows(first, count).tolist() == expected[first : first + count].tolist()
        assert asked == looked_up
    assert stream._next_rows(num_blocks - 1, 2)[0].tolist() == expected[-1].tolist()


def test_labels_and_positions_of_a_filled_row() -> None:
    """Two documents, and ends of text that fill the row up as one document of their own."""
    row = np.array([[5, 6, 0, 7, 0, 0, 0, 0, 0]])
    fields = packed_fields(row, 0)
    assert fields.labels.tolist() == [[6, 0, -100, 0, -100, -100, -100, -100]]
    assert fields.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert fields.document_ids.tolist() == [[0, 0, 0, 1, 1, 2, 2, 2]]
    assert (fields.cu_seqlens.tolist(), fields.max_seqlen) == ([0, 3, 5, 8], 3)
