"""Which addresses are one page, and what a WHATWG parser makes of them."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.urls import (
    MAX_UNWRAPS,
    PageIdentity,
    Target,
    UrlProblem,
    doc_id,
    page_identity,
    registered_domain,
    target,
    with_scheme,
)

SAME = [
    ("http://example.com/a", "https://example.com/a"),
    ("http://example.com/a", "http://www.example.com/a"),
    ("http://example.com/a", "http://www.www.example.com/a"),
    ("http://example.com/a", "http://example.com:80/a"),
    ("https://example.com/a", "https://example.com:443/a"),
    ("http://example.com/a", "http://example.com./a"),
    ("http://example.com/a", "http://example.com/a/"),
    ("http://example.com", "http://example.com/"),
    ("http://example.com/a", "http://example.com/a#part"),
    ("http://example.com/a", "http://example.com/a?"),
    ("http://example.com/a", "HTTP://EXAMPLE.com/a"),
    ("http://example.com/a", "http://user:secret@example.com/a"),
    ("http://example.com/a", "  http://example.com/\ta\n"),
    ("http://example.com/a", "http://example.com/b/../a"),
    ("http://example.com/%7Eme", "http://example.com/~me"),
    ("http://example.com/%c3%a9", "http://example.com/é"),
    ("http://example.com/a%2fb", "http://example.com/a%2Fb"),
    ("http://münchen.de/", "http://xn--mnchen-3ya.de"),
    ("http://127.0.0.1/a", "http://2130706433/a"),
    ("http://example.com/a?x=1&y=2", "http://example.com/a?y=2&x=1"),
    ("http://example.com/a?x=1", "http://example.com/a?&x=1&"),
    ("http://example.com/a", "http://example.com/a?utm_source=reddit&utm_medium=social"),
    ("http://example.com/a?id=3", "http://example.com/a?fbclid=IwAR0&id=3&gclid=x"),
    ("http://example.com/a", "http://example.com/a?UTM_Source=x&utm%5Fmedium=y"),
    ("http://www.bbc.co.uk/news/1", "https://bbc.co.uk/news/1?at_medium=RSS&ns_campaign=x&ocid=y"),
    ("http://www.nytimes.com/2017/a.html", "http://www.nytimes.com/2017/a.html?smid=re-share&_r=0"),
    ("http://example.com/2019/some-story", "http://example.com/2019/some-story/amp/"),
    ("http://example.com/story.html", "http://example.com/story.amp.html"),
    ("http://example.com/story", "http://amp.example.com/story?amp=1"),
    ("http://example.com/a", "http://example.com/a?amp"),
    ("http://example.com/x/story-1", "https://www.google.com/amp/s/www.example.com/x/story-1"),
    ("http://example.com/x/story-1", "https://www.google.co.uk/amp/example.com/x/story-1/amp"),
    (
        "https://example.com/x",
        "https://www-example-com.cdn.ampproject.org/c/s/www.example.com/x?usqp=mq331",
    ),
    (
        "http://example.com/a?x=1",
        "https://www.google.com/url?sa=t&url=http%3A%2F%2Fexample.com%2Fa%3Fx%3D1&usg=Af",
    ),
    ("http://example.com/a", "http://www.google.de/url?q=http://example.com/a&sa=D"),
    (
        "http://example.com/a",
        "https://l.facebook.com/l.php?u=https%3A%2F%2Fexample.com%2Fa%3Ffbclid%3Dz&h=AT0",
    ),
    (
        "http://example.com/a",
        "https://out.reddit.com/t3_1?url=https%3A%2F%2Fexample.com%2Fa&token=AQ&app_name=x",
    ),
    ("http://example.com/a", "http://t.umblr.com/redirect?z=http%3A%2F%2Fexample.com%2Fa&t=Nz"),
    ("http://example.com/a", "https://href.li/?https://example.com/a"),
    ("http://example.com/a?b=1&c=2", "http://anonym.to/?http://example.com/a?c=2&b=1"),
    ("http://example.com/a", "https://www.youtube.com/redirect?q=http%3A%2F%2Fexample.com%2Fa&v=1"),
    (
        "http://example.com/a",
        "https://out.reddit.com/?url=https%3A%2F%2Fwww.google.com%2Furl%3Fq%3Dhttp%253A%252F%252Fexample.com%252Fa",
    ),
]

NOT_SAME = [
    ("http://example.com/a", "http://example.com/b"),
    ("http://example.com/a", "http://example.com/A"),
    ("http://example.com/a", "http://blog.example.com/a"),
    ("http://example.com/a", "http://m.example.com/a"),
    ("http://example.com/a", "http://example.org/a"),
    ("http://example.com/a", "http://example.com:8080/a"),
    ("http://example.com/a", "http://example.com/a/b"),
    ("http://example.com/a%2Fb", "http://example.com/a/b"),
    ("http://example.com/a?id=1", "http://example.com/a?id=2"),
    ("http://example.com/?p=1", "http://example.com/?p=2"),
    ("http://example.com/watch?v=a", "http://example.com/watch?v=b"),
    ("http://example.com/?page=1", "http://example.com/?page=2"),
    ("http://example.com/?q=cats", "http://example.com/"),
    ("http://example.com/index.php?story=4", "http://example.com/index.php?story=5"),
    ("http://example.com/a?ref=main", "http://example.com/a?ref=dev"),
    ("http://example.com/a?source=1", "http://example.com/a"),
    ("http://example.com/a?share=1", "http://example.com/a"),
    ("http://example.com/a?x=1&x=2", "http://example.com/a?x=1"),
    ("http://example.com/a?copy=2", "http://example.com/a"),
    ("http://example.com/a?utm=1", "http://example.com/a"),
    ("http://example.com/a?tag=x", "http://example.com/a"),
    ("http://example.com/a?amp=marshall", "http://example.com/a"),
    ("http://example.com/products/amp", "http://example.com/products"),
    ("http://example.com/amp", "http://example.com/"),
    ("http://example.com/lamp", "http://example.com/l"),
    ("http://amp.dev/a", "http://dev/a"),
    ("http://www.com/a", "http://com/a"),
    ("http://www.co.uk/", "http://co.uk/"),
    ("https://www.google.com/search?q=http://example.com/a", "http://example.com/a"),
    ("https://web.archive.org/web/2012/http://example.com/a", "http://example.com/a"),
    ("https://t.co/abc", "https://t.co/abd"),
    ("https://translate.google.com/translate?u=http://example.com/a", "http://example.com/a"),
    ("http://notgoogle.com/url?q=http://example.com/a", "http://example.com/a"),
    ("http://google.example.com/url?q=http://example.com/a", "http://example.com/a"),
    ("http://www.google.com/url?q=javascript:alert(1)", "http://example.com/a"),
    ("http://foo.blogspot.com/1", "http://bar.blogspot.com/1"),
    ("http://example.com/#!/a/status/1", "http://example.com/"),
    ("http://example.com/#!/a/status/1", "http://example.com/#!/a/status/2"),
    ("https://twitter.com/#!/a/status/1", "https://twitter.com/"),
    ("http://example.com/x#!y", "http://example.com/x"),
]

SAME += [
    ("http://http://example.com/a?b=1", "http://example.com/a?b=1"),
    ("https://http//example.com/a", "http://example.com/a"),
    ("http://https://http://example.com/a", "http://example.com/a"),
    ("https://twitter.com/#!/a/status/1", "https://twitter.com/a/status/1"),
    ("http://example.com/x#part", "http://example.com/x"),
    ("http://example.com/x#!", "http://example.com/x"),
    ("https://12ft.io/https://example.com/a?b=1", "https://example.com/a?b=1"),
    ("https://www.bing.com/amp/s/example.com/a", "https://example.com/a"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_page(one: str, other: str) -> None:
    assert _identity(one) == _identity(other)
    assert doc_id(one) == doc_id(other)


@pytest.mark.parametrize(("one", "other"), NOT_SAME)
def test_not_the_same_page(one: str, other: str) -> None:
    assert _identity(one).url_key != _identity(other).url_key
    assert doc_id(one) != doc_id(other)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "bad_url"),
        ("http://", "bad_url"),
        ("http://a b/", "bad_url"),
        ("http://1:05 EST tonight", "bad_url"),
        ("www.example.com/a", "bad_url"),
        ("//example.com/a", "bad_url"),
        ("http://a..b/", "bad_url"),
        ("http://./", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://example.com:99999/", "bad_url"),
        ("http://example.com/\ud800", "bad_url"),
        ("http://http", "bad_url"),
        ("http://https/x", "bad_url"),
        ("http://http://", "bad_url"),
        ("ftp://example.com/a", "not_http"),
        ("mailto:someone@example.com", "not_http"),
        ("javascript:alert(1)", "not_http"),
        ("magnet:?xt=urn:btih:1", "not_http"),
    ],
)
def test_what_is_no_address_of_a_page(text: str, problem: str) -> None:
    assert target(text) == problem
    assert doc_id(text) is None


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("news.bbc.co.uk", "bbc.co.uk"),
        ("a.b.kobe.jp", "a.b.kobe.jp"),
        ("city.kobe.jp", "city.kobe.jp"),
        ("someone.blogspot.com", "blogspot.com"),
        ("project.github.io", "github.io"),
        ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        ("localhost", "localhost"),
        ("numpy.test", "numpy.test"),
        ("docs.numpy.test", "numpy.test"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_registered_domains(host: str, domain: str) -> None:
    assert registered_domain(host) == domain
    assert _identity(f"http://{host}/a").domain == domain


def test_what_is_fetched_keeps_its_query_as_posted() -> None:
    found = target("https://u:p@www.Example.com:443/a/?b=2&utm_source=x&a=%7e#c")
    assert isinstance(found, Target)
    assert found.url == "https://www.example.com/a/?b=2&utm_source=x&a=%7e"
    assert _identity(found.url).url_key == "example.com/a?a=~&b=2"


def test_doc_id_is_the_hash_of_the_key() -> None:
    assert _identity("http://www.example.com/a/").doc_id == doc_id("https://example.com/a#x")
    assert re.fullmatch("[0-9a-f]{32}", doc_id("http://example.com/") or "")


def test_long_chains_inside_an_address_end_without_depth_or_delay() -> None:
    """Each level was a call, and each mark of AMP a copy of all that was before it."""
    for depth in range(MAX_UNWRAPS + 1):
        page = target("http:" + "//http" * depth + "//example.com/a")
        assert isinstance(page, Target) == (depth < MAX_UNWRAPS)
    assert target("http:" + "//http" * 10_000 + "//example.com/a") == "bad_url"
    assert doc_id("http://example.com/a" + ".amp" * 200_000) == doc_id("http://example.com/a")


def test_a_chain_of_redirectors_without_end_is_no_page() -> None:
    url = "http://example.com/a"
    for depth in range(MAX_UNWRAPS + 1):
        assert isinstance(target(url), Target) == (depth < MAX_UNWRAPS)
        url = "https://href.li/?" + url


URL_PARTS = st.lists(
    st.sampled_from(
        ["a", "B", "%7e", "%2f", "%25", "%", "é", "+", " ", "//", "/", ".", "..", "/amp", ".amp", ".html", "-1", ";", ":",
         "@", "&", "=", "?", "#", "utm_x=1", "id=2", "amp=1", "www.", "http://", "https%3A%2F%2Fb.c%2F", "url=", "q=",
         "\\", "'", "|", "^", "\t", "日"]
    )
)  # fmt: skip
HOSTS = st.sampled_from(
    ["example.com", "www.example.com", "amp.www.example.com", "www.com", "a.co.uk", "EXAMPLE.com.", "1.2.3.4", "[::1]",
     "u:p@example.com:80", "example.com:443", "example.com:8080", "localhost", "münchen.de", "www.google.com/url?q=",
     "href.li/?", "www.google.com/amp/s/", "x.cdn.ampproject.org/c/s/", "out.reddit.com/?url=http://a.b/"]
)  # fmt: skip


@settings(deadline=None)
@given(scheme=st.sampled_from(["http://", "https://", "HTTP:/"]), host=HOSTS, rest=URL_PARTS)
def test_identity_is_idempotent(scheme: str, host: str, rest: list[str]) -> None:
    _check_idempotent(scheme + host + "/" * (not host.endswith(("=", "?", "/"))) + "".join(rest))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_has_an_identity_or_a_problem(text: str) -> None:
    for url in (
        text,
        "http://" + text,
        "http://example.com/" + text,
        "https://www.google.com/url?q=" + text,
    ):
        _check_idempotent(url)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a=1", "b=2", "a=0", "c", "utm_medium=x", "d=%20", "e=é"]), max_size=6).flatmap(
    lambda parameters: st.tuples(st.just(parameters), st.permutations(parameters))
))  # fmt: skip
def test_the_order_of_parameters_makes_no_page(pair: tuple[list[str], list[str]]) -> None:
    one, other = ("http://example.com/x?" + "&".join(parameters) for parameters in pair)
    assert _identity(one) == _identity(other)


def test_real_links_are_idempotent(shared: Path) -> None:
    path = shared / "reddit" / "RS_top2013_links_sample.jsonl.zst"
    with path.open("rb") as raw:
        lines = io.TextIOWrapper(
            zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), "utf-8"
        )
        urls = [json.loads(line)["url"] for line, _ in zip(lines, range(4_000), strict=False)]
    assert sum(_check_idempotent(url) for url in urls) >= 0.999 * len(urls)


def test_whatwg_cases(shared: Path) -> None:
    """Every http(s) case of the standard's own tests that needs no base: same serialisation, or refused."""
    cases = json.loads(_hostile(shared, "urls/urltestdata.json")[0])
    checked = 0
    for case in cases:
        if isinstance(case, str) or case.get("base") is not None or "relativeTo" in case:
            continue
        found = target(case["input"])
        if case.get("failure"):
            assert isinstance(found, UrlProblem), case
        elif case["protocol"] not in ("http:", "https:"):
            assert found is UrlProblem.NOT_HTTP, case
        elif ".." in case["hostname"] or case["hostname"].startswith("."):
            assert found is UrlProblem.BAD_URL, case
        else:
            expected = f"{case['protocol']}//{case['host']}{case['pathname']}{case['search']}"
            assert isinstance(found, Target), case
            assert found.url == expected, case
            _check_idempotent(case["input"])
        checked += 1
    assert checked > 300


def test_fuzzed_urls_are_handled(shared: Path) -> None:
    inputs = _hostile(shared, "go-fuzz-corpus/url/")
    assert len(inputs) > 100
    for content in inputs:
        _check_idempotent(content.decode("utf-8", "surrogateescape"))


def _hostile(shared: Path, name: str) -> list[bytes]:
    """The files of the hostile collection whose names contain `name`."""
    packed = (shared / "hostile" / "hostile.tar.zst").read_bytes()
    with tarfile.open(
        fileobj=io.BytesIO(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
    ) as archive:
        found = [
            archive.extractfile(m) for m in archive.getmembers() if name in m.name and m.isfile()
        ]
        return [file.read() for file in found if file is not None]


def _identity(url: str) -> PageIdentity:
    found = target(url)
    assert isinstance(found, Target), url
    return page_identity(found)


def _check_idempotent(url: str) -> bool:
    """What is fetched is its own canonical form, and the key names its own page. False where `url` is none."""
    found = target(url)
    if isinstance(found, UrlProblem):
        return False
    again = target(found.url + found.hash_bang)
    assert again == found
    identity = page_identity(found)
    for scheme in ("http://", "https://"):
        keyed = target(scheme + identity.url_key)
        assert isinstance(keyed, Target), identity
        if keyed.url != scheme + identity.url_key and keyed.host != found.host.removeprefix("www."):
            continue  # the key without its parameters' order or `www.` happens to be a redirector
        assert page_identity(keyed) == identity, (url, found, identity)
    return True


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("example.org/page", "http://example.org/page"),
        ("example.org:8080/page", "http://example.org:8080/page"),
        ("localhost:8080", "http://localhost:8080"),
        ("//example.org/page", "http:////example.org/page"),
        ("https://example.org/", "https://example.org/"),
        ("http:/example.org/page", "http:/example.org/page"),
        ("HTTP:example.org", "HTTP:example.org"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("view-source:https://example.org/", "view-source:https://example.org/"),
    ],
)
def test_an_address_as_people_type_it(asked: str, meant: str) -> None:
    """`explain` and `forget` had a rule each: one took a port for the rest of a scheme."""
    assert with_scheme(asked) == meant
