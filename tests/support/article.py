"""An article with a known text around a piece of markup."""

from __future__ import annotations

from clean.extract import ExtractConfig, extractor

FIRST = (
    "The river rises in the hills to the north of the town and runs for some forty miles before it "
    "meets the sea. For most of that way it is slow and brown, and the people who live beside it "
    "have learned to keep their boats above the second step."
)
LAST = (
    "In the spring of the year the water comes up over the lower meadows, and the cattle are moved "
    "to the high ground. Nobody has ever thought of building a wall, because the flood is what "
    "makes the grass grow so well in the summer that follows."
)


def middle(content: str) -> str:
    """The text that `content` gives between two paragraphs of an article."""
    page = (
        "<!doctype html><title>A river town</title><body><nav><a href=/>Home</a></nav><main>"
        f"<article><h1>A river town</h1><p>{FIRST}</p>{content}<p>{LAST}</p></article></main>"
    )
    text = extractor(ExtractConfig())(page)
    assert text.count(FIRST) == text.count(LAST) == 1
    return text.split(FIRST)[1].split(LAST)[0].strip("\n")
