"""What reading takes is known from the first bytes."""

from __future__ import annotations

import gzip
import io
import lzma

import pytest
import zstandard

from crawl.links import dump_memory
from crawl.links.containers import Content
from crawl.links.dump_memory import FIXED_BYTES
from crawl.links.dump_windows import memory_bytes

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
