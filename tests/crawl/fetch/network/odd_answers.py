"""Odd answers and floods, as bytes on the wire: for the tests of the reader and for `bench.crawl.pages`."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PAGE = b"<html><title>x</title><p>The quick brown fox jumps over the lazy dog.</p></html>"
TYPE = b"Content-Type: text/html\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(PAGE)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def chunks(body: bytes = PAGE, size: int = 30, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


ODD: dict[str, tuple[bytes, set[str]]] = {
    "plain": (OK + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "length-twice": (OK + TYPE + LENGTH + LENGTH + b"\r\n" + PAGE, {"repeated_length"}),
    "length-list": (
        OK + TYPE + b"Content-Length: %d, %d\r\n\r\n" % (len(PAGE), len(PAGE)) + PAGE,
        {"repeated_length"},
    ),
    "length-and-chunked": (
        OK + TYPE + b"Content-Length: 7\r\n" + CHUNKED + b"\r\n" + chunks(),
        {"length_with_chunked"},
    ),
    "length-unreadable": (OK + TYPE + b"Content-Length: many\r\n\r\n" + PAGE, {"bad_length"}),
    "length-negative": (OK + TYPE + b"Content-Length: -1\r\n\r\n" + PAGE, {"bad_length"}),
    "beyond-length": (OK + TYPE + LENGTH + b"\r\n" + PAGE + b"<p>more", {"bytes_after_body"}),
    "beyond-chunks": (OK + TYPE + CHUNKED + b"\r\n" + chunks() + b"more", {"bytes_after_body"}),
    "many-fields": (OK + b"X-A: b\r\n" * 400 + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "long-field": (
        OK + b"Set-Cookie: a=" + b"x" * 34_000 + b"\r\n" + TYPE + LENGTH + b"\r\n" + PAGE,
        set(),
    ),
    "folded": (OK + b"X-A: b\r\n  c\r\n\td\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, {"folded_field"}),
    "folded-first": (OK + b"  c\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, {"folded_field"}),
    "latin-1": (OK + b"X-A: caf\xe9 \x99\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "control": (OK + b"X-A: a\x01\x00b\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, {"control_in_field"}),
    "space-in-name": (OK + b"X Y: b\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, {"bad_field_name"}),
    "space-before-colon": (
        OK + b"Content-Type : text/html\r\n" + LENGTH + b"\r\n" + PAGE,
        {"space_before_colon"},
    ),
    "no-colon": (OK + b"nonsense\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, {"field_without_colon"}),
    "no-name": (OK + b": x\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, {"bad_field_name"}),
    "line-feeds": ((OK + TYPE + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + PAGE, set()),
    "mixed-line-ends": (OK + TYPE.replace(b"\r", b"") + LENGTH + b"\n" + PAGE, set()),
    "leading-lines": (b"\r\n\r\n" + OK + TYPE + LENGTH + b"\r\n" + PAGE, {"leading_blank_lines"}),
    "interim": (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + (OK + TYPE + LENGTH + b"\r\n" + PAGE),
        set(),
    ),
    "no-reason": (b"HTTP/1.1 200\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "http-2.0": (b"HTTP/2.0 200 OK\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "http-2": (b"HTTP/2 200 OK\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "lower-case": (b"http/1.1 200 ok\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "icy": (b"ICY 200 OK\r\n" + TYPE + b"\r\n" + PAGE, set()),
    "upgrade": (
        OK + b"Upgrade: h2,h2c\r\nConnection: Upgrade\r\n" + TYPE + LENGTH + b"\r\n" + PAGE,
        set(),
    ),
    "chunked-1.0": (b"HTTP/1.0 200 OK\r\n" + TYPE + CHUNKED + b"\r\n" + chunks(), set()),
    "chunk-extensions": (
        OK + TYPE + CHUNKED + b"\r\n" + chunks().replace(b"1e\r\n", b"1e ;a=b\r\n"),
        set(),
    ),
    "chunk-line-feeds": (
        OK + TYPE + CHUNKED + b"\r\n" + chunks().replace(b"\r\n", b"\n"),
        set(),
    ),
    "chunk-padding": (
        OK + TYPE + CHUNKED + b"\r\n" + chunks().replace(b"1e\r\n", b"00001E  \r\n"),
        set(),
    ),
    "trailers": (OK + TYPE + CHUNKED + b"\r\n" + chunks(end=b"0\r\nX-A: b\r\n\r\n"), set()),
    "gzip-transfer": (
        OK + TYPE + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks(gzip.compress(PAGE)),
        {"gzip_unlabelled"},
    ),
    "identity-transfer": (
        OK + TYPE + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + PAGE,
        set(),
    ),
    "unknown-coding": (
        OK + TYPE + LENGTH + b"Content-Encoding: utf-8\r\n\r\n" + PAGE,
        {"unknown_encoding"},
    ),
    "type-unparsable": (OK + b'Content-Type: "text/html"\r\n' + LENGTH + b"\r\n" + PAGE, set()),
    "type-space": (OK + b"Content-Type: text/html charset=x\r\n" + LENGTH + b"\r\n" + PAGE, set()),
    "type-twice": (OK + b"Content-Type: image/png\r\n" + TYPE + LENGTH + b"\r\n" + PAGE, set()),
    "no-type": (OK + LENGTH + b"\r\n" + PAGE, set()),
    "xhtml": (OK + b"Content-Type: application/xml\r\n" + LENGTH + b"\r\n" + PAGE, set()),
    "markdown": (OK + b"Content-Type: text/markdown\r\n" + LENGTH + b"\r\n" + PAGE, set()),
    "status-999-robots-only": (OK + TYPE + b"\r\n" + PAGE, set()),
}


BAD: dict[str, bytes] = {
    "ssh": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "http-0.9": PAGE,
    "lengths-differ": OK + TYPE + b"Content-Length: 5\r\n" + LENGTH + b"\r\n" + PAGE,
    "switching": b"HTTP/1.1 101 Switching\r\n\r\n" + PAGE,
    "long-head": OK + b"X: " + b"x" * 70_000 + b"\r\n" + TYPE + LENGTH + b"\r\n" + PAGE,
}


def flood(head: bytes, piece: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return script


FLOODS: dict[str, Callable[[], Script]] = {
    "102": lambda: flood(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 500),
    "103": lambda: flood(
        b"", (b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a>\r\n" * 100 + b"\r\n") * 20
    ),
    "blank-lines": lambda: flood(b"", b"\r\n" * 8000),
    "headers": lambda: flood(OK, b"X-Y: z\r\n" * 1000),
    "one-header": lambda: flood(OK + b"X: ", b"y" * 10_000),
    "folded": lambda: flood(OK + b"X: y\r\n", b" z\r\n" * 3000),
    "status-line": lambda: flood(b"HTTP/1.1 200 ", b"O" * 10_000),
    "one-byte-chunks": lambda: flood(OK + TYPE + CHUNKED + b"\r\n", b"1\r\nx\r\n" * 3000),
    "chunk-extension": lambda: flood(OK + TYPE + CHUNKED + b"\r\n5;", b"a=b;" * 4000),
    "chunk-zeros": lambda: flood(OK + TYPE + CHUNKED + b"\r\n", b"0" * 16_000),
    "trailers": lambda: flood(OK + TYPE + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n", b"X: y\r\n" * 3000),
    "padded-chunks": lambda: flood(
        OK + TYPE + CHUNKED + b"\r\n", (b"5" + b" " * 300 + b"\r\nhello\r\n") * 50
    ),
}
