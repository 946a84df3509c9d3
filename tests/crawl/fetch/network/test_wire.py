"""Odd answers: what browsers read is read and its repairs are named; floods end early."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.storage.store import open_store
from crawl.fetch.network.wire import MAX_HEAD_BYTES, HeadError, ResponseReader
from crawl.outcomes import Reason
from crawl.warc.records import read_response
from tests.crawl.fetch.network.odd_answers import (
    BAD,
    CHUNKED,
    FLOODS,
    LENGTH,
    ODD,
    OK,
    PAGE,
    TYPE,
    chunks,
)
from tests.crawl.fetch.test_spider import cut_off
from tests.crawl.loopback import Shard, Web, ok, serving


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


@settings(deadline=None)
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


SIZE_LINES = (b"%x\r\n", b"%X\n", b"00%x;a=b\r\n", b"%x  ; q\r\n", b" %x\r\n")
LINE_ENDS = (b"\r\n", b"\n", b"")
TRAILERS = (b"\r\n", b"\n", b"X: y\r\nZ: w\n\r\n", b"X: y\n\n")


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=9).filter(lambda piece: piece[0] not in b"\r\n"),
            st.sampled_from(SIZE_LINES),
            st.sampled_from(LINE_ENDS),
        ),
        max_size=8,
    ),
    st.sampled_from(TRAILERS),
    st.integers(1, 30),
)
def test_chunks_of_any_style_give_their_body_wherever_they_are_cut(
    parts: list[tuple[bytes, bytes, bytes]], trailer: bytes, step: int
) -> None:
    """The one quick way and the careful one agree."""
    body = b"".join(piece for piece, _, _ in parts)
    wire = b"".join(line % len(piece) + piece + end for piece, line, end in parts)
    wire = OK + TYPE + CHUNKED + b"\r\n" + wire + b"0\r\n" + trailer
    reader = ResponseReader()
    passed = b"".join(reader.feed(wire[at : at + step]) for at in range(0, len(wire), step))
    assert (reader.is_done, reader.failure) == (True, None)
    assert ("no_line_end_after_chunk" in reader.repairs) == any(end == b"" for *_, end in parts)

    found, rest = b"", passed.partition(b"\r\n\r\n")[2]
    while rest != b"0\r\n\r\n":
        size, _, rest = rest.partition(b"\r\n")
        found, rest = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert found == body


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


@pytest.mark.parametrize("size", [1, 6, 15])
def test_small_chunks_end_after_some_thousands(size: int) -> None:
    """Framing as long as the body kept one worker busy for 0.6 s per page."""
    reader = ResponseReader()
    reader.feed(OK + TYPE + CHUNKED + b"\r\n")
    piece = b"%x\r\n%b\r\n" % (size, b"x" * size)
    num_chunks = 0
    while reader.failure is None:
        reader.feed(piece * 1000)
        num_chunks += 1000
        assert num_chunks <= 70_000
    assert "flood" in str(reader.failure)


def test_a_page_that_is_flushed_line_by_line_comes_whole() -> None:
    reader, body = ResponseReader(), b""
    reader.feed(OK + TYPE + CHUNKED + b"\r\n")
    for _ in range(200):
        body += reader.feed(b"15\r\n<li>a short line</li>\r\n" * 100)
    assert reader.failure is None
    assert body.count(b"<li>") == 20_000


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


@pytest.mark.parametrize("num_digits", [1, 17, 18, 19, 20])
def test_a_length_of_up_to_18_digits_is_one(num_digits: int) -> None:
    """A number of 63 bits has 18 digits in any case; browsers read other bodies to the end."""
    reader = ResponseReader()
    reader.feed(OK + TYPE + b"Content-Length: " + b"9" * num_digits + b"\r\n\r\n")
    assert ("bad_length" in reader.repairs) is (num_digits > 18)


def test_every_control_character_of_a_field_but_the_tab_is_left_out() -> None:
    """RFC 9110, section 5.5: visible characters, spaces, tabs and bytes beyond ASCII."""
    for code in range(256):
        if code in b"\r\n":
            continue
        reader = ResponseReader()
        reader.feed(OK + b"X-Note: a" + bytes([code]) + b"b\r\nContent-Length: 0\r\n\r\n")
        is_control = (code < 0x20 and code != 0x09) or code == 0x7F
        assert ("control_in_field" in reader.repairs) is is_control, code
