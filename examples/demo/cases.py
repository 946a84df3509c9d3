"""What is planted in the demo's web, and what must become of each planted page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Case(StrEnum):
    """A kind of planted page."""

    ORDINARY = "ordinary page"
    EXACT_COPY = "exact copy"
    NEAR_COPY = "near copy, Jaccard >= .85"
    NEAR_MISS = "reworded page, Jaccard .5 to .6"
    ROBOTS_FORBIDDEN = "forbidden by robots.txt"
    ROBOTS_ALLOWED = "allowed exception in robots.txt"
    NOT_FOUND = "404"
    SERVER_ERROR = "500"
    REDIRECT_SAME_HOST = "redirect within the host"
    REDIRECT_OTHER_HOST = "redirect to another host"
    REDIRECT_CHAIN = "chain of redirects"
    REDIRECT_LOOP = "redirect loop"
    SLOW_HOST = "slow host"
    FOREIGN = "not English"
    IMAGE_LINK = "image, by extension"
    IMAGE_BODY = "image, by content type"
    WIKIPEDIA = "Wikipedia article's address"
    PASSAGE_VERBATIM = "test passage, verbatim"
    PASSAGE_REWRITTEN = "test passage, other punctuation and case"
    PASSAGE_EMBEDDED = "test passage inside a longer page"
    TOO_SHORT = "too short"
    WRONG_CHARSET = "wrong charset in the header"
    SAME_PATH = "same path, another query"


class Fate(StrEnum):
    """Where a page's way ends."""

    FETCHED = "fetched"
    """It is fetched and accounted for; most such pages are kept, some resemble another one by nature."""
    KEPT = "kept"
    """A document that dedup keeps and that has tokens."""
    NOT_LINKED = "not linked"
    """No row in `links`."""
    NO_DOCUMENT = "no document"
    """No row in `documents`, whichever stage sees to it."""
    NOT_FETCHED = "not fetched"
    """A row in `pages` with a reason."""
    NOT_EXTRACTED = "not extracted"
    """A row in `documents_dropped`."""
    DUPLICATE = "duplicate"
    """A verdict that names the page it duplicates."""
    TEST_OVERLAP = "test overlap"
    """A verdict that names the test set, and drops the page or cuts the passage."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must become of the page at `url`."""

    url: str
    """Address without tracking, as posted first: plain http, no fragment."""
    case: Case
    fate: Fate
    final_url: str | None = None
    """Where the redirects end."""
    status: int | None = None
    """Status that `pages` must show."""
    reasons: tuple[str, ...] = ()
    """Reasons of which the row must show one; empty: any reason."""
    survivor: str | None = None
    """Address of the page that a duplicate must name."""
    phrase: str | None = None
    """Words that the document's text must contain."""


def scaled(full: int, num_pages: int, least: int = 1) -> int:
    """How many pages of a case to plant among `num_pages`: `full` at 3,300 pages, in proportion below and above."""
    return max(least, round(full * num_pages / 3_300))
