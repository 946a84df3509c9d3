from __future__ import annotations

import gzip
import re
from html import unescape
from pathlib import Path

import lxml.html
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clean.learned import markup
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.context import NUM_CONTEXT, context
from clean.learned.features import NUM_FEATURES, features
from clean.learned.layout import (
    CELL,
    CHARS,
    END,
    HIDDEN,
    IN_HEADING,
    ITEM,
    LINK_CHARS,
    LINK_WORDS,
    MAX_BLOCKS,
    PRE,
    ROW,
    START,
    TAG_OF,
    TITLE_WORDS,
    WORDS,
)
from tests.processor_time import least_cpu_s

PIECES = [
    *(
        "<p>",
        "</p>",
        "<div class='comment nav-bar'>",
        "</div>",
        "<li>",
        "</ul>",
        "<td",
        ">",
        "<tr>",
        "<table>",
    ),
    *(
        "</table>",
        "<a href=#x>",
        "</a>",
        "<script>",
        "</script>",
        "<!--",
        "-->",
        "&amp;",
        "&#160;",
        "&#xZ;",
        "&",
    ),
    *(
        "word",
        " ",
        "\n",
        "Zwei",
        "<h1>",
        "</h2>",
        "<title>",
        "<br>",
        "<svg/>",
        "<template>",
        "<pre>",
        "</",
        "<",
    ),
    *(
        "<noscript>",
        "<iframe />",
        "</noscript>",
        "é",
        "日本",
        "\0",
        "'",
        '"',
        "=",
        "<select>",
        "<option>",
        "<head>",
    ),
]


def texts(html: str) -> list[str]:
    page = blocks(html.encode())
    source = page.text.tobytes()
    return [source[place[START] : place[END]].decode() for place in page.place]


def column(page: PageBlocks, table: str, number: int) -> list[int]:
    return getattr(page, table)[:, number].tolist()


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>One<p>two</p>three", ["One", "two", "three"]),
        ("<ul><li>a<li>b<ul><li>c</ul>d</ul>", ["a", "b", "c", "d"]),
        ("<b>bold</i> on</b> and on", ["bold on and on"]),
        ("<div>a<span>b</div>c</span>d", ["ab", "cd"]),
        ("<table><tr><td>a<td>b<tr><td>c</table>d", ["a", "b", "c", "d"]),
        ("a<script>if (x</p>y) {}</script>b", ["ab"]),
        ("a<style>p{}</style>b<!-- c --d -->e<!doctype x>f<?x ?>g", ["abefg"]),
        ("a<!-->b<!--->c<!--x--!>d", ["abcd"]),
        ("<textarea>x<p>y</textarea>z", ["z"]),
        ("<noscript><iframe src=x /></noscript>a<p>b", ["a", "b"]),
        ("<noscript><iframe src=x></noscript>a<p>b", ["a", "b"]),
        ("<title/><script src='x' /><p>a<script>if (x</p>y) {}</script>b", ["ab"]),
        ("<svg><title>x</title><text>y</text></svg>a", ["a"]),
        ("<select><option>x<option>y</select>a", ["a"]),
        ("<head><p>body begins", ["body begins"]),
        ("x < y and <3 hearts", ["x < y and <3 hearts"]),
        ("a<br>b<br><br>c", ["a\nb", "c"]),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp>字<rt>ji</ruby>です", ["漢字です"]),
        ("in\u00advis&shy;ible hy&#173;phens, &#x200b;\u200bspaces", ["invisible hyphens, spaces"]),
        ("<p>  white \n\t space&nbsp; </p>", ["white space"]),
        ("<pre>if x:\n    y</pre>", ["if x:\n    y"]),
        ("a<a title='>'>b</a>", ["ab"]),
        ("cut off <a href='", ["cut off"]),
        ("<p>...<p>&mdash;<p>word", ["word"]),
        ("<dl><dt>a<dd>b<dt>c</dl>", ["a", "b", "c"]),
        ("</p>a</p>b", ["a", "b"]),
        ("", []),
    ],
)
def test_blocks_as_a_browser_shows_them(html: str, expected: list[str]) -> None:
    assert texts(html) == expected


def test_what_a_block_knows() -> None:
    page = blocks(
        b"<title>The great title</title><body><nav class='mainMenu'><a href=/x>Go there</a> now</nav>"
        b"<article><h1>Great <em>title</em></h1><ul><li>one<p>two</ul><table><tr><td>c</table>"
        b"<pre>code</pre><div style='color:red; display: none'>gone</div></article>"
    )
    assert column(page, "counts", WORDS) == [3, 2, 1, 1, 1, 1, 1]
    assert column(page, "counts", LINK_WORDS) == [2, 0, 0, 0, 0, 0, 0]
    assert page.counts[0, LINK_CHARS] == 7
    assert page.counts[0, CHARS] == 10
    assert column(page, "counts", TITLE_WORDS) == [0, 2, 0, 0, 0, 0, 0]
    assert [markup.TAGS[tag - 1] for tag in column(page, "place", TAG_OF)] == [
        *("nav", "h1", "li", "p", "td", "pre", "div")
    ]
    items = column(page, "place", ITEM)
    assert items[2] == items[3] > 0
    assert not any(items[:2] + items[4:])
    assert [bool(x) for x in column(page, "place", CELL)] == [False] * 4 + [True, False, False]
    assert [bool(x) for x in column(page, "place", ROW)] == [False] * 4 + [True, False, False]
    assert column(page, "place", PRE) == [0, 0, 0, 0, 0, 1, 0]
    assert column(page, "place", HIDDEN) == [0, 0, 0, 0, 0, 0, 1]
    assert column(page, "place", IN_HEADING) == [0, 1, 0, 0, 0, 0, 0]


def test_hints_are_words_of_class_and_id() -> None:
    def hints(attribute: str) -> set[str]:
        page = blocks(f"<div {attribute}><p>x</div>".encode())
        return {name for name, near in zip(markup.HINTS, page.channels[0], strict=False) if near}

    assert hints('class="navBar ad-slot"') == {"nav", "ad"}
    assert hints("id=shadow") == set()
    assert "comment" in hints("ID='allcomments'")
    assert "content" in hints('role="maincontent"')
    assert hints('data-x="nav"') == set()


def test_nearer_hints_weigh_more() -> None:
    page = blocks(
        b"<div class=nav>" + b"<div>" * 3 + b"<p>deep</p>" + b"</div>" * 3 + b"<p>near</p></div>"
    )
    deep, near = page.channels[:, markup.HINTS.index("nav")]
    assert near == deep + 3 > 3


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_markup_gives_sound_arrays(pieces: list[str]) -> None:
    check(blocks("".join(pieces).encode("utf-8", "replace")))


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_sound_arrays(source: bytes) -> None:
    check(blocks(source))


def check(page: PageBlocks) -> None:
    starts, ends = page.place[:, START], page.place[:, END]
    assert np.all(starts < ends)
    assert np.all(starts[1:] == ends[:-1])
    assert not ends.size or ends[-1] <= page.text.size <= page.num_bytes + 16
    assert np.all(page.counts >= 0)
    assert np.all(page.counts[:, WORDS] >= 1)
    assert np.all(page.counts[:, LINK_CHARS] <= page.counts[:, CHARS])
    assert np.all(page.parents < np.arange(page.parents.size))
    rows = features(page)
    assert rows.shape == (starts.size, NUM_FEATURES)
    assert np.all(np.isfinite(rows))
    around = context(page, np.full(starts.size, 0.5))
    assert around.shape == (starts.size, NUM_CONTEXT)
    assert np.all(np.isfinite(around))


BAITS = {
    "nesting": ("<div class='nav comment article'>", "<p>a"),
    "open comments": ("<!-", ""),
    "open tags": ("<a b='", ""),
    "raw text": ("<title></titl", ""),
    "end tags": ("<b><p>", "</i></div>"),
    "entities": ("&#1", ""),
    "lists": ("<ul><li>x", ""),
    "tables": ("<table><tr><td>x", ""),
    "formatting": ("<a href=x><b><i>y", "</a>"),
    "attributes": ("<p class='" + "comment" * 50 + "'>x", ""),
    "angles": ("<", ""),
    "slashes": ("</", "</x"),
}


@pytest.mark.parametrize("name", BAITS)
def test_time_is_linear_in_the_bytes(name: str) -> None:
    """Four times the page takes about four times as long: a quadratic pass would take sixteen times."""

    def seconds(size: int) -> float:
        first, second = BAITS[name]
        half = size // 2
        source = (
            first * (half // len(first)) + (second * (half // len(second)) if second else "")
        ).encode()
        return least_cpu_s(lambda: features(blocks(source)))

    seconds(1000)
    assert seconds(400_000) < 10 * max(seconds(100_000), 0.001)


def test_text_beyond_the_limit_of_blocks_is_left_out() -> None:
    assert len(blocks(b"<p>a" * (MAX_BLOCKS + 10)).counts) == MAX_BLOCKS


def test_all_words_that_lxml_sees_on_real_pages(shared: Path) -> None:
    """On pages of news the words outside scripts are those of a parsed tree, nearly all and nearly no others."""
    from bench.clean.documents import gold_pages

    shares = []
    for page in gold_pages(shared, "aeb", 8):
        body = gzip.decompress(page.body) if page.body[:2] == b"\x1f\x8b" else page.body
        html = body.decode("utf-8", "replace")
        ours = re.findall(r"\w+", unescape(" ".join(texts(html))))
        tree = lxml.html.document_fromstring(
            html.encode(), parser=lxml.html.HTMLParser(encoding="utf-8")
        )
        skip = "script|style|select|svg|textarea|template|iframe|title|video|object|audio|canvas"
        found = tree.xpath(
            f"//body//text()[not(ancestor::*[re:test(name(), '^({skip})$')])]",
            namespaces={"re": "http://exslt.org/regular-expressions"},
        )
        theirs = re.findall(r"\w+", " ".join(found))
        common = len(set(ours) & set(theirs))
        shares.append(common / max(1, len(set(ours) | set(theirs))))
    assert np.median(shares) > 0.97
    assert min(shares) > 0.8
