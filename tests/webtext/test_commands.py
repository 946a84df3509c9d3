"""Every command that looks at or tends a corpus: help, wrong use, no corpus, an empty one; each ends as the others do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import webtext
from clean.config import CleanConfig
from corpus.config import describe
from corpus.storage.store import open_corpus
from crawl.config import CrawlConfig
from dedup.config import DedupConfig
from shards.config import ShardsConfig
from tests.support import child
from train.config import TrainConfig
from webtext import cli
from webtext.commands import GROUPS, command_main
from webtext.upkeep.refresh_config import RefreshConfig

WORDS = {
    "explain": ["http://example.org/page"],
    "status": [],
    "verify": [],
    "query": ["SELECT 1 AS one"],
    "forget": ["--url", "http://example.org/page", "--why", "a test", "--yes"],
    "diff": ["2024-01", "2024-02"],
    "rebuild": ["--from", "clean"],
    "prune": ["--delete"],
    "report": [],
}
"""What each needs besides the corpus."""
EMPTY = {
    "explain": (0, "linked by no batch, and no rule refuses it"),
    "status": (0, "no batch yet; begin with `webtext crawl"),
    "verify": (0, "0 files, 0 B: everything as it was written"),
    "query": (0, "one"),
    "forget": (0, "1 page listed; removed nothing was here"),
    "diff": (2, "no snapshot '2024-01'; present: none"),
    "rebuild": (2, "no batch is committed yet; begin with `webtext crawl`"),
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


@pytest.mark.parametrize("name", [each for group in GROUPS.values() for each in group])
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


STAGES = {"crawl": CrawlConfig, "clean": CleanConfig, "dedup": DedupConfig, "shards": ShardsConfig}
STAGES |= {"train": TrainConfig, "refresh": RefreshConfig}


@pytest.mark.parametrize("name", STAGES)
def test_help_lists_the_common_settings_and_help_all_every_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = STAGES[name]
    every = {key for key, _, _ in describe(model, name)}
    common = {f"{name}.{key}" for key in model.common}
    assert common
    assert common <= every, "each is a setting"
    for option, expected in (("--help", common), ("--help-all", every)):
        with pytest.raises(SystemExit) as ended:
            cli.main([name, option])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert set(re.findall(rf"^  ({name}\.[\w.]+) = ", shown, flags=re.MULTILINE)) == expected
        assert ("more: --help-all" in shown) == (expected < every)


def test_people_meet_about_25_settings() -> None:
    assert sum(len(model.common) for model in STAGES.values()) <= 25


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Bash itself is asked, with the script that the command prints."""
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_webtext; printf '%s\\n' ${{COMPREPLY[@]}}"
        return set(child.run(["bash", "-c", f"{script}\n{ask}"]).split())

    names = {name for group in GROUPS.values() for name in group}
    assert names <= complete("webtext", "")
    assert complete("webtext", "re") == {name for name in names if name.startswith("re")}
    assert {"--corpus", "--sample"} <= complete("webtext", "verify", "--")
    # Files by every name of a path: a script without them completes nothing there.
    with_files = set(
        re.findall(r"^_shtab_webtext_(\w+)_COMPGEN=_shtab_compgen_files$", script, re.M)
    )
    paths = {"verify___proof", "publish___staging", "train___held_out", "evaluate___texts"}
    assert paths <= with_files
    assert complete("webtext", "crawl", "--executor", "") == {"auto", "serial", "pool", "ray"}


def test_a_command_without_its_extra_completes_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "crawl.run", None)
    assert cli.main(["completion", "zsh"]) == 0
    shown = capsys.readouterr()
    assert "crawl: options are left out" in shown.err
    assert "pip install webtext[crawl]" in shown.err
    assert "--sample" in shown.out


def test_the_demo_is_found_from_any_folder_of_a_checkout(tmp_path: Path) -> None:
    """`make demo` failed: an editable installation knows the packages, and not the examples."""
    program = "import sys; from webtext.cli import main; sys.exit(main(['demo', '--help']))"
    root = str(Path(webtext.__file__).parents[1])
    code = f"import sys; sys.path[:] = [p for p in sys.path if p != {root!r}]\n{program}"
    # Only the packages are to be found, as in such an installation.
    found = tmp_path / "found"
    found.mkdir()
    for name in ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train"):
        (found / name).symlink_to(Path(root) / name)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(found)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--pages" in done.stdout
