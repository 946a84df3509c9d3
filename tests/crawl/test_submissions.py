"""Any container, chunk size and break gives the rows that are there; any year's types are read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus.errors import InputError, PartitionError
from crawl import submissions
from crawl.submissions import MAX_ROW_BYTES, Block, FullSubmission, TruncatedDump, open_rows, whole_number
from tests.crawl import eras


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
    "zstd, window of 2 GiB": lambda content: _zstd(content, window_log=31, enable_ldm=True),
    "zstd, checksum and size": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(
        content
    ),
    "zstd, several frames": _halves(lambda content: _zstd(content, write_checksum=True)),
    "zstd, skippable frames": lambda content: SKIPPABLE + _halves(_zstd, SKIPPABLE)(content) + SKIPPABLE,
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
    assert (reader.num_rows, reader.bytes_read) == (len(rows), len(packed))


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
    lines = [json.dumps({"n": n, "x": rng.randbytes(300).hex()}).encode() for n in range(1_600)]
    packed = bytearray(CONTAINERS[container](b"\n".join(lines) + b"\n"))
    place = len(packed) * 9 // 10
    packed[place : place + 40] = bytes(40)
    rows, error = _read(io.BytesIO(packed))
    assert isinstance(error, TruncatedDump)
    assert place < error.byte_offset <= len(packed) or (
        container.startswith("zstd") and error.byte_offset <= place
    )
    block_bytes = {"zstd": 131_072, "bz2": 2 * 100_000}.get(container[:4].strip(","), 2_000)
    num_before = (0.9 * 620 * 1_600 - block_bytes) // 622
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
    monkeypatch.setattr(submissions, "CHUNK_BYTES", 10)
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


@settings(deadline=None, max_examples=150)
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
    if place >= submissions.HEAD_BYTES:
        _read(io.BytesIO(packed))
    else:
        with contextlib.suppress(InputError):  # it no longer begins like a dump
            _read(io.BytesIO(packed))


def test_a_file_that_fails_while_it_is_read() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 8_000:
                raise OSError("connection lost")
            return super().read(min(size or 0, 4_096))

    rows, error = _read(Failing(_zstd(CONTENT)))
    assert isinstance(error, TruncatedDump)
    assert "connection lost" in str(error)
    assert rows == ROWS[: len(rows)]


def test_errors_are_what_the_runner_expects() -> None:
    error = TruncatedDump(7, 3, "cause")
    assert isinstance(error, PartitionError)
    assert "byte 7" in str(error)
    assert "3 rows" in str(error)
    assert "--allow-truncated" in str(error)
    for content in (b"PK\x03\x04\x00\x00", b"PAR1\x00\x15", b"\x89PNG\r\n\x1a\n\x00"):
        with pytest.raises(InputError, match="not a dump"):
            list(open_rows(io.BytesIO(content)))


def test_a_row_without_end_is_cut_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 300_000  # more than any chunk of the containers below
    monkeypatch.setattr(submissions, "MAX_ROW_BYTES", limit)
    for length in (limit - 1, limit, limit + 1, 2_000_000):
        content = b"{}\n" + b"x" * length + b"\n{}"
        for pack in (CONTAINERS["plain"], CONTAINERS["zstd"]):
            for read_bytes in (5_000, 1 << 18):
                rows = list(open_rows(io.BytesIO(pack(content)), read_bytes=read_bytes))
                assert [len(row) for row in rows] == [2, min(length, limit), 2]


@pytest.mark.parametrize("container", ["zstd", "xz", "bz2", "gz"])
def test_a_bomb_does_not_fill_the_memory(container: str) -> None:
    """60 MB of zeros without a newline: memory stays at the longest row and the decoder's own."""
    packed = CONTAINERS[container](b"{" + bytes(60_000_000) + b"\n{}")
    tracemalloc.start()
    try:
        lengths = [len(row) for row in open_rows(io.BytesIO(packed))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lengths == [MAX_ROW_BYTES, 2]
    assert peak < 4 * MAX_ROW_BYTES


def test_memory_is_known_before_reading() -> None:
    small, long = _zstd(CONTENT, window_log=20), _zstd(CONTENT, window_log=31)
    base = submissions.FIXED_MEMORY_BYTES
    assert submissions.memory_bytes(io.BytesIO(long)) == (1 << 31) + base
    assert base < submissions.memory_bytes(io.BytesIO(small)) <= base + (1 << 20)
    assert submissions.memory_bytes(io.BytesIO(gzip.compress(CONTENT))) == base


# --- rows to submissions -------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**18, 10**30), st.floats(), st.text(max_size=8),
    st.sampled_from(["true", "3", "-1", "3.7", "1e3", " 5 ", "١", "\ud800", "http://a.b/?x=1&amp;y", ""]),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip
NAMES = sorted({*FullSubmission.__struct_fields__} - {"meta", "crosspost_parent_list"})
PARENTS = st.one_of(
    VALUES, st.lists(st.dictionaries(st.sampled_from(["url", "score", "x"]), VALUES, max_size=3), max_size=2)
)
FIELDS = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys([*NAMES, "other"], VALUES), "crosspost_parent_list": PARENTS,
                  "_meta": st.one_of(VALUES, st.fixed_dictionaries({"retrieved_2nd_on": VALUES}))},
)  # fmt: skip


@settings(deadline=None)
@given(FIELDS, st.booleans())
def test_the_fast_and_the_lenient_decoder_agree(fields: dict[str, Any], ascii_only: bool) -> None:
    row = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    _check_decoders(row)


@settings(deadline=None)
@given(st.sampled_from(eras.ERAS), st.integers(0, 30), st.data())
def test_the_decoders_agree_on_mutated_rows(era: eras.Era, seed: int, data: st.DataObject) -> None:
    row = bytearray(data.draw(st.sampled_from(eras.dump(era, seed % 3, 60).lines)))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(row)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip" and place < len(row):
            row[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del row[place : place + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            row[place:place] = data.draw(
                st.sampled_from([b'"', b"{", b"}", b",", b"\\", b"\xff", b"\x00", b'"score":9,'])
            )
        else:
            row[place:place] = row[place : place + data.draw(st.integers(1, 60))]
    _check_decoders(bytes(row))


LINES = st.lists(
    st.sampled_from(
        [b'{"id":"a"}', b'{"id":"b","media":{}}', b'{"id":"c"} {"id":"d"}', b'{"id":"e"}{"id":"f"}', b'{"id":"g",', b'"h":1}',
         b"{", b"}", b"", b" ", b"[]", b'{"id":"i"}\r', b' {"id":"j"}', b'{"id":7}', b'{"x":[{}', b"{}]}", b"{}", b'{"x":"']
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(LINES)
@example([b'{"id":"c"} {"id":"d"}', b"", b"{}"])
@example([b'{"id":"e"}{"id":"f"}', b'{"id":', b'"a"}'])
def test_a_block_is_decoded_as_its_rows(lines: list[bytes]) -> None:
    """Two values on a line and none on another: counting values is not enough to know whose they are."""
    block = Block(b"\n".join(lines))
    assert block.rows() == lines == [block.row(index) for index in range(block.num_rows)]
    assert repr(submissions.decode_block(block)) == repr([submissions.decode(line) for line in lines])


def test_whole_blocks_are_decoded_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for line in eras.dump(eras.ERAS[7], 1, 300).lines if submissions.decode_fully(line)]
    lines = [line for line in lines if line.startswith(b"{") and b'"score":[' not in line]
    expected = [repr(submissions.decode(line)) for line in lines]
    monkeypatch.setattr(submissions, "decode", None)
    assert [repr(found) for found in submissions.decode_block(Block(b"\n".join(lines)))] == expected


def _check_decoders(row: bytes) -> None:
    lenient = submissions.decode_leniently(row)
    assert _comparable(submissions.decode_fully(row)) == _comparable(lenient)
    try:
        strict = submissions.decode_strictly(row)
    except submissions.DECODE_ERRORS:
        return
    assert lenient is not None
    for name in strict.__struct_fields__:
        assert repr(getattr(strict, name)) == repr(getattr(lenient, name)), name


def _comparable(submission: FullSubmission | None) -> str:
    return repr(submission)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (-1, -1), ("3", 3), ("3.9", 3), (3.0, 3), (" 7 ", 7), (None, None), ("", None), ("x", None),
     (float("nan"), None), (float("inf"), None), ("1e400", None), (1706745600.0, 1706745600)],
)  # fmt: skip
def test_numbers_of_every_year(value: submissions.Number, number: int | None) -> None:
    assert whole_number(value) == number


def test_a_broken_character_costs_itself() -> None:
    for row in (b'{"id":"a","title":"x\xffy"}', b'{"id":"a","title":"x\\ud800y"}'):
        submission = submissions.decode_fully(row)
        assert submission is not None
        assert (submission.id, submission.title) == ("a", "x\ufffdy")


def _read(raw: BinaryIO) -> tuple[list[bytes], TruncatedDump | None]:
    rows = []
    try:
        for row in open_rows(raw):
            rows.append(row)
    except TruncatedDump as error:
        return rows, error
    return rows, None
