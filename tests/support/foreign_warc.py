"""WARC files as another tool writes them: warcio."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawl import run as crawl_run

TYPE = {"Content-Type": "text/html; charset=utf-8"}
HTML = b"<html><body><p>" + b"An owl lived in the tower of the church. " * 20


def archive(
    answers: Iterable[tuple[str, str, bytes, dict[str, str]]], *, compressed: bool = False
) -> bytes:
    """A file of (url, status line, payload, headers), each behind its request and a file description first."""
    output = io.BytesIO()
    writer = WARCWriter(output, gzip=compressed)
    writer.write_record(writer.create_warcinfo_record("x.warc", {"software": "a crawler"}))
    for number, (url, status, payload, headers) in enumerate(answers):
        http = StatusAndHeaders(status, list(headers.items()), protocol="HTTP/1.1")
        record = writer.create_warc_record(
            url,
            "response",
            payload=io.BytesIO(payload),
            http_headers=http,
            warc_headers_dict={
                "WARC-Date": f"2024-01-02T03:04:{number % 60:02}Z",
                "WARC-IP-Address": "192.0.2.7",
            },
        )
        request = writer.create_warc_record(
            url,
            "request",
            http_headers=StatusAndHeaders("GET / HTTP/1.1", [], is_http_request=True),
        )
        writer.write_request_response_pair(request, record)
    return output.getvalue()


def import_warc(root: Path, *files: Path, batch: str = "b") -> None:
    """Import the files as a batch of the corpus at `root`."""
    where = ["--corpus", str(root), "--batch", batch, "--workers", "1"]
    assert crawl_run.main([*where, "--warc", *map(str, files)]) == 0
