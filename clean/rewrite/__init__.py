"""Rewrites markup with text elsewhere than its tags say, before blocks are cut.

Each rewriting takes a page and the pieces of markup found in it, in time linear in the page. Inserted text is
escaped like the replaced one. Scripts, styles and comments are put aside meanwhile, since they may
quote any markup.
"""

from __future__ import annotations

import re
from html import escape

from clean.rewrite.code import with_plain_code
from clean.rewrite.formulas import with_tex
from clean.rewrite.inline import with_whole_sentences
from clean.rewrite.shown import with_shown_elements
from clean.rewrite.signs import signs
from clean.rewrite.tables import with_tables

_HIDDEN = re.compile(r"<(script|style|!--)(?:(?<=--)|(?=[\s/>]))(?![^<>]*math/tex)", re.I)
_ENDS = {name: re.compile(rf"</{name}[^>]*>", re.I) for name in ("script", "style")}
_PLACE = re.compile(r"<!--(\d{1,9})-->")
_ESCAPED_PLACE = re.compile(r"&lt;!--(\d{1,9})--&gt;")


def rewritten(html: str) -> str:
    """`html` with one representation for each formula, code as lines, and all that browsers show."""
    found = signs(html)
    if not found:
        return html

    shown, hidden = _put_aside(html)
    new = shown
    for rewrite in (
        with_shown_elements,
        with_tex,
        with_plain_code,
        with_tables,
        with_whole_sentences,
    ):
        new = rewrite(new, found)
    if new is shown or new == shown:
        return html

    new = _PLACE.sub(lambda place: hidden[int(place[1])], new)
    if "&lt;!--" in new:
        new = _ESCAPED_PLACE.sub(lambda place: _quoted(place, hidden), new)

    return new


def _put_aside(html: str) -> tuple[str, list[str]]:
    """(page with numbered comments for scripts, styles and comments, what they stand for)."""
    pieces: list[str] = []
    hidden: list[str] = []
    done = 0

    while found := _HIDDEN.search(html, done):
        end = _end(html, found)
        pieces += html[done : found.start()], f"<!--{len(hidden)}-->"
        hidden.append(html[found.start() : end])
        done = end

    return "".join((*pieces, html[done:])), hidden


def _end(html: str, found: re.Match[str]) -> int:
    if found[1] == "!--":
        # The hyphens that begin a comment may end it.
        end = html.find("-->", found.start() + 2)
        return len(html) if end < 0 else end + 3
    tag = _ENDS[found[1].lower()].search(html, found.end())
    return tag.end() if tag else len(html)


def _quoted(place: re.Match[str], hidden: list[str]) -> str:
    """The original as text; a page may quote such a comment itself."""
    number = int(place[1])
    return escape(hidden[number], quote=False) if number < len(hidden) else place[0]
