from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean.page_source.metadata import head_marks, language, parse_date, published, title

HTML = """<html><head><TITLE lang=en>An owl &amp; a
 mouse | Site</TITLE><meta content='Owls &amp; mice' property="og:title">
<meta name=date content="2014-05-06T07:08:09Z"></head><body><time datetime="2010-01-01">then</time>"""


def test_the_page_names_itself() -> None:
    marks = head_marks(HTML)
    assert title(HTML, marks) == "Owls & mice"
    assert title(HTML, {}) == "An owl & a mouse | Site"
    assert title("<p>nothing</p>", {}) is None
    assert title("<title> </title>", {}) is None
    assert len(title("<title>" + "x" * 1900 + "</title>", {}) or "") == 500


def test_the_first_mark_of_a_name_stays() -> None:
    assert head_marks("<meta name=Date content=1><meta property=date content=2>") == {"date": "1"}


def test_the_date_is_bounded_by_the_day_of_the_fetch() -> None:
    marks = head_marks(HTML)
    assert published(HTML, marks, None) == date(2014, 5, 6)
    assert published(HTML, marks, date(2014, 5, 6)) == date(2014, 5, 6)
    assert published(HTML, marks, date(2012, 1, 1)) == date(2010, 1, 1)
    assert published(HTML, marks, date(2009, 1, 1)) is None
    assert published('{"datePublished": "2020-02-03"}', {}, None) == date(2020, 2, 3)


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("2014-05-06", date(2014, 5, 6)),
        ("2014-05-06T23:59:59+02:00", date(2014, 5, 6)),
        ("20140506", date(2014, 5, 6)),
        ("2014/05/06 10:00", date(2014, 5, 6)),
        ("2014-13-06", None),
        ("2014-02-30", None),
        ("0000-01-01", None),
        ("201405061", None),
        ("May 6, 2014", None),
        ("", None),
    ],
)
def test_dates(raw: str, day: date | None) -> None:
    assert parse_date(raw) == day


@given(st.text(max_size=300))
def test_any_text(raw: str) -> None:
    html = "<title>" + raw + "<meta name=date content='" + raw + "'>"
    marks = head_marks(html)
    assert isinstance(title(html, marks), str | None)
    assert isinstance(published(html, marks, None), date | None)


@pytest.mark.parametrize(
    "bait",
    [
        "<meta ",
        "<meta name=" + "a" * 1900,
        "<title",
        '"datePublished":',
        "<time ",
        "<time datetime=",
        "a=" * 500,
    ],
)
def test_bait_takes_no_time(bait: str) -> None:
    html = bait * (4_000_000 // len(bait))
    started = time.process_time()
    marks = head_marks(html)
    title(html, marks)
    published(html, marks, None)
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    ("html", "code"),
    [
        ("<!doctype html><html lang=en-GB class=x>", "en"),
        ("<html xmlns='http://www.w3.org/1999/xhtml' xml:lang='PL' lang='PL'>", "pl"),
        ('<html class="no-js" dir="ltr" lang="fil">', "fil"),
        ("<html data-lang=en>", None),
        ("<html lang=english>", None),
        ("<html><body lang=de>", None),
        ("<p lang=de>", None),
    ],
)
def test_language_declared_by_the_root(html: str, code: str | None) -> None:
    assert language(html) == code


@pytest.mark.parametrize(("before", "found"), [(0, True), (199_900, True), (200_001, False)])
def test_the_head_of_a_page_is_its_first_200000_characters(before: int, found: bool) -> None:
    html = "x" * before
    assert (title(html + "<title>Owls</title>", {}) is not None) is found
    assert (head_marks(html + "<meta name=a content=b>") == {"a": "b"}) is found
    assert (language(html + "<html lang=en>") == "en") is found


@pytest.mark.parametrize(
    ("day", "latest", "found"),
    [("1990-12-31", None, False), ("1991-01-01", None, True), ("2020-01-02", date(2020, 1, 1), False), ("2020-01-01", date(2020, 1, 1), True)],
)  # fmt: skip
def test_a_page_is_as_old_as_the_web_at_most(day: str, latest: date | None, found: bool) -> None:
    assert (published("", {"date": day}, latest) is not None) is found


@pytest.mark.parametrize("length", [499, 500, 501])
def test_a_title_has_at_most_500_characters(length: int) -> None:
    assert len(title("", {"og:title": "x" * length}) or "") == min(length, 500)


def test_a_page_may_begin_with_its_date() -> None:
    assert published('"datePublished":"2010-05-04"', {}, None) == date(2010, 5, 4)
