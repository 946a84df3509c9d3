from __future__ import annotations

import unicodedata

import ftfy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clean.normalize import NormalizeConfig, judge, normalize
from clean.reasons import Reason

CONFIG = NormalizeConfig()
PLAIN = NormalizeConfig(mojibake=False)


def text_of(raw: str) -> str:
    return normalize(raw, CONFIG).text


@given(st.text(alphabet=st.characters(), max_size=300))
@example("a\u200d\u200cb \u00ad\u0301")
@example("\r\r\n\x85\u2028x")
@example("\u0344\u200b\u0301e\u200b\u0301")
def test_normal_text_is_normal(raw: str) -> None:
    once = normalize(raw, PLAIN).text
    assert normalize(once, PLAIN) == (once, (), 0)
    assert unicodedata.is_normalized("NFC", once)
    once.encode("utf-8")
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in once)


@given(st.text(alphabet=st.sampled_from("abc é…\n\t’ñ中"), max_size=200))
def test_ordinary_characters_stay(raw: str) -> None:
    kept = "".join(raw.split())
    assert "".join(text_of(raw).split()) == unicodedata.normalize("NFC", kept)


PIECES = st.sampled_from(
    ["cafÃ©", "Ã ", "â€™", "\x93", "plain words", "é à ", "日本", "\n", " ", "_ 9 ٣ ⅷ", "\u0301"]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_lines_are_repaired_as_if_each_were_looked_at(raw: str) -> None:
    """Most lines are passed over; by ftfy's own word none of those needed it."""
    by_line = "\n".join(map(ftfy.fix_encoding, raw.split("\n")))
    assert normalize(raw, CONFIG).text == normalize(by_line, PLAIN).text


@given(
    st.lists(PIECES | st.sampled_from(["-", "#!", "…", "中"]), max_size=12).map("".join),
    st.floats(0, 1),
)
def test_letters_marks_and_digits_are_counted_as_the_unicode_tables_have_them(
    raw: str, least: float
) -> None:
    normal = normalize(raw, PLAIN)
    dense = [c for c in normal.text if not c.isspace()]
    letters = [
        c for c in dense if c.isalnum() or (c > "\u02ff" and unicodedata.category(c)[0] == "M")
    ]
    verdict = judge(
        normal, NormalizeConfig(mojibake=False, min_letter_frac=least, max_replacement_frac=1)
    )
    assert (verdict is Reason.SYMBOLS) == (len(letters) < least * len(dense))


def test_mojibake_is_repaired_and_told() -> None:
    told = normalize("The cafÃ© wasnâ€™t open.", CONFIG)
    assert told.text == "The café wasn’t open."
    assert told.changes == ("mojibake",)
    assert normalize("The cafÃ©.", PLAIN).text == "The cafÃ©."


def test_old_windows_quotes_become_quotes() -> None:
    assert text_of("It\x92s \x93fine\x94\x85") == "It’s “fine”…"
    assert text_of("\u4e2d: it\x92s") == "\u4e2d: it’s"


def test_style_stays_as_written() -> None:
    raw = "“Curly” ‘quotes’, ﬁne ligatures, ｗｉｄｅ letters, 2² and № stay."
    assert text_of(raw) == raw


def test_unseen_characters_go() -> None:
    told = normalize(
        "zero\u200bwidth soft\u00adhyphen \ufeffmark \u202edirection\u202c nul\x00", CONFIG
    )
    assert told.text == "zerowidth softhyphen mark direction nul"
    assert "invisible" in told.changes
    assert told.num_removed == 6


def test_joiners_stay_where_spelling_needs_them() -> None:
    for raw in ("می\u200cخواهم", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "क्\u200dष"):
        assert text_of(raw) == raw
    assert text_of("wo\u200drd") == "word"


def test_lines_and_spaces() -> None:
    assert text_of("a\r\nb\rc\u2028d\u00a0e  \n\n\n\n\tf ") == "a\nb\nc\nd e\n\n\tf"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("Ordinary prose, with 12 numbers and “quotes”.", None),
        ("हिन्दी में लिखा हुआ पाठ", None),
        ("中文的文字也是文字。", None),
        ("", None),
        ("\ufffd\ufffdPNG\ufffd\ufffd\ufffdIHDR\ufffd\ufffd" * 5, Reason.BINARY),
        ("\x00\x01PK\x03\x04data" * 20, Reason.BINARY),
        ("=-=-=-=-= *** ~~~ |||| +---+---+ " * 10, Reason.SYMBOLS),
    ],
)
def test_what_is_no_text(raw: str, reason: Reason | None) -> None:
    assert judge(normalize(raw, CONFIG), CONFIG) == reason
