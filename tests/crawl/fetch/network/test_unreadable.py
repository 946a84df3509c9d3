"""Bodies that cannot be read, or not whole: robots.txt fails closed, cut pages are marked."""

from __future__ import annotations

import gzip
import lzma
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from corpus.storage.store import open_store
from crawl.fetch.permission import robots
from crawl.outcomes import Reason
from crawl.warc.body import (
    BodyDecoder,
    EncodingError,
    content_encodings,
    content_type,
    ignored_encodings,
    is_page_type,
    looks_like_page,
)
from crawl.warc.records import read_response
from tests.crawl.fetch.test_spider import cut_off
from tests.crawl.loopback import Shard, Web, ok, stored

SHUT = b"User-agent: *\nDisallow: /\n"
TEXT = b"<p>" + b"".join(b"All work and no play, %d times. " % i for i in range(15_000))
PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstandard.compress,
}


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def coded(name: str, body: bytes) -> bytes:
    return ok(body, f"Content-Encoding: {name}", kind="text/plain")


def test_a_robots_file_never_fails_open(web: Web, shard: Shard) -> None:
    """Every file forbids everything; each is answered in a way that hides it from a strict reader."""
    answers = {
        "rb200": ok(SHUT),
        "rb201": ok(SHUT, status="201 Created"),
        "rb202": ok(SHUT, status="202 Accepted"),
        "rb203": ok(SHUT, status="203 Non-Authoritative"),
        "rb206": ok(SHUT, status="206 Partial Content"),
        "rb206-part": ok(b"User-agent: *", "Content-Range: bytes 0-12/26", status="206 Partial"),
        "rb-ce-utf8": coded("utf-8", SHUT),
        "rb-ce-utf16": coded("utf-16", SHUT),
        "rb-ce-unknown": coded("rot13", SHUT),
        "rb-ce-compress": coded("compress", b"\x1f\x9d\x90" + bytes(range(60))),
        "rb-br": coded("br", brotli.compress(SHUT)),
        "rb-br-trail": coded("br", brotli.compress(SHUT) + b"\n"),
        "rb-br-broken": coded("br", b"\xff" * 90),
        "rb-gz-badcrc": coded("gzip", damaged(gzip.compress(SHUT), -8)),
        "rb-gz-badlength": coded("gzip", damaged(gzip.compress(SHUT), -1)),
        "rb-gz-br": coded("gzip", brotli.compress(SHUT)),
        "rb-deflate-br": coded("deflate", brotli.compress(SHUT)),
        "rb-gz-zstd": coded("gzip", zstandard.compress(SHUT)),
        "rb-gz-late": coded("gzip", b"\n" + gzip.compress(SHUT)),
        "rb-gz-cut": coded("gzip", gzip.compress(SHUT)[:-12]),
        "rb-gz-plain": coded("gzip", SHUT),
        "rb-gz-zlib": coded("gzip", zlib.compress(SHUT)),
        "rb-gz-unlabelled": ok(gzip.compress(SHUT), kind="text/plain"),
        "rb-deflate-gz": coded("deflate", gzip.compress(SHUT)),
        "rb-zstd-cut": coded("zstd", zstandard.compress(SHUT)[:-6]),
        "rb-three": coded("gzip, gzip, gzip", gzip.compress(gzip.compress(gzip.compress(SHUT)))),
        "rb-short": cut_off(ok(SHUT + b"# more" * 9)[:-30]),
        "rb-bomb": coded("gzip", gzip.compress(bytes(4 << 20))),
    }
    for name, answer in answers.items():
        web.on(f"{name}.test/robots.txt", answer)
    urls = [f"http://{name}.test/x" for name in answers]
    outcomes = shard.crawl(urls, retries=0)
    refused = {Reason.ROBOTS_DISALLOWED, Reason.ROBOTS_UNREACHABLE}
    open_ones = [url for url in urls if outcomes[url]["reason"] not in refused]
    # A bomb is cut at the limit of the file's length, and its zeros are no rules.
    assert open_ones in ([], ["http://rb-bomb.test/x"])
    read = ["rb200", "rb201", "rb202", "rb206", "rb-ce-utf8", "rb-br", "rb-br-trail"]
    read += ["rb-gz-badcrc", "rb-gz-plain", "rb-deflate-gz", "rb-gz-zlib", "rb-gz-unlabelled"]
    for name in read:
        assert outcomes[f"http://{name}.test/x"]["reason"] == Reason.ROBOTS_DISALLOWED, name


def test_every_robots_file_that_decided_is_in_the_archive(web: Web, shard: Shard) -> None:
    web.on("a.test/robots.txt", ok(b"User-agent: *\nDisallow: /no"))
    web.on("b.test/robots.txt", ok(SHUT, status="503 Down"))
    web.on("c.test/robots.txt", coded("br", b"\xff" * 90))
    web.on("e.test/robots.txt", b"HTTP/1.1 301 M\r\nLocation: /r\r\nContent-Length: 0\r\n\r\n")
    web.on("e.test/r", ok(SHUT))
    shard.crawl([f"http://{name}.test/x" for name in "abcde"], retries=0)
    store = open_store(str(shard.folder / "corpus"))
    found = sorted(entry for path, _ in store.files("warc/b") for entry in stored(store, path))
    assert found == [
        ("http://a.test/robots.txt", 200),
        ("http://a.test/x", 200),
        ("http://b.test/robots.txt", 503),
        ("http://c.test/robots.txt", 200),
        ("http://d.test/robots.txt", 404),
        ("http://d.test/x", 200),
        ("http://e.test/r", 200),
        ("http://e.test/robots.txt", 301),
    ]


def test_parts_of_a_robots_file_are_not_a_file() -> None:
    assert robots.is_whole_range(None)
    assert robots.is_whole_range("bytes 0-99/100")
    for text in ("bytes 0-98/100", "bytes 1-99/100", "bytes 0-99/*", "bytes */100", "x"):
        assert not robots.is_whole_range(text)
    assert robots.decide(200, SHUT, "webtext", is_whole=False) is robots.UNREACHABLE


def test_content_that_ends_early_is_marked(web: Web, shard: Shard) -> None:
    """The transfer ends as stated, the content does not: cut, stored and marked."""
    urls = []
    for kind, pack in PACK.items():
        cut = pack(TEXT)[: len(pack(TEXT)) * 3 // 4]
        web.on(f"{kind}.test/length", ok(cut, f"Content-Encoding: {kind}"))
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(cut), cut)
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n"
        web.on(f"{kind}.test/chunks", f"{head}Content-Encoding: {kind}\r\n\r\n".encode() + chunk)
        web.on(f"{kind}.test/whole", ok(pack(TEXT), f"Content-Encoding: {kind}"))
        urls += [f"http://{kind}.test/{how}" for how in ("length", "chunks", "whole")]
    outcomes = shard.crawl(urls)
    store = open_store(str(shard.folder / "corpus"))
    for url, row in outcomes.items():
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert row["reason"] is None, url
        cut_short = not url.endswith("whole")
        assert row["truncated"] == cut_short, url
        assert page.truncated == ("disconnect" if cut_short else None)
        assert page.body == TEXT[: len(page.body)]
        assert (len(page.body) == len(TEXT)) != cut_short


@given(st.binary(max_size=3000), st.integers(1, 900), st.data())
def test_a_coding_knows_its_end(body: bytes, step: int, data: st.DataObject) -> None:
    """Complete if and only if the deflate, brotli or zstd stream is there to its last byte."""
    for kind, pack in PACK.items():
        wire = pack(body)
        cut = data.draw(st.integers(0, len(wire)), label=kind)
        decoder = BodyDecoder([kind], max_bytes=1 << 20)
        for start in range(0, cut, step):
            decoder.feed(wire[start : min(cut, start + step)])
        assert body.startswith(decoder.body)
        if cut == len(wire):
            assert decoder.is_complete
            assert decoder.body == body
            assert decoder.repairs == ()
        elif decoder.is_complete and cut > 2:
            assert decoder.body == body, "only a checksum may be missing"


@pytest.mark.parametrize("step", [1, 2, 7, 4096])
def test_repairs_have_names(step: int) -> None:
    gz = gzip.compress(TEXT)
    named = (
        gz[:3] + b"\x1e" + gz[4:10] + b"\x02\x00ab" + b"name\0" + b"remark\0" + b"\0\0" + gz[10:]
    )
    cases = [
        ("gzip", gz, ()),
        ("gzip", named, ()),
        ("gzip", gz + bytes(9), ()),
        ("gzip", gz + b"\r\n\r\n", ("trailing_bytes",)),
        ("gzip", damaged(gz, -8), ("bad_checksum",)),
        ("gzip", gz[:-8], ()),
        ("gzip", zlib.compress(TEXT), ("zlib_named_gzip",)),
        ("gzip", TEXT, ("plain_named_gzip",)),
        ("deflate", gz, ("gzip_named_deflate",)),
        ("deflate", damaged(zlib.compress(TEXT), -1), ("bad_checksum",)),
        ("deflate", zlib.compress(TEXT)[2:-4], ()),
        ("br", PACK["br"](TEXT) + b"\n", ("trailing_bytes",)),
        ("zstd", PACK["zstd"](TEXT) + b"\nmore", ("trailing_bytes",)),
        ("zstd", b"\x50\x2a\x4d\x18\x02\0\0\0ab" + PACK["zstd"](TEXT), ()),
        ("", gz, ("gzip_unlabelled",)),
        ("", TEXT, ()),
    ]
    for kind, wire, repairs in cases:
        decoder = BodyDecoder([kind] if kind else [], max_bytes=1 << 20)
        for start in range(0, len(wire), step):
            decoder.feed(wire[start : start + step])
        assert decoder.body == TEXT, (kind, repairs)
        assert decoder.repairs == repairs
        assert decoder.is_complete


@pytest.mark.parametrize("step", [1, 2, 7, 4096])
def test_another_coding_under_the_name_of_gzip_is_not_a_page(step: int) -> None:
    """Its bytes were stored as the text of a page, and a robots.txt of them had no rules."""
    wires = (PACK["br"](TEXT), PACK["zstd"](TEXT), b"\n" + gzip.compress(TEXT), lzma.compress(TEXT))
    for wire in wires:
        decoder = BodyDecoder(["gzip"], max_bytes=1 << 20)
        with pytest.raises(EncodingError):
            for start in range(0, len(wire), step):
                decoder.feed(wire[start : start + step])


def test_names_that_are_not_codings_are_ignored() -> None:
    odd = ["utf-8", "binary, 8bit", "iso-8859-1", "text/html", "chunked", "aws-chunked", "none"]
    assert content_encodings(odd) == []
    assert len(ignored_encodings(odd)) == 7
    assert content_encodings(["utf-8, GZIP", "identity"]) == ["gzip"]


@pytest.mark.parametrize(
    ("values", "chosen", "verdict"),
    [
        ([], None, None),
        (["text/html charset=utf-8"], "text/html charset=utf-8", None),
        (['"text/html"'], '"text/html"', None),
        (["Content-Type: text/html"], "Content-Type: text/html", None),
        (["text/html/html"], "text/html/html", None),
        (["text/htm"], "text/htm", True),
        (["text/plain", "text/html; charset=utf-8"], "text/html; charset=utf-8", True),
        (["text/html, image/png"], "image/png", False),
        (["text/html", "*/*"], "text/html", True),
        (["text/html", "nonsense"], "text/html", True),
        (["text/markdown"], "text/markdown", True),
        (["text/x-web-markdown"], "text/x-web-markdown", True),
        (["text/css"], "text/css", False),
        (["text/javascript"], "text/javascript", False),
        (["text/x-javascript"], "text/x-javascript", False),
        (["application/xml"], "application/xml", None),
    ],
)
def test_the_type_that_counts(values: list[str], chosen: str | None, verdict: bool | None) -> None:
    assert content_type(values) == chosen
    assert is_page_type(chosen) is verdict


def test_xml_is_a_page_if_its_root_is_html() -> None:
    page = b'<?xml version="1.0"?>\n<!-- a -->\n<html xmlns="http://www.w3.org/1999/xhtml"><body/>'
    feed = b'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>'
    assert looks_like_page("application/xml; charset=utf-8", page)
    assert looks_like_page("text/xml", b"<h:html xmlns:h='x'>")
    assert not looks_like_page("text/xml", feed)
    assert looks_like_page(None, feed)
