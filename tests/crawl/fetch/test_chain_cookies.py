"""Cookies of a chain are kept and sent as browsers do, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.fetch.chain_cookies import MAX_COOKIES, ChainCookies
from tests.crawl.loopback import Shard, Web, ok

FROM, TO = "http://b.a.test/d/x", "http://b.a.test/d/to"
NOW = 1_800_000_000.0
SENT = {
    "k=1": "k=1",
    " k = 1 ; Path=/": "k=1",
    'k="a b"': 'k="a b"',
    "k=a,b=c": "k=a,b=c",
    'k={"a":1,"b":[2]}': 'k={"a":1,"b":[2]}',
    "a b=1": "a b=1",
    "a:b[c]=1": "a:b[c]=1",
    "k=": "k=",
    "v": "v",
    "=v": "v",
    "k=1; Domain=.a.test": "k=1",
    "k=1; DOMAIN=B.A.TEST": "k=1",
    "k=1; Domain=": "k=1",
    "k=1; Path=/d": "k=1",
    "k=1; Path=x": "k=1",
    "k=1; Max-Age=abc": "k=1",
    "k=1; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT": "k=1",
    "k=1; expires=Wed, 09-Jun-2055 10:18:14 GMT; HttpOnly; SameSite=Strict": "k=1",
    "k=\xc3\xa9": "k=é",
    "k=a\tb": "k=a\tb",
    # Not sent, or not to this address.
    "": None,
    "=": None,
    "k=1; Domain=c.test": None,
    "k=1; Domain=test.b.a.test": None,
    "k=1; Path=/dd": None,
    "k=1; Path=/D": None,
    "k=1; Max-Age=0": None,
    "k=1; Max-Age=-1; Expires=Wed, 09-Jun-2055 10:18:14 GMT": None,
    "k=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT": None,
    "k=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT": None,
    "k=1; Secure": None,
    "__Secure-k=1": None,
    "__Host-k=1; Path=/; Secure": None,
    "__Secure-k": None,
    "=__Host-k=1": None,
    "k=a\x01b": None,
    "k=\xe9": None,
    "k=" + "x" * 5000: None,
    "k=" + "\xc3\xa9" * 2048: None,
}


@pytest.mark.parametrize("value", SENT, ids=range(len(SENT)))
def test_a_cookie_is_sent_as_browsers_send_it(value: str) -> None:
    cookies = ChainCookies(lambda: NOW)
    cookies.update(FROM, [value])
    assert cookies.header(TO) == SENT[value]
    assert cookies.header("http://b.a.test.c.test/d/to") is None


@pytest.mark.parametrize("value", ["", "=", " ; Path=/", " = "])
def test_a_cookie_without_name_and_content_is_none(value: str) -> None:
    """RFC 6265bis, section 5.7: it is ignored, so that it leaves no mark beside others."""
    cookies = ChainCookies(lambda: NOW)
    cookies.update(FROM, ["k=1", value])
    assert cookies.header(TO) == "k=1"


def test_a_later_answer_replaces_or_deletes() -> None:
    cookies = ChainCookies(lambda: NOW)
    cookies.update("https://b.a.test/d/x", ["a=1; Path=/", "b=1", "s=1; Secure", "c=1; Path=/"])
    assert cookies.header("https://b.a.test/d/to") == "b=1; s=1; a=1; c=1"
    cookies.update(TO, ["b=2", "c=; Path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"])
    assert cookies.header(TO) == "b=2; a=1"
    assert cookies.header("http://b.a.test/") == "a=1"


@settings(max_examples=20)
@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=80))
def test_any_bytes_give_a_short_header_or_none(values: list[str]) -> None:
    cookies = ChainCookies(lambda: NOW)
    cookies.update(FROM, values)
    sent = cookies.header(TO) or ""
    assert sent.count("; ") < MAX_COOKIES
    assert not set(sent) & {"\r", "\n", "\0"}


def test_cookies_travel_byte_for_byte(web: Web, shard: Shard) -> None:
    values = ("a=é", 'b="x y"', "c=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
    head = "HTTP/1.1 302 F\r\nLocation: /to\r\nContent-Length: 0\r\n"
    lines = "".join(f"Set-Cookie: {value}\r\n" for value in values)
    web.on("a.test/x", f"{head}{lines}\r\n".encode())
    web.on("a.test/to", ok(b"<p>The quick brown fox"))
    web.on("a.test/gone", b"HTTP/1.1 302 F\r\nRefresh: 0;/to\r\nContent-Length: 0\r\n\r\n")
    (row, gone) = shard.crawl(["http://a.test/x", "http://a.test/gone"]).values()
    assert (row["reason"], gone["reason"]) == (None, None)
    assert gone["final_url"] == "http://a.test/to", "a redirect by its Refresh field"
    sent = [hit.header for hit in web.of("a.test") if hit.path == "/to"]
    assert 'Cookie: a=\xc3\xa9; b="x y"\r\n' in sent[0] + sent[1]
    assert "c=1" not in sent[0] + sent[1]


@pytest.mark.parametrize(
    ("value", "kept"),
    [("k=" + "x" * 4095, True), ("k=" + "x" * 4096, False), ("x" * 4096, True), ("x" * 4097, False), ("k" * 4096 + "=", True), ("=", False),
     ("k=" + "\xc3\xa9" * 2047, True), ("k=\x1f", False), ("k=a b", True), ("k=~", True), ("k=\x7f", False)],
)  # fmt: skip
def test_a_cookie_has_at_most_4096_bytes_of_name_and_value(value: str, kept: bool) -> None:
    """RFC 6265bis, section 5.6."""
    cookies = ChainCookies(lambda: NOW)
    cookies.update(FROM, [value])
    assert (cookies.header(TO) is not None) is kept


def test_fifty_cookies_are_kept_and_those_are_replaced() -> None:
    cookies = ChainCookies(lambda: NOW)
    cookies.update(FROM, [f"k{n}=1" for n in range(51)])
    assert (cookies.header(TO) or "").split("; ") == [f"k{n}=1" for n in range(50)]
    cookies.update(FROM, ["k49=2", "k50=1"])
    assert (cookies.header(TO) or "").endswith("k48=1; k49=2")
    cookies.update(FROM, ["k0=1; Max-Age=0", "k50=1"])
    assert (cookies.header(TO) or "").endswith("k49=2; k50=1")


@pytest.mark.parametrize(
    ("date", "kept"),
    [("Thu, 15 Jan 2027 07:59:59 GMT", False), ("Fri, 15 Jan 2027 08:00:00 GMT", False), ("Fri, 15 Jan 2027 08:00:01 GMT", True), ("never", True),
     ("Fri, 15 Jan 2027 09:00:01 +0100", True), ("Fri, 15 Jan 2027 09:00:00 +0100", False)],
)  # fmt: skip
def test_a_cookie_ends_at_the_moment_it_expires(date: str, kept: bool) -> None:
    cookies = ChainCookies(lambda: NOW)
    cookies.update(FROM, [f"k=1; Expires={date}"])
    assert (cookies.header(TO) is not None) is kept


def test_an_address_has_no_subdomains() -> None:
    cookies = ChainCookies(lambda: NOW)
    cookies.update("http://1.2.3.4/", ["k=1; Domain=3.4", "l=1; Domain=1.2.3.4"])
    assert cookies.header("http://1.2.3.4/") == "l=1"
    assert cookies.header("http://0.1.2.3.4/") is None
