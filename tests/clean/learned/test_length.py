"""A page's length never costs text: the same share of its paragraphs is kept at any length."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np
import pytest
import zstandard

from bench.clean import known_text
from bench.clean.documents import gold_pages
from clean.extract import ExtractConfig, extractor
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.extraction import Use, chances, chosen, model
from clean.learned.layout import MAX_BLOCKS, POSITION, TAG_OF, WORDS
from clean.learned.markup import TAG
from clean.page_source.decode import decode

_START_OF_PARAGRAPH = re.compile(rb"(<p\b[^<>]*>)")


def kept_share(page: PageBlocks, first: int = 0, end: int | None = None) -> float:
    """Share of the words in `<p>` that the extractor keeps, between two places of the source."""
    position, words = page.counts[:, POSITION], page.counts[:, WORDS]
    paragraphs = page.place[:, TAG_OF] == TAG["p"]
    paragraphs &= (position >= first) & (position < (end or page.num_bytes))
    keep = chosen(chances(model())(page), words, Use.BALANCED)
    return float(words[keep & paragraphs].sum() / max(1, words[paragraphs].sum()))


def novels(shared: Path) -> Iterator[tuple[str, str]]:
    """(name, HTML) of whole books, chapters under headings."""
    chapters: dict[str, list[str]] = defaultdict(list)
    path = shared / "prose/dev/standardebooks.jsonl.zst"
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            chapters[row["work"]].append(row["text"])
    for name, texts in sorted(chapters.items())[::10]:
        body = "".join(
            f"<h2>{number}</h2>" + "".join(f"<p>{escape(p)}</p>\n" for p in text.split("\n\n"))
            for number, text in enumerate(texts, 1)
        )
        yield name, f"<html><head><title>{name}</title></head><body><h1>{name}</h1>{body}</body>"


def test_books_are_kept_whole(shared: Path) -> None:
    shares = {name: kept_share(blocks(html.encode())) for name, html in novels(shared)}
    assert shares
    assert min(shares.values()) >= 0.99, shares


@pytest.mark.parametrize("count", [100, 1000, 10_000, MAX_BLOCKS - 1])
def test_paragraphs_are_kept_in_any_number(count: int) -> None:
    said = "The {0}th witness told the court that she had seen nothing of it, on that day or later."
    body = "".join(f"<p>{said.format(number)}</p>" for number in range(count))
    page = blocks(f"<title>A trial</title><h1>A trial</h1>{body}".encode())
    assert kept_share(page) == 1.0


@pytest.mark.parametrize("times", [2, 10, 50])
def test_bodies_of_real_pages_are_kept_at_any_length(shared: Path, times: int) -> None:
    """The body of each page is repeated with other words in each paragraph, so that it is not a
    copy.
    """
    before, after = [], []
    for gold in [*gold_pages(shared, "aeb", 12), *gold_pages(shared, "wcxb", 40)]:
        source = decode(gold.body).text.encode("utf-8", "replace")
        page = blocks(source)
        keep = chosen(chances(model())(page), page.counts[:, WORDS], Use.BALANCED)
        places = page.counts[keep & (page.place[:, TAG_OF] == TAG["p"]), POSITION]
        if places.size < 4:
            continue

        first = source.rfind(b"<p", 0, places[0])
        end = source.find(b"</p>", places[-1]) + len(b"</p>")
        if first < 0 or end < len(b"</p>"):
            continue

        body = source[first:end]
        copies = [
            _START_OF_PARAGRAPH.sub(rb"\1Part %d says: " % number, body)
            for number in range(times - 1)
        ]
        grown = blocks(source[:end] + b"".join(copies) + source[end:])
        before.append(kept_share(page, first, end))
        after.append(kept_share(grown, first, end + sum(map(len, copies))))
    assert len(before) > 25
    assert np.mean(after) >= np.mean(before) - 0.01
    assert np.mean(np.array(after) < np.array(before) - 0.02) <= 0.1


@pytest.mark.parametrize("layout", ["article-ghost", "article-drupal", "article-squarespace"])
def test_a_template_of_2400_paragraphs_is_kept_whole(
    layout: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBTEXT_SHARED", str(shared.parent))
    html, pieces = known_text.page(layout, 50)
    found = known_text.measured(extractor(ExtractConfig())(html), pieces)
    assert found.lost <= 0.01
    assert (found.doubled, found.moved) == (0, 0)
