"""Cases planted in the demo's web, and the expected disposition of each page."""

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
    SOFT_FAILURE = "answer that is not a page"
    REVIVED = "dead link with a capture"
    WRONG_CHARSET = "wrong charset in the header"
    SAME_PATH = "same path, another query"


class Destination(StrEnum):
    """The table or reason in which a page ends."""

    FETCHED = "fetched"
    """Fetched and accounted for. Most such pages are kept; some resemble another page."""
    KEPT = "kept"
    """A document kept by dedup, with tokens."""
    NOT_LINKED = "not linked"
    """No row in `links`."""
    NO_DOCUMENT = "no document"
    """No row in `documents`, whichever stage sees to it."""
    NOT_FETCHED = "not fetched"
    """A row in `pages` with a reason."""
    NOT_EXTRACTED = "not extracted"
    """A row in `documents_dropped`."""
    DUPLICATE = "duplicate"
    """A verdict with the page it duplicates."""
    TEST_OVERLAP = "test overlap"
    """A verdict with the test set; the page is dropped or the passage cut."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected disposition of the page at `url`."""

    url: str
    """Address without tracking, as posted first: plain http, no fragment."""
    case: Case
    destination: Destination
    final_url: str | None = None
    """The address at which the redirects end."""
    status: int | None = None
    """The status expected in `pages`."""
    reasons: tuple[str, ...] = ()
    """Accepted reasons of the row; empty: any reason."""
    survivor: str | None = None
    """Address of the page that a duplicate must name."""
    phrase: str | None = None
    """Words expected in the document's text."""


def scaled(full: int, num_pages: int, least: int = 1) -> int:
    """The number of pages of a case among `num_pages`: `full` at 3,300, else in proportion."""
    return max(least, round(full * num_pages / 3_300))
