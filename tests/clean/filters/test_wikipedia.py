from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from clean.filters.wikipedia import WikipediaConfig, judge_address, judge_content
from clean.reasons import Reason

CONFIG = WikipediaConfig()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://en.wikipedia.org/wiki/Owl", Reason.WIKIPEDIA),
        ("http://wikipedia.org/", Reason.WIKIPEDIA),
        ("https://de.m.wikipedia.org/wiki/Eulen", Reason.WIKIPEDIA),
        ("https://web.archive.org/web/2015/http://en.wikipedia.org/wiki/Owl", Reason.WIKIPEDIA),
        ("https://en-m-wikipedia-org.translate.goog/wiki/Owl", Reason.WIKIPEDIA),
        ("https://www.wikiwand.com/en/Owl", Reason.WIKIPEDIA_MIRROR),
        ("https://en.academic.ru/dic.nsf/enwiki/1", Reason.WIKIPEDIA_MIRROR),
        ("https://mine.example/wiki/Owl", Reason.WIKIPEDIA_MIRROR),
        ("https://en.wikipedia.org./wiki/Owl", Reason.WIKIPEDIA),
        ("https://www.wikiwand.com./en/Owl", Reason.WIKIPEDIA_MIRROR),
        (
            "https://translate.example/?u=https%3A%2F%2Fen.wikipedia.org%2Fwiki%2FOwl",
            Reason.WIKIPEDIA,
        ),
        ("https://translate.example/?u=https%3a%2f%2fwikipedia.org%3a443", Reason.WIKIPEDIA),
        ("https://notwikipedia.org/wiki/Owl", None),
        ("https://wikipedia.org.example/wiki/Owl", None),
        ("https://example.org/why-wikipedia.org-matters", None),
        ("https://notwikiwand.com/en/Owl", None),
        ("https://starwars.fandom.com/wiki/Owl", None),
        ("not a url", None),
    ],
)
def test_addresses(url: str, reason: Reason | None) -> None:
    config = WikipediaConfig(domains=("Mine.example",))
    assert judge_address(["https://t.example/", url], config) == reason
    assert judge_address([url], WikipediaConfig(remove=False)) is None


def test_a_domain_that_none_can_be_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"'https://mine\.example' is not a domain"):
        WikipediaConfig(domains=("https://mine.example",))


@pytest.mark.parametrize(
    "html",
    [
        '<link rel="canonical" href="https://en.wikipedia.org/wiki/Owl">',
        '<script>var c={"wgSiteName":"Wikipedia"}</script>',
        "<p>Wikipedia® is a registered trademark of the Wikimedia Foundation</p>",
        '<p>This article uses material from the Wikipedia article <a href="x">Owl</a></p>',
        '<p>It uses material from the <a href="https://en.wikipedia.org/wiki/Owl">Wikipedia article "Owl"</a>.</p>',
        "<p>This page was copied from Wikipedia on 1 May.</p>",
        "<p>This article is licensed under the GNU Free Documentation License. It uses material from the Wikipedia</p>",
    ],
)
def test_a_copy_says_so(html: str) -> None:
    page = "<html>" + "<p>Owls are birds.</p>" * 50 + html
    assert judge_content(page, "Owls are birds.", CONFIG) is Reason.WIKIPEDIA_MIRROR
    assert judge_content(page, "Owls are birds.", WikipediaConfig(remove=False)) is None


def test_the_tagline_counts_at_the_top_of_the_text_only() -> None:
    tagline = "From Wikipedia, the free encyclopedia\n"
    prose = "A long story about how the encyclopedia came to be. " * 20
    assert judge_content("", "Owl\n" + tagline + prose, CONFIG) is Reason.WIKIPEDIA_MIRROR
    assert judge_content("", prose + tagline, CONFIG) is None


@pytest.mark.parametrize(
    "html",
    [
        '<p>See <a href="https://en.wikipedia.org/wiki/Owl">Wikipedia</a> for more on owls.</p>',
        "<p>As Wikipedia says, owls are birds. I edit Wikipedia articles myself.</p>",
        "<p>The Wikipedia article about us is wrong, and material from it was used by newspapers.</p>",
        "<p>Available under the Creative Commons licence.</p>",
    ],
)
def test_a_page_about_wikipedia_is_no_copy(html: str) -> None:
    assert judge_content(html, "Some text.", CONFIG) is None


@pytest.mark.parametrize(
    "bait",
    [
        "uses material from <a> ",
        "wikipedia uses material from ",
        "<link " * 3,
        "Wikipedia ",
        "<meta og:site_name",
    ],
)
def test_bait_takes_no_time(bait: str) -> None:
    started = time.process_time()
    judge_content("Wikipedia " + bait * 100_000, "", CONFIG)
    assert time.process_time() - started < 1.0


LINE = "From Wikipedia, the free encyclopedia"
CREDIT = "This article uses material from the Wikipedia article Owl"


@pytest.mark.parametrize(("before", "dropped"), [(400 - len(LINE), True), (401 - len(LINE), False)])
def test_the_line_below_the_title_is_in_the_first_400_characters(
    before: int, dropped: bool
) -> None:
    text = "x" * before + LINE + "x" * 1000
    assert (judge_content("", text, CONFIG) is not None) is dropped


@pytest.mark.parametrize(("mentions", "dropped"), [(99, True), (100, False)])
def test_a_hundred_mentions_are_searched(mentions: int, dropped: bool) -> None:
    far = ("Wikipedia" + " " * 1300) * mentions
    assert (judge_content(far + CREDIT, "", CONFIG) is not None) is dropped


@pytest.mark.parametrize(
    ("spacing", "mentions", "dropped"),
    [(299, 199, True), (299, 202, False), (300, 100, True), (300, 102, False)],
)
def test_mentions_within_300_characters_are_one(spacing: int, mentions: int, dropped: bool) -> None:
    """A hundred of them are searched, and 600 characters behind the last one."""
    far = "Wikipedia".ljust(spacing) * mentions
    assert (judge_content(far + CREDIT, "", CONFIG) is not None) is dropped


def test_a_credit_is_near_the_name() -> None:
    """600 characters on either side, so a credit that takes longer is not one."""
    own = '<meta property="og:site_name" content="Wikipedia">'
    assert judge_content("x" * 5000 + own + "x" * 5000, "", CONFIG) is not None
    # A mention inside the distance of the one before is found by the same piece of text.
    assert judge_content("Wikipedia " + " " * 290 + own, "", CONFIG) is not None


@pytest.mark.parametrize(("between", "dropped"), [(0, True), (1, False)])
def test_six_hundred_characters_around_a_mention_are_searched(between: int, dropped: bool) -> None:
    """Counted from the second letter of the name."""
    credit = "licensed under the GNU Free Documentation License. It uses material from"
    after = "ikipedia" + " " * (600 - len("ikipedia") - len(credit) + between) + credit
    assert (judge_content("W" + after + " " * 2000, "", CONFIG) is not None) is dropped
    before = credit + " " * (600 - len(credit) + between)
    assert (judge_content(" " * 2000 + before + "ikipedia", "", CONFIG) is not None) is dropped


def test_a_mention_may_begin_the_page() -> None:
    assert judge_content("ikipedia" + " " * 2000 + CREDIT, "", CONFIG) is not None
