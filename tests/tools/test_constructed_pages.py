"""Pages with a known text: archives that the fit and the bench read, and prose without markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pytest
import zstandard

from tools import constructed_pages
from tools.annotated_pages import read_pages, sample
from tools.constructed_pages import Article, Layout, articles

WORDS = "The council of the town met on day {} and it voted for the bridge that was planned."


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """Five documents; every second has paragraphs that a markup language would read."""
    rows = []
    for number in range(5):
        paragraphs = [WORDS.format(n) for n in range(8)] + ["Too short."]
        if number % 2:
            paragraphs = [f"* {each}" for each in paragraphs]
        rows.append(
            {"id": str(number), "title": f"Day {number}: *notes*", "text": "\n\n".join(paragraphs)}
        )
    path = tmp_path / "prose.jsonl.zst"
    path.write_bytes(zstandard.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def test_articles_are_plain_paragraphs(prose: Path) -> None:
    found = articles(prose, 9)
    assert [each.slug for each in found] == ["page-0", "page-1", "page-2"]
    assert {each.title for each in found} == {"Day notes"}
    assert all(each.paragraphs == [WORDS.format(n) for n in range(8)] for each in found)
    assert [each.slug for each in articles(prose, 1, skip=2)] == ["page-2"]


def test_archives_are_read_as_annotated_pages(
    prose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def render(found: Sequence[Article], folder: Path) -> dict[str, Path]:
        pages = {}
        for each in found:
            body = "".join(f"<p>{escape(text)}</p>" for text in each.paragraphs)
            pages[each.slug] = folder / f"{each.slug}.html"
            pages[each.slug].write_text(f"<nav><a href=/>Home</a></nav><h1>{each.title}</h1>{body}")
        return pages

    def missing(found: Sequence[Article], folder: Path) -> dict[str, Path]:
        raise OSError("hugo is not installed")

    made = [Layout("plain", render), Layout("hugo", missing)]
    monkeypatch.setattr(constructed_pages, "layouts", lambda: iter(made))
    command = ["--prose", str(prose), "--out", str(tmp_path / "out"), "--pages", "3"]
    assert constructed_pages.main(command) == 0

    printed = capsys.readouterr()
    assert "3 pages of 1 layouts" in printed.out
    assert "hugo: not made (hugo is not installed)" in printed.err
    samples = [sample(row, html) for row, html in read_pages(tmp_path / "out")]
    assert len(samples) == 3
    for item in samples:
        assert item.gold["domain"] == "plain.example"
        # Navigation and title are not content, paragraphs are.
        assert item.labels.tolist() == [0, 0] + [1] * 8


def test_software_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = [Article("page-0", "A title", [WORDS.format(1)] * 6)]
    for render in (constructed_pages.sphinx, constructed_pages.mkdocs, constructed_pages.pelican):
        folder = tmp_path / render.__name__
        folder.mkdir()
        with pytest.raises(OSError, match="is not installed"):
            render(found, folder, "simple")
