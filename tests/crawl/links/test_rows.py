"""Any container, chunk size and break gives the rows that are there."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import pickle
import random
import re
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus.errors import InputError, PartitionError
from crawl.links import containers
from crawl.links.rows import TruncatedDump, UnreadableDump, open_rows
from tests.crawl.links import eras


def _zstd(content: bytes, **parameters: Any) -> bytes:
    settings = zstandard.ZstdCompressionParameters.from_level(3, **parameters)
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    return compressor.compress(content) + compressor.flush()


def _halves(pack: Callable[[bytes], bytes], padding: bytes = b"") -> Callable[[bytes], bytes]:
    """Several members, cut in the middle of rows."""

    def packed(content: bytes) -> bytes:
        third = len(content) // 3
        return padding.join(
            (pack(content[:third]), pack(content[third : 2 * third]), pack(content[2 * third :]))
        )

    return packed


SKIPPABLE = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "plain with a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "zstd": _zstd,
    "zstd with a byte order mark": lambda content: _zstd(b"\xef\xbb\xbf" + content),
    "gz with a byte order mark": lambda content: gzip.compress(b"\xef\xbb\xbf" + content, 6),
    "zstd, window of 2 GiB": lambda content: _zstd(content, window_log=31, enable_ldm=True),
    "zstd, checksum and size": lambda content: zstandard.ZstdCompressor(
        write_checksum=True
    ).compress(content),
    "zstd, several frames": _halves(lambda content: _zstd(content, write_checksum=True)),
    "zstd, skippable frames": lambda content: (
        SKIPPABLE + _halves(_zstd, SKIPPABLE)(content) + SKIPPABLE
    ),
    "xz": lzma.compress,
    "xz, several streams": _halves(lzma.compress, b"\x00" * 8),
    "bz2": bz2.compress,
    "bz2, small blocks": lambda content: bz2.compress(content, 1),
    "bz2, several streams": _halves(bz2.compress),
    "gz": lambda content: gzip.compress(content, 6),
    "gz, several members": _halves(gzip.compress),
}
ROWS = eras.dump(eras.ERAS[5], 3, 300).lines
CONTENT = b"\n".join(ROWS) + b"\n"


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("read_bytes", [1, 7, 4096, 1 << 18])
def test_every_container_and_chunk_size_gives_the_rows(container: str, read_bytes: int) -> None:
    packed = CONTAINERS[container](CONTENT)
    if read_bytes == 1 and len(packed) > 50_000:
        packed, rows = CONTAINERS[container](CONTENT[:20_000]), CONTENT[:20_000].split(b"\n")
    else:
        rows = ROWS
    reader = open_rows(io.BytesIO(packed), read_bytes=read_bytes)
    assert list(reader) == rows
    assert reader.num_rows == len(rows)


class Counting(io.BytesIO):
    """A file that knows how often it was read."""

    num_reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.num_reads += 1
        return super().read(size)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_is_asked_for_in_large_pieces(
    container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of an object store is a request: also while damage is looked for byte by byte."""
    monkeypatch.setattr(containers, "READ_BYTES", 1_000)
    packed = CONTAINERS[container](CONTENT)
    for content in (packed, packed[:-5], packed[:-600] + bytes(500)):
        raw = Counting(content)
        with contextlib.suppress(TruncatedDump):
            for _ in open_rows(raw, read_bytes=10_000):
                pass
        assert raw.num_reads <= 2 * (3 + len(content) // 10_000)  # twice where damage is looked for


@pytest.mark.parametrize("container", ["plain", "zstd", "xz", "bz2", "gz"])
def test_rows_at_every_split(container: str) -> None:
    """A character of several bytes at any border: splitting is on bytes."""
    content = '{"t":"日本é"}\n\r\n{"t":"b"}\n\n{"t":"ø'.encode()
    rows = content.split(b"\n")
    for read_bytes in range(1, len(content) + 1):
        packed = CONTAINERS[container](content)
        assert list(open_rows(io.BytesIO(packed), read_bytes=read_bytes)) == rows


def test_an_empty_container_has_no_rows() -> None:
    for pack in CONTAINERS.values():
        assert list(open_rows(io.BytesIO(pack(b"")))) == []


@settings(deadline=None)
@given(st.binary(max_size=200).map(lambda content: b"{" + content.replace(b"\x00", b"")))
@example(b"{\n\n")
def test_rows_are_the_lines(content: bytes) -> None:
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert list(open_rows(io.BytesIO(content))) == expected
    assert list(open_rows(io.BytesIO(_zstd(content)))) == expected


@pytest.mark.parametrize("container", [name for name in CONTAINERS if "plain" not in name])
def test_a_truncated_file_gives_the_rows_before_the_break(container: str) -> None:
    packed = CONTAINERS[container](CONTENT)
    rng = random.Random(container)
    for length in [len(packed) - 1, *(rng.randrange(600, len(packed)) for _ in range(12))]:
        rows, error = _read(io.BytesIO(packed[:length]))
        assert rows == ROWS[: len(rows)]
        if error is None:  # cut between two members, or inside their padding
            assert "several" in container or "skippable" in container
            continue
        assert error.byte_offset == length
        assert error.row_number == len(rows)


@pytest.mark.parametrize("container", ["zstd, checksum and size", "xz", "bz2, small blocks", "gz"])
def test_damage_costs_nothing_before_it(container: str) -> None:
    """What lies before the block that was hit is given, to the last row; damage that unpacks is found by the checksum."""
    rng = random.Random(1)
    lines = [json.dumps({"n": n, "x": rng.randbytes(300).hex()}).encode() for n in range(800)]
    packed = bytearray(CONTAINERS[container](b"\n".join(lines) + b"\n"))
    place = len(packed) * 9 // 10
    packed[place : place + 40] = bytes(40)
    rows, error = _read(io.BytesIO(packed))
    assert isinstance(error, TruncatedDump)
    assert place < error.byte_offset <= len(packed) or (
        container.startswith("zstd") and error.byte_offset <= place
    )
    block_bytes = {"zstd": 131_072, "bz2": 2 * 100_000}.get(container[:4].strip(","), 2_000)
    num_before = (0.9 * 620 * 800 - block_bytes) // 622
    assert num_before > 300
    assert rows[: int(num_before)] == lines[: int(num_before)]


@pytest.mark.parametrize(
    ("container", "decoder"),
    [
        ("gz", lambda: zlib.decompressobj(31)),
        ("bz2, small blocks", bz2.BZ2Decompressor),
        ("xz", lzma.LZMADecompressor),
    ],
)
def test_what_a_decoder_holds_back_is_asked_for(
    container: str, decoder: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little is taken at once, a cut file gives all that its bytes hold."""
    monkeypatch.setattr(containers, "CHUNK_BYTES", 10)
    content = b"\n".join(b'{"a":"' + b"y" * 50 + b'"}' for _ in range(300))
    packed = CONTAINERS[container](content)
    for length in range(20, len(packed)):
        held = decoder().decompress(packed[:length])
        rows, error = _read(io.BytesIO(packed[:length]))
        assert isinstance(error, TruncatedDump)
        assert len(rows) == held.count(b"\n")


def test_damage_in_a_file_that_cannot_be_wound_back() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    packed = bytearray(gzip.compress(CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    rows, error = _read(Pipe(packed))
    assert isinstance(error, TruncatedDump)
    assert rows == ROWS[: len(rows)]


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from([name for name in CONTAINERS if "2 GiB" not in name]),
    st.integers(0, 10**9),
    st.integers(0, 255),
    st.booleans(),
)
def test_any_damage_ends_in_rows_or_in_an_error_of_ours(
    container: str, place: int, value: int, cut: bool
) -> None:
    packed = bytearray(CONTAINERS[container](b"\n".join(ROWS[:20])))
    place %= len(packed)
    packed[place] = value
    if cut:
        del packed[place:]
    if place >= containers.HEAD_BYTES:
        _read(io.BytesIO(packed))
    else:
        with contextlib.suppress(InputError):  # it no longer begins like a dump
            _read(io.BytesIO(packed))


def test_a_file_that_fails_while_it_is_read_is_not_taken_for_a_short_one() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > lost_at:
                raise OSError("connection lost")
            return super().read(min(size or 0, 4_096))

    for container in ("plain", "zstd", "bz2, small blocks", "gz"):
        packed = CONTAINERS[container](CONTENT)
        lost_at = len(packed) * 3 // 4
        rows = []
        with pytest.raises(UnreadableDump, match="connection lost") as caught:
            for row in open_rows(Failing(packed)):
                rows.append(row)
        assert 0 < len(rows) < len(ROWS)
        assert rows == ROWS[: len(rows)]
        byte_offset = int(re.search(r"at byte (\d+)", str(caught.value))[1])  # type: ignore[index]
        assert lost_at < byte_offset <= lost_at + 4_096


def test_errors_are_what_the_runner_expects() -> None:
    error = pickle.loads(pickle.dumps(TruncatedDump(7, 3, "cause")))  # as it comes from a worker
    assert (error.byte_offset, error.row_number, error.cause) == (7, 3, "cause")
    assert isinstance(error, PartitionError)
    assert "byte 7" in str(error)
    assert "3 rows" in str(error)
    assert "--allow-truncated" in str(error)
    for content in (b"PK\x03\x04\x00\x00", b"PAR1\x00\x15", b"\x89PNG\r\n\x1a\n\x00"):
        with pytest.raises(InputError, match="not a dump"):
            list(open_rows(io.BytesIO(content)))


def test_a_row_without_end_is_cut_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 300_000  # more than any chunk of the containers below
    monkeypatch.setattr("crawl.links.rows.MAX_ROW_BYTES", limit)
    for length in (limit - 1, limit, limit + 1, 2_000_000):
        content = b"{}\n" + b"x" * length + b"\n{}"
        for pack in (CONTAINERS["plain"], CONTAINERS["zstd"]):
            for read_bytes in (5_000, 1 << 18):
                rows = list(open_rows(io.BytesIO(pack(content)), read_bytes=read_bytes))
                assert [len(row) for row in rows] == [2, min(length, limit), 2]


@pytest.mark.parametrize("container", ["zstd", "xz", "bz2", "gz"])
def test_a_bomb_does_not_fill_the_memory(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve of the longest rows in zeros, without a newline: memory stays at one such row and the decoder's own."""
    longest, window = 2 << 20, 8 << 20
    monkeypatch.setattr("crawl.links.rows.MAX_ROW_BYTES", longest)
    packed = CONTAINERS[container](b"{" + bytes(12 * longest) + b"\n{}")
    tracemalloc.start()
    try:
        lengths = [len(row) for row in open_rows(io.BytesIO(packed))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lengths == [longest, 2]
    assert peak < 4 * longest + window < 12 * longest


def _read(raw: BinaryIO) -> tuple[list[bytes], TruncatedDump | None]:
    rows = []
    try:
        for row in open_rows(raw):
            rows.append(row)
    except TruncatedDump as error:
        return rows, error
    return rows, None
