"""Pieces of markup are found as searches for each of them would find them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clean.rewrite import rewritten
from clean.rewrite.signs import CONTROL, NEEDLES, signs

ASIDE = re.compile(r"<!--.*?-->|<(script|style)>.*?</\1>", re.S | re.I)
HIDDEN = ("<!-- {} -->", "<script>{}</script>", "<STYLE>{}</style>")
PIECES = st.sampled_from(NEEDLES)
MARKUP = st.lists(
    st.one_of(
        PIECES,
        PIECES.map(
            lambda needle: needle.upper().replace("&PARA", "&para").replace("&SECT", "&sect")
        ),
        PIECES.map(lambda needle: needle[:-1]),
        st.builds(str.format, st.sampled_from(HIDDEN), PIECES),
        st.sampled_from([" ", "x", "<p>", "\u00e9", "<", ">", "="]),
    ),
    max_size=12,
).map("".join)


def lowered(html: str) -> str:
    """`html` with ASCII letters in lower case."""
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), html)


@given(MARKUP)
@settings(max_examples=300, deadline=None)
def test_found_are_those_that_a_search_for_each_finds(html: str) -> None:
    done = 0
    shown = []
    for part in ASIDE.finditer(html):
        shown.append(html[done : part.start()])
        done = part.end()
    shown.append(html[done:])

    expected = {needle for needle in NEEDLES if any(needle in lowered(part) for part in shown)}
    assert signs(html).found - {CONTROL} == expected


@pytest.mark.parametrize("needle", NEEDLES)
def test_each_is_found_alone(needle: str) -> None:
    assert needle in signs(needle).found
    assert needle not in signs(needle[1:] + needle[:-1]).found
    assert not signs(f"<p><script>{needle}</script>").found


@pytest.mark.parametrize("number", [0, 1, 255, 256, 257, 1000])
def test_any_number_of_parts_is_put_aside(number: int) -> None:
    comments = [f"<!-- <q>{place}</q> -->" for place in range(number)]
    html = "\u00e9".join(comments)
    found = signs(html)
    assert [found.data[start:end].decode() for start, end in found.aside] == comments
    assert rewritten(f"{html}<q>it</q>") == f"{html}\u201cit\u201d"


@pytest.mark.parametrize("name", ["tex", "latex", "a math", "b formula c", "ee_img", "tex-inline"])
def test_pictures_of_formulas_have_a_class_of_that_name(name: str) -> None:
    assert rewritten(f"<p>Let <img class='{name}' alt='x^2'> be") == r"<p>Let \(x^2\) be"
