"""Refreshes and meta elements are read as the HTML standard says, not as most pages write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.fetch.answers import refresh_target
from crawl.fetch.meta_elements import meta_elements, refresh
from crawl.fetch.permission.robots_meta import meta_tags
from crawl.fetch.requests import FetchResult

VALUES = {
    # value: (seconds, address), by the shared declarative refresh steps.
    "0;/to": (0, "/to"),
    "0 /to": (0, "/to"),
    "0 url=/to": (0, "/to"),
    "0,url=/to": (0, "/to"),
    "0; URL = '/to": (0, "/to"),
    '0;url="/to" more': (0, "/to"),
    "0;'/to' more": (0, "/to"),
    "0;url='/t\"o'": (0, '/t"o'),
    "0; urlx=/to": (0, "urlx=/to"),
    "0;url'/to'": (0, "url'/to'"),
    "0;;url=/to": (0, ";url=/to"),
    ".5;url=/to": (0, "/to"),
    "5.9.1 ;url=/to": (5, "/to"),
    "\t007,\n/to": (7, "/to"),
    "9" * 5000 + ";/to": (999_999_999, "/to"),
    "+0;url=/to": None,
    "-1;url=/to": None,
    "0x;url=/to": None,
    "url=/to": None,
    "0": None,
    "0;": None,
    "0;url=": None,
    "": None,
}
PAGES = {
    "<meta http-equiv=refresh content=0;url=/to>": "/to",
    "<META\nHTTP-EQUIV = \"Refresh\" CONTENT = '0;/to'/>": "/to",
    "<meta data-content=x content='0;url=/to' http-equiv=refresh>": "/to",
    "<meta http-equiv=refresh content='0;url=/a?b=1&amp;c=&#x32;&copy=3'>": "/a?b=1&c=2&copy=3",
    "<meta http-equiv=refresh content='0;url=/a?b=1>2'>": "/a?b=1>2",
    "<meta http-equiv=refresh content='x'><meta http-equiv=refresh content='0;/to'>": "/to",
    "<meta http-equiv=refresh content='0;/to'><meta http-equiv=refresh content='0;/no'>": "/to",
    "<!-- <p> --!><meta http-equiv=refresh content='0;/to'>": "/to",
    "<!--><meta http-equiv=refresh content='0;/to'>": "/to",
    "<!--!><meta http-equiv=refresh content='0;/no'>": None,
    "<!-- x > <meta http-equiv=refresh content='0;/no'>": None,
    "<title>a</title><base href='//c.test/d/'><meta http-equiv=refresh content='0;to'>": (
        "http://c.test/d/to"
    ),
    "<meta name='http-equiv=refresh' content='0;/no'>": None,
    "<meta content='0;/no' content='9' http-equiv='refresh-x'>": None,
    "<meta content='a>b' http-equiv=refresh content='0;/no'>": None,
    "<meta name=d content='<script> <!--'><meta http-equiv=refresh content='0;/to'>": "/to",
    "<meta name=d content='<meta http-equiv=refresh content=0;/no>'>": None,
    "<title><meta http-equiv=refresh content='0;/no'></title>": None,
    "<textarea><meta http-equiv=refresh content='0;/no'></textarea>": None,
    "<template><meta http-equiv=refresh content='0;/no'></template>": None,
    "<script>'<meta http-equiv=refresh content=0;/no>'</script>": None,
    "<metal http-equiv=refresh content='0;/no'>": None,
    "<meta http-equiv=refresh content='6;/no'>": None,
}


def answer(body: bytes, *headers: tuple[bytes, bytes]) -> FetchResult:
    result = FetchResult("http://a.test/x", 1 << 20)
    result.body, result.headers = body, headers
    return result


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_refresh_is_read_as_browsers_do(value: str) -> None:
    expected = VALUES[value]
    assert refresh(value) == expected
    target = expected[1] if expected is not None and expected[0] <= 5 else None
    assert refresh_target(answer(b"<p>", (b"Refresh", value.encode()))) == target


@pytest.mark.parametrize("page", PAGES, ids=range(len(PAGES)))
def test_a_meta_refresh_is_read_as_browsers_do(page: str) -> None:
    assert refresh_target(answer(page.encode())) == PAGES[page]


def test_tags_of_robots_are_read_by_the_same_reader() -> None:
    body = b"<!-- <meta name=robots content=no> --><meta content='a > b, NoAI' name='Robots'/>"
    assert [*meta_tags(body, "webtext")] == ["a > b", "noai"]


PIECES = [
    "<meta ",
    "<base",
    "<!--",
    "-->",
    "<title>",
    "</title",
    "='",
    '="',
    "'",
    '"',
    ">",
    "a",
    "/",
]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_soup_has_few_elements(soup: str) -> None:
    assert len([*meta_elements(soup.encode())]) <= soup.count("<")


@pytest.mark.parametrize("piece", [b"<meta ", b"<meta a='", b"<meta a=\"b' ", b"<!-", b"<title "])
def test_the_time_is_bounded_for_any_head(piece: bytes) -> None:
    began_at = time.process_time()
    for _, attributes in meta_elements(piece * 4000):
        assert len(attributes) <= 40
    assert time.process_time() - began_at < 2.0
