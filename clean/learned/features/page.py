"""Features of the page: the same for all of its blocks, or by how much of it came before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import (
    ARTICLE,
    FIRST_CHANNEL,
    FIRST_MARK,
    FIRST_ZONE,
    NUM_ZONE,
    PAGE,
    ZONE,
    ZONES,
)
from clean.learned.features.shares import PARAGRAPH_WORDS, UNIT, free_words, share
from clean.learned.layout import CHARS, ELEMENT, FIELDS, IN_HEADING, ITEM, LINK_CHARS, WORDS
from clean.learned.markup import TAG

_ARTICLE_TAG: Final = TAG["article"]


@inner
def describe_articles(place: Any, parents: Any, element_tags: Any, out: Any) -> None:
    """Fill the columns of ARTICLE."""
    number = np.zeros(parents.size + 1, np.int64)
    articles = 0
    for element in range(parents.size):
        number[element + 1] = number[parents[element] + 1]
        if element_tags[element] == _ARTICLE_TAG:
            articles += 1
            number[element + 1] = articles

    for block in range(place.shape[0]):
        out[block, ARTICLE.articles] = articles
        out[block, ARTICLE.article_number] = number[place[block, ELEMENT] + 1]


@inner
def describe_page(counts: Any, place: Any, num_bytes: Any, out: Any) -> None:
    """Fill the columns of PAGE."""
    num = counts.shape[0]
    words = chars = link_chars = paragraphs = paragraph_words = items = headings = fields = 0
    for block in range(num):
        words += counts[block, WORDS]
        chars += counts[block, CHARS]
        link_chars += counts[block, LINK_CHARS]
        fields += counts[block, FIELDS]
        if free_words(counts, block) >= PARAGRAPH_WORDS * UNIT:
            paragraphs += 1
            paragraph_words += counts[block, WORDS]
        items += place[block, ITEM] > 0
        headings += place[block, IN_HEADING] != 0

    for block in range(num):
        row = out[block]
        row[PAGE.blocks] = num
        row[PAGE.words] = words
        row[PAGE.link_share] = share(link_chars, chars)
        row[PAGE.paragraphs] = paragraphs
        row[PAGE.paragraph_word_share] = share(paragraph_words, words)
        row[PAGE.items] = share(items, num)
        row[PAGE.bytes_per_word] = share(num_bytes, words)
        row[PAGE.headings] = share(headings, num)
        row[PAGE.fields] = share(fields, num)


@inner
def describe_zones(counts: Any, channels: Any, out: Any) -> None:
    """Fill the columns of ZONE: words outside links under each hint, in all and before a block.

    Comments below an article and the posts of a thread look alike. The rest of the page differs.
    """
    num = counts.shape[0]
    total = np.int64(0)
    for block in range(num):
        total += free_words(counts, block)

    column = FIRST_ZONE

    for zone in ZONES:
        inside = np.int64(0)
        for block in range(num):
            out[block, column + ZONE.before] = share(inside, total)
            if channels[block, zone] > 1:
                inside += free_words(counts, block)
        for block in range(num):
            out[block, column + ZONE.page] = share(inside, total)
        column += NUM_ZONE


@inner
def describe_marks(channels: Any, marks: Any, out: Any) -> None:
    """Fill the marks of the page, and the distance to each hint and tag above a block."""
    for block in range(channels.shape[0]):
        for mark in range(marks.size):
            out[block, FIRST_MARK + mark] = marks[mark]
        for channel in range(channels.shape[1]):
            out[block, FIRST_CHANNEL + channel] = channels[block, channel]
