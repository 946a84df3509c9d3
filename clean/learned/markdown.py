"""Kept blocks as Markdown: headings, lists, tables, quotations, code and emphasis.

The blocks are those of the plain text (`clean.learned.render`), with the page's headline. Tables
are those of GitHub Flavored Markdown: their first row is the header. Code is fenced, with its
language if the page names it. Line ends within a block stay line ends.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.inline import escaped, inline
from clean.learned.layout import (
    ELEMENT,
    IN_HEADING,
    ITEM,
    PRE,
    ROW,
    TAG_LI,
)
from clean.learned.markup import TAG
from clean.learned.render import Renderer
from clean.learned.tables import Row, data_rows, table_of

_QUOTE: Final = TAG["blockquote"]
_CODE: Final = TAG["code"]
_H1: Final = TAG["h1"]
_H6: Final = TAG["h6"]
_NAMED_LANGUAGE = re.compile(
    rb"(?:(?<![\w-])(?:language|lang|highlight-source|highlight|sourceCode|brush)[-:]\s*"
    rb"|data-lang(?:uage)?\s*=\s*[\"']?)([A-Za-z][\w+#.-]{0,20})",
)
# Words behind such a prefix without naming a language.
_NO_LANGUAGE: Final = frozenset(
    {"none", "text", "plain", "plaintext", "default", "nohighlight", "wrap", "code", "box", "block"}
)
# Elements around code searched for its language.
_LANGUAGE_LEVELS: Final = 4
_BACKTICKS = re.compile("`{3,}")


def render_markdown(
    page: PageBlocks, keep: np.ndarray, rows: dict[int, Row] | None = None, *, links: bool = False
) -> str:
    """The kept blocks as Markdown. With `links`, addresses as they are in the page."""
    return _Markdown(page, data_rows(page) if rows is None else rows, links).text(keep)


class _Markdown(Renderer):
    """Writes each block with its prefix: quotation marks, indentation and the sign of its item."""

    def __init__(self, page: PageBlocks, rows: dict[int, Row], links: bool) -> None:
        super().__init__(page, rows)
        self._links = links

    def _between(self, previous: list[int], place: list[int]) -> str:
        """The end of one block and the beginning of the next."""
        quoted = min(self._quotes(previous), self._quotes(place))
        in_table = place[ROW] in self._rows and previous[ROW] in self._rows
        if in_table and self._table(place) == self._table(previous):
            return "\n"

        new_item = place[ITEM] and previous[ITEM] and place[ITEM] != previous[ITEM]
        if new_item and not place[IN_HEADING] and not place[PRE] and not previous[PRE]:
            return "\n"
        return f"\n{'> ' * quoted}".rstrip(" ") + "\n"

    def _whole_block(self, block: int, place: list[int], previous: list[int] | None) -> str:
        content = self._content_of(block, place)
        marker = self._item_marker(place[ITEM] - 1) if place[ITEM] else ""
        starts_item = place[ITEM] and (previous is None or previous[ITEM] != place[ITEM])
        if place[IN_HEADING] and not starts_item:
            marker = ""

        indent = self._indentation(place[ITEM] - 1) if place[ITEM] else ""
        quote = "> " * self._quotes(place)
        first = indent + (marker if starts_item else " " * len(marker))
        rest = indent + " " * len(marker)
        lines = content.split("\n")

        return "\n".join(
            f"{quote}{first if number == 0 else rest}{line}".rstrip(" ")
            for number, line in enumerate(lines)
        )

    def _content_of(self, block: int, place: list[int]) -> str:
        plain = self._block(place)
        if place[PRE]:
            longest = max(map(len, _BACKTICKS.findall(plain)), default=2)
            fence = "`" * (longest + 1)
            return f"{fence}{self._language(place)}\n{plain}\n{fence}"
        if place[IN_HEADING]:
            return f"{'#' * self._heading_level(place)} {escaped(' '.join(plain.split()))}"

        return inline(self._page, block, plain, links=self._links)

    def _heading_level(self, place: list[int]) -> int:
        element = place[ELEMENT]
        while element >= 0:
            tag = int(self._page.element_tags[element])
            if _H1 <= tag <= _H6:
                return tag - _H1 + 1
            element = int(self._page.parents[element])
        return _H6 - _H1 + 1

    def _language(self, place: list[int]) -> str:
        """The language named by an element around the code, or by the first one in it."""
        element = place[ELEMENT]
        tags: list[bytes] = []
        inner = element + 1
        if inner < self._page.parents.size and self._page.parents[inner] == element:
            tags.append(self._start_tag(inner))
        while element >= 0 and len(tags) < _LANGUAGE_LEVELS:
            tags.append(self._start_tag(element))
            element = int(self._page.parents[element])

        for tag in tags:
            for found in _NAMED_LANGUAGE.finditer(tag):
                name = found[1].decode("ascii").lower().rstrip(".-")
                if name not in _NO_LANGUAGE:
                    return name

        return ""

    def _start_tag(self, element: int) -> bytes:
        start = int(self._page.element_starts[element])
        return self._page.source[start : self._page.source.find(b">", start, start + 2000)]

    def _quotes(self, place: list[int]) -> int:
        """Quotations around a block."""
        return self._count(place[ELEMENT], _QUOTE)

    def _count(self, element: int, tag: int) -> int:
        number = 0
        while element >= 0:
            number += int(self._page.element_tags[element]) == tag
            element = int(self._page.parents[element])
        return number

    def _item_marker(self, item: int) -> str:
        number = self._numbers.get(item)
        return f"{number}. " if number else "- "

    def _indentation(self, item: int) -> str:
        """The width of the signs of the items around an item."""
        width = 0
        element = int(self._page.parents[item])
        while element >= 0:
            if self._page.element_tags[element] == TAG_LI:
                width += len(self._item_marker(element))
            element = int(self._page.parents[element])
        return " " * width

    def _table(self, place: list[int]) -> int:
        """The table of a row."""
        return table_of(self._page, place[ROW] - 1)

    def _whole_row(
        self, row: Row, place: list[int], previous: list[int] | None, keep: np.ndarray
    ) -> str:
        """A row of a table, and the line below the header if it is the first."""
        fields = self._fields(row, keep)
        table = self._table(place)
        width = max(len(fields), self._widths.get(table, 1))
        fields += [""] * (width - len(fields))
        line = f"| {' | '.join(fields)} |"
        is_first = (
            previous is None or previous[ROW] not in self._rows or self._table(previous) != table
        )
        return f"{line}\n|{' --- |' * width}" if is_first else line

    def _fields(self, row: Row, keep: np.ndarray) -> list[str]:
        fields = []
        for cell in row.fields:
            blocks = [block for block in row.blocks_of.get(cell, ()) if keep[block]]
            texts = []
            for block in blocks:
                place = self._page.place[block].tolist()
                content = inline(self._page, block, self._block(place), links=self._links)
                texts.append(" ".join(content.split()))
            fields.append((" ".join(texts) or self._signs.get(cell, "")).replace("|", "\\|"))

        return fields

    @cached_property
    def _widths(self) -> dict[int, int]:
        """The columns of each table."""
        widths: dict[int, int] = {}
        for number, row in self._rows.items():
            table = table_of(self._page, number - 1)
            widths[table] = max(widths.get(table, 0), len(row.fields))

        return widths
