"""Odd answers: what browsers read is read and its repairs are named; floods end early."""

from __future__ import annotations

import asyncio
import gzip
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.storage.store import open_store
from crawl.fetch.wire import MAX_HEAD_BYTES, HeadError, ResponseReader
from crawl.outcomes import Reason
from crawl.warc.records import read_response
from tests.crawl.loopback import Script, Shard, Web, ok, serving
from tests.crawl.test_spider import cut_off

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


def test_what_browsers_read_is_read_and_named(web: Web, shard: Shard) -> None:
    """For pages, and for robots.txt, which decides about a whole site."""
    rules = b"User-agent: *\nDisallow: /no\n"
    for name, (answer, _) in ODD.items():
        web.on(f"{name}.test/x", cut_off(answer))
        if len(rules) < len(PAGE) and PAGE in answer:
            padded = rules + b"#" * (len(PAGE) - len(rules))
            web.on(f"r-{name}.test/robots.txt", cut_off(answer.replace(PAGE, padded)))
    urls = [f"http://{name}.test/x" for name in ODD]
    sites = [
        f"http://r-{name}.test/no"
        for name in ODD
        if (f"r-{name}.test", "/robots.txt") in web.answers
    ]
    assert len(sites) > 30
    outcomes = shard.crawl([*urls, *sites], retries=0)
    store = open_store(str(shard.folder / "corpus"))
    for name, (_, repairs) in ODD.items():
        row = outcomes[f"http://{name}.test/x"]
        assert (row["reason"], row["truncated"]) == (None, False), name
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert page.body == PAGE, name
        assert page.status == 200
        assert set(row["repairs"] or ()) == repairs, name
    assert {url: outcomes[url]["reason"] for url in sites} == dict.fromkeys(
        sites, Reason.ROBOTS_DISALLOWED
    )


BAD: dict[str, bytes] = {
    "ssh": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "http-0.9": PAGE,
    "lengths-differ": OK + TYPE + b"Content-Length: 5\r\n" + LENGTH + b"\r\n" + PAGE,
    "switching": b"HTTP/1.1 101 Switching\r\n\r\n" + PAGE,
    "long-head": OK + b"X: " + b"x" * 70_000 + b"\r\n" + TYPE + LENGTH + b"\r\n" + PAGE,
}


def test_what_no_browser_reads_is_refused(web: Web, shard: Shard) -> None:
    for name, answer in BAD.items():
        web.on(f"{name}.test/x", cut_off(answer))
    web.on("bad-chunk.test/x", cut_off(OK + TYPE + CHUNKED + b"\r\n5\r\nhello\r\nzz\r\nhello"))
    web.on("no-last-chunk.test/x", cut_off(OK + TYPE + CHUNKED + b"\r\n" + chunks(end=b"")))
    urls = [f"http://{name}.test/x" for name in BAD]
    cut = ["http://bad-chunk.test/x", "http://no-last-chunk.test/x"]
    outcomes = shard.crawl([*urls, *cut], retries=0)
    assert {url: outcomes[url]["reason"] for url in urls} == dict.fromkeys(
        urls, Reason.BAD_RESPONSE
    )
    assert [(outcomes[url]["reason"], outcomes[url]["truncated"]) for url in cut] == [
        (None, True)
    ] * 2


@given(st.sampled_from(sorted(ODD)), st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_an_answer_is_read_alike_wherever_it_is_cut(name: str, steps: list[int]) -> None:
    answer, _ = ODD[name]
    whole = ResponseReader()
    expected = whole.feed(answer)
    reader, passed, at, turn = ResponseReader(), b"", 0, 0
    while at < len(answer):
        step = steps[turn % len(steps)]
        passed += reader.feed(answer[at : at + step])
        at, turn = at + step, turn + 1
    assert reader.head == whole.head
    assert reader.is_done == whole.is_done
    if b"chunked" not in expected:
        assert passed == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for wire in (data, OK + data, OK + CHUNKED + b"\r\n" + data):
        reader = ResponseReader()
        try:
            reader.feed(wire)
        except HeadError:
            continue
        assert reader.head is not None or len(wire) < MAX_HEAD_BYTES


def test_a_connection_with_bytes_to_spare_is_not_used_again(web: Web, shard: Shard) -> None:
    web.on("a.test/1", OK + TYPE + LENGTH + b"\r\n" + PAGE + b"HTTP/1.1 200 OK\r\n\r\nsmuggled")
    shard.crawl([f"http://a.test/{i}" for i in range(1, 4)])
    assert web.num_connections >= 2
    store = open_store(str(shard.folder / "corpus"))
    for row in shard.outcomes([f"http://a.test/{i}" for i in range(1, 4)]).values():
        page = read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"])
        assert b"smuggled" not in page.body


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


def test_floods_end_at_once_and_once(web: Web, shard: Shard) -> None:
    """Each costs a fraction of a second of processor time and is not tried again."""
    urls = []
    for name, script in FLOODS.items():
        for page in range(2):
            web.on(f"{name}.test/{page}", script())
            urls.append(f"http://{name}.test/{page}")
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_utime
    outcomes = shard.crawl(urls, retries=2, total_timeout_s=20.0)
    spent = resource.getrusage(resource.RUSAGE_THREAD).ru_utime - before
    reasons = {url: outcomes[url]["reason"] for url in urls}
    assert set(reasons.values()) <= {Reason.BAD_RESPONSE, None}
    assert {url: row["attempts"] for url, row in outcomes.items()} == dict.fromkeys(urls, 1)
    assert spent < 4.0, "24 floods"


def test_a_host_that_floods_is_given_up(web: Web, shard: Shard) -> None:
    for page in range(20):
        web.on(f"a.test/{page}", FLOODS["103"]())
    outcomes = shard.crawl([f"http://a.test/{page}" for page in range(20)])
    assert {row["reason"] for row in outcomes.values()} == {Reason.BAD_RESPONSE}
    assert sum(row["attempts"] for row in outcomes.values()) == 3


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/\xce\xc4\xd5\xc2", "/%CE%C4%D5%C2"),
        (b"/caf\xe9", "/caf%E9"),
        ("/é".encode(), "/%C3%A9"),
        (b"///other.test/b", None),
        (b"\\\\other.test\\b", None),
        (b"http:////other.test/b", None),
    ],
)
def test_a_redirect_leads_where_browsers_go(
    web: Web, shard: Shard, location: bytes, path: str | None
) -> None:
    web.on(
        "a.test/x",
        b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n",
    )
    (row,) = shard.crawl(["http://a.test/x"]).values()
    expected = f"http://a.test{path}" if path else "http://other.test/b"
    assert (row["reason"], row["final_url"]) == (None, expected)


def test_cookies_live_within_one_chain_of_one_domain(web: Web, shard: Shard) -> None:
    wall = (
        b"HTTP/1.1 302 F\r\nLocation: /x\r\nSet-Cookie: seen=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    )
    web.on("a.test/x", lambda earlier: ok(PAGE) if earlier else wall)
    endless = wall.replace(b"/x", b"/y")
    web.on("b.test/y", endless)
    away = wall.replace(b"/x", b"http://c.test/z")
    web.on("a.test/away", away)
    outcomes = shard.crawl(
        ["http://a.test/x", "http://a.test/next", "http://b.test/y", "http://a.test/away"],
        max_redirects=3,
    )
    assert outcomes["http://a.test/x"]["reason"] is None
    assert outcomes["http://b.test/y"]["reason"] == Reason.REDIRECT_LOOP
    asked = {(hit.host, hit.path): hit.header for hit in web.hits}
    assert "Cookie: seen=1" in asked["a.test", "/x"]
    for place in (("a.test", "/next"), ("c.test", "/z"), ("a.test", "/away")):
        assert "Cookie:" not in asked[place]


def test_a_refresh_at_once_is_a_redirect(web: Web, shard: Shard) -> None:
    meta = b"<head><meta http-equiv='refresh' content=\"%s\"></head>"
    web.on("a.test/header", ok(PAGE, "Refresh: 0; url=/to"))
    web.on("a.test/meta", ok(meta % b"0; URL='/to?a=1&amp;b=2'"))
    web.on("a.test/late", ok(meta % b"300; url=/to"))
    web.on("a.test/itself", ok(meta % b"3; url=/itself"))
    web.on("a.test/reload", ok(meta % b"5"))
    web.on("a.test/noscript", ok(b"<noscript>" + meta % b"0; url=/to" + b"</noscript>" + PAGE))
    names = ("header", "meta", "late", "itself", "reload", "noscript")
    outcomes = shard.crawl([f"http://a.test/{name}" for name in names])
    finals = {name: outcomes[f"http://a.test/{name}"]["final_url"][13:] for name in names}
    assert finals == {"header": "/to", "meta": "/to?a=1&b=2"} | {n: f"/{n}" for n in names[2:]}
    assert {row["reason"] for row in outcomes.values()} == {None}


def test_causes_of_an_unreachable_robots_file(tmp_path: Path, web: Web, shard: Shard) -> None:
    from tests.crawl.loopback import certificate

    web.on("down.test/robots.txt", ok(b"", status="503 Down"))
    web.on("coding.test/robots.txt", ok(b"\xff" * 50, "Content-Encoding: br"))
    web.on("odd.test/robots.txt", cut_off(b"SSH-2.0\r\n\r\n"))
    web.on("cut.test/robots.txt", cut_off(b"", reset=True))
    with serving(Web(), tls=certificate(tmp_path, "a.test", days=-1)) as tls:
        places = {"tls.test": f"127.0.0.1:{tls.port}", "*.test": f"127.0.0.1:{web.port}"}
        names = ("down", "coding", "odd", "cut")
        urls = [*(f"http://{name}.test/x" for name in names), "https://tls.test/x"]
        outcomes = shard.crawl(urls, connect_to=places, retries=0)
    assert {row["reason"] for row in outcomes.values()} == {Reason.ROBOTS_UNREACHABLE}
    assert [outcomes[url]["cause"] for url in urls] == [
        "status_503",
        "bad_encoding",
        "bad_response",
        "connection_lost",
        "tls_failed",
    ]
