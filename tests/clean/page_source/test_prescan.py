"""Charset declarations of a page, against html5lib's encoding tests and cases written from the standard."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from clean.page_source import prescan
from clean.page_source.decode import CharsetSource, codec, decode
from clean.page_source.prescan import declared_labels


def html5lib_cases(shared: Path) -> list[tuple[bytes, str]]:
    """(page, expected label) of every case of html5lib-tests' encoding folder, scripted ones left out."""
    cases: list[tuple[bytes, str]] = []
    with (
        open(shared / "hostile/hostile.tar.zst", "rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as stream,
        tarfile.open(fileobj=io.BufferedReader(stream), mode="r|") as archive,
    ):
        for member in archive:
            path = Path(member.name)
            if path.parent.name != "encoding" or path.suffix != ".dat":
                continue
            handle = archive.extractfile(member)
            assert handle is not None
            for case in (b"\n" + handle.read()).split(b"\n#data\n")[1:]:
                page, _, expected = case.partition(b"\n#encoding\n")
                cases.append((page, expected.split(b"\n")[0].decode().strip()))
    return cases


def declared(page: bytes) -> str | None:
    return next((name for label in declared_labels(page) if (name := codec(label))), None)


def test_html5lib_encoding_tests(shared: Path) -> None:
    cases = html5lib_cases(shared)
    assert len(cases) > 60
    mark = b"\xef\xbb\xbf"
    wrong = [
        (page, expected)
        for page, expected in cases
        if (decode(page).charset if page.startswith(mark) else declared(page) or "cp1252")
        != codec(expected)
    ]
    assert not wrong


SOUND = "Zoë went to the café with Łukasz"


@pytest.mark.parametrize(
    ("start", "label"),
    [
        ("<meta charset=koi8-r>", "koi8-r"),
        ("<META CharSet = 'KOI8-R' >", "koi8-r"),
        ("<meta/charset=koi8-r>", "koi8-r"),
        ("<meta name=description charset=koi8-r>", "koi8-r"),
        ("<meta http-equiv=content-type content='text/html; charset=koi8-r'>", "koi8-r"),
        ("<meta content='x; charset = \"koi8-r\" ' http-equiv=Content-Type>", "koi8-r"),
        ("<meta name=description content='how to set charset=koi8-r'>", None),
        ("<meta name=description content='<meta charset=koi8-r>'>", None),
        ("<meta http-equiv=refresh content='0; url=/?charset=koi8-r'>", None),
        ("<!-- <meta charset=koi8-r> -->", None),
        ("<!--><meta charset=koi8-r>", "koi8-r"),
        ("<!--->x<meta charset=koi8-r>", "koi8-r"),
        ("<!-- <meta charset=koi8-r>", None),
        ("<script>s = '<meta charset=koi8-r>'</script><meta charset=big5>", "big5"),
        ("<script>s = '<meta charset=koi8-r>'</script>", "koi8-r"),
        ("<style>/* <meta charset=koi8-r> */</style><meta charset=big5>", "big5"),
        ("<title>About <meta charset=koi8-r></title><meta charset=big5>", "big5"),
        ("<a title='<meta charset=koi8-r>'>", None),
        ("<metadata charset=koi8-r>", None),
        ("<p charset=koi8-r>", None),
        ("<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        ("<meta charset=koi8-r charset=big5>", "koi8-r"),
        ("<?xml version='1.0' encoding='koi8-r'?>", "koi8-r"),
        ("<?xml version='1.0' encoding='koi8-r'?><meta charset=big5>", "big5"),
        ("<meta charset=koi8-r", None),
        ("<meta charset='koi8-r", None),
        ("<!doctype html><html lang=en><head><meta charset=koi8-r>", "koi8-r"),
    ],
)
def test_only_real_declarations_count(start: str, label: str | None) -> None:
    assert declared(start.encode()) == (codec(label) if label else None)


def test_a_description_does_not_change_the_charset() -> None:
    page = "<meta name=description content='charset=koi8-r'><p>café x".encode("cp1252")
    assert decode(page).text.endswith("café x")


@pytest.mark.parametrize("header", ["text/html; charset=utf-8", "text/html"])
@pytest.mark.parametrize("head", ["<meta charset=utf-8>", ""])
def test_a_bad_byte_is_one_replacement_character(header: str, head: str) -> None:
    page = f"{head}<p>{SOUND}, 李明 and her ".encode() + b"\xe9 friends" + " née Doe".encode()
    decoded = decode(page, header)
    assert decoded.charset == "utf-8"
    assert decoded.text == f"{head}<p>{SOUND}, 李明 and her \ufffd friends née Doe"


def test_a_label_over_another_charset_is_passed_over_at_any_length() -> None:
    for text in ("café.", "It was “déjà vu” for the people in the café."):
        decoded = decode(text.encode("cp1252"), "text/html; charset=utf-8")
        assert (decoded.text, decoded.source) == (text, CharsetSource.DETECTOR)


@pytest.mark.parametrize(
    "header",
    [
        'text/html; profile="charset=koi8-r"; charset=latin1',
        "text/html; x-charset=koi8-r; charset=latin1",
        "text/html;charset='latin1'",
        "text/html charset=latin1",
        "text/html, charset=latin1; charset=koi8-r",
    ],
)
def test_only_a_parameter_named_charset_is_a_label(header: str) -> None:
    assert decode("café".encode("latin-1"), header).text == "café"


SPACE = b"\t\n\f\r "


def attributes_by_the_standard(start: bytes, position: int) -> tuple[dict[bytes, bytes], int]:
    """(attributes of the tag from `position` on, position behind it), byte by byte as the standard
    says it: "get an attribute", again and again.
    """
    found: dict[bytes, bytes] = {}

    def skip(position: int, skipped: bytes) -> int:
        while position < len(start) and start[position] in skipped:
            position += 1
        return position

    while True:
        position = skip(position, SPACE + b"/")
        if position >= len(start):
            return {}, position
        if start[position] == ord(">"):
            return found, position + 1

        name_start = position
        while position < len(start) and start[position] not in SPACE + b"/>":
            if start[position] == ord("=") and position > name_start:
                break
            position += 1
        name = start[name_start:position].lower()
        position = skip(position, SPACE)
        value = b""

        if start[position : position + 1] == b"=":
            position = skip(position + 1, SPACE)
            quote = start[position : position + 1]
            end = position
            if quote in (b'"', b"'"):
                end = start.find(quote, position + 1)
                if end < 0:
                    return {}, len(start)
                value, position = start[position + 1 : end], end + 1
            else:
                while end < len(start) and start[end] not in SPACE + b">":
                    end += 1
                value, position = start[position:end], end

        found.setdefault(name, value)


PIECES = (
    b" ",
    b"\n",
    b"/",
    b"=",
    b'"',
    b"'",
    b">",
    b"a",
    b"Charset",
    b"utf-8",
    b"\x0b",
    b"\xe9",
    b"<",
)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_attributes_are_read_as_by_the_standard_byte_by_byte(rest: bytes) -> None:
    expected, end = attributes_by_the_standard(rest, 0)
    tag = prescan._REST_OF_TAG.match(rest)
    assert (tag.end() if tag else len(rest)) == end
    assert (prescan._attributes(rest[: end - 1]) if tag else {}) == expected


def test_a_page_may_begin_with_its_declaration() -> None:
    """Such a label comes before one of an XML declaration, and one within a title behind it."""
    rest = b'<title><meta charset=koi8-r></title><meta charset="latin2">'
    assert list(declared_labels(b"<meta charset=utf-7>" + rest)) == ["utf-7", "latin2", "koi8-r"]
