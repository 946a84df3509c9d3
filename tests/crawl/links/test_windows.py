"""What reading takes is known from the first bytes."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import random
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.links import dump_memory
from crawl.links.containers import Content
from crawl.links.dump_memory import FIXED_BYTES
from crawl.links.dump_windows import memory_bytes
from crawl.links.xz_blocks import XzDecoder, _Blocks, _variable_length

ROWS = b'{"id":"a"}\n' * 1_000
SKIPPABLE = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"


def _zstd(window_log: int) -> bytes:
    settings = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    return compressor.compress(ROWS) + compressor.flush()


def _memory(content: bytes) -> int:
    """Beside what every reader takes."""
    return memory_bytes(io.BytesIO(content)) - FIXED_BYTES


def test_the_window_of_zstd_is_that_of_the_first_frame_with_content() -> None:
    long = _zstd(31)
    assert _memory(long) == 1 << 31
    assert _memory(_zstd(20)) == 1 << 20
    notes = b"\x50\x2a\x4d\x18" + (2_000).to_bytes(4, "little") + bytes(2_000)
    for before in (SKIPPABLE, SKIPPABLE * 3, notes + SKIPPABLE):
        assert _memory(before + long) == 1 << 31


def test_the_dictionary_of_xz_counts_like_a_window() -> None:
    for log2 in (12, 23, 26):
        filters: list[dict[str, int]] = [
            {"id": lzma.FILTER_X86},
            {"id": lzma.FILTER_LZMA2, "dict_size": 1 << log2},
        ]
        for chain in (filters, filters[1:]):
            assert _memory(lzma.compress(ROWS, filters=chain)) == 1 << log2
    packed = lzma.compress(ROWS, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}])
    with_sizes = packed[:13] + b"\xc0" + b"\x80\x80\x01" + b"\x05" + packed[14:]
    assert _memory(with_sizes) == 1 << 26


def test_other_files_and_broken_headers_ask_for_nothing_more() -> None:
    long, packed = _zstd(31), lzma.compress(ROWS)
    cut = (
        long[:4],
        long[:5],
        SKIPPABLE,
        SKIPPABLE[:6],
        SKIPPABLE + long[:5],
        packed[:6],
        packed[:13],
        packed[:15],
    )
    for content in (*cut, lzma.compress(b""), gzip.compress(ROWS), ROWS, b""):
        assert _memory(content) == 0


def test_a_later_frame_with_a_larger_window_asks_for_more_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(dump_memory, "enlarge", asked.append)
    frames = [_zstd(log) for log in (20, 18, 24, 24, 22, 26)]
    rows = b"".join(Content(io.BytesIO(b"".join([SKIPPABLE, *frames]))))
    assert rows == ROWS * len(frames)
    assert asked == [(1 << log) + FIXED_BYTES for log in (20, 24, 26)]

    def refuse(num_bytes: int) -> None:
        raise dump_memory.MemoryLimitError(str(num_bytes))

    monkeypatch.setattr(dump_memory, "enlarge", refuse)
    with pytest.raises(dump_memory.MemoryLimitError):
        next(iter(Content(io.BytesIO(frames[0]))))


def _xz(log2: int, content: bytes = ROWS, check: int = lzma.CHECK_CRC64) -> bytes:
    filters: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << log2}]
    return lzma.compress(content, check=check, filters=filters)


def _joined(streams: list[bytes]) -> bytes:
    """One stream with the blocks of several (sections 2.1.2 and 4)."""
    blocks, records = b"", b""
    for stream in streams:
        begin = len(stream) - 12 - 4 * (int.from_bytes(stream[-8:-4], "little") + 1)
        blocks += stream[12:begin]
        index = stream[begin + 2 : -12 - 4]  # behind its mark and the number of records
        _, end = _variable_length(index, 0)
        _, end = _variable_length(index, end)
        records += index[:end]

    index = b"\0" + bytes([len(streams)]) + records
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    size = (len(index) // 4 - 1).to_bytes(4, "little") + streams[0][6:8]
    footer = zlib.crc32(size).to_bytes(4, "little") + size + b"YZ"
    return streams[0][:12] + blocks + index + footer


@pytest.mark.parametrize("join", [b"".join, _joined])
def test_a_later_block_of_xz_with_a_larger_dictionary_asks_before_it_is_read(
    join: Callable[[list[bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams of one file, and blocks of one stream."""
    packed = join([_xz(log) for log in (20, 18, 24, 23, 25)])
    assert lzma.decompress(packed) == 5 * ROWS
    asked: list[tuple[int, int]] = []
    rows = bytearray()
    monkeypatch.setattr(
        dump_memory, "enlarge", lambda num_bytes: asked.append((num_bytes, len(rows)))
    )
    for chunk in Content(io.BytesIO(packed)):
        rows += chunk
    assert rows == 5 * ROWS
    sizes = [(1 << log) + FIXED_BYTES for log in (20, 18, 24, 23, 25)]
    assert asked == [(size, number * len(ROWS)) for number, size in enumerate(sizes)]

    def refuse(num_bytes: int) -> None:
        if num_bytes > (1 << 20) + FIXED_BYTES:
            raise dump_memory.MemoryLimitError(str(num_bytes))

    monkeypatch.setattr(dump_memory, "enlarge", refuse)
    content = iter(Content(io.BytesIO(packed)))
    assert next(content) + next(content) == 2 * ROWS
    with pytest.raises(dump_memory.MemoryLimitError):
        next(content)


@settings(max_examples=30)
@given(
    parts=st.lists(st.tuples(st.integers(0, 300_000), st.booleans()), min_size=1, max_size=3),
    check=st.sampled_from([lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256]),
    sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=4),
    most=st.sampled_from([1_000, 1 << 20]),
)
def test_blocks_are_followed_in_pieces_of_any_size(
    parts: list[tuple[int, bool]], check: int, sizes: list[int], most: int
) -> None:
    """Chunks that are packed and chunks that are not; lzma reads the same, and every block is seen."""
    rng = random.Random(0)
    contents = [rng.randbytes(size) if noise else b"text" * (size // 4) for size, noise in parts]
    streams = [_xz(18 + number, content, check) for number, content in enumerate(contents)]
    # A stream of no content has no block.
    whole = [stream for stream, content in zip(streams, contents, strict=True) if content]
    packed = _joined(whole) if whole else streams[0]

    seen = []
    blocks, place = _Blocks(), 0
    decoder, content = XzDecoder(), b""
    for size in itertools.cycle(sizes):
        piece = packed[place : place + size]
        place += len(piece)
        seen += blocks.split(piece)
        content += decoder.decompress(piece, most)
        while not (decoder.needs_input or decoder.eof):
            content += decoder.decompress(b"", most)
        if place == len(packed):
            break

    while chunk := decoder.decompress(b"", most) if not decoder.eof else b"":
        content += chunk
    assert decoder.eof
    assert content == b"".join(contents)
    assert b"".join(data for data, _ in seen) == packed
    dictionaries = [dictionary for _, dictionary in seen if dictionary]
    assert list(dict.fromkeys(dictionaries)) == [
        1 << 18 + number for number, content in enumerate(contents) if content
    ]


@settings(max_examples=60)
@given(
    at=st.integers(0, 400), value=st.integers(0, 255), length=st.integers(1, 400), rest=st.binary()
)
def test_a_damaged_stream_ends_as_lzma_says(at: int, value: int, length: int, rest: bytes) -> None:
    """Following the structure neither hides damage nor finds any."""
    packed = bytearray(_joined([_xz(20), _xz(21)]))
    packed[min(at, len(packed) - 1)] = value
    damaged = bytes(packed[:length] + rest)
    blocks = _Blocks()
    passed = b"".join(data for data, _ in blocks.split(damaged))
    assert damaged.startswith(passed)
    assert len(damaged) - len(passed) <= 1024, "a header at most is held back"

    results = []
    for decoder in (XzDecoder(), lzma.LZMADecompressor(format=lzma.FORMAT_XZ)):
        content, error = b"", None
        try:
            content = decoder.decompress(damaged)
            while not (decoder.needs_input or decoder.eof):
                content += decoder.decompress(b"")
        except lzma.LZMAError as found:
            error = str(found)
        results.append((content if error is None else b"", error, decoder.eof))
    ours, theirs = results
    if theirs[1] is None or ours[1] is not None:
        assert ours == theirs
    else:
        # A header of which the end is missing was held back, so its damage is not seen yet.
        assert len(passed) < len(damaged)


def _block(log2: int) -> bytes:
    """A block of xz without the stream around it. Its index is as long as its footer says."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << log2}]
    stream = lzma.compress(ROWS, check=lzma.CHECK_NONE, filters=filters)
    index_bytes = (int.from_bytes(stream[-8:-4], "little") + 1) * 4
    return stream[12 : -12 - index_bytes]


@pytest.mark.parametrize("check", range(16))
def test_a_block_is_found_behind_a_check_of_any_type(check: int) -> None:
    """Of three types each it has 4, 8, 16, 32 and 64 bytes (the format's section 2.1.1.2)."""
    num_bytes = 4 << (check - 1) // 3 if check else 0
    head = bytes(7) + bytes([check]) + bytes(4)
    stream = head + _block(20) + b"c" * num_bytes + _block(22) + b"c" * num_bytes + b"\0"
    assert [dictionary for _, dictionary in _Blocks().split(stream)] == [0, 1 << 20, 1 << 22]


@pytest.mark.parametrize("control", [0x01, 0x02, 0x80, 0xA0, 0xBF, 0xC0, 0xE0, 0xFF])
def test_chunks_of_any_kind_are_passed(control: int) -> None:
    """A chunk of 5 bytes, packed from 0x80 on and with properties from 0xC0 on; then a block."""
    sizes = b"\0\4" if control < 0x80 else b"\0\7\0\4" + b"p" * (control >= 0xC0)
    header_bytes = (_block(20)[0] + 1) * 4
    chunk = bytes([control]) + sizes + b"\xff" * 5 + b"\0"
    first = _block(20)[:header_bytes] + chunk + b"\0" * (-len(chunk) % 4)
    stream = bytes(12) + first + _block(22) + b"\0"
    assert [dictionary for _, dictionary in _Blocks().split(stream)] == [0, 1 << 20, 1 << 22]
    for unknown in (0x03, 0x7F):
        damaged = stream.replace(chunk, bytes([unknown]) + chunk[1:])
        assert [dictionary for _, dictionary in _Blocks().split(damaged)] == [0, 1 << 20]
