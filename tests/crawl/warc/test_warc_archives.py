"""Captures of foreign WARC files; warcio, which shares no code with our reader, writes and reads them too."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from crawl.warc import records
from crawl.warc.archives import Capture, RecordDisposition, dechunked, http_response, read_captures
from tests.support.foreign_warc import HTML, TYPE, archive


def captures(data: bytes) -> tuple[list[Capture], Counter[str]]:
    counts: Counter[str] = Counter()
    return list(read_captures(io.BytesIO(data), counts)), counts


ANSWERS = [
    ("http://www.owls.example/a#part", "200 OK", HTML, TYPE),
    ("http://owls.example/gone", "404 Not Found", HTML, TYPE),
    ("http://owls.example/moved", "301 Moved", b"", TYPE | {"Location": "/a"}),
    ("http://owls.example/image", "200 OK", b"\x89PNG", {"Content-Type": "image/png"}),
    ("http://owls.example/robots.txt", "200 OK", b"User-agent: *", {"Content-Type": "text/plain"}),
    ("dns:owls.example", "200 OK", HTML, TYPE),
    ("http://owls.example/untold", "200 OK", HTML, {}),
    (
        "http://owls.example/packed",
        "200 OK",
        gzip.compress(HTML),
        TYPE | {"Content-Encoding": "gzip"},
    ),
    ("http://owls.example/text", "200 OK", b"Plain words.", {"Content-Type": "text/plain"}),
]


def test_every_record_has_one_disposition() -> None:
    found, counts = captures(archive(ANSWERS))
    assert [each.final_url for each in found] == [ANSWERS[i][0] for i in (0, 6, 7, 8)]
    assert counts == {
        RecordDisposition.CAPTURE: 4,
        RecordDisposition.NO_RESPONSE: 1 + len(ANSWERS),
        RecordDisposition.STATUS: 2,
        RecordDisposition.WRONG_TYPE: 1,
        RecordDisposition.ROBOTS_FILE: 1,
        RecordDisposition.BAD_URL: 1,
    }


def test_a_capture_is_a_page_and_its_record_reads_back() -> None:
    (first, _, packed, _), _ = captures(archive(ANSWERS))
    assert (first.url, first.url_key, first.domain) == (
        "http://www.owls.example/a",
        "owls.example/a",
        "owls.example",
    )
    assert (first.content_type, first.ip, first.truncated) == (
        TYPE["Content-Type"],
        "192.0.2.7",
        False,
    )
    assert first.fetched_at is not None
    assert first.fetched_at.isoformat() == "2024-01-02T03:04:00+00:00"
    for capture in (first, packed):
        response = records.parse_response(gzip.compress(capture.record))
        assert (response.status, response.body, response.url) == (200, HTML, capture.final_url)
        assert response.fields["warc-record-id"] == capture.record_id
        assert response.fetched_at == capture.fetched_at
    again = next(
        iter(ArchiveIterator(io.BytesIO(gzip.compress(packed.record)), check_digests=True))
    )
    assert again.digest_checker.passed is not False
    assert again.content_stream().read() == HTML


@pytest.mark.parametrize("form", ["members", "whole", "zstd", "plain"])
def test_any_compression_gives_the_same(form: str) -> None:
    plain = archive(ANSWERS)
    data = {
        "members": lambda: archive(ANSWERS, compressed=True),
        "whole": lambda: gzip.compress(plain),
        "zstd": lambda: zstandard.compress(plain),
        "plain": lambda: plain,
    }[form]()
    found, counts = captures(data)
    expected, expected_counts = captures(plain)
    assert [each.url for each in found] == [each.url for each in expected]
    assert [each.payload_digest for each in found] == [each.payload_digest for each in expected]
    assert counts == expected_counts


def test_behind_damage_reading_goes_on() -> None:
    answers = [(f"http://e.example/{i}", "200 OK", HTML + b"%d" % i, TYPE) for i in range(9)]
    data = bytearray(archive(answers, compressed=True))
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\x1f\x8b\x08"]
    for member in (1 + 2 * 3, 1 + 2 * 4):  # the answers 3 and 4, each behind its request
        data[starts[member] + 40 : starts[member] + 60] = b"\0" * 20
    found, counts = captures(bytes(data))
    assert {each.url[-1] for each in found} >= set("0125678")
    assert counts[RecordDisposition.DAMAGED] >= 1
    cut, _ = captures(bytes(data[: starts[-1] - 40]))
    assert cut[-1].url == "http://e.example/7" or cut[-1].truncated


def test_a_file_that_breaks_off_says_so_of_its_last_page() -> None:
    data = archive(ANSWERS[:1])
    end = data.index(b"An owl") + 100
    found, _ = captures(data[:end])
    assert [each.truncated for each in found] == [True]
    assert b"WARC-Truncated: disconnect" in found[0].record


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("value", [None, b"", b" ", b"\xff\xfe\0"])
def test_a_record_may_lack_any_field(value: bytes | None, packed: bool) -> None:
    data = archive(ANSWERS[:1])
    head = data.index(b"WARC-Type: response")
    end = data.index(b"\r\n\r\n", head)
    lines = data[head:end].split(b"\r\n")
    assert any(line.startswith(b"WARC-Record-ID:") for line in lines)
    for number, line in enumerate(lines):
        name = line.partition(b":")[0]
        other = [] if value is None else [name + b": " + value]
        fields = b"\r\n".join([*lines[:number], *other, *lines[number + 1 :]])
        changed = data[:head] + fields + data[end:]
        changed = gzip.compress(changed) if packed else changed
        found, counts = captures(changed)
        assert sum(counts.values()) >= len(found)
        assert [each.record for each in found] == [each.record for each in captures(changed)[0]]
        if name == b"WARC-Record-ID" and not (value or b"").strip():
            assert [each.final_url for each in found] == [ANSWERS[0][0]]
            assert records.parse_record(found[0].record).fields["warc-record-id"] == (
                found[0].record_id
            )


def test_what_is_too_large_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 500)
    found, counts = captures(archive(ANSWERS))
    assert [each.final_url for each in found] == [
        "http://owls.example/packed",
        "http://owls.example/text",
    ]
    assert counts[RecordDisposition.TOO_LARGE] == 4


@given(st.binary(max_size=300))
def test_no_bytes_are_a_crash(data: bytes) -> None:
    captures(b"\x1f\x8b\x08" + data)
    captures(b"WARC/1.0\r\n" + data)
    http_response(b"HTTP/1.1 200\r\n" + data)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.sampled_from([b"", b";a=b", b" "])
)
@example([b"\r\n0\r\n\r\n"], b"")
def test_chunks_are_put_together(pieces: list[bytes], extension: bytes) -> None:
    payload = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    assert dechunked(payload + b"0\r\n\r\n") == b"".join(pieces)
    for cut in range(payload.find(b"\n") + 1, len(payload)):
        assert b"".join(pieces).startswith(dechunked(payload[:cut]))


@pytest.mark.parametrize("payload", [b"", b"<html>", b"zz\r\n", b"3\r\nabcde"])
def test_what_is_not_chunked_stays(payload: bytes) -> None:
    assert dechunked(payload) == payload


def test_real_archives_as_warcio_reads_them(shared: Path) -> None:
    """Every page that warcio finds in the damaged files of two tools' test suites we find too, with its body."""
    read = 0
    with (
        zstandard.open(shared / "hostile" / "hostile.tar.zst") as stream,
        tarfile.open(fileobj=stream, mode="r|") as files,
    ):
        for member in files:
            if not member.isfile() or ".warc" not in member.name or "wrong-chunks" in member.name:
                continue
            handle = files.extractfile(member)
            assert handle is not None
            data = handle.read()
            found = {each.record_id: each for each in captures(data)[0]}
            for record_id, body in _pages(data):
                read += 1
                assert (
                    records.parse_response(gzip.compress(found[record_id].record)).body == body
                ), member.name
    assert read == 8


def _pages(data: bytes) -> list[tuple[str, bytes]]:
    pages = []
    try:
        for record in ArchiveIterator(io.BytesIO(data)):
            if record.rec_type == "response" and record.http_headers.get_statuscode() == "200":
                kind = record.http_headers.get_header("Content-Type") or ""
                url = record.rec_headers.get_header("WARC-Target-URI")
                if kind.startswith(("text/html", "text/xml")) and url.startswith("http"):
                    pages.append(
                        (
                            record.rec_headers.get_header("WARC-Record-ID"),
                            record.content_stream().read(),
                        )
                    )
    except Exception:  # warcio's own ways to give up; what it read until then counts
        return pages
    return pages
