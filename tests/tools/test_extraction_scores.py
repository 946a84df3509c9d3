from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.extraction_scores import scores, shingles, snippet_scores

TEXT = st.text(alphabet="ab ", max_size=60)


def test_equal_texts_score_one() -> None:
    assert scores([("a b c d e", "a b c d e"), ("x", "x")]) == (1.0, 1.0, 1.0)


def test_by_hand() -> None:
    # Gold has the runs abcd bcde, the extraction bcde cdef defg: one shared.
    result = scores([("a b c d e", "b c d e f g")])
    assert result.precision == pytest.approx(1 / 3)
    assert result.recall == pytest.approx(1 / 2)
    assert result.f1 == pytest.approx(0.4)


def test_nothing_extracted_is_no_recall() -> None:
    assert scores([("a b c d", ""), ("a b c d", "a b c d")]) == (pytest.approx(2 / 3), 1.0, 0.5)
    assert scores([]) == (0.0, 0.0, 0.0)


@given(TEXT, TEXT)
def test_precision_one_way_is_recall_the_other(gold: str, extracted: str) -> None:
    one, other = scores([(gold, extracted)]), scores([(extracted, gold)])
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert 0 <= one.f1 <= 1


@given(TEXT)
def test_shingles_cover_the_words(text: str) -> None:
    words = text.split()
    assert shingles(text, 4).total() == (max(1, len(words) - 3) if words else 0)


def test_snippets_are_looked_for_whatever_the_white_space() -> None:
    pages = [(["a b", "no such"], ["x"], "so a\n\nb it is"), ([], ["c  d", "e"], "c d")]
    found = snippet_scores(pages)
    assert found == (2, 1, 3, 1)
    assert str(found) == ("50.0% of 2 snippets that belong in the text, 33.3% of 3 that do not")
