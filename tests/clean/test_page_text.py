"""What a page says reaches the text whole, once and in order, whatever its markup."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clean.extract import ExtractConfig, extractor
from clean.normalize import NormalizeConfig, normalize
from clean.rewrite import rewritten
from tests.processor_time import least_cpu_s
from tests.support.article import FIRST, LAST, middle

CODE = "def f(x):\n    if x:\n\n        return 1"


@pytest.mark.parametrize(
    "markup",
    [
        "<pre>{code}</pre>",
        "<pre><code>{br}</code></pre>",
        "<pre class=line-numbers>{divs}</pre>",
        "<div class=codeBlock><pre><code>{token_lines}</code></pre></div>",
        "<table class=blob-wrapper>{rows}</table>",
        "<div class='syntaxhighlighter'><table><tr><td class=gutter><div class=line>1</div><div "
        "class=line>2</div></td><td class=code><div class=container>{nbsp_divs}</div></td></tr>"
        "</table></div>",
        "<table class=highlighttable><tr><td class=linenos><pre>1\n2\n3</pre></td><td class=code>"
        "<pre>{code}</pre></td></tr></table>",
        "<pre>{numbered}</pre>",
        "<div style='white-space:pre;font-family:monospace'>{code}</div>",
        "<xmp>{code}</xmp>",
        "<listing>{code}</listing>",
    ],
)
def test_code_keeps_its_lines_and_indentation(markup: str) -> None:
    lines = CODE.split("\n")
    pieces = {
        "code": CODE,
        "br": "<br>".join(lines),
        "divs": "".join(f"<div class=line>{line or '<br>'}</div>" for line in lines if line),
        "token_lines": "".join(
            f"<span class=token-line><span>{x}</span><br></span>" for x in lines
        ),
        "rows": "".join(
            f"<tr><td class=blob-num>{n}</td><td class=blob-code>{x}</td></tr>\n"
            for n, x in enumerate(lines, 1)
            if x
        ),
        "nbsp_divs": "".join(
            f"<div class='line number{n}'><code>{x.replace(' ', '&nbsp;')}</code></div>"
            for n, x in enumerate(lines)
            if x
        ),
        "numbered": "\n".join(f"<span class=lineno>{n} </span>{x}" for n, x in enumerate(lines, 1)),
    }
    text = middle(markup.format(**pieces)).replace("\u00a0", " ")
    wanted = [line for line in lines if line]
    assert [line for line in text.split("\n") if line.strip()] == wanted


def test_the_first_line_of_code_keeps_its_indentation() -> None:
    assert middle("<pre>\n    indented = True\n\tby_a_tab = 1</pre>") == (
        "    indented = True\n\tby_a_tab = 1"
    )


KATEX = (
    "<span class=katex><span class='katex-mathml'><math><semantics><mrow><mi>E</mi></mrow>"
    "<annotation encoding='application/x-tex'>E=mc^2</annotation></semantics></math></span>"
    "<span class='katex-html' aria-hidden=true><span class=base>E=mc2</span></span></span>"
)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (KATEX, r"\(E=mc^2\)"),
        (f"<span class='katex-display'>{KATEX}</span>", r"\[E=mc^2\]"),
        (
            "<span class=MathJax_Preview>E</span><span class='MathJax'><span>E=mc2</span></span>"
            "<script type='math/tex'>E=mc^2</script>",
            r"\(E=mc^2\)",
        ),
        ("<script type='math/tex; mode=display'>a < b</script>", r"\[a < b\]"),
        (
            "<mjx-container class=MathJax><mjx-math>E</mjx-math><mjx-assistive-mml><math "
            "alttext='E=mc^2'><mi>E</mi></math></mjx-assistive-mml></mjx-container>",
            r"\(E=mc^2\)",
        ),
        (
            "<span class='mwe-math-element'><span style='display:none'><math><semantics><mi>E</mi>"
            r"<annotation encoding='application/x-tex'>{\displaystyle E=mc^{2}}</annotation>"
            r"</semantics></math></span><img class='mwe-math-fallback-image-inline' "
            r"alt='{\displaystyle E=mc^{2}}'></span>",
            r"\(E=mc^{2}\)",
        ),
        (r"<img src=x.png class=latex alt='\alpha &lt; 1'>", r"\(\alpha < 1\)"),
        ("<span class=math data-math='E=mc^2'></span>", r"\(E=mc^2\)"),
    ],
)
def test_each_formula_is_there_once(markup: str, text: str) -> None:
    found = middle(f"<p>It says that {markup} holds in the usual units of the trade.</p>")
    assert " ".join(found.split()) == f"It says that {text} holds in the usual units of the trade."


def test_raised_numbers_and_notes_are_told_apart() -> None:
    found = middle(
        "<p>It made 10<sup>6</sup> joules at x<sup>2</sup> on 5 km<sup>2</sup> in 1921.<sup><a "
        "href=#n>1</a></sup> The owner denied it<sup>[2]</sup> on the 1<sup>st</sup> of May.</p>"
    )
    assert found == (
        "It made 10^6 joules at x^2 on 5 km^2 in 1921.[1] The owner denied it[2] on the 1st of May."
    )


def test_rows_of_data_are_whole_and_keep_their_empty_fields() -> None:
    rows = [
        ("Place", "Depth", "Note"),
        ("Mill", "0", "-"),
        ("Bridge", "", "deep"),
        ("Mouth", "4", ""),
    ]
    table = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    found = middle(f"<table>{table}</table>")
    assert found.split("\n") == ["\t".join(row) for row in rows]


def test_paragraphs_in_the_cells_of_a_layout_are_apart() -> None:
    found = middle(
        f"<table><tr><td><h2>Part one</h2><p>{FIRST[:90]}</p><p>{LAST[:90]}</p></td></tr></table>"
    )
    assert found.split("\n\n") == ["Part one", FIRST[:90], LAST[:90]]


def test_lists_keep_numbers_and_levels() -> None:
    found = middle(
        "<p>To open the sluice, do these things in this order, and in no other:</p><ol><li>Lift the "
        "iron bar that is across the gate.<ul><li>It is a heavy bar, so two should lift it."
        "</ul><li>Turn the wheel to the left until it stops.</ol><ol start=7><li>Go to step 2 again "
        "if the gate has not moved.</ol>"
    )
    assert found.split("\n")[2:] == [
        "1. Lift the iron bar that is across the gate.",
        "  - It is a heavy bar, so two should lift it.",
        "2. Turn the wheel to the left until it stops.",
        "7. Go to step 2 again if the gate has not moved.",
    ]


HIDDEN = (
    "This paragraph is hidden from readers, and it is not a part of the text of the page at all."
)


@pytest.mark.parametrize(
    "attribute",
    [
        "style='display:none'",
        "style='visibility: hidden'",
        "hidden",
        "style='position:absolute; left:-9999px'",
    ],
)
def test_hidden_text_is_not_text(attribute: str) -> None:
    assert middle(f"<div {attribute}><p>{HIDDEN}</p></div>") == ""


def test_a_page_that_hides_all_of_its_text_keeps_it() -> None:
    page = f"<title>x</title><div style='display:none'><p>{FIRST}</p><p>{LAST}</p></div>"
    assert extractor(ExtractConfig())(page) == f"{FIRST}\n\n{LAST}"


SECOND = "When the mill was closed, the owners sold the wheel to a museum, where it stands today."


@pytest.mark.parametrize(
    "markup",
    [
        "<div class=desktop-only><p>{0}</p></div><div class=mobile-only><p>{0}</p></div>",
        "<p>{0}</p><noscript><p>{0}</p></noscript>",
        "<div aria-hidden=true><p>{0}</p></div><p>{0}</p>",
        "<p>{0}</p><div class=print-version><div><p>{0}</p></div></div>",
    ],
)
def test_a_second_copy_is_left_out(markup: str) -> None:
    assert middle(markup.format(SECOND)) == SECOND


def test_what_is_said_twice_stays() -> None:
    refrain = (
        "<p>And the water came down, and the water came down, and it took the old mill away.</p>"
    )
    assert middle(f"{refrain}<p>{SECOND}</p>{refrain}").count("took the old mill away") == 2
    quotation = f"<blockquote><p>{SECOND}</p></blockquote>"
    assert middle(f"<p>{SECOND}</p>{quotation}").count(SECOND) == 2


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<h2>History<a class=headerlink href=#h>¶</a></h2>", "History"),
        ("<h2>History <span class=mw-editsection>[<a href=e>edit</a>]</span></h2>", "History"),
        (
            "<p>Press <button>Start</button> and then wait for it.</p>",
            "Press Start and then wait for it.",
        ),
        (
            "<p>He said <q>it is high</q> and he went away.</p>",
            "He said “it is high” and he went away.",
        ),
        (
            "<p>Write to <a class=__cf_email__ data-cfemail='42232e2b21270227332d6c2d3025'>[email&#160;"
            "protected]</a> about the boats.</p>",
            "Write to alice@eqo.org about the boats.",
        ),
        (f"<noframes><p>{SECOND}</p></noframes>", SECOND),
        (f"<div><template shadowrootmode=open><p>{SECOND}</p></template></div>", SECOND),
    ],
)
def test_what_a_reader_sees(markup: str, text: str) -> None:
    found = middle(f"{markup}<p>{HIDDEN}</p>").removesuffix(HIDDEN).strip("\n")
    assert found == text


def test_markup_in_scripts_and_comments_is_left_alone() -> None:
    script = "<script>document.write('<plaintext>');x='<xmp>'</script><!-- <pre>a<br> -->"
    assert middle(script) == ""


def test_a_quoted_script_is_text() -> None:
    text = "<!-- begin --><script>alert(1)</script> shows a box, as every page of that time did."
    assert middle(f"<xmp>{text}</xmp>") == text


@pytest.mark.parametrize("space", ["\u00a0", "&nbsp;", "&#160;"])
@pytest.mark.parametrize("letter", ["Â", "&Acirc;"])
def test_mojibake_beside_a_space_reaches_normalisation(letter: str, space: str) -> None:
    found = middle(f"<p>Prices go from{letter}{space}$10 to $20{letter}{space}</p>")
    assert normalize(found, NormalizeConfig()).text == "Prices go from $10 to $20"


@given(
    st.lists(
        st.sampled_from(
            [
                *("<pre>", "</pre>", "<br>", "<xmp>", "</xmp>", "<math>", "</math>", "x", " "),
                *("<!--", "-->", "<script>", "</script>", "<q>", "</q>", "<td class=gutter>1"),
                *("</td>", "<button>b</button>", "&lt;!--7--&gt;", "<!--3-->", "<sup>2</sup>"),
                "<table class=hljs-ln>",
            ]
        ),
        max_size=40,
    ).map("".join)
)
@settings(max_examples=200, deadline=None)
def test_rewriting_never_fails(html: str) -> None:
    assert isinstance(rewritten(html), str)


@pytest.mark.parametrize(
    "piece",
    [
        *("<pre><br>", "<math>", "<xmp>", "<td class=gutter>", "<sup>", "<script>", "<!--", "<q>"),
        *("<span class=katex-html>", "<select><option>", "<button>", "<table class=hljs-ln><tr>"),
        *("<div style='white-space:pre'>a\n", "<textarea>\n"),
    ],
)
def test_rewriting_is_linear(piece: str) -> None:
    def seconds(size: int) -> float:
        html = piece * (size // len(piece))
        return least_cpu_s(lambda: rewritten(html))

    seconds(1000)
    assert seconds(400_000) < 12 * max(seconds(100_000), 0.002)


@pytest.mark.parametrize("space", ["&nbsp;", "&#160;", "\u00a0", "\u2003"])
def test_verses_keep_their_indentation(space: str) -> None:
    verses = f"<p>In what distant deeps or skies<br>\n{space * 3} burnt the fire of thine eyes,<br>{space}and what shoulder?"
    assert middle(verses) == (
        "In what distant deeps or skies\n   burnt the fire of thine eyes,\nand what shoulder?"
    )


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            "<tr><th>A<th colspan=2>Head<tr><td>one<td>2<td>3<tr><td>two<td>5<td>",
            "A\tHead\t\none\t2\t3\ntwo\t5\t",
        ),
        (
            "<tr><th>Place<th>Year<th>Depth<tr><td rowspan=2>Mill<td>1901<td>4<tr><td>1902<td>5",
            "Place\tYear\tDepth\nMill\t1901\t4\n\t1902\t5",
        ),
        (
            "<tr><th>Place<th>Owners<tr><td>Mill<td><p>Smith first</p><p>Jones then</p><tr><td>Weir"
            "<td>-<tr><td>Sea<td><ul><li>Adam</li><li>Eve</li></ul>",
            "Place\tOwners\nMill\tSmith first Jones then\nWeir\t-\nSea\tAdam Eve",
        ),
    ],
)
def test_fields_stay_in_their_columns(rows: str, text: str) -> None:
    assert middle(f"<table>{rows}</table>") == text


@pytest.mark.parametrize(
    ("attributes", "signs"),
    [
        ("reversed", ("2", "1")),
        ("type=A", ("A", "B")),
        ("type=i start=4", ("iv", "v")),
        ("style='list-style-type: upper-alpha'", ("A", "B")),
    ],
)
def test_lists_are_numbered_as_a_browser_numbers_them(
    attributes: str, signs: tuple[str, str]
) -> None:
    items = ("Lift the bar up.", "Turn the wheel on.")
    found = middle(f"<ol {attributes}><li>{items[0]}<li>{items[1]}</ol>")
    assert found == "\n".join(f"{sign}. {item}" for sign, item in zip(signs, items, strict=True))


def test_paragraphs_of_an_item_are_apart_and_a_list_in_a_list_is_deeper() -> None:
    assert middle("<ul><li><p>It is a long boat.</p><p>It has two masts.</p></li></ul>") == (
        "- It is a long boat.\n\nIt has two masts."
    )
    assert middle("<ul><li>Boats of all</li><ul><li>Large boats</li></ul><li>Carts</li></ul>") == (
        "- Boats of all\n  - Large boats\n- Carts"
    )


def test_headings_of_a_second_copy_are_left_out_with_it() -> None:
    part = f"<h2>The wheel of the mill</h2><p>{SECOND}</p>"
    found = middle(f"<div class=desktop>{part}</div><div class=mobile>{part}</div>")
    assert found == f"The wheel of the mill\n\n{SECOND}"
