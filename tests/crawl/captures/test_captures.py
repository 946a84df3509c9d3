"""Captures of dead links: every index gives the same ones, and the right record comes back."""

from __future__ import annotations

import json
import random
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import InputError, RetryableError
from crawl.captures.cdx_server import CdxServer, parse_lines
from crawl.captures.choice import candidates
from crawl.captures.client import TRIES, ArchiveClient
from crawl.captures.columnar import ColumnarIndex
from crawl.captures.index import REVISIT, CaptureIndex, IndexedCapture, parse_timestamp, surt
from crawl.captures.local import LocalIndex
from crawl.captures.record import CaptureError, RecordSource, fetch_record
from crawl.fetch.settings import FetchConfig
from crawl.warc import records, writer

NUM_HISTORIES = 120
START = datetime(2005, 1, 1, tzinfo=UTC)
WHEN = datetime(2009, 6, 1, tzinfo=UTC)
WINDOW = timedelta(days=730)
POLICIES = ("nearest", "before", "after")


class Archive:
    """Histories of pages in one WARC file, with the captures that an index of it lists."""

    def __init__(self, folder: Path) -> None:
        draw = random.Random(7)
        self.path = folder / "archive.warc.gz"
        self.captures: dict[str, list[IndexedCapture]] = {}
        self.payloads: dict[tuple[str, str], bytes] = {}
        data = b""
        for number in range(NUM_HISTORIES):
            url = f"http://www.site{number % 7}.test/Story/{number}?b=2&a={number}"
            held: list[tuple[bytes, str]] = []
            self.captures[url] = []
            for at in sorted(START + timedelta(hours=draw.randrange(80_000)) for _ in range(6)):
                revisit = bool(held) and draw.random() < 0.3
                status = 200 if revisit or draw.random() < 0.7 else draw.choice((301, 404, 503))
                payload = held[-1][0] if revisit else f"<p>{url} {at} {status}".encode()
                digest = writer.digest(payload)[5:]
                if status == 200 and not revisit:
                    held.append((payload, digest))
                member = _member(url, at, status, payload, revisit=revisit)
                kind = REVISIT if revisit else draw.choice(("text/html", "image/png"))
                capture = IndexedCapture(
                    url, at, status, kind, digest, self.path.name, len(data), len(member)
                )
                self.captures[url].append(capture)
                self.payloads[url, capture.timestamp] = payload
                data += member
        self.path.write_bytes(data)

    def rows(self, url: str) -> list[dict[str, Any]]:
        return [
            {
                "urlkey": surt(url),
                "timestamp": each.timestamp,
                "url": each.url,
                "mime": each.mime,
                "status": "-" if each.is_revisit else str(each.status),
                "digest": each.digest,
                "length": str(each.length),
                "offset": str(each.offset),
                "filename": each.file,
            }
            for each in self.captures.get(url, ())
        ]


def _member(url: str, at: datetime, status: int, payload: bytes, *, revisit: bool) -> bytes:
    block = writer.http_block(
        f"HTTP/1.1 {status} X", [(b"Content-Type", b"text/html")], b"" if revisit else payload
    )
    fields = [
        ("WARC-Record-ID", writer.record_id()),
        ("WARC-Date", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        ("WARC-Target-URI", url),
        ("WARC-Payload-Digest", writer.digest(payload)),
    ]
    kind = "revisit" if revisit else "response"
    record = writer.record_bytes(kind, fields, block, "application/http; msgtype=response")
    deflater = zlib.compressobj(6, zlib.DEFLATED, 31)
    return deflater.compress(record) + deflater.flush()


class ArchiveServer:
    """A CDX server in three forms, a store with ranges, and a replay of raw content."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.seen: list[str] = []
        self.page = 4
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.seen.append(self.path)
                status, headers, body = outer.answer(self.path, self.headers.get("Range"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str, asked: str | None) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        if parts.path == "/robots.txt":
            return 200, {}, b"User-agent: *\nDisallow: /private/\n"
        if self.failures:
            status, headers = self.failures.pop(0)
            return status, headers, b"later"
        if parts.path.startswith("/cdx"):
            return self._cdx(parts.path, parse_qs(parts.query))
        if parts.path.startswith("/web/"):
            timestamp, _, url = path[len("/web/") :].partition("id_/")
            payload = self.archive.payloads.get((url, timestamp))
            original = {"X-Archive-Orig-Content-Type": "text/html"}
            return (200, original, payload) if payload else (404, {}, b"")
        data = self.archive.path.read_bytes()
        if asked is None or parts.path == "/files/whole/archive.warc.gz":
            return 200, {}, data
        start, end = map(int, asked.removeprefix("bytes=").split("-"))
        return 206, {}, data[start : end + 1]

    def _cdx(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        rows = self.archive.rows(query["url"][0])
        if not rows:
            return 404, {}, b'{"message": "No Captures found"}'
        start = int(query.get("resumeKey", ["0"])[0])
        part, more = rows[start : start + self.page], start + self.page
        key = str(more) if more < len(rows) else ""
        if path == "/cdx/lines":
            text = "\n".join(json.dumps(row) for row in part) + (f"\n\n{key}" if key else "")
            return 200, {}, text.encode()
        names = [*part[0]]
        if path == "/cdx/array":
            other = {"url": "original", "mime": "mimetype", "status": "statuscode"}
            lines = [[other.get(name, name) for name in names], *([*row.values()] for row in part)]
            return 200, {}, json.dumps(lines + ([[], [key]] if key else [])).encode()
        fields = [
            [row[name] for name in ("urlkey", "timestamp", "url", "mime", "status", "digest")]
            for row in part
        ]
        for each, row in zip(fields, part, strict=True):
            each += ["-", "-", row["length"], row["offset"], row["filename"]]
        text = "\n".join(" ".join(each) for each in fields) + (f"\n\n{key}" if key else "")
        return 200, {}, text.encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def server(archive: Archive) -> Iterator[ArchiveServer]:
    found = ArchiveServer(archive)
    yield found
    found.close()


def client(**settings: object) -> ArchiveClient:
    config = {"delay_s": 0.0, "allow_networks": ["127.0.0.0/8"]} | settings
    return ArchiveClient(FetchConfig.model_validate(config), sleep=lambda _: None)


@pytest.fixture(params=["lines", "array", "fields", "columnar", "cdxj", "warc"])
def index(
    request: pytest.FixtureRequest, archive: Archive, server: ArchiveServer, tmp_path: Path
) -> CaptureIndex:
    if request.param in ("lines", "array", "fields"):
        return CdxServer(f"{server.root}/cdx/{request.param}", client())
    if request.param == "columnar":
        return ColumnarIndex(str(_columnar(archive, tmp_path / "index.parquet")))
    if request.param == "cdxj":
        lines = [
            f"{row['urlkey']} {row['timestamp']} {json.dumps(row)}"
            for url in archive.captures
            for row in archive.rows(url)
        ]
        path = archive.path.with_name("index.cdxj")
        path.write_text("\n".join(sorted(lines)) + "\n")
        return LocalIndex([path])
    return LocalIndex([archive.path])


def _columnar(archive: Archive, path: Path) -> Path:
    rows = [
        {
            "url_surtkey": surt(each.url),
            "url": each.url,
            "fetch_time": each.at,
            "fetch_status": each.status,
            "content_mime_detected": each.mime,
            "content_digest": each.digest,
            "warc_filename": each.file,
            "warc_record_offset": each.offset,
            "warc_record_length": each.length,
        }
        for captures in archive.captures.values()
        for each in captures
    ]
    rows.sort(key=lambda row: str(row["url_surtkey"]))
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=50)
    return path


def test_every_index_gives_all_captures_of_every_page(
    index: CaptureIndex, archive: Archive
) -> None:
    urls = [*archive.captures, "http://nowhere.test/"]
    found = dict(index.captures(urls))
    assert [*found] == urls
    assert found["http://nowhere.test/"] == []
    for url, captures in archive.captures.items():
        assert [(each.at, each.digest) for each in found[url]] == [
            (each.at, each.digest) for each in captures
        ]
        assert [each.is_revisit for each in found[url]] == [each.is_revisit for each in captures]
        assert [each.offset for each in found[url]] == [each.offset for each in captures]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_right_capture_comes_back_from_each_history(policy: Any, archive: Archive) -> None:
    source, tried = RecordSource(base=f"{archive.path.parent}/"), 0
    for captures in archive.captures.values():
        pages = [
            each
            for each in captures
            if each.status == 200 and each.mime in ("text/html", REVISIT)
            if abs(each.at - WHEN) <= WINDOW
            if policy == "nearest" or (each.at <= WHEN if policy == "before" else each.at >= WHEN)
        ]
        found = candidates(captures, WHEN, policy, WINDOW)
        assert sorted(found) == sorted(pages)
        if not found:
            continue

        best = min(abs(each.at - WHEN) for each in pages)
        assert abs(found[0].at - WHEN) == best
        fetched = fetch_record(found[0], captures, source, None)
        assert fetched.response.payload == archive.payloads[found[0].url, found[0].timestamp]
        record = records.parse_record(fetched.record())
        assert record.fields["warc-date"] == found[0].at.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert record.fields["warc-source-uri"] == fetched.source
        assert record.fields["warc-record-id"] == fetched.record_id != ""
        tried += 1
    assert tried > NUM_HISTORIES // 3


def test_records_come_by_range_from_a_whole_file_and_by_replay(
    archive: Archive, server: ArchiveServer
) -> None:
    captures = next(
        each
        for each in archive.captures.values()
        if candidates(each, WHEN, "nearest", WINDOW)[:1]
        and not candidates(each, WHEN, "nearest", WINDOW)[0].is_revisit
    )
    best = candidates(captures, WHEN, "nearest", WINDOW)[0]
    asking = client()
    for source in (
        RecordSource(base=f"{server.root}/files/"),
        RecordSource(base=f"{server.root}/files/whole/"),
        RecordSource(replay=server.root + "/web/{timestamp}id_/{url}"),
    ):
        fetched = fetch_record(best, captures, source, asking)
        assert fetched.response.payload == archive.payloads[best.url, best.timestamp]
    assert asking.requests == 4, "robots.txt is asked once"

    wrong = best._replace(digest="A" * 32)
    with pytest.raises(CaptureError, match="digest"):
        fetch_record(wrong, [wrong], RecordSource(base=f"{server.root}/files/"), asking)
    shifted = best._replace(offset=best.offset + 1)
    with pytest.raises(CaptureError):
        fetch_record(shifted, [shifted], RecordSource(base=f"{server.root}/files/"), asking)
    alone = best._replace(mime=REVISIT)
    with pytest.raises(CaptureError, match="revisit"):
        fetch_record(alone, [alone], RecordSource(base=f"{server.root}/files/"), asking)


def test_the_client_waits_as_told_obeys_robots_and_the_guard(server: ArchiveServer) -> None:
    waits: list[float] = []
    config = FetchConfig.model_validate({"delay_s": 0.0, "allow_networks": ["127.0.0.0/8"]})
    asking = ArchiveClient(config, sleep=waits.append)
    server.failures = [(429, {"Retry-After": "77"}), (503, {})]
    assert asking.get(f"{server.root}/web/0id_/x").status == 404
    assert waits == [77.0, 10.0]

    with pytest.raises(InputError, match=r"robots\.txt"):
        asking.get(f"{server.root}/private/x")
    server.failures = [(503, {})] * TRIES
    with pytest.raises(RetryableError, match="status 503"):
        asking.get(f"{server.root}/web/1id_/x")

    guarded = FetchConfig.model_validate({"delay_s": 0.0, "contact": "https://example.org/"})
    with pytest.raises(InputError, match="loopback"):
        ArchiveClient(guarded, sleep=waits.append).get(f"{server.root}/x")


def test_requests_to_one_archive_are_a_delay_apart(server: ArchiveServer) -> None:
    waits: list[float] = []
    config = FetchConfig.model_validate({"delay_s": 5.0, "allow_networks": ["127.0.0.0/8"]})
    asking = ArchiveClient(config, sleep=waits.append)
    asking.get(f"{server.root}/web/1id_/x")
    asking.get(f"{server.root}/web/2id_/x")
    assert len(waits) == 2
    assert all(4.5 < wait <= 5.0 for wait in waits)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://www.Example.com/", "com,example)/"),
        ("https://example.com:443/A/b/", "com,example)/a/b"),
        ("http://example.com:8080/x?b=2&a=1", "com,example:8080)/x?a=1&b=2"),
        ("http://www2.example.co.uk", "uk,co,example)/"),
        ("http://www.com/", "com,www)/"),
    ],
)
def test_keys_are_those_of_indexes(url: str, key: str) -> None:
    assert surt(url) == key


def test_times_and_lines_that_cannot_be_read_are_none() -> None:
    assert parse_timestamp("2009") == datetime(2009, 1, 1, tzinfo=UTC)
    assert parse_timestamp("20090631000000") is None
    assert parse_timestamp("yesterday") is None
    assert parse_lines("") == ([], "")
    assert parse_lines("[]") == ([], "")
