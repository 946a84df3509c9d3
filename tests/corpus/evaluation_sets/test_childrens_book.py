"""The Children's Book Test as printed text, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.evaluation_sets.childrens_book import CLITICS, CLOSING, OPENING, join, split

LINES = [
    ("`` I did n't , '' said the boy -LRB- again -RRB- .", "\"I didn't,\" said the boy (again)."),
    ("He took the ball , and he ca n't look back .", "He took the ball, and he can't look back."),
    ("The queen 's dolls : they 'll go ; wo n't they ?", "The queen's dolls: they'll go; won't they?"),
    ("`` Oh ! `` said he .", '"Oh! "said he.'),
    ("Mr. Fox said : `` It 's $ 5 . ''", 'Mr. Fox said: "It\'s $5."'),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_lines_are_printed_as_a_book_prints_them(line: str, expected: str) -> None:
    assert join(line) == expected


@pytest.mark.parametrize("line", [line for line, _ in LINES if line.count("`` ") < 2])
def test_printed_lines_give_their_tokens_back(line: str) -> None:
    assert split(join(line)) == line


@given(st.lists(st.sampled_from(["the", "boy", "Mr.", "XXXXX", *OPENING, *CLOSING, *CLITICS])))
def test_no_letter_is_lost_and_nothing_added(tokens: list[str]) -> None:
    signs = {**OPENING, **CLOSING}
    expected = "".join(signs.get(token, token) for token in tokens)
    assert join(" ".join(tokens)).replace(" ", "") == expected


@given(st.lists(st.sampled_from(["the", "boy", "said", "did"]), min_size=2, max_size=8), st.data())
def test_words_with_signs_and_clitics_come_back(words: list[str], data: st.DataObject) -> None:
    tokens = []
    for word in words:
        tokens += [data.draw(st.sampled_from(["``", "-LRB-"]))] if data.draw(st.booleans()) else []
        tokens += [word, *data.draw(st.lists(st.sampled_from(CLITICS), max_size=1))]
        tokens += data.draw(st.lists(st.sampled_from([",", "''", "-RRB-", "!"]), max_size=2))
    line = " ".join(tokens)
    assert split(join(line)) == line
