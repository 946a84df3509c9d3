"""Rebuilds in the wrong order: no command uses tables that do not belong together, and each says
what to run.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clean import run as clean_run
from corpus.errors import StaleError
from corpus.snapshots.snapshot import read_snapshot, snapshots, write_revision
from corpus.storage.store import Store, open_store
from corpus.tables.inventory import entries
from crawl import run as crawl_run
from dedup import run as dedup_run
from shards import export
from shards import run as shards_run
from shards.reader import open_split
from shards.tokenizer.encode import load_tokenizer
from tests.support import grown_corpus
from webtext.inspection import query
from webtext.reports import html, status
from webtext.upkeep import rebuild
from webtext.verify import command as verify

BATCH = "2024-03"
TABLE = (
    "<table><tr><td>Opening hours</td><td>from nine to five on every working day</td></tr></table>"
)
RUNS = {"crawl": crawl_run, "clean": clean_run, "dedup": dedup_run, "shards": shards_run}
OTHER_TEXTS = ("--set", "clean.extract.include_tables=false")


@dataclass(frozen=True)
class TablePage(grown_corpus.Site):
    """A page whose table comes before its prose, so that leaving tables out moves every character
    behind it.
    """

    @property
    def html(self) -> bytes:
        return super().html.replace(b"<p>", f"{TABLE}<p>".encode(), 1)


@dataclass(frozen=True)
class Leaky:
    """A corpus whose pages contain passages of a test set."""

    root: str
    folder: Path
    sites: list[grown_corpus.Site]
    passages: list[str]

    @property
    def store(self) -> Store:
        return open_store(self.root)

    @property
    def settings(self) -> tuple[str, ...]:
        return ("--set", f'dedup.testsets=["{self.folder / "questions.jsonl"}"]')

    def run(self, stage: str, *extra: str) -> int:
        words = grown_corpus.arguments(self.root, BATCH, *self.settings, *extra)
        return RUNS[stage].main(words)  # type: ignore[attr-defined,no-any-return]

    def leaked(self, snapshot: str) -> int:
        """How many passages are in the training tokens."""
        tokenizer = load_tokenizer(self.store)
        text = ""
        for name in ("train", "val"):
            split = open_split(self.root, snapshot, name)  # type: ignore[arg-type]
            text += tokenizer.decode(split.slice(0, split.num_tokens).tolist())
        words = " ".join(text.split())
        return sum(passage in words for passage in self.passages)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Leaky:
    """Grown once. Tests change copies of it."""
    folder = tmp_path_factory.mktemp("leaky")
    texts = [grown_corpus.prose(f"leaky {number}", 60) for number in range(6)]
    passages = [" ".join(text.split("\n")[4].split()) for text in texts]
    (folder / "questions.jsonl").write_text(
        "".join(json.dumps({"text": passage}) + "\n" for passage in passages)
    )
    sites: list[grown_corpus.Site] = [
        TablePage(f"http://leaks{number}.test/page", text) for number, text in enumerate(texts)
    ]
    sites += grown_corpus.ordinary(4)
    corpus = Leaky(str(folder / "c"), folder, sites, passages)
    grown_corpus.grow(corpus.root, BATCH, sites, folder, *corpus.settings)
    assert corpus.leaked(BATCH) == 0
    return corpus


@pytest.fixture
def leaky(grown: Leaky, tmp_path: Path) -> Leaky:
    shutil.copytree(grown.root, tmp_path / "c")
    return dataclasses.replace(grown, root=str(tmp_path / "c"))


def commands_in(message: str) -> Iterator[list[str]]:
    """The stages' command lines that a message quotes."""
    for line in re.findall(r"`webtext (?!rebuild|query)([^`]+)`", message):
        yield shlex.split(line)


def test_old_cuts_are_never_applied_to_new_texts(
    leaky: Leaky, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leaky.run("clean", "--rebuild", *OTHER_TEXTS) == 0
    capsys.readouterr()
    for extra in ((), ("--rebuild",), ("--rebuild", "--no-snapshot")):
        assert leaky.run("shards", "--snapshot", "two", *extra) == 2
        message = capsys.readouterr().err
        assert f"documents {BATCH} was rebuilt since" in message
        assert f"`webtext dedup --corpus {leaky.root} --batch {BATCH} --rebuild`" in message
        assert f"`webtext rebuild --corpus {leaky.root} --from dedup`" in message
    assert snapshots(leaky.store) == [BATCH]

    for stage, _, *rest in [[line[0], *line] for line in commands_in(message)]:
        assert leaky.run(stage, *rest[4:]) == 0
    assert leaky.run("shards", "--rebuild", "--snapshot", "two") == 0
    assert leaky.leaked("two") == 0
    assert {entry.state for entry in entries(leaky.store)} == {"ok"}


def test_everything_that_reads_tables_marks_the_stale_ones(
    leaky: Leaky, capsys: pytest.CaptureFixture[str]
) -> None:
    store = leaky.store
    assert leaky.run("clean", "--rebuild", *OTHER_TEXTS) == 0
    states = {entry.table: (entry.state, entry.why) for entry in entries(store)}
    assert states["verdicts"] == ("stale", f"documents {BATCH} was rebuilt since")
    assert states["tokens"] == ("stale", f"documents {BATCH} was rebuilt since")
    assert states["documents"] == ("ok", "")

    with pytest.raises(StaleError, match="snapshot 'new' would use stale tables"):
        write_revision(store, "new", [BATCH])

    capsys.readouterr()
    assert verify.main(["--corpus", leaky.root]) == 1
    assert f"tokens {BATCH}: stale: documents {BATCH} was rebuilt since" in capsys.readouterr().out

    assert status.main(["--corpus", leaky.root]) == 0
    assert (
        f"holds batch {BATCH} as it was before: documents {BATCH} was rebuilt since"
        in capsys.readouterr().out
    )

    report = store.read_bytes(html.write(store).removeprefix(f"{store.root}/")).decode()
    assert f"tokens is stale: documents {BATCH} was rebuilt since." in report

    capsys.readouterr()
    for table in ("verdicts", "documents"):
        words = ["--corpus", leaky.root, f"SELECT count(*) FROM {table}"]
        assert query.main(words) == 0
    warnings = capsys.readouterr().err
    assert f"table verdicts of batch {BATCH} is stale: documents {BATCH} was rebuilt" in warnings
    assert "table documents" not in warnings


def test_a_training_run_and_an_export_of_an_outdated_snapshot_say_so(
    leaky: Leaky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The snapshot stays readable: it names its files, and they are as they were."""
    assert leaky.run("clean", "--rebuild", *OTHER_TEXTS) == 0
    capsys.readouterr()
    words = ["--corpus", leaky.root, "--snapshot", BATCH, "--to", "nanogpt"]
    assert export.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert f"snapshot {BATCH} holds batch {BATCH} as it was before" in capsys.readouterr().err
    assert read_snapshot(leaky.store, BATCH).splits["train"].num_tokens > 0


def test_links_that_were_made_new_stop_every_later_stage(
    leaky: Leaky, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens of pages that no link leads to any more were written, and dedup was "up to date"."""
    dump = str(leaky.folder / f"RS_{BATCH}.zst")
    again = ("--only", "links", "--dumps", dump, "--set", "crawl.links.min_score=9", "--rebuild")
    grown_corpus.write_dump(Path(dump), leaky.sites)
    assert leaky.run("crawl", *again) == 0
    for stage in ("dedup", "shards", "clean"):
        for extra in ((), ("--rebuild",)):
            capsys.readouterr()
            assert leaky.run(stage, *extra) == 2, (stage, extra)
            message = capsys.readouterr().err
            assert f"pages of batch '{BATCH}' (links {BATCH} was rebuilt since)" in message
            assert message.index("webtext crawl") < message.index("--from crawl --files FILE ...")
    assert rebuild.main(["--corpus", leaky.root, "--from", "clean", "--dry-run"]) == 2
    assert "webtext rebuild --from clean would use stale tables: pages" in capsys.readouterr().err


def test_rebuild_does_the_whole_chain_and_begins_early_enough(
    leaky: Leaky, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [word for each in grown_corpus.SETTINGS for word in ("--set", each)]
    words = ["--corpus", leaky.root, "--executor", "serial", *sets, *leaky.settings]
    assert leaky.run("clean", "--rebuild", *OTHER_TEXTS) == 0
    assert rebuild.main([*words, *OTHER_TEXTS, "--from", "shards"]) == 2
    assert "--from dedup" in capsys.readouterr().err
    assert rebuild.main([*words, *OTHER_TEXTS, "--from", "dedup", "--snapshot", "two"]) == 0
    assert leaky.leaked("two") == 0
    assert {entry.state for entry in entries(leaky.store)} == {"ok"}


def test_rebuilding_a_crawl_wants_the_files_that_it_was_made_from(
    leaky: Leaky, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    dump = leaky.folder / f"RS_{BATCH}.zst"
    other = grown_corpus.write_dump(tmp_path / "other.zst", leaky.sites[:2])
    words = ["--corpus", leaky.root, "--executor", "serial", "--from", "crawl"]
    for files, expected in (
        ([], f"was made from RS_{BATCH}.zst; name them with --files FILE ..."),
        ([str(other)], f"was made from RS_{BATCH}.zst"),
        ([str(dump), str(other)], f"--files {other}: no batch was made from this file"),
    ):
        given = ["--files", *files] if files else []
        assert rebuild.main([*words, *given]) == 2
        assert expected in capsys.readouterr().err

    called: list[list[str]] = []

    def stage_main(stage: str) -> Any:
        return lambda argv: called.append([stage, *argv]) or 0

    monkeypatch.setattr(rebuild, "stage_main", stage_main)
    assert rebuild.main([*words, "--files", str(dump)]) == 0
    assert [line[0] for line in called] == ["crawl", "clean", "dedup", "shards"]
    assert called[0][-2:] == ["--dumps", str(dump)]
    assert all("--rebuild" in line for line in called)
