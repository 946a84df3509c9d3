"""WARC: what we write, strangers read; what is damaged, we survive."""

from __future__ import annotations

import gzip
import io
import zlib
from datetime import UTC, datetime
from pathlib import Path

import brotli
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from warcio.archiveiterator import ArchiveIterator as WarcioIterator
from warcio.cli import main as warcio

from clean.extract import ExtractConfig
from corpus.errors import FatalError
from corpus.storage.store import Store, open_store
from crawl.fetch.settings import LARGEST_BODY_BYTES, FetchConfig
from crawl.warc import records
from crawl.warc.body import (
    STEP_BYTES,
    BodyDecoder,
    BombError,
    EncodingError,
    decode_body,
    is_page_type,
    looks_like_text,
)
from crawl.warc.records import (
    WarcError,
    parse_response,
    read_response,
    read_responses,
)
from crawl.warc.writer import (
    RecordPosition,
    SegmentWriter,
    digest,
    http_block,
    record_bytes,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PATH = "warc/b/part-00000-00000.warc.gz"


def write(store: Store, bodies: list[bytes], *, request: bool = False) -> list[RecordPosition]:
    writer = SegmentWriter(store, PATH, info={"software": "x\r\ny"}, gzip_level=3)
    places = []
    for number, body in enumerate(bodies):
        headers = [
            (b"Content-Type", b"text/html"),
            (b"Transfer-Encoding", b"chunked"),
            (b"X-A", b"\xe9"),
        ]
        places.append(
            writer.add_response(
                f"http://a.test/{number}",
                block=http_block("HTTP/1.1 200 OK", headers, body),
                payload_digest=digest(body),
                fetched_at=AT,
                ip="127.0.0.1",
                truncated="length" if number == 1 else None,
                request_block=b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" if request else None,
            )
        )
    writer.commit()
    return places


BODIES = [b"<p>one</p>", b"", b"three " * 5000, "d\u00e9j\u00e0\r\n\r\nvu".encode()]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    places = write(store, BODIES, request=True)
    for number, (place, body) in enumerate(zip(places, BODIES, strict=True)):
        response = read_response(store, PATH, *place)
        assert (response.url, response.status, response.body) == (
            f"http://a.test/{number}",
            200,
            body,
        )
        assert response.fetched_at == AT
        assert response.truncated == ("length" if number == 1 else None)
        headers = dict(response.headers)
        assert headers["X-Crawler-Transfer-Encoding"] == "chunked"
        assert headers["Content-Length"] == str(len(body))
        assert headers["X-A"] == "\u00e9"
    found = [
        result.body
        for result in read_responses(store, PATH, places)
        if not isinstance(result, WarcError)
    ]
    assert found == BODIES


def test_strangers_read_it_and_every_digest_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path))
    write(store, BODIES, request=True)
    path = tmp_path / PATH
    with path.open("rb") as stream:
        records = list(
            ArchiveIterator(stream, record_types=WarcRecordType.any_type, verify_digests=False)
        )
        kinds = [record.record_type for record in records]
        pair = [WarcRecordType.request, WarcRecordType.response]
        assert kinds == [WarcRecordType.warcinfo, *pair * len(BODIES)]
    with path.open("rb") as stream:
        for record in ArchiveIterator(
            stream, record_types=WarcRecordType.response, parse_http=False
        ):
            assert record.verify_block_digest()
            record.parse_http()
            assert record.verify_payload_digest()
    with path.open("rb") as stream:
        bodies = [
            r.content_stream().read() for r in WarcioIterator(stream) if r.rec_type == "response"
        ]
    assert bodies == BODIES
    with pytest.raises(SystemExit) as ended:
        warcio(["check", "-v", str(path)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "digest pass" in said
    assert "fail" not in said


def test_a_segment_appears_on_commit_or_never(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    writer = SegmentWriter(store, PATH, info={}, gzip_level=1)
    assert store.files("warc/b") == []
    writer.abort()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    write(store, BODIES)
    assert [path for path, _ in store.files("warc/b")] == [PATH]


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    writer = SegmentWriter(open_store(str(tmp_path)), PATH, info={}, gzip_level=1)
    writer._stream = Full()
    with pytest.raises(FatalError, match="No space left"):
        writer.add_response("http://a/", block=b"", payload_digest="x", fetched_at=AT, ip=None)
    writer.abort()


def test_damage_costs_the_damaged_record_only(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    places = write(store, BODIES)
    data = bytearray((tmp_path / PATH).read_bytes())
    middle = places[2]
    data[middle.offset + 40 : middle.offset + 60] = b"\x00" * 20
    (tmp_path / PATH).write_bytes(data)
    with pytest.raises(WarcError):
        read_response(store, PATH, *middle)
    results = list(read_responses(store, PATH, places))
    assert [isinstance(result, WarcError) for result in results] == [False, False, True, False]
    assert [result.body for result in results if not isinstance(result, WarcError)] == [
        *BODIES[:2],
        BODIES[3],
    ]
    (tmp_path / PATH).write_bytes(data[: places[3].offset + 30])
    results = list(read_responses(store, PATH, places))
    assert [isinstance(result, WarcError) for result in results] == [False, False, True, True]
    with pytest.raises(WarcError):
        read_response(store, PATH, *places[3])
    with pytest.raises(WarcError, match="missing"):
        read_response(store, "warc/b/none.warc.gz", 0, 10)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"WARC/1.1\r\n\r\n",
        b"WARC/1.1\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n\r\n",
        record_bytes("request", [], b"GET / HTTP/1.1\r\n\r\n", "application/http"),
        record_bytes("response", [], b"no http", "application/http"),
        record_bytes("response", [], b"HTTP/1.1 xyz\r\n\r\n", "application/http"),
    ],
)
def test_what_is_no_response_is_refused(record: bytes) -> None:
    with pytest.raises(WarcError):
        parse_response(gzip.compress(record))


def test_a_status_line_needs_no_phrase() -> None:
    """RFC 9112, section 4: the reason phrase may be absent, and many servers leave its space out too."""
    for line in (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200"):
        data = record_bytes("response", [], line + b"\r\n\r\nbody", "application/http")
        assert (parse_response(gzip.compress(data)).status, line) == (200, line)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for member in (data, gzip.compress(data), gzip.compress(b"WARC/1.1\r\n" + data)):
        try:
            parse_response(member)
        except WarcError:
            continue


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_a_segment_with_a_flipped_byte_yields_only_what_was_written(
    tmp_path: Path, bodies: list[bytes], position: float
) -> None:
    store = open_store(str(tmp_path))
    places = write(store, bodies)
    raw = bytearray((tmp_path / PATH).read_bytes())
    raw[int(position * len(raw))] ^= 0xFF
    (tmp_path / PATH).write_bytes(raw)
    results = list(read_responses(store, PATH, places))
    wrong = [
        result
        for result, body in zip(results, bodies, strict=True)
        if getattr(result, "body", None) != body
    ]
    assert len(wrong) <= 1
    assert all(isinstance(result, WarcError) for result in wrong)


def test_the_largest_page_that_may_be_fetched_or_cleaned_is_read_whole(tmp_path: Path) -> None:
    largest = max(LARGEST_BODY_BYTES, ExtractConfig().max_html_bytes + 1)
    FetchConfig(max_body_bytes=LARGEST_BODY_BYTES, max_wire_bytes=LARGEST_BODY_BYTES)
    for name in ("max_body_bytes", "max_wire_bytes"):
        with pytest.raises(ValidationError, match=name):
            FetchConfig.model_validate({name: LARGEST_BODY_BYTES + 1})
    store = open_store(str(tmp_path))
    (place,) = write(store, [b"x" * largest])
    assert len(read_response(store, PATH, *place).body) == largest


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_decoding_undoes_encoding_however_it_is_cut(body: bytes, step: int) -> None:
    for encodings, wire in (
        ([], body),
        (["gzip"], gzip.compress(body)),
        (["deflate"], zlib.compress(body)),
    ):
        decoder = BodyDecoder(encodings, max_bytes=1 << 20)
        for start in range(0, len(wire), step):
            decoder.feed(wire[start : start + step])
        assert decoder.body == body
        assert decode_body(wire, encodings, 100) == body[:100]


def test_large_bodies_come_out_whole() -> None:
    """One piece of input may stand for many steps of output, the last piece as well."""
    row = "<li><a href='/%d'>The quick brown fox %d</a></li>\n"
    body = "".join(row % (i * 7919 % 997, i % 13) for i in range(12_000)).encode()
    assert len(body) > 8 * STEP_BYTES
    packer = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": lambda data: brotli.compress(data, quality=1),
        "zstd": zstandard.compress,
    }
    for kind, pack in packer.items():
        wire = pack(body)
        for step in (1 << 12, 1 << 16, 1 << 24):
            decoder = BodyDecoder([kind], max_bytes=1 << 24)
            for start in range(0, len(wire), step):
                decoder.feed(wire[start : start + step])
            assert decoder.body == body, (kind, step)


def test_limits_of_decoding() -> None:
    with pytest.raises(EncodingError):
        BodyDecoder(["gzip"] * 3, max_bytes=10, max_encodings=2)
    with pytest.raises(EncodingError):
        BodyDecoder(["rot13"], max_bytes=10)
    bomb = gzip.compress(bytes(8 << 20))
    decoder = BodyDecoder(["gzip"], max_bytes=64 << 20, max_ratio=100)
    with pytest.raises(BombError):
        decoder.feed(bomb)
    assert decoder.decoded_bytes < 6 << 20
    members = gzip.compress(b"one ") + gzip.compress(b"two") + b"\x00" * 9
    assert decode_body(members, ["gzip"], 100) == b"one two"
    assert decode_body(b"\xff\xff", ["br"], 100) == b""


def test_members_are_read_wherever_they_are_cut() -> None:
    wire = (
        gzip.compress(b"one ")
        + gzip.compress(b"two ")
        + gzip.compress(b"three")
        + b"\x1fx"
        + bytes(9)
    )
    for step in range(1, len(wire)):
        decoder = BodyDecoder(["gzip"], max_bytes=100)
        for start in range(0, len(wire), step):
            decoder.feed(wire[start : start + step])
        assert decoder.body == b"one two three", step


@pytest.mark.parametrize(
    ("content_type", "verdict"),
    [
        ("text/html", True),
        ("TEXT/HTML; charset=x", True),
        ("application/xhtml+xml", True),
        ("text/plain", True),
        ("application/pdf", False),
        ("image/png", False),
        (None, None),
        ("", None),
        ("html", None),
    ],
)
def test_types(content_type: str | None, verdict: bool | None) -> None:
    assert is_page_type(content_type) is verdict


def test_sniffing() -> None:
    assert looks_like_text(b"<html>\r\n\t\x0c\x1b")
    assert looks_like_text(b"\xff\xfe<\x00")
    assert not looks_like_text(b"\x89PNG\r\n\x1a\n\x00")


KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("second", "reads"),
    [
        ((100, 10), 1),
        ((99, 10), 2),  # before the end of the first
        ((100 + 256 * KIB, 10), 1),
        ((101 + 256 * KIB, 10), 2),
        ((100, 8 * MIB - 90), 1),
        ((100, 8 * MIB - 89), 2),
    ],
)
def test_close_records_are_read_together(second: tuple[int, int], reads: int) -> None:
    """With gaps up to 256 KiB, and up to 8 MiB at once. The first is at 10 and ends at 100."""
    assert len(list(records._runs([(10, 90), second]))) == reads
    assert [place for run in records._runs([(10, 90), second]) for place in run] == [
        (10, 90),
        second,
    ]


@pytest.mark.parametrize(("num_bytes", "whole"), [(32 * MIB, True), (32 * MIB + 1, False)])
def test_a_record_has_at_most_32_mib(num_bytes: int, whole: bool) -> None:
    member = gzip.compress(bytes(num_bytes), 1)
    if whole:
        assert len(records.first_member(member)) == num_bytes
    else:
        with pytest.raises(records.WarcError, match="more than"):
            records.first_member(member)


@pytest.mark.parametrize(
    ("length", "read"), [("4", b"body"), ("3", b"bod"), ("0", b""), ("5", None), ("-1", None), ("", None), ("٤", None), ("4 ", b"body")]
)  # fmt: skip
def test_a_block_is_as_long_as_its_record_says(length: str, read: bytes | None) -> None:
    data = f"WARC/1.0\r\nContent-Length: {length}\r\n\r\nbody".encode()
    if read is None:
        with pytest.raises(records.WarcError, match="content length"):
            records.parse_record(data)
    else:
        assert records.parse_record(data).block == read
