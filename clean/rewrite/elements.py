"""Whole elements of a page as text: found by their start tag, ended where their tags balance."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

_TAGS = re.compile(r"<[^<>]{0,4096}>")


@cache
def _tags_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"<(/?){re.escape(name)}(?=[\s/>])[^<>]*>", re.I)


def end_of_element(html: str, start: int, name: str) -> tuple[int, int] | None:
    """(end of the content, end of the end tag) of the element with its start tag at `start`."""
    depth = 0
    for tag in _tags_of(name).finditer(html, start):
        depth += -1 if tag[1] else 1
        if depth <= 0:
            return tag.start(), tag.end()
    return None


def replace_elements(
    html: str,
    start_tag: re.Pattern[str],
    replacement: Callable[[re.Match[str], str], str | None],
) -> str:
    """`html` with each element replaced if its start tag matches; group 1 is the tag's name.

    `replacement` gets the match and the content, and returns None to leave the element as it is.
    The content of a replaced element is not searched again.
    """
    pieces: list[str] = []
    done = position = 0
    while found := start_tag.search(html, position):
        end = end_of_element(html, found.start(), found[1])
        if end is None:
            # Without this, a page of a million open tags would be read a million times.
            break
        new = replacement(found, html[found.end() : end[0]])
        if new is None:
            position = found.end()
            continue
        pieces += html[done : found.start()], new
        done = position = end[1]

    return "".join((*pieces, html[done:])) if pieces else html


def without_tags(html: str) -> str:
    """The text of a piece of markup, references as written."""
    return _TAGS.sub("", html)


def attribute(tag: str, name: str) -> str | None:
    """The value of an attribute of a start tag, references as written."""
    found = re.search(
        rf"\s{re.escape(name)}\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", tag, re.I
    )
    return None if found is None else found[1] or found[2] or found[3] or ""
