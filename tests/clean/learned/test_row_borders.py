"""Rows, tables, forms and galleries at exact borders, on pages of counted words."""

from __future__ import annotations

import numpy as np
import pytest

from clean.learned.asides import without_forms, without_further_articles, without_galleries
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.layout import END, START
from clean.learned.tables import (
    data_rows,
    with_whole_rows,
    with_whole_tables,
    without_layout_rows,
)


def page(html: str) -> PageBlocks:
    return blocks(f"<title>A new bridge for the old town</title><body>{html}</body>".encode())


def words(number: int, word: str = "wort") -> str:
    return " ".join([word] * number)


def kept(found: PageBlocks, *texts: str) -> np.ndarray:
    """True for the blocks that begin with one of some texts; for all without any."""
    content = found.text.tobytes()
    starts = [content[place[START] : place[END]].decode() for place in found.place]
    return np.array([not texts or text.startswith(texts) for text in starts], bool)


def num_rows(cells: str, before: str = "") -> int:
    return len(data_rows(page(f"<table>{before}<tr>{cells}</table>")))


@pytest.mark.parametrize(("size", "is_data"), [(149, True), (150, True), (151, False)])
def test_a_cell_of_data_has_at_most_150_words(size: int, is_data: bool) -> None:
    assert num_rows(f"<td>{words(size)}<td>wort") == is_data


def test_a_row_of_data_has_two_cells_with_text() -> None:
    assert num_rows("<td>a<td>b") == 1
    assert num_rows("<td>a<td>") == 0
    assert num_rows("<td>a") == 0
    # In a table with another row of data one is enough.
    assert num_rows("<td>a<td>", before="<tr><td>a<td>b") == 2
    assert num_rows("<td><td>", before="<tr><td>a<td>b") == 1


@pytest.mark.parametrize(("size", "is_data"), [(39, True), (40, True), (41, False)])
def test_a_cell_of_several_paragraphs_has_at_most_40_words(size: int, is_data: bool) -> None:
    cells = f"<td><p>wort<p>{words(size - 1)}</td><td>a"
    assert num_rows(cells, before="<tr><td>a<td>b") == 1 + is_data
    assert num_rows("<td><p>a<p>b</td><td>", before="<tr><td>a<td>b") == 1, "one cell is no list"
    assert num_rows(cells) == 0


@pytest.mark.parametrize(("listed", "rows"), [(1, 3), (2, 4), (3, 2)])
def test_half_of_the_rows_of_a_table_must_be_plain(listed: int, rows: int) -> None:
    """Then rows of several paragraphs are data as well."""
    plain = "<tr><td>a<td>b" * 2
    html = f"<table>{plain}{'<tr><td><p>a<p>b</td><td>c' * listed}</table>"
    assert len(data_rows(page(html))) == rows


@pytest.mark.parametrize(
    ("span", "num_fields"),
    [("", 2), ("colspan=2", 3), ('colspan="64"', 65), ("colspan=65", 65), ("colspan=0", 2)],
)
def test_a_cell_spans_at_most_64_columns(span: str, num_fields: int) -> None:
    found = data_rows(page(f"<table><tr><td {span}>a<td>b</table><span>"))
    (row,) = found.values()
    assert (len(row.fields), len(row.cells)) == (num_fields, 2)


@pytest.mark.parametrize(("first", "is_whole"), [(7, False), (8, True), (9, True)])
def test_a_table_kept_to_four_fifths_is_kept_whole(first: int, is_whole: bool) -> None:
    found = page(f"<table><tr><td>{words(first, 'own')}<td>{words(10 - first)}</table>")
    keep = kept(found, "own")
    assert with_whole_tables(found, keep, data_rows(found)).all() == is_whole


@pytest.mark.parametrize(("first", "is_kept"), [(4, False), (5, True), (6, True)])
def test_a_row_kept_to_a_half_is_kept_whole(first: int, is_kept: bool) -> None:
    """Else none of it. A row of a layout, which is kept to less, is no row of data."""
    found = page(f"<table><tr><td>{words(first, 'own')}<td>{words(10 - first)}</table>")
    keep, rows = kept(found, "own"), data_rows(found)
    assert list(with_whole_rows(found, keep, rows)) == [is_kept, is_kept]
    assert len(without_layout_rows(found, keep, rows)) == is_kept
    nothing = np.zeros(keep.size, bool)
    assert not with_whole_rows(found, nothing, rows).any()
    assert len(without_layout_rows(found, nothing, rows)) == 1


@pytest.mark.parametrize(("entries", "is_gallery"), [(3, False), (4, True), (5, True)])
def test_a_gallery_has_four_numbered_headings(entries: int, is_gallery: bool) -> None:
    html = "".join(f"<li><h2>{n}/12 May</h2><p>A guard.</li>" for n in range(1, entries + 1))
    found = page(f"<ul>{html}</ul><p>The end.")
    assert without_galleries(found, kept(found)).sum() == (1 if is_gallery else 2 * entries + 1)


@pytest.mark.parametrize(("outside", "is_left_out"), [(99, False), (100, True)])
def test_with_a_hundred_words_outside_the_text_of_a_form_goes(
    outside: int, is_left_out: bool
) -> None:
    found = page(f"<p>{words(outside)}</p><form><div>Terms of use</div></form>")
    assert without_forms(found, kept(found)).all() != is_left_out


@pytest.mark.parametrize(("forms", "are_posts"), [(3, False), (4, True), (5, True)])
def test_four_forms_are_the_posts_of_a_board(forms: int, are_posts: bool) -> None:
    found = page(f"<p>{words(100)}</p>" + "<form><div>A post</div></form>" * forms)
    assert without_forms(found, kept(found)).all() == are_posts


def articles(own: int, headline: str) -> PageBlocks:
    return page(
        f"<article><h2>A new bridge for the old town</h2><p>{words(own)}</article>"
        f"<article><h2>{headline}</h2><p>{words(50)}</article>"
    )


@pytest.mark.parametrize(("own", "goes"), [(51, False), (52, False), (53, True)])
def test_articles_behind_an_own_one_of_sixty_words_go(own: int, goes: bool) -> None:
    """With its headline of seven words."""
    found = articles(own, "Rivers rise in spring")
    assert without_further_articles(found, kept(found)).all() != goes


@pytest.mark.parametrize(
    ("headline", "goes"), [("Further comments", False), ("Rivers rise again", True)]
)
def test_a_headline_has_three_words(headline: str, goes: bool) -> None:
    found = articles(100, headline)
    assert without_further_articles(found, kept(found)).all() != goes
