"""Extraction that loses text is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from clean.config import CleanConfig
from clean.document import Document, Page, document_function
from clean.kept_share import MIN_PAGES, UNUSUAL, class_label, share_counts


def row(domain: str, kept: int, visible: int | None) -> dict[str, Any]:
    return {"domain": domain, "num_words": kept, "visible_words": visible}


def test_a_share_far_below_its_domain_is_unusual() -> None:
    usual = [row("a.org", 700 + number, 1000) for number in range(MIN_PAGES)]
    assert UNUSUAL not in share_counts(usual)
    counts = share_counts([*usual, row("a.org", 40, 1000), row("b.org", 40, 1000)])
    assert counts[UNUSUAL] == 1


def test_few_pages_and_short_pages_are_not_judged() -> None:
    few = [row("a.org", 700, 1000)] * (MIN_PAGES - 2)
    assert UNUSUAL not in share_counts([*few, row("a.org", 1, 1000)])
    short = [row("a.org", 70, 100)] * MIN_PAGES
    assert UNUSUAL not in share_counts([*short, row("a.org", 1, 100)])


def test_the_distribution_adds_up() -> None:
    rows = [row("a.org", kept, 100) for kept in (0, 5, 6, 50, 75, 90, 91, 100, 140)]
    counts = share_counts([*rows, row("a.org", 1, None)])
    assert counts == Counter(
        {
            "kept_share:up_to_0.05": 2,
            "kept_share:up_to_0.1": 1,
            "kept_share:up_to_0.5": 1,
            "kept_share:up_to_0.75": 1,
            "kept_share:up_to_0.9": 1,
            "kept_share:over_0.9": 3,
        }
    )


def test_visible_words_leave_out_navigation_and_hidden_text() -> None:
    paragraph = "<p>" + "The old mill by the river was sold again this year, as it is in each. " * 6
    html = (
        "<title>x</title><nav><a href=/>Home page</a></nav><div hidden><p>not at all seen</div>"
        f"<script>var words = 'none of these'</script><article>{paragraph}{paragraph}</article>"
    )
    page = Page("http://x.org/", "http://x.org/", "text/html", None, html.encode())
    result = document_function(CleanConfig())(page)
    assert isinstance(result, Document)
    assert result.visible_words == 2 * 6 * 16


@pytest.mark.parametrize(
    ("kept", "name"),
    [(50, "up_to_0.05"), (51, "up_to_0.1"), (100, "up_to_0.1"), (101, "up_to_0.25"), (250, "up_to_0.25"), (251, "up_to_0.5"),
     (500, "up_to_0.5"), (501, "up_to_0.75"), (750, "up_to_0.75"), (751, "up_to_0.9"), (900, "up_to_0.9"), (901, "over_0.9"), (2000, "over_0.9")],
)  # fmt: skip
def test_a_class_ends_with_its_bound(kept: int, name: str) -> None:
    assert share_counts([row("a.org", kept, 1000)]) == {f"kept_share:{name}": 1}


@pytest.mark.parametrize(("kept", "unusual"), [(199, 1), (200, 0), (201, 0)])
def test_a_share_under_a_third_of_the_median_is_unusual(kept: int, unusual: int) -> None:
    usual = [row("a.org", 600, 1000)] * 7
    assert share_counts([*usual, row("a.org", kept, 1000)])[UNUSUAL] == unusual
    # Seven pages of a domain are too few to know its usual share.
    assert share_counts([*usual[1:], row("a.org", kept, 1000)])[UNUSUAL] == 0


@pytest.mark.parametrize(("visible", "unusual"), [(149, 0), (150, 1), (151, 1)])
def test_a_page_is_judged_from_150_visible_words_on(visible: int, unusual: int) -> None:
    usual = [row("a.org", 600, 1000)] * 8
    assert share_counts([*usual, row("a.org", 1, visible)])[UNUSUAL] == unusual


def test_a_page_without_visible_words_is_kept_whole() -> None:
    assert share_counts([row("a.org", 0, 0)]) == {"kept_share:over_0.9": 1}


@pytest.mark.parametrize(
    ("name", "label"), [("up_to_0.05", "up to 5 %"), ("up_to_0.25", "up to 25 %"), ("over_0.9", "over 90 %")]
)  # fmt: skip
def test_a_class_is_shown_in_percent(name: str, label: str) -> None:
    assert class_label(name) == label


@pytest.mark.parametrize(("kept", "unusual"), [(249, 1), (250, 0)])
def test_exactly_a_third_of_the_median_is_usual(kept: int, unusual: int) -> None:
    """A third of 0.75 is 0.25 in floats, too."""
    usual = [row("a.org", 750, 1000)] * 7
    assert share_counts([*usual, row("a.org", kept, 1000)])[UNUSUAL] == unusual
