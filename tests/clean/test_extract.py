from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trafilatura

from bench.clean.documents import gold_pages
from clean.extract import ExtractConfig, extractor
from clean.page_source.decode import decode
from tools.extraction_scores import scores

NUM_PAGES = 15


@pytest.fixture(scope="module")
def news(shared: Path) -> list[tuple[str, str]]:
    """(gold text, decoded HTML) of the first pages of the article-extraction-benchmark."""
    return [(page.gold, decode(page.body).text) for page in gold_pages(shared, "aeb", NUM_PAGES)]


def test_quality_on_real_pages(news: list[tuple[str, str]]) -> None:
    for name, least in (("learned", 0.96), ("trafilatura-fast", 0.95)):
        extract = extractor(ExtractConfig.model_validate({"extractor": name}))
        assert scores((gold, extract(html)) for gold, html in news).f1 >= least


def test_both_give_exactly_what_the_library_gives(news: list[tuple[str, str]]) -> None:
    for name, fast in (("trafilatura", False), ("trafilatura-fast", True)):
        extract = extractor(ExtractConfig.model_validate({"extractor": name}))
        for _, html in news[:5]:
            assert extract(html) == trafilatura.extract(html, fast=fast, include_comments=False)


def test_repeated_text_is_kept_on_every_page() -> None:
    paragraph = (
        "<p>"
        + "The same paragraph stands on every page of this site, and on this page twice. " * 3
        + "</p>"
    )
    html = f"<html><body><article>{paragraph * 2}</article></body></html>"
    extract = extractor(ExtractConfig())
    first = extract(html)
    assert first.count("The same paragraph") >= 3
    assert {extract(html) for _ in range(10)} == {first}


def test_comments_stay_out() -> None:
    story = "".join(
        f"<p>Part {i} of the story, told at length and with some care for detail.</p>"
        for i in range(5)
    )
    html = f'<html><body><article>{story}</article><div id="comments"><div class="comment"><p>First comment!</p></div></div>'
    assert "First comment" not in extractor(ExtractConfig())(html)


@pytest.mark.parametrize(
    "html", ["", "nothing of HTML in here", '{"text": "a b c", "more": ["d"]}', "\0\1\2"]
)
def test_what_is_no_markup_has_no_text(html: str) -> None:
    assert extractor(ExtractConfig())(html) == ""


def test_the_library_keeps_quiet(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        extract = extractor(ExtractConfig(extractor="trafilatura-fast"))
        assert extract("nothing of HTML in here") == ""
    assert not [record for record in caplog.records if record.name.startswith("trafilatura")]
    assert capsys.readouterr() == ("", "")
