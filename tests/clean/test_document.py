from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clean.config import CleanConfig
from clean.document import Document, Dropped, Page, Result, document_function
from clean.reasons import Reason
from crawl.warc.kind import PLAIN_TEXT, content_kind, is_binary

BROKEN = Path(__file__).parents[1] / "fixtures" / "broken"
EXPECTED = json.loads((BROKEN / "expected.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def document() -> Callable[[Page], Result]:
    return document_function(CleanConfig())


def page(
    body: bytes, content_type: str | None = "text/html", url: str = "https://a.example/"
) -> Page:
    return Page(url=url, final_url=url, content_type=content_type, latest_day=None, body=body)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_museum(name: str, document: Callable[[Page], Result]) -> None:
    expected = EXPECTED[name]
    result = document(page((BROKEN / name).read_bytes(), expected["content_type"]))
    if expected["reason"]:
        assert isinstance(result, Dropped), result
        assert result.reason == expected["reason"]
    else:
        assert isinstance(result, Document), result
        assert expected["contains"] in result.text
        assert result.language == "en"


def test_the_museum_is_whole() -> None:
    assert {path.name for path in BROKEN.iterdir()} == {*EXPECTED, "expected.json"}
    assert len(EXPECTED) >= 30


def test_a_document_has_its_columns(document: Callable[[Page], Result]) -> None:
    prose = "".join(
        f"<p>Sentence number {i} tells of the owl and the mouse in the old barn.</p>"
        for i in range(9)
    )
    html = f"<html><head><title>Owl | Barn</title><meta name=date content=2019-03-04></head><body><article>{prose}"
    result = document(page(html.encode()))
    assert isinstance(result, Document)
    assert result.title == "Owl | Barn"
    assert result.published_day == date(2019, 3, 4).toordinal()
    assert result.num_words == len(result.text.split()) == 126
    assert len(result.text.split("\n\n")) == 9
    assert result.extractor == "learned"
    assert "charset:detector" in result.notes


def test_plain_text_stays_as_it_is(document: Callable[[Page], Result]) -> None:
    text = "\n\n".join(
        ["    The poem is indented, and that is how\n    the poet wanted the lines to stand."] * 5
    )
    result = document(page(text.encode(), "text/plain"))
    assert isinstance(result, Document)
    assert result.text == text.strip()
    assert (result.extractor, result.title) == (PLAIN_TEXT, None)


def test_addresses_of_people_are_replaced_when_asked() -> None:
    text = (
        "Write to jane@firm.co.uk, or jane@firm.co.uk, from 8.8.8.8: she answers every letter. " * 9
    )
    config = CleanConfig.model_validate({"personal": {"replace": True}})
    told = document_function(config)(page(text.encode(), "text/plain"))
    assert isinstance(told, Document)
    assert "firm" not in told.text
    assert told.notes.count("replaced:email") == 18
    assert told.notes.count("replaced:ip") == 9
    untold = document_function(CleanConfig())(page(text.encode(), "text/plain"))
    assert isinstance(untold, Document)
    assert untold.text == text.strip()


def test_wikipedia_goes_by_either_address(document: Callable[[Page], Result]) -> None:
    linked = Page(
        "https://t.example/x", "https://en.wikipedia.org/wiki/Owl", "text/html", None, b"<p>x"
    )
    result = document(linked)
    assert isinstance(result, Dropped)
    assert result.reason is Reason.WIKIPEDIA


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("text/html", b"x", "html"),
        ("TEXT/HTML; charset=x", b"x", "html"),
        ("application/xhtml+xml", b"x", "html"),
        ("text/plain", b"x", "plain"),
        ("text/plain", b"\xef\xbb\xbf <!DOCTYPE html>", "plain"),
        ("text/plain; charset=utf-8", b"<html> is the root of a page", "plain"),
        ("text/plain", b"<!-- a file of notes -->", "plain"),
        ("text/markdown", b"# x", "plain"),
        ("text/markdown", b"<!-- badges --># x <html>", "plain"),
        ("text/x-web-markdown", b"# x", "plain"),
        ("text/x-rst", b"x", "plain"),
        (None, b"<div>x", "html"),
        (None, b"\0\1<", None),
        (None, "<p>x".encode("utf-16"), "html"),
        ("", b"words", "plain"),
        ("text", b"words", "plain"),
        ("*/*", b"<p>x", "html"),
        ("text/html, text/html", b"x", "html"),
        ("text/html charset=utf-8", b"x", "html"),
        ("application/octet-stream", b"<div>x", "html"),
        ("application/octet-stream", b"words", None),
        ("image/png", b"<html>", None),
        ("application/json", b"{}", None),
        ("text/css", b"p {}", None),
    ],
)
def test_kinds(content_type: str | None, body: bytes, kind: str | None) -> None:
    assert content_kind(content_type, body) == kind


def test_a_page_gives_the_same_alone_and_in_company(document: Callable[[Page], Result]) -> None:
    pages = [
        page((BROKEN / name).read_bytes(), EXPECTED[name]["content_type"])
        for name in sorted(EXPECTED)
    ]
    forward = [document(each) for each in pages]
    backward = [document(each) for each in reversed(pages)]
    again = document_function(CleanConfig())
    assert forward == list(reversed(backward))
    assert [again(each) for each in pages] == forward


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=3000),
    st.sampled_from(["text/html", "text/plain", None, "text/html; charset=utf-16"]),
)
def test_random_bytes_never_crash(
    document: Callable[[Page], Result], body: bytes, content_type: str | None
) -> None:
    assert isinstance(document(page(body, content_type)), Document | Dropped)


SOURCE = (BROKEN / "no_content_type.html").read_bytes()
CUTS = st.tuples(st.integers(0, len(SOURCE)), st.integers(0, 60), st.binary(max_size=12))
TAGS = st.sampled_from(
    [
        b"<table>",
        b"</p>",
        b"<p",
        b"<!--",
        b"]]>",
        b"&#",
        b"<script>",
        b"\x00",
        b"<svg><style>",
        b"'",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CUTS | st.tuples(st.integers(0, len(SOURCE)), st.just(0), TAGS), max_size=12))
@example([(0, 40, b"<?xml encoding='x'?>")])
def test_mutated_pages_never_crash(
    document: Callable[[Page], Result], edits: list[tuple[int, int, bytes]]
) -> None:
    body = SOURCE
    for start, length, insert in edits:
        body = body[:start] + insert + body[start + length :]
    result = document(page(body))
    assert isinstance(result, Document | Dropped)
    if isinstance(result, Document):
        result.text.encode("utf-8")
        assert result.num_words >= 50


@pytest.mark.parametrize(
    ("body", "kind", "binary"),
    [
        (b"x" * 1023 + b"\0", None, True),
        (b"x" * 1024 + b"\0", "plain", False),
        (b"x" * 1023 + b"<", "html", False),
        (b"x" * 1024 + b"<", "plain", False),
        (b"%PDF-1.4", None, True),
        (b" %PDF-1.4", "plain", False),
        (b"\xff\xfea\0", "plain", False),
        (b"a\0", None, True),
        *((bytes([code]), "plain" if code in b"\t\n\f\r\x1b" else None, code not in b"\t\n\f\r\x1b") for code in range(0x20)),
        (b"\x20", "plain", False),
        (b"\x7f", "plain", False),
    ],
)  # fmt: skip
def test_the_first_1024_bytes_tell_text(body: bytes, kind: str | None, binary: bool) -> None:
    """Binary bytes are those of WHATWG MIME Sniffing, section 3."""
    assert content_kind(None, body) == kind
    assert is_binary(body) is binary


FIRST_PAGE = """
from clean.config import CleanConfig
from clean.document import Document, Page, document_function
from corpus.compiled_registry import FUNCTIONS
from tests.clean.poison import GOOD

def loaded():
    return {(name, each) for name, loop in FUNCTIONS.items() for each in loop.signatures}

document = document_function(CleanConfig())
before = loaded()
assert isinstance(document(Page("https://a.example/", "https://a.example/", "text/html", None, GOOD)), Document)
print(before != set(), sorted(name for name, _ in loaded() - before))
"""


def test_the_first_page_is_charged_for_no_loop() -> None:
    """Compiling takes seconds: with little processor time, the first page was lost to it."""
    child = subprocess.run(
        [sys.executable, "-c", FIRST_PAGE], stdout=subprocess.PIPE, text=True, check=True
    )
    assert child.stdout == "True []\n"
