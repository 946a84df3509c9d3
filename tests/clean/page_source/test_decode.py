from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clean.page_source import decode as decode_module
from clean.page_source.decode import SEARCHED_BYTES, CharsetSource, codec, decode, detect

RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. " * 20


@given(st.binary(max_size=2000), st.none() | st.text(max_size=40))
@example(b"\xff\xfe\x00", "text/html; charset=utf-16")
@example(b"<meta charset=base64>\xff", None)
@example(b"<meta charset='idna'>\xff", "text/html; charset=punycode")
def test_any_bytes_give_text(body: bytes, content_type: str | None) -> None:
    decoded = decode(body, content_type)
    assert isinstance(decoded.text, str)
    assert body == b"" or len(decoded.text) <= len(body)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=500))
def test_utf8_comes_back(text: str) -> None:
    if text.startswith(("\ufeff", "\x00")) or "\x00" in text:
        return
    assert decode(text.encode(), "text/html; charset=utf-8").text == text


@pytest.mark.parametrize(
    ("name", "mark"),
    [("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")],
)
def test_the_mark_beats_every_label(name: str, mark: bytes) -> None:
    decoded = decode(mark + RUSSIAN.encode(name), "text/html; charset=koi8-r")
    assert decoded == (RUSSIAN, name, CharsetSource.BOM)


def test_header_beats_meta_and_meta_beats_detector() -> None:
    body = b'<meta charset="windows-1250">' + RUSSIAN.encode("koi8-r")
    assert decode(body, "text/html; charset=koi8-r")[1:] == ("koi8-r", CharsetSource.HEADER)
    assert decode(body, "text/html")[1:] == ("cp1250", CharsetSource.META)
    assert decode(RUSSIAN.encode("koi8-r"))[1:] == ("koi8-r", CharsetSource.DETECTOR)


def test_an_older_meta_and_an_xml_declaration_count_too() -> None:
    older = (
        b'<META content="text/html; charset=iso-8859-2" http-equiv=Content-Type>'
        + CZECH.encode("iso8859-2")
    )
    assert decode(older) == (older.decode("iso8859-2"), "iso8859-2", CharsetSource.META)
    declared = b"<?xml version='1.0' encoding='windows-1251'?>" + RUSSIAN.encode("cp1251")
    assert decode(declared).charset == "cp1251"


def test_valid_utf8_overrules_a_single_byte_label() -> None:
    decoded = decode(RUSSIAN.encode(), "text/html; charset=iso-8859-1")
    assert decoded == (RUSSIAN, "utf-8", CharsetSource.DETECTOR)


def test_a_label_that_the_bytes_contradict_is_passed_over() -> None:
    decoded = decode(RUSSIAN.encode("cp1251"), "text/html; charset=utf-8")
    assert decoded == (RUSSIAN, "cp1251", CharsetSource.DETECTOR)


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf16_is_known_without_its_mark(name: str) -> None:
    html = "<html><body><p>Ordinary text, caf\u00e9 included.</p></body></html>"
    assert decode(html.encode(name), "text/html") == (html, name, CharsetSource.DETECTOR)


def test_a_charset_that_looks_like_ascii_needs_its_label() -> None:
    text = "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0"
    body = text.encode("iso2022_jp")
    assert decode(body, "text/html; charset=iso-2022-jp") == (
        text,
        "iso2022_jp",
        CharsetSource.HEADER,
    )
    assert decode(body).charset == "utf-8"


def test_a_few_broken_bytes_do_not_turn_a_page_into_another_charset() -> None:
    decoded = decode(RUSSIAN.encode() + b"\xff" + RUSSIAN.encode(), "text/html; charset=utf-8")
    assert decoded.text == RUSSIAN + "\ufffd" + RUSSIAN


def test_a_page_cut_inside_a_character_keeps_its_charset() -> None:
    assert decode(RUSSIAN.encode()[:301]).charset == "utf-8"


def test_english_with_typographic_quotes_is_windows_1252() -> None:
    text = (
        "It\u2019s said that \u201cquotes\u201d are curly \u2014 and they are. "
        + "Plain words follow here. " * 30
    )
    assert decode(text.encode("cp1252")).text == text


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("latin1", "cp1252"),
        (" ISO-8859-1 ", "cp1252"),
        ("gb2312", "gb18030"),
        ("GBK", "gb18030"),
        ("ks_c_5601-1987", "cp949"),
        ("x-sjis", "cp932"),
        ("utf8", "utf-8"),
        ("utf-16", "utf-8"),
        ("utf-7", None),
        ("rot13", None),
        ("zip", None),
        ("no such thing", None),
        ("unicode_escape", None),
        ("a\0b", None),
    ],
)
def test_labels_mean_what_browsers_take_them_for(label: str, name: str | None) -> None:
    assert codec(label) == name


def test_a_utf8_label_is_judged_by_utf8_characters() -> None:
    """A few bytes of windows-1252 in a long English page are under any share of the whole, and still no UTF-8."""
    page = '<meta charset="windows-1252"><p>' + "plain words " * 500 + "“déjà vu” – café"
    decoded = decode(page.encode("cp1252"), "text/html; charset=UTF-8")
    assert "“déjà vu” – café" in decoded.text
    cut = ("plain words " * 50 + "é").encode()[:-1]
    assert decode(cut, "text/html; charset=UTF-8").text == "plain words " * 50 + "\ufffd"


def test_the_charset_of_scripts_that_nothing_ends_is_guessed_in_time() -> None:
    """As many as there are bytes to search: each sought to the end, they took six minutes."""
    started = time.process_time()
    detect(b"\xe4\xf6\xfc\xdf " * 4 + b"<script>" * (SEARCHED_BYTES // 8))
    assert time.process_time() - started < 10


@pytest.mark.parametrize("label", ["windows-1252", "iso-2022-jp"])
@pytest.mark.parametrize("text", ["caf\u00e9 \u2013 \x1b[1m", "caf\u00e9 \u2013 na\u00efve"])
def test_valid_utf8_is_utf8_under_any_label(label: str, text: str) -> None:
    """Only a label of a stateful charset counts, and only with an escape."""
    decoded = decode(text.encode(), f"text/html; charset={label}")
    is_stateful = label == "iso-2022-jp" and "\x1b" in text
    assert decoded.charset == ("iso2022_jp" if is_stateful else "utf-8")


LABEL = b"<meta charset=koi8-r>"


@pytest.mark.parametrize(
    ("end", "charset"), [(16_383, "koi8-r"), (16_384, "koi8-r"), (16_385, "other")]
)
def test_a_declaration_ends_within_the_first_16_kib(end: int, charset: str) -> None:
    """Real pages put it behind the 1,024 bytes of the standard."""
    body = b" " * (end - len(LABEL)) + LABEL + "нет".encode("koi8-r")
    assert (decode(body).charset == "koi8-r") is (charset == "koi8-r")


@pytest.mark.parametrize(("bad", "charset"), [(4, "utf-8"), (5, "utf-8"), (6, "other")])
def test_two_sound_characters_for_a_broken_one_are_utf8(bad: int, charset: str) -> None:
    """Of a page without a label."""
    body = "\u00e9 ".encode() * 10 + b"\xff " * bad
    assert (decode(body).charset == "utf-8") is (charset == "utf-8")


def test_a_detector_reads_32_kib(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(decode_module, "guess", lambda sample: sizes.append(len(sample)))
    for size in (32_767, 32_768, 32_769):
        detect(b"\xe9" * size)
    assert sizes == [32_767, 32_768, 32_768]


@pytest.mark.parametrize(("count", "asked"), [(3, False), (4, True)])
@pytest.mark.parametrize("byte", [0x80, 0xFF])
def test_four_bytes_beyond_ascii_are_judged(
    byte: int, count: int, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(decode_module, "guess", lambda sample: seen.append(sample) or "cp1251")
    assert detect(b"a" + bytes([byte]) * count) == ("cp1251" if asked else "cp1252")
    assert bool(seen) is asked
