"""Tags of a page to robots, in headers and in the page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.fetch.permission.robots_meta import header_tags, is_tagged, meta_tags


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (["noindex, NoAI"], ["noindex", "noai"]),
        (["webtext: noai", "otherbot: noindex"], ["noai"]),
        (["otherbot: noindex, nofollow, webtext: noai"], ["noai"]),
        (["*: none"], ["none"]),
        (["max-snippet: 20, noai"], ["max-snippet: 20", "noai"]),
        (
            ["unavailable_after: Wed, 25 Jun 2025 15:00:00 GMT, noai"],
            ["unavailable_after: wed", "25 jun 2025 15:00:00 gmt", "noai"],
        ),
        ([""], [""]),
        ([], []),
    ],
)
def test_headers(values: list[str], tags: list[str]) -> None:
    assert [*header_tags(values, "WebText")] == tags


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        (b'<meta name="robots" content="noindex, NoAI">', ["noindex", "noai"]),
        (b"<META CONTENT='noai' NAME='webtext'/>", ["noai"]),
        (b"<meta name=robots content=noai>", ["noai"]),
        (b"<meta name=robots content=noai data-content=other data-name=x>", ["noai"]),
        (b'<meta name="otherbot" content="noai">', []),
        (b'<meta name="description" content="robots noai">', []),
        (b"x" * (16 << 10) + b"<meta name=robots content=noai>", []),
    ],
)
def test_meta_elements(body: bytes, tags: list[str]) -> None:
    assert [*meta_tags(body, "webtext")] == tags


@given(st.binary(max_size=400))
def test_any_bytes(body: bytes) -> None:
    assert not is_tagged([], body, (), "webtext")
    assert is_tagged([], b"<meta name=robots content=noai>" + body, {"noai"}, "webtext")
