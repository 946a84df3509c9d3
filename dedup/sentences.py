"""Ends of sentences and paragraphs near a place of a text, where cuts are made rather than within."""

from __future__ import annotations

import re

# Characters by which a cut is widened to end with a sentence.
NEAR_CHARS = 60

END = re.compile(
    r"[.!?\u2026][\"'\u201d\u2019)\]]*(?=\s|$)"
    r"|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019\uff09]*"
    r"|\n[ \t\r]*\n"
)


def begin_before(text: str, at: int) -> int:
    """The end of the last sentence before `at`, if one is near; else `at`."""
    if at <= NEAR_CHARS and not END.search(text, 0, at):
        return 0
    # Signs that close a sentence reach over the edge of what is looked at.
    lowest = max(0, at - NEAR_CHARS)
    found = [end.end() for end in END.finditer(text, lowest, at + 1) if end.end() <= at]
    return found[-1] if found else at


def end_after(text: str, at: int) -> int:
    """The end of the sentence that goes on at `at`, if it is near; else `at`."""
    before = END.search(text, max(0, at - 1), min(len(text), at + 1))
    if before is not None and before.end() == at:
        return at
    for end in END.finditer(text, at, min(len(text), at + NEAR_CHARS + 1)):
        if end.end() <= at + NEAR_CHARS:
            return end.end()
    return len(text) if len(text) - at <= NEAR_CHARS else at
