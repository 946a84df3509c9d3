"""Kept blocks as plain text.

Paragraphs and headings are separated by an empty line. List items and rows of data are lines of
their own: items begin with a hyphen or their number and are indented by their level, cells are
separated by tabs, with an empty field for an empty cell. Preformatted text keeps its lines.
"""

from __future__ import annotations

import re
from functools import cached_property
from html import unescape
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.layout import (
    ELEMENT,
    END,
    IN_HEADING,
    ITEM,
    PRE,
    ROW,
    START,
    TAG_LI,
    TAG_OF,
    TAG_OL,
    TAG_P,
    TAG_UL,
)
from clean.learned.markup import TAG
from clean.learned.tables import Row, data_rows

# Links that sites put behind headings and notes: to themselves, to an editor, back to the text.
_MARKS = re.compile(
    r"(?:\s*\u00b6|\s+[#\u00a7\U0001f517]|\s*\[\s*(?:edit|edit source)\s*\]|\s*\u21a9\ufe0e?)+$"
)
# The last characters of those.
_MARK_ENDS: Final = frozenset("\u00b6#\u00a7\U0001f517]\u21a9\ufe0e")
_SENTENCE_END = re.compile("[.!?:\u2026\u3002][\"')\u201d\u2019\\]]*$")
_TAG = re.compile(r"<[^<>]*>?")
_ATTRIBUTE = re.compile(
    rb"\s(start|type|value)\s*=\s*[\"']?\s*([\w-]{1,9})"
    rb"|(list-style-type)\s*:\s*([\w-]{1,20})|\s(reversed)(?=[\s=>/]|$)()",
    re.I,
)
_LISTS: Final = (TAG_UL, TAG_OL, TAG["menu"], TAG["dir"])
_ROMAN: Final = (*((50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),)
MAX_ROMAN: Final = 90
# Deeper lists are indented no further.
MAX_LEVEL = 8


def render(page: PageBlocks, keep: np.ndarray, rows: dict[int, Row] | None = None) -> str:
    """The text of the kept blocks."""
    return Renderer(page, data_rows(page) if rows is None else rows).text(keep)


class Renderer:
    """Texts of blocks with their lists and rows."""

    def __init__(self, page: PageBlocks, rows: dict[int, Row]) -> None:
        self._page = page
        self._rows = rows
        self._content = page.text.tobytes()

    def text(self, keep: np.ndarray) -> str:
        pieces: list[str] = []
        previous: list[int] | None = None
        kept = np.flatnonzero(keep)
        for block, place in zip(kept.tolist(), self._page.place[kept].tolist(), strict=True):
            row = self._rows.get(place[ROW])
            if row is not None and previous is not None and previous[ROW] == place[ROW]:
                continue  # the whole row was written with its first block

            if previous is not None:
                pieces.append(self._between(previous, place))
            if row is not None:
                pieces.append(self._whole_row(row, place, previous, keep))
            else:
                pieces.append(self._whole_block(block, place, previous))
            previous = place

        return "".join(pieces)

    def _between(self, previous: list[int], place: list[int]) -> str:
        """The end of one block and the beginning of the next."""
        if place[ROW] in self._rows and previous[ROW] in self._rows:
            return "\n"
        same_list = place[ITEM] and previous[ITEM] and not place[IN_HEADING]
        return "\n" if same_list and not self._is_next_paragraph(previous, place) else "\n\n"

    def _is_next_paragraph(self, previous: list[int], place: list[int]) -> bool:
        """True for a further paragraph of a list item: sentences, and no line of a label."""
        if place[ITEM] != previous[ITEM] or place[PRE] or previous[PRE]:
            return False
        if not all(_SENTENCE_END.search(self._block(own)) for own in (previous, place)):
            return False
        return TAG_P in (place[TAG_OF], previous[TAG_OF]) or place[ELEMENT] == previous[ELEMENT]

    def _whole_row(
        self, row: Row, place: list[int], previous: list[int] | None, keep: np.ndarray
    ) -> str:
        return self._row(row, keep)

    def _whole_block(self, block: int, place: list[int], previous: list[int] | None) -> str:
        return self._marker(previous, place) + self._block(place)

    def _block(self, place: list[int]) -> str:
        text = self._content[place[START] : place[END]].decode("utf-8", "replace")
        text = unescape(text) if "&" in text else text
        if place[PRE]:
            return text.strip("\n\r").rstrip()
        text = text.strip("\n\r ")
        # The search tries each place of a text: .4 ms a page.
        return _MARKS.sub("", text) if text[-1:] in _MARK_ENDS else text

    def _row(self, row: Row, keep: np.ndarray) -> str:
        """The fields of a row. A cell without words has its signs, or nothing."""
        fields = []
        for cell in row.fields:
            blocks = [block for block in row.blocks_of.get(cell, ()) if keep[block]]
            texts = [" ".join(self._block(self._page.place[b].tolist()).split()) for b in blocks]
            fields.append(" ".join(texts) or self._signs.get(cell, ""))
        return "\t".join(fields)

    @cached_property
    def _signs(self) -> dict[int, str]:
        """Text of cells without a word, such as a dash."""
        found: dict[int, str] = {}
        for cell, start, end in self._page.wordless.tolist():
            text = self._page.source[start:end].decode("utf-8", "replace")
            found[cell] = f"{found.get(cell, '')} {' '.join(unescape(_TAG.sub('', text)).split())}"
        return {cell: text.strip() for cell, text in found.items()}

    def _marker(self, previous: list[int] | None, place: list[int]) -> str:
        """The indentation and sign of a list item beginning here."""
        item = place[ITEM]
        if not item or place[IN_HEADING] or (previous is not None and previous[ITEM] == item):
            return ""

        parents, tags = self._page.parents, self._page.element_tags
        level = 0
        above = int(parents[item - 1])
        while above >= 0 and level <= MAX_LEVEL:
            level += tags[above] in _LISTS
            above = int(parents[above])
        level = max(0, level - 1)

        number = self._numbers.get(item - 1)
        return "  " * level + (f"{number}. " if number else "- ")

    @cached_property
    def _numbers(self) -> dict[int, str]:
        """The number of each item of an ordered list, as a browser shows it."""
        parents, tags = self._page.parents, self._page.element_tags
        next_of: dict[int, int] = {}
        steps: dict[int, int] = {}
        styles: dict[int, bytes] = {}
        numbers: dict[int, str] = {}
        items = np.flatnonzero(tags == TAG_LI)

        for item in items.tolist():
            parent = int(parents[item])
            if parent < 0 or tags[parent] != TAG_OL:
                continue
            if parent not in next_of:
                own = self._attributes(parent)
                steps[parent] = -1 if b"reversed" in own else 1
                last = int((parents[items] == parent).sum()) if b"reversed" in own else 1
                next_of[parent] = _integer(own.get(b"start"), last)
                styles[parent] = own.get(b"list-style-type", own.get(b"type", b""))
            number = _integer(self._attributes(item).get(b"value"), next_of[parent])
            next_of[parent] = number + steps[parent]
            numbers[item] = _numeral(number, styles[parent])

        return numbers

    def _attributes(self, element: int) -> dict[bytes, bytes]:
        """`start`, `type` and `value` of an element's start tag."""
        start = int(self._page.element_starts[element])
        end = self._page.source.find(b">", start, start + 1000)
        return {
            (found[1] or found[3] or found[5]).lower(): found[2] or found[4] or b""
            for found in _ATTRIBUTE.finditer(self._page.source[start:end])
        }


def _numeral(number: int, style: bytes) -> str:
    """A number as a list of this `type` or `list-style-type` shows it."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    if style in (b"a", b"A", b"lower-alpha", b"upper-alpha", b"lower-latin", b"upper-latin"):
        shown = letters[number - 1] if 1 <= number <= len(letters) else str(number)
    elif style in (b"i", b"I", b"lower-roman", b"upper-roman") and 1 <= number < MAX_ROMAN:
        shown = ""
        for value, sign in _ROMAN:
            shown += sign * (number // value)
            number %= value
    else:
        return str(number)
    return shown.upper() if style in (b"A", b"I") or style.startswith(b"upper") else shown


def _integer(value: bytes | None, default: int) -> int:
    try:
        return int(value) if value else default
    except ValueError:
        return default
