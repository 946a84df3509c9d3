"""Every command that looks at or tends a corpus: help, wrong use, no corpus, an empty one; each ends as the others do."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.storage.store import open_corpus
from webtext import cli
from webtext.cli import command_main

WORDS = {
    "explain": ["http://example.org/page"],
    "status": [],
    "verify": [],
    "query": ["SELECT 1 AS one"],
    "forget": ["--url", "http://example.org/page"],
    "diff": ["2024-01", "2024-02"],
    "rebuild": ["--from", "clean"],
    "prune": ["--delete"],
    "report": [],
}
"""What each needs besides the corpus."""
EMPTY = {
    "explain": (0, "linked by no batch, and no rule refuses it"),
    "status": (0, "no batch yet; begin with `python -m crawl.run"),
    "verify": (0, "0 files, 0 B: everything as it was written"),
    "query": (0, "one"),
    "forget": (0, "1 pages listed; removed nothing was here"),
    "diff": (2, "no snapshot '2024-01'; present: none"),
    "rebuild": (2, "no batch is committed yet; begin with `python -m crawl.run`"),
    "prune": (0, "deleted 0 snapshots, 0 files"),
    "report": (2, "no batch is committed yet"),
}
"""What each says of a corpus without a batch."""


def call(name: str, *words: str) -> int:
    return command_main(name)(list(words))


@pytest.mark.parametrize("name", WORDS)
def test_help_names_the_command_and_every_option(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(name, "--help")
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: webtext {name}" in shown
    assert "s3://" in shown
    options = [line for line in shown.splitlines() if line.startswith("  --")]
    assert all(len(line.split()) > 1 for line in options)


@pytest.mark.parametrize("name", WORDS)
def test_wrong_use_is_one_line_and_exit_code_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    for words, message in (
        (["--no-such-flag"], "see --help"),
        ([], "--corpus"),
        (["--corpus", missing, *WORDS[name]], f"--corpus {missing}: no corpus there"),
        (["--corpus", f"nosuch://{name}", *WORDS[name]], "not a path or URI that can be opened"),
    ):
        assert call(name, *words) == 2, words
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert message in lines[0]
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_corpus(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "c")
    open_corpus(root, create=True)
    expected, message = EMPTY[name]
    assert call(name, "--corpus", root, *WORDS[name]) == expected
    shown = capsys.readouterr()
    assert message in (shown.out if expected == 0 else shown.err)


@pytest.mark.parametrize("name", WORDS)
def test_the_corpus_may_be_named_by_the_environment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEBTEXT_CORPUS", str(tmp_path / "none"))
    assert call(name, *WORDS[name]) == 2
    assert f"--corpus {tmp_path}/none: no corpus there" in capsys.readouterr().err
    open_corpus(str(tmp_path / "c"), create=True)
    expected, _ = EMPTY[name]
    assert call(name, "--corpus", str(tmp_path / "c"), *WORDS[name]) == expected, "an option wins"


@pytest.mark.parametrize("name", [each for group in cli.GROUPS.values() for each in group])
def test_every_command_takes_the_corpus_as_an_option_and_is_named_as_it_was_started(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WEBTEXT_CORPUS", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: webtext {name} ")
    if name != "demo":
        assert "  --corpus C" in shown
    assert cli.main([name, "--no-such-flag"]) == 2
    assert capsys.readouterr().err.startswith(f"error: webtext {name}: ")
