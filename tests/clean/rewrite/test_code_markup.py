"""Code keeps its lines, its indentation and its empty lines, whatever they are made of."""

from __future__ import annotations

import pytest

from clean.rewrite import rewritten
from tests.support.article import middle

LINES = ("def f(x):", "    if x:", "", "        return 1")
CODE = "\n".join(LINES)


def joined(template: str, *, empty: str = "", number: int = 1) -> str:
    """Each line in `template`, with `empty` for lines of nothing."""
    return "".join(
        template.format(line or empty, n, (line or empty).replace(" ", "&nbsp;"))
        for n, line in enumerate(LINES, number)
    )


@pytest.mark.parametrize(
    "markup",
    [
        # Shiki without line ends, where a line holds elements of the same name.
        "<pre class=shiki><code>"
        + joined("<span class=line><span>{0}</span><span></span></span>")
        + "</code></pre>",
        "<pre class=shiki><code>"
        + joined("<span class=line><span>{0}</span></span>\n")
        + "</code></pre>",
        # Hugo, in one column and in two.
        "<pre class=chroma><code>"
        + joined("<span class=line><span class=ln>{1}</span><span class=cl>{0}\n</span></span>")
        + "</code></pre>",
        "<div class=highlight><table class=lntable><tr><td class=lntd><pre class=chroma><code>"
        + joined("<span class=lnt>{1}\n</span>")
        + "</code></pre></td>\n<td class=lntd><pre class=chroma><code>"
        + joined("<span class=line>{0}</span>\n")
        + "</code></pre></td></tr></table></div>",
        # Editors.
        "<div class=ace_editor><div class=ace_gutter><div class=ace_gutter-cell>1</div><div "
        "class=ace_gutter-cell>2</div></div><div class=ace_content>"
        + joined("<div class=ace_line>{2}</div>")
        + "</div></div>",
        "<div class=cm-editor><div class=cm-gutters><div class=cm-gutterElement>1</div></div>"
        "<div class=cm-content>" + joined("<div class=cm-line>{0}</div>", empty="<br>") + "</div>"
        "</div>",
        "<div class=monaco-editor><div class=view-lines>"
        + joined("<div class=view-line><span>{2}</span></div>")
        + "</div></div>",
        # Lists of lines.
        "<pre><ol class=linenums>" + joined("<li class=L0><code>{0}</code></li>") + "</ol></pre>",
        "<div class=dp-highlighter><div class=bar><div class=tools>view plain</div></div><ol>"
        + joined("<li class=alt><span><span>{2}</span></span></li>")
        + "</ol></div>",
        # Line ends and no-break spaces, without a `pre`.
        "<p><code>" + joined("{2}<br>\n") + "</code></p>",
        "<div style='font-family:monospace'>" + joined("{2}<br />") + "</div>",
        "<div style='color:#ddd;white-space:pre;'>"
        + joined("<div><span>{0}</span></div>", empty="<br>")
        + "</div>",
        # A button, and the numbers of lines.
        f"<pre><code>{CODE}</code><button class=copy>Copy</button></pre>",
        "<pre>" + joined("<span class=linenos>{1}</span>{0}\n") + "</pre>",
        "<table class=diff-table>\n"
        + joined(
            "<tr>\n  <td class=blob-num>{1}</td>\n  <td class=blob-code><span>{0}</span></td>\n</tr>"
        )
        + "</table>",
    ],
)
def test_lines_of_code_are_those_that_a_reader_sees(markup: str) -> None:
    assert middle(markup).replace("\u00a0", " ") == CODE


def test_added_lines_are_marked() -> None:
    row = (
        "<tr><td class=blob-num></td><td class=blob-code><span data-code-marker='{}'>{}</span></td>"
    )
    rows = row.format("-", "x = 1") + row.format("+", "x = 2")
    assert middle(f"<table class=diff-table>{rows}</table>") == "-x = 1\n+x = 2"


@pytest.mark.parametrize(
    "markup",
    [
        "<div style='font-family:Courier'><p>First of all.</p><p>&nbsp;&nbsp;Then the rest.</p></div>",
        "<div style='white-space:pre-wrap'><h3>First of all.</h3>  <p>Then the rest.</p></div>",
        "<p>Call <code>f(x)<br>g(x)</code> and then go home.</p>",
    ],
)
def test_prose_in_the_style_of_code_stays_prose(markup: str) -> None:
    assert "<pre>" not in rewritten(markup)


@pytest.mark.parametrize(
    ("markup", "lines"),
    [
        # Blocks without indentation in kept white space are prose, and so is a single line.
        ("<div style='white-space:pre'><div>one</div><div>two</div></div>", None),
        ("<div style='white-space:pre'><div>  one</div></div>", None),
        ("<div style='white-space:pre'><div>one</div><div>  two</div></div>", "one\n  two"),
        ("<div style='white-space:pre'>one\n  two</div>", "one\n  two"),
        ("<div style='white-space:pre'>one\ntwo</div>", None),
        # A table of a gutter and one `pre` is one. Of two, each is one of its own.
        (
            "<table class=codetable><tr><td>one</td></tr><tr><td><pre>two</pre></td></tr></table>",
            "one\ntwo",
        ),
        ("<table class=codetable><tr><td><pre>one</pre><pre>two</pre></td></tr></table>", None),
        ("<div class=crayon-main><pre>one</pre>two</div>", None),
        # A block begins a line within an element that is one, and has a name of its own there.
        ("<pre><div class=line>one<div>two</div></div></pre>", "one\ntwo"),
        (
            "<pre><span class=line>one<span>two</span></span><span class=line>3</span></pre>",
            "onetwo\n3",
        ),
        # Of lines within lines, the innermost one ends first, an empty one as well.
        ("<pre><ol><li><div class=line>\n</div>one</li></ol></pre>", "\none"),
        (
            "<pre><ol><li><span class=line>one</span></li><li><span class=line>two</span></li></ol>"
            "</pre>",
            "one\ntwo",
        ),
    ],
)
def test_lines_of_a_pre_that_is_made(markup: str, lines: str | None) -> None:
    found = rewritten(markup)
    assert found == (markup if lines is None else f"<pre>{lines}</pre>")


@pytest.mark.parametrize(
    ("num_chars", "is_code"), [(49_999, True), (50_000, True), (50_001, False)]
)
def test_a_longer_text_in_the_font_of_a_typewriter_is_a_page(num_chars: int, is_code: bool) -> None:
    content = "one<br>&nbsp;".ljust(num_chars, "x")
    assert ("<pre>" in rewritten(f"<tt>{content}</tt>")) is is_code


def test_an_element_of_the_same_name_does_not_end_a_line() -> None:
    """Text behind the inner element is of the same line."""
    lines = "".join(f"<span class=line><span>{each}</span> + 1</span>" for each in "abc")
    assert middle(f"<pre class=shiki><code>{lines}</code></pre>") == "a + 1\nb + 1\nc + 1"
