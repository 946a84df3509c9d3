"""Rows of tables: those with data, and their cells.

A row of data is kept whole or not at all, since a missing cell moves the others into wrong
columns. The rows of a layout table are no such unit: their cells hold paragraphs.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import numpy as np

from clean.learned.blocks import PageBlocks
from clean.learned.layout import CELL, PRE, ROW, TAG_TABLE, TAG_TD, TAG_TH, WORDS

# A cell with more words is a column of a layout.
MAX_CELL_WORDS: Final = 150
# A table with this share of its words kept is kept whole.
WHOLE_TABLE_FRAC: Final = 0.8
# A cell of several paragraphs or items with more words is a column of a layout.
MAX_LISTED_WORDS: Final = 40
# Most columns and rows spanned by a cell.
MAX_SPAN: Final = 64
_SPAN = re.compile(rb"\s(col|row)span\s*=\s*[\"']?\s*(\d{1,4})", re.I)


class Row:
    """The cells of a row, as element numbers plus one, and the blocks in each.

    `fields` are the cells by column: 0 where another cell spans the column.
    """

    __slots__ = ("blocks_of", "cells", "fields", "most_words")

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.fields: list[int] = self.cells
        self.blocks_of: dict[int, list[int]] = {}
        self.most_words = 0

    def blocks(self) -> list[int]:
        """The blocks of all cells."""
        return [block for own in self.blocks_of.values() for block in own]

    def holds_data(self) -> bool:
        """True if at least two cells have text and none has more than one block."""
        return len(self.blocks_of) > 1 and self.is_plain()

    def is_plain(self) -> bool:
        """True if at least one cell has text and none has more than one block."""
        return 0 < self.most_words <= MAX_CELL_WORDS and all(
            len(blocks) == 1 for blocks in self.blocks_of.values()
        )


def data_rows(page: PageBlocks) -> dict[int, Row]:
    """Rows of data by their value of ROW."""
    if not page.place[:, ROW].any():
        return {}

    rows: dict[int, Row] = {}
    # Lists: single numbers of an array take three times as long.
    parents = page.parents.tolist()
    is_cell = (page.element_tags == TAG_TD) | (page.element_tags == TAG_TH)
    for element in np.flatnonzero(is_cell).tolist():
        rows.setdefault(parents[element] + 1, Row()).cells.append(element + 1)

    in_cells = np.flatnonzero(page.place[:, CELL])
    places = page.place[in_cells][:, [ROW, CELL]].tolist()
    sizes = page.counts[in_cells, WORDS].tolist()
    for block, (number, cell), words in zip(in_cells.tolist(), places, sizes, strict=True):
        row = rows.get(number)
        if row is not None:
            row.blocks_of.setdefault(cell, []).append(block)
            row.most_words = max(row.most_words, words)

    found = {number: row for number, row in rows.items() if row.holds_data()}
    if found:
        # A row of one field is data as well where others of its table are.
        tables = {parents[number - 1] for number in found}
        plain = Counter(parents[number - 1] for number, row in rows.items() if row.is_plain())
        others = Counter(parents[number - 1] for number, row in rows.items() if row.blocks_of)

        def mostly_data(number: int) -> bool:
            table = parents[number - 1]
            return 2 * plain[table] >= others[table]

        found |= {
            number: row
            for number, row in rows.items()
            if number not in found
            and parents[number - 1] in tables
            and (row.is_plain() or (mostly_data(number) and _is_listed(page, row)))
        }
        _set_fields(page, rows)

    return found


def _is_listed(page: PageBlocks, row: Row) -> bool:
    """True for a row with a few short paragraphs or items in a cell."""
    return len(row.blocks_of) > 1 and not any(
        page.counts[blocks, WORDS].sum() > MAX_LISTED_WORDS or page.place[blocks, PRE].any()
        for blocks in row.blocks_of.values()
    )


def _set_fields(page: PageBlocks, rows: dict[int, Row]) -> None:
    """Notes the columns of cells in tables where a cell spans others."""
    if b"span" not in page.source:
        return

    # By table: rows left of each column's span.
    spanned: dict[int, dict[int, int]] = {}
    for number, row in rows.items():
        columns = spanned.setdefault(table_of(page, number - 1), {})
        fields: list[int] = []
        for cell in row.cells:
            while columns.get(len(fields), 0):
                columns[len(fields)] -= 1
                fields.append(0)
            width, height = _spans(page, cell - 1)
            for column in range(len(fields), len(fields) + width):
                columns[column] = height - 1
            fields += [cell, *[0] * (width - 1)]

        for column in range(len(fields), max(columns, default=0) + 1):
            if columns.get(column, 0):
                columns[column] -= 1
                fields += [0] * (column + 1 - len(fields))
        if len(row.cells) > 1:
            row.fields = fields


def _spans(page: PageBlocks, cell: int) -> tuple[int, int]:
    """(columns, rows) spanned by a cell."""
    start = int(page.element_starts[cell])
    end = page.source.find(b">", start, start + 2000)
    # Most cells span nothing, and the pattern would be tried at each byte of their tags.
    if end < 0 or b"span" not in page.source[start:end].lower():
        return 1, 1
    spans = {name.lower(): int(value) for name, value in _SPAN.findall(page.source, start, end)}
    width, height = spans.get(b"col", 1), spans.get(b"row", 1)
    return min(max(width, 1), MAX_SPAN), min(max(height, 1), MAX_SPAN)


def without_layout_rows(page: PageBlocks, keep: np.ndarray, rows: dict[int, Row]) -> dict[int, Row]:
    """`rows` without those of which less than half of the words are kept, but some.

    Old boards print a post as a row: its author in one cell, and in the other a line or two.
    """
    return {
        number: row
        for number, row in rows.items()
        if not 0 < 2 * _num_kept(page, keep, row) < _num_words(page, row)
    }


def with_whole_tables(page: PageBlocks, keep: np.ndarray, rows: dict[int, Row]) -> np.ndarray:
    """`keep` with all rows of a table, its header among them, if nearly all of it was kept."""
    tables: dict[int, list[int]] = {}
    for number, row in rows.items():
        tables.setdefault(table_of(page, number - 1), []).extend(row.blocks())

    keep = keep.copy()
    for blocks in tables.values():
        words = page.counts[blocks, WORDS]
        if words[keep[blocks]].sum() >= WHOLE_TABLE_FRAC * words.sum():
            keep[blocks] = True

    return keep


def table_of(page: PageBlocks, element: int) -> int:
    """The table around an element; -1 for none."""
    return around(page, element, TAG_TABLE)


def around(page: PageBlocks, element: int, tag: int) -> int:
    """The element itself or the nearest one around it with a tag; -1 for none."""
    while element >= 0 and page.element_tags[element] != tag:
        element = int(page.parents[element])
    return element


def with_whole_rows(page: PageBlocks, keep: np.ndarray, rows: dict[int, Row]) -> np.ndarray:
    """`keep` with each row of data whole if at least half of its words were kept, else empty."""
    keep = keep.copy()
    for row in rows.values():
        if num_kept := _num_kept(page, keep, row):
            keep[row.blocks()] = 2 * num_kept >= _num_words(page, row)

    return keep


def _num_words(page: PageBlocks, row: Row) -> int:
    return sum(int(page.counts[block, WORDS]) for block in row.blocks())


def _num_kept(page: PageBlocks, keep: np.ndarray, row: Row) -> int:
    return sum(int(page.counts[block, WORDS]) for block in row.blocks() if keep[block])
