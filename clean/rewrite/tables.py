"""Elements that are tables by their role only, as `table` elements."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from clean.rewrite.elements import replace_elements
from clean.rewrite.signs import TABLES

_ROLE = r"<(div|span|p|section|ul|li)\s[^<>]{0,1000}?role\s*=\s*[\"']?"
_CELL = re.compile(_ROLE + r"(?:cell|gridcell|columnheader|rowheader)(?![\w-])[^<>]*>", re.I)
_ROW = re.compile(_ROLE + r"row(?![\w-])[^<>]*>", re.I)
_TABLE = re.compile(_ROLE + r"(?:table|grid|treegrid)(?![\w-])[^<>]*>", re.I)
_PARTS: Final = ((_CELL, "td"), (_ROW, "tr"), (_TABLE, "table"))


def with_tables(html: str, signs: frozenset[str]) -> str:
    """`html` with the elements that browsers read out as tables, rows and cells as such."""
    if signs.isdisjoint(TABLES) or not (_TABLE.search(html) and _CELL.search(html)):
        return html

    for pattern, name in _PARTS:
        html = replace_elements(html, pattern, partial(_renamed, name))
    return html


def _renamed(name: str, tag: re.Match[str], content: str) -> str:
    return f"<{name}>{content}</{name}>"
