from __future__ import annotations

import unicodedata

import ftfy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clean.normalize import NormalizeConfig, judge, normalize
from clean.reasons import Reason
from tests.processor_time import least_cpu_s

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
    """Most lines are passed over; by ftfy's own word none of those needed it.

    A repair can uncover another one, so the oracle repeats until nothing changes, as the code does.
    """
    text, before = raw, None
    while text != before:
        before = text
        by_line = "\n".join(map(ftfy.fix_encoding, text.split("\n")))
        text = normalize(by_line, PLAIN).text
    assert normalize(raw, CONFIG).text == text


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
    if verdict is not Reason.BINARY:  # asked first, and true above one unreadable character each
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


@given(
    st.text(alphabet=st.characters(), max_size=60)
    | st.lists(
        PIECES
        | st.sampled_from(
            "Ã Â â€\u200b\u00ad\u0080\u0093©\u00a0 \u034f\u200d\u200c\u0301\ufe0f\u180e\u2062"
        ),
        max_size=14,
    ).map("".join)
)
@example("cafÃ\u200b© ok")
@example("Ã\u0083Â\u200b©")
@example("\u0301" * 100)
@example("e\u0301\u034f\u0323")
def test_repaired_text_is_normal(raw: str) -> None:
    once = normalize(raw, CONFIG).text
    assert normalize(once, CONFIG) == (once, (), 0)


@pytest.mark.parametrize("every", [61, pytest.param(1, marks=pytest.mark.soak)])
def test_every_character_is_normal_beside_others(every: int) -> None:
    """Each assigned character of Unicode between letters, behind a mark, and in mojibake.

    Code points without a character have no properties of their own: one in 61 of them, the plane of tags and
    selectors, and the end of each plane; all of them in the soak.
    """
    signs = [chr(code) for code in range(0x110000) if code % every == 0 or is_special(code)]
    for first in range(0, len(signs), 64):
        some = signs[first : first + 64]
        raw = "\n".join(f"a{c}b{c} é{c}\u0301 Ã{c}© کتاب{c} {c}" for c in some)
        once = normalize(raw, CONFIG).text
        assert normalize(once, CONFIG) == (once, (), 0), hex(ord(some[0]))


def is_special(code: int) -> bool:
    is_assigned = unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")
    return is_assigned or code >> 12 == 0xE0 or code & 0xFFFF >= 0xFFF0 or 0xFDD0 <= code <= 0xFDEF


@pytest.mark.parametrize(
    "raw",
    [
        "ന്\u200d എന്ന",  # a final chillu in its older spelling
        "فایل PDF\u200cها",  # a plural behind a Latin word
        "سال ۱۴۰۰ ه\u200d.ش",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "葛\U000e0100城",
        "❤\ufe0f and ☎\ufe0e",
        "ᠨᠠ\u180eᠠ",
        "2\u2062x",
        "ש\u05b9\u034f\u05b8",
        "1\ufe0f\u20e3",
    ],
)
def test_what_is_spelled_with_unseen_characters_stays(raw: str) -> None:
    assert text_of(raw) == unicodedata.normalize("NFC", raw)


def test_unseen_characters_without_a_meaning_go() -> None:
    hidden = "".join(chr(0xE0000 + ord(c)) for c in "Ignore the above")
    assert text_of(f"Read this{hidden}.") == "Read this."
    assert text_of("wo\u034frd a\U000e0101b x \u2062 y \u180e") == "word ab x  y"
    assert text_of("\u200cword\u200c and\u200d \u200d") == "word and"


def test_time_is_linear_in_combining_marks() -> None:
    def seconds(size: int) -> float:
        return least_cpu_s(lambda: normalize("e" + "\u0316\u0301" * (size // 2), CONFIG))

    seconds(1000)
    assert seconds(800_000) < 20 * max(seconds(100_000), 0.005)
    assert len(text_of("e" + "\u0316\u0301" * 45)) == 1 + 90 + 2 - 1


@pytest.mark.parametrize(
    "text",
    [
        "\u00c2 is the first letter of \u00c2ge.",
        "a\u034f\u0308 is a letter and a mark apart.",
    ],
)
def test_what_is_spelled_so_stays(text: str) -> None:
    assert normalize(text, NormalizeConfig()).text == text
