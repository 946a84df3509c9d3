"""The extractors: HTML to main text.

`learned` is ours (`clean.learned`). `trafilatura` and `trafilatura-fast` give the library's result
for one page on its own, without comments. Three of its features are off because they depend on
other pages or on the day: deduplication (a process-wide cache of segments), threads (lxml crashes
in them), and dates (bounded by "today").
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import Field

from clean.learned import extraction
from clean.learned.blocks import PageBlocks, blocks
from clean.page_source import embedded
from corpus.config import Section
from crawl.warc import records

Extractor = Literal["learned", "trafilatura-fast", "trafilatura"]
# Decoded HTML to text, empty if the page has no main text.
ExtractFunction = Callable[[str], str]

# Pages between emptying the library's caches (of pure functions), to bound memory.
RESET_PAGES = 1000


class ExtractConfig(Section):
    """Settings of main text extraction."""

    extractor: Extractor = "learned"
    """`learned` is ours; `trafilatura` and `trafilatura-fast` are the library with and without its
    fallbacks.
    """
    threshold: Literal["precision", "balanced", "recall"] = "balanced"
    """Text that the `learned` extractor keeps when unsure: less (`precision`), the best F1
    (`balanced`), or more (`recall`).
    """
    format: Literal["text", "markdown"] = "text"
    """`text` is plain text. `markdown` keeps headings, lists, tables, quotations, the language of
    code and emphasis, and puts the page's headline first. Pages are judged by their plain text.
    """
    links: bool = False
    """Keep the addresses of links, for `markdown`."""
    include_tables: bool = True
    """Keep cells of tables, for `trafilatura` and `trafilatura-fast`. `learned` judges each row."""
    max_html_bytes: int = Field(default=20_000_000, ge=1, lt=records.MAX_BODY_BYTES)
    """Largest page, bytes; larger ones are dropped as `body_too_large`. The default is
    trafilatura's own limit. Less than 32 MiB.
    """

    def without_effect(self) -> dict[str, str]:
        """The settings of extractors and formats that are not chosen."""
        other = "include_tables" if self.extractor == "learned" else "threshold"
        found = {other: f"clean.extract.extractor = {self.extractor!r} does not use it"}
        if self.format == "text":
            found["links"] = "clean.extract.format = 'text' has no links"
        return found


class Extracted(NamedTuple):
    """Main text of a page, the number of words shown, its blocks, and the text as Markdown if
    wanted.
    """

    text: str
    visible_words: int
    blocks: PageBlocks
    markdown: str | None = None


def extractor(config: ExtractConfig) -> ExtractFunction:
    """The configured extractor, ready to work: models are read and loops compiled.

    The function carries no state from page to page. Errors of libraries pass through:
    `clean.sandbox` judges them.
    """
    if config.extractor == "learned":
        return extraction.extractor(extraction.Use(config.threshold))

    return _trafilatura(config)


def page_extractor(config: ExtractConfig) -> Callable[[str], Extracted]:
    """As `extractor`, with the words shown by the page.

    If a page shows next to nothing, the text comes from the data for its scripts.
    """
    learned = _page_function(config)

    def extract(html: str) -> Extracted:
        found = learned(html)
        text, visible = found.text, found.visible_words
        if visible <= embedded.MAX_SHOWN_WORDS and len(text.split()) <= embedded.MAX_SHOWN_WORDS:
            data = embedded.embedded_text(html)
            if len(data) > 2 * len(text):
                return Extracted(data, max(visible, len(data.split())), found.blocks)
        return found

    return extract


def _page_function(config: ExtractConfig) -> Callable[[str], Extracted]:
    markdown = config.format == "markdown"
    if config.extractor == "learned":
        use = extraction.Use(config.threshold)
        ours = extraction.page_extractor(use, markdown=markdown, links=config.links)
        return lambda html: Extracted(*ours(html))

    library = _trafilatura(config)
    formatted = _trafilatura(config, "markdown") if markdown else None

    def extract(html: str) -> Extracted:
        page = blocks(html.encode("utf-8", "replace"))
        visible = extraction.visible_words(page)
        return Extracted(library(html), visible, page, formatted(html) if formatted else None)

    return extract


def _trafilatura(config: ExtractConfig, output: str = "txt") -> ExtractFunction:
    import trafilatura  # half a second and 60 MB that the other extractor does without
    import trafilatura.meta

    watch = _MemoryWatch(logging.ERROR)
    logger = logging.getLogger(
        "trafilatura"
    )  # it logs every odd page as an error, and has no handler of its own
    logger.handlers, logger.propagate = [watch], False
    fast = config.extractor == "trafilatura-fast"
    pages = 0

    def extract(html: str) -> str:
        nonlocal pages
        pages += 1
        if pages % RESET_PAGES == 0:
            trafilatura.meta.reset_caches()
        watch.exhausted = False
        text = trafilatura.extract(
            html,
            fast=fast,
            include_comments=False,
            include_tables=config.include_tables,
            deduplicate=False,
            output_format=output,
            include_formatting=output == "markdown",
            include_links=output == "markdown" and config.links,
        )
        if watch.exhausted:
            raise MemoryError

        return text or ""

    return extract


class _MemoryWatch(logging.Handler):
    """Notices when the library's parser runs out of memory.

    The library logs it and continues as with an empty page. lxml reports it as a MemoryError, or
    as a syntax error without a message.
    """

    exhausted = False

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        if any(
            isinstance(each, MemoryError) or str(each).startswith("unknown error")
            for each in arguments
        ):
            self.exhausted = True
