"""The sheet of a page and the evidence on it, at exact borders and on stored pages."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
from xxhash import xxh3_64_hexdigest

from clean.learned.blocks import blocks
from clean.page_source import metadata
from clean.soft_failures import judge as judge_module
from clean.soft_failures.addresses import StoredAnswer
from clean.soft_failures.config import SoftFailuresConfig
from clean.soft_failures.evidence import HEADING, LINKS, OPENING, REST, TITLE, matches
from clean.soft_failures.features import NAMES, features, findings
from clean.soft_failures.judge import JudgedPage, judge, judge_answer
from clean.soft_failures.lexicon import Lexicon, build, lexicon
from clean.soft_failures.sheet import COUNT_NAMES, FLAG_NAMES, Sheet, sheet, title_sheet
from tests.clean.learned.generated_pages import generated_pages
from tests.clean.soft_failures.test_soft_failures import FAILURES

STORED: Final = Path(__file__).with_name("stored_values.json")
ADDRESS = "http://site.test/2009/a-story.html"
PLAIN = " . ".join(["wort"] * 4)


def sheet_of(html: str, title: str | None = None, main_words: int = 0, **marks: str) -> Sheet:
    return sheet(blocks(html.encode()), html, title, marks, main_words)


def count(html: str, name: str) -> float:
    return float(sheet_of(html).counts[COUNT_NAMES.index(name)])


def flag(html: str, name: str, title: str | None = None, **marks: str) -> bool:
    return bool(sheet_of(html, title, **marks).flags[FLAG_NAMES.index(name)])


def words(number: int) -> str:
    return "wort " * number


@pytest.mark.parametrize(
    ("name", "number", "holds"),
    [
        ("empty", 9, True),
        ("empty", 10, False),
        ("nearly_empty", 29, True),
        ("nearly_empty", 30, False),
        ("short", 119, True),
        ("short", 120, False),
    ],
)
def test_flags_of_short_pages(name: str, number: int, holds: bool) -> None:
    assert flag(f"<p>{words(number)}", name) is holds


@pytest.mark.parametrize(("number", "is_read"), [(59, True), (60, False)])
def test_scripts_frames_and_notices_count_on_pages_of_less_than_sixty_words(
    number: int, is_read: bool
) -> None:
    text = f"<p>{words(number)}"
    assert flag(f"<script>location.href = 'x'</script>{text}", "script_move") is is_read
    assert flag(f"<frame src=a>{text}", "frames") is is_read
    # The block of the notice is one line, and the notice another one.
    found = sheet_of(f"<noscript>lies</noscript>{words(number - 1)}")
    assert found.text.count(b"lies") == 1 + is_read


@pytest.mark.parametrize(
    ("script", "moves"),
    [
        ("location='x'", True),
        ("location.replace('x')", True),
        ("location.assign ('x')", True),
        ("if (location == 'x') go()", False),
        ("locations", False),
    ],
)
def test_a_script_that_moves(script: str, moves: bool) -> None:
    assert flag(f"<script>{script}</script><p>wort", "script_move") is moves


@pytest.mark.parametrize(("end", "is_read"), [(20_000, True), (20_001, False)])
def test_the_head_has_twenty_thousand_characters(end: int, is_read: bool) -> None:
    mark = "http-equiv=refresh"
    assert flag(" " * (end - len(mark)) + mark, "refresh") is is_read


@pytest.mark.parametrize(("end", "is_read"), [(200_000, True), (200_001, False)])
def test_notices_are_read_in_two_hundred_thousand_characters(end: int, is_read: bool) -> None:
    notice = "<noscript>enable scripts</noscript"
    html = " " * (end - len(notice)) + notice + ">"
    assert sheet_of(html).text.count(b"enable scripts") == 1 + is_read


@pytest.mark.parametrize("number", [2, 3, 4])
def test_three_notices_are_read(number: int) -> None:
    html = "<noscript>enable</noscript>" * number
    assert sheet_of(html).text.count(b"enable") == number + min(3, number)


@pytest.mark.parametrize(
    ("html", "asks"),
    [
        ("<input type=password>", True),
        ('<input type="password">', True),
        ("<input type='password'>", True),
        ('<input type="Password">', True),
        ('<input type="PASSWORD">', True),
        ("<input TYPE='PASSWORD'>", True),
        ("<INPUT TYPE=PASSWORD>", True),
        ("<INPUT TYPE=Password>", True),
        ("<input type='Password'>", True),
        ("<p>YOUR PASSWORD</p>", False),
        ("<p>your password</p><input type=password>", True),
        ("<p>a \"password'</p>", False),
        ("<p>your password</p>", False),
        ("assword", False),
    ],
)
def test_a_page_asks_for_a_password(html: str, asks: bool) -> None:
    assert flag(html, "password") is asks


@pytest.mark.parametrize(
    ("name", "title", "marks"),
    [
        ("noindex", None, {"robots": "NoIndex, follow"}),
        ("article", None, {"og:type": "Article"}),
        ("article", None, {"article:published_time": "2009"}),
        ("described", None, {"description": ""}),
        ("described", None, {"og:description": ""}),
        ("titled", "A title", {}),
    ],
)
def test_flags_of_metadata(name: str, title: str | None, marks: dict[str, str]) -> None:
    assert flag("<p>wort", name, title, **marks)
    assert not flag("<p>wort", name)


@pytest.mark.parametrize("sign", ['{"datePublished":1}', "<time>now</time>"])
def test_dated_pages(sign: str) -> None:
    assert flag(f"<p>wort{sign}", "dated")
    assert not flag("<p>wort", "dated")


@pytest.mark.parametrize(
    ("html", "prose"),
    [
        (f"<p>{words(14)}.", 0),
        (f"<p>{words(15)}.", 15),
        (f"<p>{words(15)}", 0),
        (f"<p>{words(16)}<a href=x>{words(4)}</a>.", 20 if 4 * 4 < 20 else 0),
        (f"<p>{words(12)}<a href=x>{words(4)}</a>.", 0),
        (f"<p>{words(13)}<a href=x>{words(4)}</a>.", 17),
    ],
)
def test_prose_has_fifteen_words_a_stop_and_less_than_a_quarter_of_links(
    html: str, prose: int
) -> None:
    assert count(html, "prose_words") == prose
    assert count(html, "prose_blocks") == (prose > 0)


@pytest.mark.parametrize(("linked", "plain"), [(4, 10), (5, 10), (6, 0)])
def test_a_line_of_links_has_more_than_half_of_them(linked: int, plain: int) -> None:
    html = f"<p>{words(10 - linked)}<a href=x>{words(linked)}</a>"
    assert count(html, "plain_words") == plain
    assert list(sheet_of(html).zones) == [TITLE, OPENING if plain else LINKS]


def test_what_is_counted_of_a_page() -> None:
    html = (
        "<h1>wort wort</h1><p>wort <a href=x>wort</a> <img src=x><p style='display:none'>wort wort "
        "wort<form><input name=q><input name=r></form>"
    )
    found = dict(zip(COUNT_NAMES, sheet_of(html, main_words=7).counts.tolist(), strict=True))
    assert (found["words"], found["longest_block"], found["link_words"]) == (4, 2, 1)
    assert (found["links"], found["images"], found["headings"]) == (1, 1, 1)
    assert (found["blocks"], found["main_words"], found["bytes"]) == (2, 7, len(html))


@pytest.mark.parametrize(("first", "zone"), [(59, OPENING), (60, REST), (61, REST)])
def test_sixty_words_open_a_page(first: int, zone: int) -> None:
    assert list(sheet_of(f"<p>{words(first)}<p>wort").zones) == [TITLE, OPENING, zone]


@pytest.mark.parametrize(("first", "lines"), [(399, 2), (400, 1), (401, 1)])
def test_four_hundred_words_are_searched(first: int, lines: int) -> None:
    """A line with the last of them is read whole."""
    found = sheet_of(f"<p>{'w ' * first}<p>wort<p>wort")
    assert len(found.zones) == 1 + lines


@pytest.mark.parametrize(("number", "lines"), [(119, 119), (120, 120), (121, 120)])
def test_a_hundred_and_twenty_lines_are_searched(number: int, lines: int) -> None:
    assert len(sheet_of("<p>w" * number).zones) == 1 + lines


def test_lines_and_texts_are_bounded_in_bytes() -> None:
    """Scripts without spaces have long words: 4,000 bytes a line and 8,000 a page."""
    assert [len(each) for each in sheet_of(f"<p>{'w' * 5000}").text.split(b"\n")] == [0, 4000]
    three = "".join(f"<p>{'w' * size}" for size in (4000, 3999, 4000, 4000))
    assert [len(each) for each in sheet_of(three).text.split(b"\n")] == [0, 4000, 3999, 1]
    two = "".join(f"<p>{'w' * size}" for size in (4000, 4000, 4000))
    assert [len(each) for each in sheet_of(two).text.split(b"\n")] == [0, 4000, 4000]


def test_a_title_has_three_hundred_characters() -> None:
    assert len(sheet_of("", "t" * 301).text) == 300
    assert len(title_sheet("t" * 301, 5).text) == 300
    assert title_sheet("t", 5).counts[[0, 2, 12]].tolist() == [5, 5, 5]
    assert list(sheet_of("<h1>wort</h1>").zones) == [TITLE, HEADING]


PHRASES = build(
    {
        "subject": {"en": "the page"},
        "absent": {"en": "not found"},
        "sure_soft_404": {"en": "nothing is here; " + " ".join("abcdefghijklmnopqrstuvwx")},
    }
)


def evidence(text: str, zone: int = OPENING, known: Lexicon = PHRASES) -> tuple[Any, Any]:
    zones = np.full(text.count("\n") + 1, zone, np.int8)
    return matches(text.encode(), zones, known)


@pytest.mark.parametrize(("between", "pairs"), [(10, 1), (11, 0), (12, 0)])
def test_a_thing_and_its_absence_are_within_twelve_words(between: int, pairs: int) -> None:
    """Counted from the first word of each; a phrase of two words has ten between for twelve."""
    for text in (f"the page {words(between)} not found", f"not found {words(between)} the page"):
        assert evidence(text)[1][OPENING].tolist() == [between + 4, 4, pairs]
    assert evidence("the page\nnot found")[1][OPENING, 2] == 0, "of one line"


def test_a_phrase_has_twenty_four_words() -> None:
    whole = " ".join("abcdefghijklmnopqrstuvwx")
    assert len(evidence(whole)[0]) == 1
    assert evidence(whole)[1][OPENING].tolist() == [24, 24, 0]
    assert len(evidence(whole.replace(" x", " y"))[0]) == 0
    assert len(evidence(whole.replace("m n", "m\nn"))[0]) == 0, "of one line"


@pytest.mark.parametrize("number", [511, 512, 513])
def test_five_hundred_and_twelve_phrases_are_kept(number: int) -> None:
    found, stats = evidence("the page " * number)
    assert len(found) == min(512, number)
    assert stats[OPENING].tolist() == [2 * number, 2 * number, 0]


def test_matches_have_their_line_and_zone() -> None:
    zones = np.array([TITLE, HEADING], np.int8)
    found, stats = matches(b"the page\nx not found\ny nothing is here", zones, PHRASES)
    assert found.tolist() == [[1, TITLE, 0], [2, HEADING, 1], [3, HEADING, 2]]
    assert stats[:, 0].tolist() == [2, 7, 0, 0, 0]


@pytest.mark.parametrize(("status", "kind"), [(399, None), (400, "error_page"), (404, "soft_404"), (410, "soft_404"), (411, "error_page"), (500, "error_page"), (None, None)])  # fmt: skip
def test_statuses_from_400_on_are_errors(status: int | None, kind: str | None) -> None:
    found = judge_answer(StoredAnswer(ADDRESS, ADDRESS, status), SoftFailuresConfig())
    assert (found.kind if found else None) == kind


def judged(html: str, main_words: int, title: str | None = None) -> str | None:
    page = JudgedPage(blocks(html.encode()), html, title, {}, main_words)
    found = judge(StoredAnswer(ADDRESS, ADDRESS, 200), page, SoftFailuresConfig())
    return found.kind if found else None


@pytest.mark.parametrize(("main_words", "is_read"), [(599, True), (600, False)])
def test_a_page_of_six_hundred_words_is_judged_by_its_title(main_words: int, is_read: bool) -> None:
    html = "<p>Sorry, the page you requested could not be found."
    assert (judged(html, main_words) == "soft_404") is is_read
    assert judged(html, main_words, "404 Not Found") == "soft_404"


@pytest.mark.parametrize("main_words", [1499, 1500])
def test_a_page_of_1500_words_is_not_read_at_all(
    main_words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 600 to 1,500 words rules of phrases are asked, with the title alone."""
    asked: list[Sheet] = []
    monkeypatch.setattr(judge_module, "_by_phrases", lambda paper, *_: asked.append(paper))
    monkeypatch.setattr(judge_module.rules, "by_emptiness", lambda *_: None)
    judged("<p>wort", main_words, "A title")
    assert [paper.text for paper in asked] == [b"a title"] * (main_words < 1500)


@pytest.mark.parametrize(("main_words", "is_failure"), [(24, False), (25, True)])
def test_a_page_of_25_words_is_judged_without_a_telling_phrase(
    main_words: int, is_failure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer say nothing about the page; then rules of length decide."""
    monkeypatch.setattr(judge_module.rules, "shown", lambda *_: judge_module.rules.NO_PHRASE)
    monkeypatch.setattr(judge_module, "model", lambda: SimpleNamespace(score=lambda _: 1e9))
    found = judged("<p>Some subject of a page, with a login.", main_words)
    assert (found is not None) is is_failure


def values() -> dict[str, Any]:
    """Digests of the sheets of pages, weighted sums of their features, and the verdicts."""
    sheets, verdicts = [], []
    sources = [html for _, html in FAILURES.values()]
    sources += [source.decode("utf-8", "replace") for source in generated_pages(12)]
    for html in sources:
        page, marks = blocks(html.encode()), metadata.head_marks(html)
        title, main_words = metadata.title(html, marks), int(page.counts[:, 1].sum())
        sheets.append(sheet(page, html, title, marks, main_words))
        own = JudgedPage(page, html, title, marks, main_words)
        verdicts.append(judge(StoredAnswer(ADDRESS, ADDRESS, 200), own, SoftFailuresConfig()))

    rows = np.array([features(each, findings(each, lexicon())) for each in sheets])
    weights = 1 + np.arange(len(rows)) / 97
    sums = {name: float(column @ weights) for name, column in zip(NAMES, rows.T, strict=True)}
    return {
        "texts": xxh3_64_hexdigest(b"\f".join(each.text for each in sheets)),
        "zones": xxh3_64_hexdigest(b"\f".join(each.zones.tobytes() for each in sheets)),
        "counts": xxh3_64_hexdigest(b"".join(each.counts.tobytes() for each in sheets)),
        "flags": xxh3_64_hexdigest(b"".join(each.flags.tobytes() for each in sheets)),
        "kinds": " ".join(each.kind if each else "-" for each in verdicts),
        "features": sums,
    }


def test_sheets_and_features_are_those_that_the_model_was_fitted_with() -> None:
    """With other values it judges pages that it never saw.

    After a fit, write them again with `python -m tests.clean.soft_failures.test_sheet`.
    """
    stored, found = json.loads(STORED.read_text("utf-8")), values()
    sums, expected = found.pop("features"), stored.pop("features")
    assert found == stored
    other = {
        name: value
        for name, value in sums.items()
        if value != pytest.approx(expected[name], rel=1e-6, abs=1e-6)
    }
    assert not other
    assert len(sums) == len(expected)


if __name__ == "__main__":
    STORED.write_text(json.dumps(values(), indent=1) + "\n", "utf-8")
