"""The parts of a page read by its judge: title, headings, opening words, and counts of the rest.

Pages of any length cost the same: phrases are searched in the title, the headings and the first
`MAX_WORDS` words, and the rest is counted by block, as the extractor cut it.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.layout import (
    END,
    ENDS,
    FIELDS,
    HIDDEN,
    HIDDEN_BY_STYLE,
    IMAGES,
    IN_HEADING,
    LINK_WORDS,
    OFF_SCREEN,
    START,
    WORDS,
)
from clean.learned.layout import LINKS as LINK_COUNT
from clean.soft_failures.evidence import HEADING, LINKS, OPENING, REST, TITLE
from clean.soft_failures.words import compiled, normal

# Words searched for phrases, and those of them opening the page.
MAX_WORDS: Final = 400
OPENING_WORDS: Final = 60
MAX_LINES: Final = 120
MAX_TITLE_CHARS: Final = 300
MAX_LINE_BYTES: Final = 4000
# A script without spaces has long words.
MAX_TEXT_BYTES: Final = 8000
# A block of prose: so many words, a full stop, and few links.
PROSE_WORDS: Final = 15
HEAD_CHARS: Final = 20_000
NOTICE_CHARS: Final = 200_000
# Visible words below which the notice for browsers without scripts is read.
EMPTY_WORDS: Final = 60

_NOSCRIPT: Final = re.compile(r"<noscript[^<>]{0,200}>(.{0,2000}?)</noscript", re.I | re.S)
_REFRESH: Final = re.compile(r"http-equiv\s*=\s*[\"']?refresh")
_SCRIPT_MOVE: Final = re.compile(
    r"(?:location(?:\.href)?\s*=(?!=)|location\.(?:replace|assign)\s*\()"
)
_FRAME: Final = re.compile(r"<i?frame[\s>]")
# The ends of an attribute's value asking for a password, around "assword" in small letters.
_PASSWORD: Final = frozenset((('"p', '"'), ("'p", "'")))

COUNT_NAMES: Final = (
    "words",
    "plain_words",
    "prose_words",
    "prose_blocks",
    "longest_block",
    "link_words",
    "links",
    "fields",
    "images",
    "headings",
    "blocks",
    "bytes",
    "main_words",
)
FLAG_NAMES: Final = (
    "password",
    "refresh",
    "script_move",
    "noindex",
    "article",
    "dated",
    "described",
    "titled",
    "frames",
    "empty",
    "nearly_empty",
    "short",
)
(
    NUM_WORDS,
    PLAIN,
    PROSE,
    PROSE_BLOCKS,
    LONGEST,
    IN_LINKS,
    NUM_LINKS,
    NUM_FIELDS,
    NUM_IMAGES,
    NUM_HEADINGS,
    NUM_BLOCKS,
    NUM_BYTES,
    MAIN,
) = range(len(COUNT_NAMES))
PASSWORD, REFRESH, SCRIPT_MOVE, FRAMES = (
    FLAG_NAMES.index(name) for name in ("password", "refresh", "script_move", "frames")
)


class Sheet(NamedTuple):
    """A page as its judge reads it."""

    text: bytes  # normal text, a line a block
    zones: np.ndarray  # (lines,) int8, see evidence
    counts: np.ndarray  # (len(COUNT_NAMES),) float64
    flags: np.ndarray  # (len(FLAG_NAMES),) bool


def title_sheet(title: str | None, main_words: int) -> Sheet:
    """The sheet of a long page: of its words only the title counts."""
    counts = np.zeros(len(COUNT_NAMES))
    counts[[NUM_WORDS, PROSE, MAIN]] = main_words
    text = normal(_one_line((title or "")[:MAX_TITLE_CHARS]))
    return Sheet(text, np.array([TITLE], np.int8), counts, np.zeros(len(FLAG_NAMES), bool))


def sheet(
    page: PageBlocks, html: str, title: str | None, marks: dict[str, str], main_words: int
) -> Sheet:
    """The sheet of a page cut into blocks. `marks` are its `<meta>` elements."""
    shown = np.empty(page.counts.shape[0], np.bool_)
    linked = np.empty(page.counts.shape[0], np.bool_)
    counts = np.zeros(len(COUNT_NAMES))
    tally(page.counts, page.place, shown, linked, counts)
    counts[NUM_BYTES], counts[MAIN] = page.num_bytes, main_words
    num_words = int(counts[NUM_WORDS])

    lines, zones = _lines(page, shown, linked, title)
    if num_words < EMPTY_WORDS:
        for notice in _NOSCRIPT.findall(html[:NOTICE_CHARS])[:3]:
            lines.append(_one_line(notice).encode("utf-8", "replace"))
            zones.append(OPENING)

    return Sheet(
        normal(b"\n".join(lines).decode("utf-8", "replace")),
        np.array(zones, np.int8),
        counts,
        _flags(html, title, marks, num_words),
    )


@compiled
def tally(counts: Any, place: Any, shown: Any, linked: Any, out: Any) -> Any:
    """Fills the counts of all blocks, and marks the blocks that are shown or are mostly links."""
    for block in range(counts.shape[0]):
        words = counts[block, WORDS]
        link_words = counts[block, LINK_WORDS]
        state = place[block, HIDDEN]
        shown[block] = state != HIDDEN_BY_STYLE and state != OFF_SCREEN
        linked[block] = 2 * link_words > words
        out[NUM_LINKS] += counts[block, LINK_COUNT]
        out[NUM_FIELDS] += counts[block, FIELDS]
        out[NUM_IMAGES] += counts[block, IMAGES]
        out[NUM_HEADINGS] += place[block, IN_HEADING] > 0
        if not shown[block]:
            continue

        out[NUM_BLOCKS] += 1
        out[NUM_WORDS] += words
        out[IN_LINKS] += link_words
        out[LONGEST] = max(out[LONGEST], words)
        if not linked[block]:
            out[PLAIN] += words
        if words >= PROSE_WORDS and 4 * link_words < words and counts[block, ENDS] > 0:
            out[PROSE] += words
            out[PROSE_BLOCKS] += 1


def _lines(
    page: PageBlocks, shown: np.ndarray, linked: np.ndarray, title: str | None
) -> tuple[list[bytes], list[int]]:
    """The lines of a sheet and their zones: the title, then the first blocks."""
    lines = [_one_line((title or "")[:MAX_TITLE_CHARS]).encode("utf-8", "replace")]
    zones = [TITLE]
    budget, opening, left = MAX_WORDS, OPENING_WORDS, MAX_TEXT_BYTES
    first = np.flatnonzero(shown & (page.counts[:, WORDS] > 0))[:MAX_LINES]
    places = page.place[first][:, [START, END, IN_HEADING]].tolist()
    sizes = page.counts[first, WORDS].tolist()

    text = page.text.tobytes()
    for (start, end, heading), words, link in zip(
        places, sizes, linked[first].tolist(), strict=True
    ):
        raw = text[start : min(end, start + min(left, MAX_LINE_BYTES))]
        # White space is collapsed already, but for the lines of preformatted text.
        lines.append(raw.replace(b"\n", b" "))
        budget -= words
        left -= len(raw)
        if heading:
            zones.append(HEADING)
        elif link:
            zones.append(LINKS)
        else:
            zones.append(OPENING if opening > 0 else REST)
            opening -= words
        if budget <= 0 or left <= 0:
            break

    return lines, zones


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _flags(html: str, title: str | None, marks: dict[str, str], num_words: int) -> np.ndarray:
    head = html[:HEAD_CHARS].lower()
    few = num_words < EMPTY_WORDS
    return np.array(
        (
            _asks_password(html),
            "refresh" in head and _REFRESH.search(head) is not None,
            few and "location" in head and _SCRIPT_MOVE.search(head) is not None,
            "noindex" in marks.get("robots", "").lower(),
            "article" in marks.get("og:type", "").lower() or "article:published_time" in marks,
            "datePublished" in html or "<time" in html,
            "description" in marks or "og:description" in marks,
            bool(title),
            few and "frame" in head and _FRAME.search(head) is not None,
            num_words < 10,
            num_words < 30,
            num_words < 120,
        ),
        bool,
    )


def _asks_password(html: str) -> bool:
    """True if a value of some attribute is `password`, in small or in capital letters.

    Two searches for a string: pages may be megabytes.
    """
    for word in ("assword", "ASSWORD"):
        at = html.find(word)
        while at >= 0:
            end = at + len(word)
            before = html[max(0, at - 2) : at].lower()
            if before == "=p" or (before, html[end : end + 1]) in _PASSWORD:
                return True
            at = html.find(word, end)

    return False
