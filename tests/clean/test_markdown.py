"""Markdown of pages: the structure is kept, and the words are those of the plain text."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean.config import CleanConfig
from clean.document import Document, Page, document_function
from clean.extract import ExtractConfig
from clean.learned.blocks import blocks
from clean.learned.inline import escaped
from clean.learned.markdown import render_markdown
from clean.learned.render import render
from clean.rewrite import rewritten

_MARKERS = re.compile(r"^[ >]*(?:- |\d+\. )?", re.M)
_WORD = re.compile(r"\w+")


def markdown(html: str, *, links: bool = False) -> str:
    page = blocks(rewritten(html).encode())
    return render_markdown(page, np.ones(len(page.counts), bool), links=links)


def plain(html: str) -> str:
    page = blocks(rewritten(html).encode())
    return render(page, np.ones(len(page.counts), bool))


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            "<h1>The <em>title</em></h1><h3>Sub<span> heading</span></h3>",
            "# The title\n\n### Sub heading",
        ),
        (
            "<p>A <b>bold</b> word, <i>an italic</i> one and <code>x = a*b</code>.",
            "A **bold** word, *an italic* one and `x = a*b`.",
        ),
        ("<p><b> spaced </b>out <strong><em>both</em></strong>", "**spaced** out ***both***"),
        (
            "<ul><li>One<ul><li>a<li>b</ul><li><p>Two<p>more of two</ul>",
            "- One\n  - a\n  - b\n- Two\n\n  more of two",
        ),
        ("<ol start=9><li>nine<li>ten<ul><li>sub</ul></ol>", "9. nine\n10. ten\n    - sub"),
        (
            '<pre><code class="language-python">def f():\n\n    return 1</code></pre>',
            "```python\ndef f():\n\n    return 1\n```",
        ),
        (
            "<div class='highlight highlight-source-rust'><pre>fn main() {}</pre></div>",
            "```rust\nfn main() {}\n```",
        ),
        ("<pre>a ``` b</pre>", "````\na ``` b\n````"),
        ("<ul><li>Run<pre>x\n  y</pre></ul>", "- Run\n\n  ```\n  x\n    y\n  ```"),
        (
            "<blockquote><p>One here.<p>Two here.</blockquote><p>After it.",
            "> One here.\n>\n> Two here.\n\nAfter it.",
        ),
        (
            "<table><tr><th>Name<th>Value | x<tr><td>a<td><tr><td><code>b</code><td>-</table>",
            "| Name | Value \\| x |\n| --- | --- |\n| a |  |\n| `b` | - |",
        ),
        (
            "<table><tr><th>A<th>B<tr><td>one<td>1<tr><td colspan=2>both</table>",
            "| A | B |\n| --- | --- |\n| one | 1 |\n| both |  |",
        ),
        (
            "<p># no heading<p>1. no list<p>- no item<p>2 * 3 * 4",
            "\\# no heading\n\n1\\. no list\n\n\\- no item\n\n2 * 3 * 4",
        ),
        (
            "<p>Formula \\(a_b*c\\) stays, snake_case too.",
            "Formula \\(a_b*c\\) stays, snake_case too.",
        ),
    ],
)
def test_structure_of_a_page(html: str, expected: str) -> None:
    assert markdown(f"<body>{html}</body>") == expected


def test_links_are_kept_where_they_are_wanted() -> None:
    html = '<p>See <a href="/u?a=1&amp;b=2">the <b>page</b></a> and <a href="#top">the top</a>.'
    assert markdown(html) == "See the **page** and the top."
    assert markdown(html, links=True) == (
        "See [the](/u?a=1&b=2) [**page**](/u?a=1&b=2) and the top."
    )


def words(text: str) -> list[str]:
    """The words of a text without the signs of items."""
    bare = (word.strip("_") for word in _WORD.findall(_MARKERS.sub("", text)))
    return [word for word in bare if word]


TAGS = [
    "p",
    "b",
    "i",
    "em",
    "code",
    "a",
    "ul",
    "li",
    "td",
    "tr",
    "table",
    "pre",
    "h2",
    "br",
    "span",
    "q",
]
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["word ", "x*y ", "_a_ ", "| ", "&amp; ", "caf\u00e9 ", "\n", "# ", "`t` "]
        ),
        st.tuples(st.sampled_from(["<", "</"]), st.sampled_from(TAGS)).map(
            lambda tag: "".join(tag) + ">"
        ),
    ),
    max_size=25,
)


@given(PIECES)
def test_the_words_are_those_of_the_plain_text(pieces: list[str]) -> None:
    html = f"<body>{''.join(pieces)}</body>"
    assert words(markdown(html)) == words(plain(html))


@given(st.text(alphabet="a *_`#\\()1.-\n", max_size=40))
def test_escaping_loses_no_sign(text: str) -> None:
    assert escaped(text).replace("\\", "") == text.replace("\\", "")


PARAGRAPH = (
    "The council of the town met on Monday and it voted for <b>the bridge</b> that was planned. "
)


def test_a_document_is_judged_by_its_text_and_stored_as_markdown() -> None:
    body = f"<title>A long day for the bridge</title><body><article><h1>A long day for the bridge</h1>{f'<p>{PARAGRAPH * 4}</p>' * 4}</article>"
    page = Page("http://a.example/", "http://a.example/", "text/html", None, body.encode())
    text, formatted = (
        document_function(CleanConfig(extract=ExtractConfig(format=name)))(page)
        for name in ("text", "markdown")
    )
    assert isinstance(text, Document)
    assert isinstance(formatted, Document)
    assert "**the bridge**" in formatted.text
    assert "**" not in text.text
    assert formatted.text.startswith("# A long day for the bridge\n\n")
    assert (formatted.language, formatted.visible_words) == (text.language, text.visible_words)


def test_presets_that_edit_lines_want_plain_text() -> None:
    with pytest.raises(ValueError, match=r"clean\.quality\.preset 'c4' removes lines"):
        CleanConfig.model_validate({"extract": {"format": "markdown"}, "quality": {"preset": "c4"}})
