"""Each formula is in the text once, as TeX where the page has it in any form."""

from __future__ import annotations

import time

import pytest

from clean.rewrite import rewritten
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
