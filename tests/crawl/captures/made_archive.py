"""A made archive: histories of pages in a WARC file, and a server of its index and records."""

from __future__ import annotations

import json
import random
import threading
import zlib
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from crawl.captures.index import REVISIT, IndexedCapture, surt
from crawl.warc import writer

NUM_HISTORIES = 120
START = datetime(2005, 1, 1, tzinfo=UTC)


class Archive:
    """Histories of pages in one WARC file, with the captures that an index of it lists."""

    def __init__(
        self, folder: Path, num_histories: int = NUM_HISTORIES, seed: int = 7, captures: int = 6
    ) -> None:
        draw = random.Random(seed)
        self.path = folder / "archive.warc.gz"
        self.captures: dict[str, list[IndexedCapture]] = {}
        self.payloads: dict[tuple[str, str], bytes] = {}
        data = b""
        for number in range(num_histories):
            url = f"http://www.site{number % 7}.test/Story/{number}?b=2&a={number}"
            held: list[tuple[bytes, str]] = []
            self.captures[url] = []
            for at in sorted(
                START + timedelta(hours=draw.randrange(80_000)) for _ in range(captures)
            ):
                revisit = bool(held) and draw.random() < 0.3
                status = 200 if revisit or draw.random() < 0.7 else draw.choice((301, 404, 503))
                payload = held[-1][0] if revisit else f"<p>{url} {at} {status}".encode()
                digest = writer.digest(payload)[5:]
                if status == 200 and not revisit:
                    held.append((payload, digest))
                kind = REVISIT if revisit else draw.choice(("text/html", "image/png"))
                record = member(url, at, status, payload, revisit=revisit, kind=kind)
                capture = IndexedCapture(
                    url, at, status, kind, digest, self.path.name, len(data), len(record)
                )
                self.captures[url].append(capture)
                self.payloads[url, capture.timestamp] = payload
                data += record
        self.path.write_bytes(data)

    def is_page(self, capture: IndexedCapture) -> bool:
        """True for a page with status 200, or a revisit of one, by the made history alone."""
        held = {
            each.digest
            for each in self.captures[capture.url]
            if each.status == 200 and each.mime == "text/html"
        }
        return capture.status == 200 and capture.digest in held

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


def member(
    url: str, at: datetime, status: int, payload: bytes, *, revisit: bool, kind: str = "text/html"
) -> bytes:
    """The gzip member of a capture."""
    shown = "text/html" if revisit else kind
    headers = [(b"Content-Type", shown.encode())]
    if status == 301:
        headers.append((b"Location", b"/elsewhere"))
    block = writer.http_block(f"HTTP/1.1 {status} X", headers, b"" if revisit else payload)
    fields = [
        ("WARC-Record-ID", writer.record_id()),
        ("WARC-Date", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        ("WARC-Target-URI", url),
        ("WARC-Payload-Digest", writer.digest(payload)),
    ]
    record_kind = "revisit" if revisit else "response"
    record = writer.record_bytes(record_kind, fields, block, "application/http; msgtype=response")
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
        first, last = query.get("from", ["0"])[0], query.get("to", ["9"])[0]
        rows = [row for row in rows if first <= str(row["timestamp"]) <= last]
        if not rows:
            return 200, {}, b""
        if path == "/cdx/keyless":
            rows = rows[: int(query["limit"][0])]
            return 200, {}, "\n".join(map(json.dumps, rows)).encode()
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


def columnar_index(archive: Archive, path: Path) -> Path:
    """Write the captures of an archive as Common Crawl's table, sorted by key."""
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
