from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from clean import run
from clean.marks import licenses, opt_outs, readable
from corpus.storage.store import open_corpus
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from tests.support.foreign_warc import archive, import_warc


@pytest.mark.parametrize(
    ("html", "headers", "found"),
    [
        ('<meta name="robots" content="noai, noimageai">', [], ["noai", "noimageai"]),
        ("<META CONTENT='NoIndex,follow' NAME=ROBOTS>", [], ["noindex"]),
        ("<meta name=robots content=index><meta name=ccbot content=noai>", [], ["noai"]),
        (
            "",
            [("X-Robots-Tag", "otherbot: noai"), ("x-robots-tag", "noarchive")],
            ["noai", "noarchive"],
        ),
        ("<meta name=tdm-reservation content=1>", [], ["tdm-reservation"]),
        ("", [("TDM-Reservation", "1")], ["tdm-reservation"]),
        ("<meta name=tdm-reservation content=0>", [], []),
        ("<meta name=robots content='index, follow, max-snippet:-1'>", [], []),
        ("<meta name=description content='noai none'><p>noai", [], []),
    ],
)
def test_opt_outs(html: str, headers: list[tuple[str, str]], found: list[str]) -> None:
    assert opt_outs(html, headers) == found


PAGE = '<html><meta name="robots" content="noai"><p>Ünïcode 漢</p></html>'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (PAGE.encode(), "text/html"),
        (PAGE.encode("utf-16"), "text/html"),
        (codecs.BOM_UTF16_BE + PAGE.encode("utf-16-be"), "text/html; charset=utf-8"),
        (codecs.BOM_UTF32_LE + PAGE.encode("utf-32-le"), "text/html"),
        (codecs.BOM_UTF32_BE + PAGE.encode("utf-32-be"), ""),
        (PAGE.encode("utf-16-le"), "text/html; charset=UTF-16LE"),
        (PAGE.encode("utf-16-be"), 'text/html; charset="utf-16be"'),
        (PAGE.encode("utf-16-le"), "text/html;charset=utf-16"),
        (PAGE.encode("utf-16-le"), "text/html"),
        (PAGE.encode("utf-16-be"), "text/html"),
        (("\n \t" + PAGE).encode("utf-16-be"), ""),
        (PAGE.encode("utf-16-le") + b"\xd8", "text/html"),
    ],
)
def test_marks_are_read_in_wide_charsets(body: bytes, content_type: str) -> None:
    """A browser reads such a page, so its opt-out counts."""
    html = readable(body, [("Content-Type", content_type)])
    assert opt_outs(html, []) == ["noai"]


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">', ["by-sa/4.0"]),
        (
            "<link rel='foaf license' href=http://creativecommons.org/publicdomain/zero/1.0/>",
            ["zero/1.0"],
        ),
        ("<a href='//CreativeCommons.org/licenses/by/3.0/us/'>CC</a>", ["by/3.0"]),
        (
            "<a href='//creativecommons.org/licenses/by/2.0'></a>"
            "<a rel=license href='//creativecommons.org/licenses/by-nc/4.0'></a>",
            ["by-nc/4.0"],
        ),
        ("<p>creativecommons.org/about is no licence", []),
        ("", []),
    ],
)
def test_licenses(html: str, found: list[str]) -> None:
    assert licenses(html) == found


@pytest.mark.usefixtures("no_sandbox")
def test_marks_are_kept_when_asked_and_extract_nothing_again(tmp_path: Path) -> None:
    prose = b"".join(
        b"<p>Sentence %d tells of the owl in the tower of the church.</p>" % i for i in range(9)
    )
    asks = b"<html><head><meta name=robots content=noai></head><body><article>" + prose
    gives = (
        b"<html><body><article>"
        + prose
        + b"<a rel=license href=//creativecommons.org/licenses/by/4.0/>CC</a>"
    )
    answers = [
        (f"http://e.example/{name}", "200 OK", body, {"Content-Type": "text/html"} | more)
        for name, body, more in (
            ("asks", asks, {}),
            ("gives", gives, {"X-Robots-Tag": "noindex"}),
            ("dropped", b"<p>short", {}),
        )
    ]
    path = tmp_path / "x.warc"
    path.write_bytes(archive(answers))
    argv = ["--corpus", str(tmp_path / "c"), "--batch", "b", "--workers", "1"]
    argv += ["--set", "clean.rights.policy=record"]
    import_warc(tmp_path / "c", path)
    assert run.main(argv) == 0
    store = open_corpus(str(tmp_path / "c"))
    before = read_manifest(store, "documents", "b")
    assert run.main([*argv, "--set", "clean.marks=true"]) == 0
    assert read_manifest(store, "documents", "b") == before
    urls = {row["doc_id"]: row["url"] for row in read_table(store, "documents", "b").to_pylist()}
    marks = {
        urls[row.pop("doc_id")][-5:]: row for row in read_table(store, "marks", "b").to_pylist()
    }
    assert marks == {
        "/asks": {"opt_outs": ["noai"], "licenses": []},
        "gives": {"opt_outs": ["noindex"], "licenses": ["by/4.0"]},
    }
    assert read_manifest(store, "marks", "b").counts == {
        "license:by/4.0": 1,
        "opt_out:noai": 1,
        "opt_out:noindex": 1,
    }
