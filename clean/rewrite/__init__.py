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
from clean.rewrite.signs import MADE_PRE, Signs
from clean.rewrite.signs import signs as markup_signs
from clean.rewrite.tables import with_tables

_PLACE = re.compile(r"<!--(\d{1,9})-->")
_ESCAPED_PLACE = re.compile(r"&lt;!--(\d{1,9})--&gt;")


def rewritten(html: str) -> str:
    """`html` with one representation for each formula, code as lines, and all text that shows."""
    new = _rewritten(markup_signs(html))
    return html if new is None else new


def rewritten_bytes(html: str) -> bytes:
    """As `rewritten`, in UTF-8. Most pages are left as they are and encoded once."""
    signs = markup_signs(html)
    new = _rewritten(signs)
    return signs.data if new is None else new.encode("utf-8", "replace")


def _rewritten(signs: Signs) -> str | None:
    """The page with all rewritings, or None if they change nothing."""
    if not signs.found:
        return None

    shown, hidden = _put_aside(signs)
    found = signs.found
    new = with_shown_elements(shown, found)
    if new is not shown:
        found |= {MADE_PRE}
    for rewrite in (with_tex, with_plain_code, with_tables, with_whole_sentences):
        new = rewrite(new, found)
    if new is shown or new == shown:
        return None

    new = _PLACE.sub(lambda place: hidden[int(place[1])], new)
    if "&lt;!--" in new:
        new = _ESCAPED_PLACE.sub(lambda place: _quoted(place, hidden), new)

    return new


def _put_aside(signs: Signs) -> tuple[str, list[str]]:
    """(page with numbered comments in place of scripts, styles and comments, their markup)."""
    data = signs.data
    pieces: list[str] = []
    hidden: list[str] = []
    done = 0

    for start, end in signs.aside.tolist():
        pieces += data[done:start].decode(), f"<!--{len(hidden)}-->"
        hidden.append(data[start:end].decode())
        done = end

    return "".join((*pieces, data[done:].decode())), hidden


def _quoted(place: re.Match[str], hidden: list[str]) -> str:
    """The original as text; a page may quote such a comment itself."""
    number = int(place[1])
    return escape(hidden[number], quote=False) if number < len(hidden) else place[0]
