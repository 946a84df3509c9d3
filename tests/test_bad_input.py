"""Wrong input at the doors: one line with the value and the next command, exit code 2, and nothing lost."""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from corpus.storage.lease import hold
from corpus.storage.store import open_corpus, open_store
from crawl import run as crawl_run
from examples.demo.dump import compressed, submission

ROWS = [
    submission(url=f"http://site.test/{n}", title=f"t{n}", score=5, subreddit="Python", author="a")
    | {"id": f"a{n}", "created_utc": 1512086400}
    for n in range(20)
]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "RS_2017-12.zst"
    path.write_bytes(compressed(ROWS))
    return path


def crawl(corpus: Path, dump: Path, *extra: str) -> int:
    return crawl_run.main(
        [
            "--corpus",
            str(corpus),
            "--batch",
            "b",
            "--dumps",
            str(dump),
            "--only",
            "links",
            "--executor",
            "serial",
            "--allow-immature-scores",
            *extra,
        ]
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_missing_dump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crawl(tmp_path / "c", tmp_path / "RS_none.zst") == 2
    assert "RS_none.zst: cannot be read" in only_line(capsys)


def test_empty_dump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "RS_empty.zst").touch()
    assert crawl(tmp_path / "c", tmp_path / "RS_empty.zst") == 2
    assert "the file is empty" in only_line(capsys)


def test_truncated_dump_names_byte_and_row_and_the_flag_that_accepts_it(
    tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "RS_cut.zst"
    plain.write_bytes(dump.read_bytes()[:-40])
    assert crawl(tmp_path / "c", plain) == 1
    message = only_line(capsys)
    assert "byte" in message
    assert "row" in message
    assert "--allow-truncated" in message
    assert not open_store(str(tmp_path / "c")).exists("links/b/_manifest.json")
    assert crawl(tmp_path / "c", plain, "--allow-truncated") == 0


def test_unknown_format(tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_corpus(str(tmp_path / "c"), create=True).write_json("corpus.json", {"format": 7})
    before = files(tmp_path / "c")
    assert crawl(tmp_path / "c", dump) == 2
    assert "format 7, this version reads 1" in only_line(capsys)
    assert files(tmp_path / "c") == before


def test_other_config_is_refused_and_the_batch_stays(
    tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crawl(tmp_path / "c", dump) == 0
    before = files(tmp_path / "c")
    assert crawl(tmp_path / "c", dump, "--set", "crawl.links.min_score=4") == 2
    message = only_line(capsys)
    assert "crawl.links.min_score was 3, is now 4" in message
    assert "--rebuild" in message
    assert files(tmp_path / "c") == before


def test_unwritable_target(tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert crawl(tmp_path / "file" / "c", dump) == 2
    assert f"cannot write {tmp_path / 'file' / 'c'}" in only_line(capsys)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            ["--set", "crawl.links.min_karma=3"],
            "unknown setting crawl.links.min_karma; known: crawl.links.min_score",
        ),
        (["--set", "crawl.links.min_score=many"], "crawl.links.min_score = 'many'"),
        (["--set", "crawl.links.min_score=-1"], "crawl.links.min_score = -1"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--workers", "0"], "0 is not a positive number"),
        (["--batch", "../up"], "--batch '../up'"),
        (["--config", "/no/such.toml"], "/no/such.toml: No such file"),
    ],
)
def test_wrong_use_is_refused_before_any_work(
    tmp_path: Path,
    dump: Path,
    capsys: pytest.CaptureFixture[str],
    extra: Sequence[str],
    message: str,
) -> None:
    assert crawl(tmp_path / "c", dump, *extra) == 2
    assert message in only_line(capsys)
    assert not (tmp_path / "c").exists()


def test_two_runs_at_once(tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    with hold(store, "work/b/lock.json", what="crawl.run"):
        assert crawl(tmp_path / "c", dump) == 2
    assert f"held by process {os.getpid()}" in only_line(capsys)


def test_a_crawl_of_real_hosts_wants_a_contact(
    tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        crawl_run.main(["--corpus", str(tmp_path / "c"), "--batch", "b", "--dumps", str(dump)]) == 2
    )
    assert "crawl.fetch.contact is empty" in only_line(capsys)
    assert not (tmp_path / "c").exists()


SETTINGS = frozenset({"--config", "--set", "--rebuild"})
TASKS = frozenset({"--workers", "--executor"})
DOORS = {
    **dict.fromkeys(("crawl", "clean", "dedup", "shards"), SETTINGS | TASKS),
    **dict.fromkeys(
        ("crawl.run", "clean.run", "dedup.run", "shards.run", "webtext.upkeep.refresh"),
        SETTINGS | TASKS,
    ),
    **dict.fromkeys(("train", "train.run"), SETTINGS),
    **dict.fromkeys(
        ("train.evaluate", "train.generate", "train.export", "shards.export"), frozenset[str]()
    ),
    **dict.fromkeys(
        ("webtext.inspection.explain", "webtext.reports.html", "examples.demo"), frozenset[str]()
    ),
    "webtext.upkeep.rebuild": SETTINGS - {"--rebuild"} | TASKS,
    "webtext.verify.command": frozenset({"--workers"}),
}
"""The shared options of each: what means something to it, and nothing else."""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_every_door_has_help_and_refuses_wrong_use(
    door: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `python -m` runs a door, without the seconds of a process start."""

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [door, *argv])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(door, run_name="__main__")
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    code, out, err = run("--help")
    assert code == 0, err
    assert re.match("usage: (python -m|webtext) ", out)
    assert (
        set(re.findall(r"^  (--[a-z]+)", out, flags=re.MULTILINE)) & (SETTINGS | TASKS)
        == DOORS[door]
    )
    code, out, err = run("--no-such-flag")
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("error: ")] == err.splitlines()
    assert len(err.splitlines()) == 1
