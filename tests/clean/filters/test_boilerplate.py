from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean import run
from clean.filters.boilerplate import BoilerplateConfig, line_keys, recurring, without
from corpus.storage.store import open_corpus
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from tests.support.foreign_warc import TYPE, archive, import_warc

CONFIG = BoilerplateConfig(remove=True, min_frac=0.5, min_pages=2, min_line_chars=3)
LINE = st.sampled_from(["aaa b", "ccc", "  aaa   b ", "x", "", "ddd", "eee fff"])
PAGES = st.lists(st.lists(LINE, max_size=8).map("\n".join), max_size=8)


@given(PAGES)
def test_lines_go_by_a_slow_count(pages: list[str]) -> None:
    gone = recurring((line_keys(page, CONFIG) for page in pages), CONFIG)
    on_pages = [{" ".join(line.split()) for line in page.split("\n")} for page in pages]
    for page in pages:
        cut = without(page, gone, CONFIG)
        kept = [line for line in cut.text.split("\n") if line.strip()]
        expected = []
        for line in page.split("\n"):
            words = " ".join(line.split())
            count = sum(words in lines for lines in on_pages)
            if words and not (len(words) >= 3 and count >= 2 and count >= len(pages) / 2):
                expected.append(line)
        assert kept == expected
        assert cut.num_lines == len([line for line in page.split("\n") if line.strip()]) - len(
            expected
        )
        assert without(cut.text, gone, CONFIG) == (cut.text, 0)


@given(PAGES)
def test_the_order_of_pages_does_not_matter(pages: list[str]) -> None:
    keys = [line_keys(page, CONFIG) for page in pages]
    assert recurring(keys, CONFIG) == recurring(keys[::-1], CONFIG)


def test_a_text_without_such_lines_is_left_as_it_is() -> None:
    text = "a\n\n\n\nb  \n"
    assert without(text, frozenset({1}), CONFIG) == (text, 0)


MENU = "Subscribe to the letters of the keeper of the lighthouse today, it costs nothing at all."


def story(number: int, site: str) -> bytes:
    own = "".join(
        f"<p>On day {number} the keeper of {site} saw ship number {i} pass by the rocks.</p>"
        for i in range(7)
    )
    return f"<html><body><article><p>{MENU}</p>{own}</article></body></html>".encode()


@pytest.fixture
def warc_file(tmp_path: Path) -> Path:
    """Twelve pages of one site with the same line, three of another with it, and one with little else."""
    many = [(f"http://many.example/{i}", "200 OK", story(i, "Many"), TYPE) for i in range(12)]
    few = [(f"http://few.example/{i}", "200 OK", story(i, "Few"), TYPE) for i in range(3)]
    thin = f"<html><body><article><p>{MENU}</p>{'<p>Too few words of its own to be a document, but enough with the menu that all pages have.</p>' * 2}"
    path = tmp_path / "x.warc.gz"
    path.write_bytes(
        archive(
            [
                *many,
                *few,
                (
                    "http://many.example/thin",
                    "200 OK",
                    thin.encode() + b"<p>And so it goes on and on, word by word, until fifty.</p>",
                    TYPE,
                ),
            ],
            compressed=True,
        )
    )
    return path


@pytest.mark.usefixtures("no_sandbox")
def test_the_door_removes_a_site_s_lines_and_nothing_is_lost(
    warc_file: Path, tmp_path: Path
) -> None:
    settings = ["--set", "clean.boilerplate.remove=true", "--set", "clean.quality.min_words=51"]
    argv = ["--corpus", str(tmp_path / "c"), "--batch", "b", "--workers", "1", *settings]
    import_warc(tmp_path / "c", warc_file)
    assert run.main(argv) == 0
    store = open_corpus(str(tmp_path / "c"))
    documents = read_table(store, "documents", "b").to_pylist()
    dropped = read_table(store, "documents_dropped", "b").to_pylist()
    assert {row["url"] for row in documents if MENU in row["text"]} == {
        f"http://few.example/{i}" for i in range(3)
    }
    assert len([row for row in documents if row["domain"] == "many.example"]) == 12
    assert all(row["num_words"] == len(row["text"].split()) for row in documents)
    assert [row["reason"] for row in dropped] == ["too_short"]
    counts = read_manifest(store, "documents", "b").counts
    assert (counts["boilerplate:lines"], counts["kept"], counts["too_short"]) == (13, 15, 1)
    assert sum(count for name, count in counts.items() if name.startswith("charset:")) == 16
    assert store.folders("work/b") == []
