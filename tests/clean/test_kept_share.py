"""Extraction that loses text is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from clean.config import CleanConfig
from clean.document import Document, Page, document_function
from clean.kept_share import MIN_PAGES, UNUSUAL, share_counts


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
