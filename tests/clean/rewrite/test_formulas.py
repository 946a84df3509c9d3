"""Each formula is in the text once, as TeX where the page has it in any form."""

from __future__ import annotations

import time

import pytest

from clean.rewrite import rewritten
from clean.rewrite.mathml import tex_of
from tests.support.article import middle

MATHML = "<mrow><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></mrow>"


@pytest.mark.parametrize(
    "markup",
    [
        "<img src='https://latex.codecogs.com/svg.image?E%3Dmc%5E2'/>",
        "<img src='https://latex.codecogs.com/gif.latex?x' title='E=mc^2' alt='E=mc^2'/>",
        "<img src='http://chart.apis.google.com/chart?cht=tx&chl=E%3Dmc%5E2'/>",
        "<img src='https://www.zhihu.com/equation?tex=E%3Dmc%5E2' eeimg=1>",
        "<img src='https://s0.wp.com/latex.php?latex=E%3Dmc%5E2&bg=fff' alt='E=mc^2' class=latex>",
        "<img width=10 src=img1.gif alt='$E=mc^2$'>",
        "<span style='display:none'>E</span><script type='math/tex; mode=inline'>E=mc^2</script>",
        "<script type='math/tex'>% <![CDATA[\nE=mc^2 %]]></script>",
        f"<math><semantics>{MATHML}<annotation encoding='TeX'>E=mc^2</annotation></semantics></math>",
        f"<math><semantics>{MATHML}<annotation encoding='application/x-latex'>E=mc^2</annotation>"
        "</semantics></math>",
        "<mml:math><mml:semantics><mml:mi>E</mml:mi><mml:annotation encoding='application/x-tex'>"
        "E=mc^2</mml:annotation></mml:semantics></mml:math>",
        "<span class=MathJax_Preview></span><span class='mjx-chtml MathJax_CHTML'><span>E=mc"
        f"</span><span class=MJX_Assistive_MathML><math>{MATHML}</math></span></span><script "
        "type='math/tex'>E=mc^2</script>",
    ],
)
def test_tex_is_found_wherever_it_is(markup: str) -> None:
    found = middle(f"<p>It says that {markup} holds in the usual units of the trade.</p>")
    expected = r"It says that \(E=mc^2\) holds in the usual units of the trade."
    assert " ".join(found.split()) == expected


def test_scripts_that_nothing_ends_are_read_in_time() -> None:
    page = "<script type=math/tex>" * 50_000
    started = time.process_time()
    assert rewritten(page) == page
    assert time.process_time() - started < 10


def test_a_formula_without_tex_is_what_is_drawn() -> None:
    drawn = "<span class=katex><span class=katex-html aria-hidden=true>E=mc</span></span>"
    assert middle(f"<p>It says that {drawn} holds here.</p>") == "It says that E=mc holds here."


@pytest.mark.parametrize(
    ("mathml", "tex"),
    [
        ("<msup><mi>x</mi><mn>2</mn></msup>", r"\(x^2\)"),
        ("<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>", r"\(E=mc^2\)"),
        ("<msub><mi>a</mi><mn>10</mn></msub>", r"\(a_{10}\)"),
        (
            "<msubsup><mo>∫</mo><mn>0</mn><mi>∞</mi></msubsup><msup><mi>e</mi><mrow><mo>−</mo>"
            "<msup><mi>x</mi><mn>2</mn></msup></mrow></msup><mi>d</mi><mi>x</mi>",
            r"\(∫_0^∞e^{−x^2}dx\)",
        ),
        (
            "<mfrac><mn>1</mn><msqrt><mi>y</mi><mo>+</mo><mn>1</mn></msqrt></mfrac>",
            r"\(\frac{1}{\sqrt{y+1}}\)",
        ),
        ("<mroot><mi>y</mi><mn>3</mn></mroot>", r"\(\sqrt[3]{y}\)"),
        (
            "<munderover><mo>&#x2211;</mo><mrow><mi>i</mi><mo>=</mo><mn>0</mn></mrow><mi>n</mi>"
            "</munderover><mi>i</mi>",
            r"\(∑_{i=0}^ni\)",
        ),
        ("<mover><mi>v</mi><mo>→</mo></mover>", r"\(\overset{→}{v}\)"),
        ("<msup><mi>a</mi><mo>&lt;</mo></msup>", r"\(a^<\)"),
        ("<msup><mfenced><mi>a</mi><mi>b</mi></mfenced><mn>2</mn></msup>", r"\({(a,b)}^2\)"),
        (
            "<msup><mfenced open='[' close='&gt;' separators='; |'><mi>a</mi><mi>b</mi><mi>c</mi>"
            "<mi>d</mi></mfenced><mn>2</mn></msup>",
            r"\({[a;b|c|d>}^2\)",
        ),
        ("<msup><mfenced open='|' close=''><mi>x</mi></mfenced><mn>2</mn></msup>", r"\({|x}^2\)"),
        (
            "<msup><mi>x</mi><mn>2</mn></msup><mfenced separators=''><mi>a</mi><mi>b</mi></mfenced>",
            r"\(x^2(ab)\)",
        ),
        (
            "<mo>{</mo><msup><mi>x</mi><mn>2</mn></msup><mo>}</mo><mo>\\</mo><mi>a_b</mi>",
            r"\(\{x^2\}\backslash a\_b\)",
        ),
        (
            "<msup><mfenced open='{' close='}' separators='%'><mi>a</mi><mi>b</mi></mfenced>"
            "<mn>2</mn></msup>",
            r"\({\{a\%b\}}^2\)",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "mml:"])
def test_mathml_without_tex_keeps_its_places(mathml: str, tex: str, prefix: str) -> None:
    own = mathml.replace("<m", f"<{prefix}m").replace("</m", f"</{prefix}m")
    found = middle(f"<p>It says that <{prefix}math>{own}</{prefix}math> holds here.</p>")
    assert found == f"It says that {tex} holds here."


@pytest.mark.parametrize(
    "mathml",
    [
        "<mi>x</mi><mo>+</mo><mn>2</mn>",
        "<msup><mi>x</mi></msup><mo>+</mo><mn>2</mn>",
        "<msup><mi>x</mi><b>+</b></msup><mn>2</mn>",
        "<mrow><msup><mi>x</mi><mo>+</mo></mrow></msup><mn>2</mn>",
    ],
)
def test_other_mathml_is_the_text_that_it_was(mathml: str) -> None:
    found = middle(f"<p>It says that <math>{mathml}</math> holds here.</p>")
    assert found == "It says that x+2 holds here."


@pytest.mark.parametrize(
    ("picture", "formula"),
    [
        ("<img class=latex alt='x^2'>", r"\(x^2\)"),
        ("<img class=tex alt='x^2'>", r"\(x^2\)"),
        ("<img class=math alt='x^2'>", r"\(x^2\)"),
        ("<img class=formula alt='x^2'>", r"\(x^2\)"),
        ("<img class=ee_img alt='x^2'>", r"\(x^2\)"),
        ("<img src=a.png class='wide tex' alt='x^2'>", r"\(x^2\)"),
        ("<img class=mwe-math-fallback-image-inline alt='x^2'>", r"\(x^2\)"),
        ("<img class=mwe-math-fallback-image-display alt='x^2'>", r"<p>\[x^2\]</p>"),
        ("<img class=mwe-math-fallback-image-display alt=d>", r"<p>\[d\]</p>"),
        # TeX in the style of a display is in a line nevertheless.
        (r"<img class=tex alt='{\displaystyle x^2}'>", r"\(x^2\)"),
        (
            r"<img class=mwe-math-fallback-image-display alt='{\displaystyle x^2}'>",
            r"<p>\[x^2\]</p>",
        ),
        # Without another text, and of another class.
        ("<img class=tex src=a.png>", None),
        ("<img class=tex alt=''>", None),
        ("<img class=tex alt=' '>", None),
        ("<img class=wide alt='x^2'>", None),
        ("<img class='latexmk' title='tex' alt='x^2'>", None),
        ("<img class=pre-tex alt='x^2'>", None),
        ("<img class=mwe-math-fallback-image alt='x^2'>", None),
        # Tags are searched for a class so far, and classes for a name.
        (f"<img {'y' * 1000}class=tex alt='x^2'>", r"\(x^2\)"),
        (f"<img {'y' * 1001}class=tex alt='x^2'>", None),
        (f"<img class='{'y' * 999} tex' alt='x^2'>", r"\(x^2\)"),
        (f"<img class='{'y' * 1000} tex' alt='x^2'>", None),
        # TeX between dollars, in any picture.
        ("<img alt='$x^2$'>", r"\(x^2\)"),
        ("<img alt='$$x^2$$'>", r"<p>\[x^2\]</p>"),
        ("<img alt='$$x^2$'>", None),
        ("<img alt='$1 or $2'>", None),
        (f"<img alt='${'y' * 2000}$'>", rf"\({'y' * 2000}\)"),
        (f"<img alt='${'y' * 2001}$'>", None),
        # Services: the other text, else the title, else the query up to its next parameter.
        ("<img src='/cgi-bin/mimetex.cgi?x^2'>", r"\(x^2\)"),
        ("<img src='/cgi-bin/mathtex.cgi?x^2'>", r"\(x^2\)"),
        ("<img src='https://i.upmath.me/svg/x%5E2'>", r"\(x^2\)"),
        ("<img src='/mimetex.cgi?y' title='x^2'>", r"\(x^2\)"),
        ("<img src='/mimetex.cgi?y' title='z' alt='$x^2$'>", r"\(x^2\)"),
        ("<img src='/mimetex.cgi?x&lt;2' alt=' '>", r"\(x&lt;2\)"),
        ("<img src='/mimetex.cgi?x^2&amp;y' alt='http://x.test/'>", r"\(x^2\)"),
        ("<img src='/mimetex.cgi?'>", None),
    ],
)
def test_a_picture_of_a_formula_is_its_other_text(picture: str, formula: str | None) -> None:
    page = "<p>It says {} here.</p>"
    assert rewritten(page.format(picture)) == page.format(picture if formula is None else formula)


@pytest.mark.parametrize(
    ("element", "formula"),
    [
        ("<span data-math='x^2'>x2</span>", r"\(x^2\)"),
        ('<span data-tex="x^2">x2</span>', r"\(x^2\)"),
        ("<span data-latex='x[h]'>x2</span>", r"\(x[h]\)"),
        ("<span data-formula='x^2' class=display>x2</span>", r"<p>\[x^2\]</p>"),
        ("<div data-expr='x^2'>x2</div>", r"<p>\[x^2\]</p>"),
        (r"<span data-math='\displaystyle x^2'>x2</span>", r"\(\displaystyle x^2\)"),
        (
            r"<span data-math='\displaystyle x^2' data-mode=display>x2</span>",
            r"<p>\[\displaystyle x^2\]</p>",
        ),
        ("<span data-math=''>x2</span>", None),
        # Lists, objects and addresses.
        ("<span data-math='[1,2]'>x2</span>", None),
        ("<span data-math='{1:2}'>x2</span>", None),
        ("<span data-math='/x.svg'>x2</span>", None),
        ("<span data-math='http://x.test/'>x2</span>", None),
    ],
)
def test_a_formula_in_the_data_of_an_element(element: str, formula: str | None) -> None:
    page = "<p>It says {} here.</p>"
    assert rewritten(page.format(element)) == page.format(element if formula is None else formula)


@pytest.mark.parametrize(
    ("num_chars", "is_read"), [(19_999, True), (20_000, True), (20_001, False)]
)
def test_mathml_of_twenty_thousand_characters_is_read(num_chars: int, is_read: bool) -> None:
    content = "<msup><mi>x</mi><mn>2</mn></msup>"
    content += " " * (num_chars - len(content))
    assert tex_of(content) == ("x^2" if is_read else None)


@pytest.mark.parametrize(
    ("markup", "tex"),
    [
        ("<msup><mi>x</mi><mn>2</mn></msup>", "x^2"),
        ("<msub><mi>x</mi><mn>2</mn></msub>", "x_2"),
        ("<mfrac><mi>x</mi><mn>2</mn></mfrac>", "\\frac{x}{2}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "\\sqrt[3]{x}"),
        ("<munder><mi>x</mi><mn>2</mn></munder>", "\\underset{2}{x}"),
        ("<mover><mi>x</mi><mn>2</mn></mover>", "\\overset{2}{x}"),
        ("<munder><mi>lim</mi><mi>n</mi></munder>", "lim_n"),
    ],
)
def test_structures_with_their_parts(markup: str, tex: str) -> None:
    """One part more or less is not MathML, and the text is left as it is."""
    assert tex_of(markup) == tex
    name = markup[1 : markup.index(">")]
    assert tex_of(markup.replace(f"</{name}>", f"<mi>y</mi></{name}>")) is None
