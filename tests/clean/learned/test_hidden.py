"""Text that a browser hides is left out, by whatever means it is hidden, and other text is not."""

from __future__ import annotations

import pytest

from clean.learned.blocks import blocks
from clean.learned.hidden import _can_be_opened, _sheet_names, without_hidden
from clean.learned.layout import WORDS
from tests.support.article import middle

TEXT = "The owners sold the wheel to a museum in the city, where it stands in the hall today."


@pytest.mark.parametrize(
    "attributes",
    [
        "style='DISPLAY : NONE'",
        "style='color:red;display :none !important;'",
        "style='visibility:collapse'",
        "style='content-visibility: hidden'",
        "style='font-size:0'",
        "style='opacity:0;height:0'",
        "style='height:0px; overflow:hidden'",
        "style='max-height:0;overflow:hidden'",
        "style='clip:rect(0 0 0 0);position:absolute'",
        "style='clip-path: inset(50%)'",
        "style='transform:scale(0)'",
        "style='text-indent:-9999px'",
        "style='position:fixed; right : -9999em'",
        "style='color:transparent'",
        "style='font-size:12px; color : TRANSPARENT;'",
        "style='color:rgba(10, 20, 30, 0)'",
        "style='color:rgba(0,0,0,0.0)'",
        "style='color:#fff;background:#FFFFFF'",
        "style='background-color:white;color:rgb(255,255,255)'",
        "popover id=x",
        "class=sr-only",
        "class='note visually-hidden'",
    ],
)
def test_hidden_text_is_left_out(attributes: str) -> None:
    assert middle(f"<div {attributes}><p>{TEXT}</p></div>") == ""


@pytest.mark.parametrize(
    "attributes",
    [
        "style='overflow-y:hidden; list-style: none'",
        "style='backface-visibility:hidden'",
        "style='overflow:hidden; height:0; padding-bottom:56.25%'",
        "style='display:none; display:block'",
        "style='margin-left:-480px; left:50%'",
        "style='border:none;pointer-events:none'",
        "style='font-size:0.9em; opacity:0.5'",
        "style='clip:rect(0,200px,80px,0)'",
        "style='color:transparent;background:url(x.png);-webkit-background-clip:text'",
        "style='color:#fff;background:#000'",
        "style='color:#fff'",
        "style='color:rgba(0,0,0,0.5)'",
        "style='color:rgb(0,0,0);border-color:transparent'",
        "style='background:transparent;background-color:transparent'",
        "class='accordion-body' style='display:none'",
        "role=tabpanel hidden",
    ],
)
def test_shown_text_stays(attributes: str) -> None:
    assert middle(f"<div {attributes}><p>{TEXT}</p></div>") == TEXT


def test_a_dialog_is_shown_if_it_is_open() -> None:
    assert middle(f"<dialog><p>{TEXT}</p></dialog>") == ""
    assert middle(f"<dialog open><p>{TEXT}</p></dialog>") == TEXT


@pytest.mark.parametrize(
    ("sheet", "names"),
    [
        (".zq{display:none}", set()),
        (".abc{color:red} #abc , .xyz { margin:0; display : none }", {b".xyz", b"#abc"}),
        ("/* a */.abc{display:none}", {b".abc"}),
        ("@media print{.abc{display:none}}", set()),
        (".abc{display:none}@media (min-width:9px){.abc{display:block}}", set()),
        (".abc{display:none}.open .abc{display:flex}", set()),
        (".js .abc{display:none}", set()),
        (".abc{display:none", {b".abc"}),
        ("none{none:none;display:none", set()),
        (".abc{visibility:hidden}", {b".abc"}),
        (".abc{backface-visibility:hidden;overflow:hidden}", set()),
        (".abc{visibility:hidden}.menu:hover .abc{visibility:visible}", set()),
        (".abc{position:absolute;left:-9999px}", {b".abc"}),
        (".abc{position:absolute;top : -10000em}", {b".abc"}),
        (".abc{margin-left:-9999px}", set()),
        (".abc{position:absolute;left:-9999px}.abc:focus{left:0}", set()),
        (".abc{color:transparent}", {b".abc"}),
        (".abc{color:transparent;background-clip:text}", set()),
        (".abc{background-color:transparent}", set()),
        (".abc{color:transparent}.abc:hover{color:#333}", set()),
        (".abc{opacity:0}", set()),
        (".abc{display:none;color:#333}", {b".abc"}),
        (".abc{display:none;position:fixed;top:0;left:0}", {b".abc"}),
        (".abc{visibility:hidden;position:relative;top:5px}", {b".abc"}),
        (".abc{position:absolute;left:-9999px;color:#333}", {b".abc"}),
        (".abc{color:transparent;position:relative;left:0}", {b".abc"}),
        (".abc{left:-9999px;top:0}", {b".abc"}),
        (".abc{bottom:0;top:-10000px;right:0}", {b".abc"}),
        (".abc{left:-9999px;top:0}.abc:focus{top:5px}", {b".abc"}),
        (".abc{left:-9999px;top:0}.abc:focus{left:5px}", set()),
        (".abc{left:-9999px}.abc:focus{inset:0}", set()),
    ],
)
def test_names_that_a_style_sheet_hides(sheet: str, names: set[bytes]) -> None:
    page = f"<style>{sheet}</style><p class=zq>a<p class='abc xyz'>b"
    assert _sheet_names(page.encode()) == names


def test_text_of_a_class_that_the_page_hides_is_left_out() -> None:
    sheet = "<style>.zzq{display:none}</style>"
    assert middle(f"{sheet}<div class='a zzq'><p>{TEXT}</p></div>") == ""


def test_a_cell_with_a_hidden_key_shows_the_rest() -> None:
    row = "<tr><td>{}</td><td><span style='display:none'>0000{}</span>{}</td></tr>"
    rows = "".join(row.format(name, year, year) for name, year in (("Mill", 1901), ("Weir", 1902)))
    assert middle(f"<table>{rows}</table>") == "Mill\t1901\nWeir\t1902"


def test_a_block_that_begins_hidden_is_shown_if_a_part_is() -> None:
    found = middle(f"<p><span hidden>{TEXT}</span> And so it was for all of the years since.</p>")
    assert found.endswith("And so it was for all of the years since.")


@pytest.mark.parametrize(("num_words", "shown"), [(7, True), (8, False), (9, False)])
def test_a_label_for_screen_readers_has_fewer_than_eight_words(num_words: int, shown: bool) -> None:
    """Shorter ones name what others see, such as "You said:"."""
    text = " ".join(["Words"] * num_words)
    assert middle(f"<div class=sr-only><p>{text}</p></div>") == (text if shown else "")


def around(levels: int) -> str:
    """A hidden paragraph below the item of an accordion."""
    inside = f"<p style='display:none'>{TEXT}</p>"
    return f"<div class=accordion-item>{'<div>' * levels}{inside}{'</div>' * levels}</div>"


@pytest.mark.parametrize(("levels", "shown"), [(0, True), (3, True), (4, False)])
def test_an_accordion_is_searched_for_five_elements_up(levels: int, shown: bool) -> None:
    """The paragraph is one of the five."""
    assert middle(around(levels)) == (TEXT if shown else "")


def test_the_first_element_of_a_page_can_be_an_accordion() -> None:
    page = blocks(f"<div class=accordion-item><p style='display:none'>{TEXT}</p></div>".encode())
    keep = page.counts[:, WORDS] > 0
    assert keep.any()
    assert (without_hidden(page, keep) == keep).all()
    # As the only text it would stay all the same, so the accordion itself is asked.
    assert _can_be_opened(page, keep)[keep].all()


@pytest.mark.parametrize(("num_shown", "is_hidden"), [(2, False), (3, True), (4, True)])
def test_three_tenths_of_the_kept_words_must_be_shown(num_shown: int, is_hidden: bool) -> None:
    """With fewer, a script shows the text later."""
    shown = "<p>" + "a " * num_shown
    page = blocks(f"{shown}<p style='display:none'>{'b ' * (10 - num_shown)}".encode())
    keep = page.counts[:, WORDS] > 0
    kept = page.counts[without_hidden(page, keep), WORDS].sum()
    assert page.counts[keep, WORDS].sum() == 10
    assert kept == (num_shown if is_hidden else 10)


@pytest.mark.parametrize(
    ("before", "found"),
    [
        # Rules with the value that are read.
        (".a{float:none}" * 299, True),
        (".a{float:none}" * 300, False),
    ],
)
def test_three_hundred_rules_are_read(before: str, found: bool) -> None:
    assert _sheet_names(f"<style>{before}.xyz{{display:none}}</style>".encode()) == (
        {b".xyz"} if found else set()
    )


@pytest.mark.parametrize(("spaces", "found"), [(8, True), (9, False)])
def test_the_name_of_a_property_is_searched_in_sixteen_bytes(spaces: int, found: bool) -> None:
    sheet = f"<style>.xyz{{display:{' ' * spaces}none}}</style>"
    assert _sheet_names(sheet.encode()) == ({b".xyz"} if found else set())


@pytest.mark.parametrize(("size", "found"), [(1998, True), (1999, True), (2000, False)])
def test_the_selectors_of_a_rule_have_two_thousand_bytes(size: int, found: bool) -> None:
    """With the brace before them; of longer ones the first would be cut."""
    selectors = ".xyz" + " " * (size - 4)
    sheet = f"<style>.a{{color:red}}{selectors}{{display:none}}</style>"
    assert _sheet_names(sheet.encode()) == ({b".xyz"} if found else set())
