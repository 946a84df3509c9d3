"""Frames of zstd are read whole, in bounded pieces, and a cut file is an error wherever it is read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from corpus.evaluation_sets.files import read_bytes
from corpus.zstd import ZstdReader
from webtext.import_documents import _json_rows

WINDOW = 1 << 27
SKIPPED = b"\x5e\x2a\x4d\x18\x03\x00\x00\x00abc"


def packed(pieces: list[bytes], *, checksum: bool, sized: bool) -> list[bytes]:
    options = {"write_checksum": checksum, "write_content_size": sized}
    return [zstandard.ZstdCompressor(**options).compress(piece) for piece in pieces]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 9_000)), max_size=3),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_all_frames_are_read_and_a_cut_one_is_an_error(
    given_pieces: list[tuple[bytes, int]], checksum: bool, sized: bool, data: st.DataObject
) -> None:
    pieces = [piece * times for piece, times in given_pieces]
    frames = packed(pieces, checksum=checksum, sized=sized)
    whole = SKIPPED.join([b"", *frames])
    assert ZstdReader(io.BytesIO(whole), WINDOW).readall() == b"".join(pieces)

    ends = {0}
    for frame in frames:
        ends |= {max(ends) + len(SKIPPED), max(ends) + len(SKIPPED) + len(frame)}
    cut = data.draw(st.integers(0, len(whole)))
    reader = ZstdReader(io.BytesIO(whole[:cut]), WINDOW)
    if cut in ends:
        reader.readall()
    else:
        with pytest.raises(EOFError):
            reader.readall()


def test_every_cut_outside_the_ends_of_frames_is_an_error() -> None:
    """One behind the first byte of a frame to skip was no frame at all."""
    [frame] = packed([b"abc"], checksum=True, sized=False)
    whole, ends = frame + SKIPPED + frame, {0, len(frame), len(frame + SKIPPED)}
    for cut in range(len(whole)):
        reader = ZstdReader(io.BytesIO(whole[:cut]), WINDOW)
        if cut in ends:
            assert reader.readall() == (b"abc" if cut else b"")
        else:
            with pytest.raises(EOFError):
                reader.readall()


def test_a_bomb_is_unpacked_in_pieces() -> None:
    """A window that is too large, and what is no frame, are refused."""
    reader = ZstdReader(io.BytesIO(zstandard.compress(bytes(1 << 26))), WINDOW)
    piece = bytearray(1 << 20)
    assert 0 < reader.readinto(piece) <= 1 << 17
    with pytest.raises(zstandard.ZstdError):
        ZstdReader(io.BytesIO(b"no frame"), WINDOW).readall()
    large = zstandard.ZstdCompressionParameters(window_log=20)
    long = zstandard.ZstdCompressor(compression_params=large).compressobj()
    frame = long.compress(bytes(3 << 20)) + long.flush()
    with pytest.raises(zstandard.ZstdError):
        ZstdReader(io.BytesIO(frame), 1 << 16).readall()


def test_readers_of_sets_and_of_documents_take_all_frames_or_none(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"number {number}"}).encode() + b"\n" for number in range(3)]
    frames = packed(lines, checksum=True, sized=True)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"".join(frames))
    assert read_bytes(path) == b"".join(lines)
    assert len(list(_json_rows(str(path)))) == 3
    path.write_bytes(b"".join(frames)[:-5])
    with pytest.raises(EOFError):
        read_bytes(path)
    with pytest.raises(InputError, match="damaged"):
        list(_json_rows(str(path)))
