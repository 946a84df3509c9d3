"""The first hours of a new user: nothing is ignored in silence, and every answer explains itself.

A test for each find of a trial by a stranger. Those of stale tables are in `test_staleness.py` and
`test_generations.py`, those of settings kept with a corpus in `test_corpus_settings.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from clean import run as clean_run
from clean.config import CleanConfig
from corpus.config import Section, describe, ineffective, load_config
from corpus.errors import InputError
from corpus.storage import lease
from corpus.storage.store import open_corpus, open_store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from crawl import run as crawl_run
from crawl.config import CrawlConfig
from dedup import run as dedup_run
from dedup.config import DedupConfig
from shards import run as shards_run
from shards.config import ShardsConfig
from shards.pin_tokenizer import TokenizerConfig, ensure_tokenizer
from shards.tokenizer.encode import load_tokenizer
from tests.support import foreign_warc, grown_corpus
from train import job
from train.config import TrainConfig
from webtext import cli
from webtext.reports import html
from webtext.upkeep import rebuild
from webtext.verify import command as verify

MODELS: dict[str, type[Section]] = {
    "crawl": CrawlConfig,
    "clean": CleanConfig,
    "dedup": DedupConfig,
    "shards": ShardsConfig,
    "train": TrainConfig,
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus whose first batch `a` trained a vocabulary; the second, `b`, has no tokens yet."""
    folder = tmp_path_factory.mktemp("hour")
    root = str(folder / "corpus")
    trained = ("--set", "shards.tokenizer.source=train", "--set", "shards.tokenizer.vocab_size=300")
    grown_corpus.grow(root, "a", grown_corpus.ordinary(6), folder, *trained)
    dump = grown_corpus.write_dump(folder / "RS_b.zst", grown_corpus.ordinary(6, 1), 50)
    grown_corpus.link(root, "b", dump)
    grown_corpus.fetch(open_store(root), "b", grown_corpus.ordinary(6, 1))
    for stage in (clean_run, dedup_run):
        assert stage.main(grown_corpus.arguments(root, "b")) == 0
    return root


def words(root: str, *more: str) -> list[str]:
    return ["--corpus", root, "--batch", "b", "--executor", "serial", *more]


def errors(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


# F4: settings without effect. Each line is (what switches it off, the setting).
@pytest.mark.parametrize(
    ("others", "setting"),
    [
        ([], "clean.quality.gopher.max_bullet_lines_frac=0.5"),
        (["clean.quality.preset=c4"], "clean.quality.gopher.max_bullet_lines_frac=0.5"),
        ([], "clean.quality.c4.min_sentences=9"),
        (["clean.quality.preset=fineweb"], "clean.quality.c4.terminal_punctuation=false"),
        (["clean.quality.preset=gopher"], "clean.quality.fineweb.min_line_punctuation_frac=0.5"),
        ([], "clean.boilerplate.min_pages=3"),
        ([], "clean.extract.include_tables=false"),
        (["clean.extract.extractor=trafilatura"], "clean.extract.threshold=recall"),
        (["clean.language.languages=[]"], "clean.language.min_score=0.9"),
        (["clean.wikipedia.remove=false"], "clean.wikipedia.domains=['wiki.example']"),
        ([], "dedup.overlap.n=9"),
        (["dedup.testsets=['s']", "dedup.overlap.policy=document"], "dedup.overlap.window_chars=9"),
        ([], "shards.writer.compression_level=9"),
        (["crawl.links.karma_rule=openwebtext2"], "crawl.links.crosspost_score=own"),
        ([], "train.optimizer.muon_learning_rate=0.1"),
        ([], "train.optimizer.decay_frac=0.1"),
        (["train.max_steps=7"], "train.epochs=2"),
    ],
)
def test_a_setting_that_is_switched_off_is_named_and_counts_for_nothing(
    others: list[str], setting: str
) -> None:
    stage, _, _ = setting.partition(".")
    key = setting.partition("=")[0]
    alone = load_config(MODELS[stage], stage, sets=others)
    both = load_config(MODELS[stage], stage, sets=[*others, setting])
    assert both != alone
    assert both.effective() == alone.effective()
    assert [*ineffective(alone, stage)] == []
    (line,) = ineffective(both, stage)
    assert line.startswith(f"{key} = ")
    assert "has no effect: " in line


@pytest.mark.parametrize("preset", ["webtext", "openwebtext", "gopher", "c4", "fineweb"])
def test_thresholds_decide_or_are_named(preset: str) -> None:
    """Every threshold of every preset changes the effective settings, or is reported: not both."""
    chosen = f"clean.quality.preset={preset}"
    alone = load_config(CleanConfig, "clean", sets=[chosen])
    for key, default, _ in describe(CleanConfig, "clean"):
        if key.startswith("clean.quality.") and key.count(".") == 3:
            if default.startswith("{"):
                value = "{2 = 0.5}"
            elif default in ("true", "false"):
                value = "false" if default == "true" else "true"
            else:
                value = str(int(default) + 1) if default.isdigit() else str(float(default) / 2)
            both = load_config(CleanConfig, "clean", sets=[chosen, f"{key}={value}"])
            decides = both.effective() != alone.effective()
            assert decides == (not [*ineffective(both, "clean")]), key


def test_a_threshold_of_another_preset_rebuilds_nothing(
    grown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_manifest(open_store(grown), "documents", "b").fingerprint
    other = ("--set", "clean.quality.gopher.max_bullet_lines_frac=0.5")
    assert clean_run.main(grown_corpus.arguments(grown, "b", *other, "--rebuild")) == 0
    shown = capsys.readouterr()
    assert "clean: up to date" in shown.out
    assert (
        "clean.quality.gopher.max_bullet_lines_frac = 0.5 has no effect: clean.quality.preset = "
        "'webtext' does not apply these rules; presets that do: gopher, fineweb" in shown.err
    )
    assert read_manifest(open_store(grown), "documents", "b").fingerprint == before


@pytest.mark.parametrize("only", [["--plan"], ["--only", "fetch"]])
def test_links_that_are_not_built_again_refuse_other_settings(
    grown: str, only: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    contact = ["--set", "crawl.fetch.contact=https://example.org/c"]
    asked = [*only, *contact, "--set", "crawl.links.min_score=5"]
    assert crawl_run.main(words(grown, *asked)) == 2
    told = errors(capsys)
    assert "was built with crawl.links.min_score = 3; this command does not build it with 5" in told
    assert "--dumps FILE ... and --rebuild" in told


def test_a_plan_of_the_settings_that_built_the_links_says_that_nothing_was_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "c")
    dump = grown_corpus.write_dump(tmp_path / "RS_b.zst", grown_corpus.ordinary(4))
    grown_corpus.link(root, "b", dump)
    capsys.readouterr()
    assert crawl_run.main(words(root, "--plan", "--set", "crawl.links.min_score=3")) == 0
    shown = capsys.readouterr().out
    *_, last = shown.splitlines()
    assert "crawl: up to date" not in shown, "the fetch is left to do"
    assert last.startswith("links: up to date, nothing was fetched; to fetch: ")
    assert f"--corpus {root} --batch b" in last


@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("option", ["--dumps", "--warc"])
def test_a_refused_first_input_leaves_no_corpus(
    tmp_path: Path, option: str, there_before: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    if there_before:
        root.mkdir()
    only = ("--only", "links") if option == "--dumps" else ()
    assert crawl_run.main(words(str(root), option, str(tmp_path / "missing"), *only)) == 2
    assert "missing" in errors(capsys)
    assert root.exists() == there_before
    assert [path.name for path in root.rglob("*")] == []
    assert verify.main(["--corpus", str(root)]) == 2


def test_a_refused_input_leaves_an_older_corpus(grown: str) -> None:
    before = sorted(path for path in Path(grown).rglob("*") if path.is_file())
    missing = ["--corpus", grown, "--batch", "z", "--executor", "serial", "--only", "links"]
    assert crawl_run.main([*missing, "--dumps", "/nowhere/RS.zst"]) == 2
    assert sorted(path for path in Path(grown).rglob("*") if path.is_file()) == before


def test_status_counts_no_workers_of_a_stopped_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker's last state looks fresh for half a minute after Ctrl-C."""
    root = str(tmp_path / "c")
    store = open_corpus(root, create=True)
    fresh = {"done": 2, "total": 9, "reasons": {"ok": 2}, "at": time.time(), "in_flight": 3}
    store.write_json("work/b/crawl.fetch-live/00000.json", fresh)
    with lease.hold(store, "work/b/lock.json", what="crawl.run"):
        assert crawl_run.main(words(root, "--status")) == 0
        assert "  1 worker  " in capsys.readouterr().out

    assert crawl_run.main(words(root, "--status")) == 0
    shown = capsys.readouterr().out
    assert "2 of 9 links  no worker runs; the same crawl command continues" in shown


def test_shares_say_what_they_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """F8: 70.0% and 68.3% of the same 28 captures, of 40 and of 41."""
    pages = [
        (f"http://e.example/{n}", "200 OK", foreign_warc.HTML, foreign_warc.TYPE) for n in "aab"
    ]
    file = tmp_path / "f.warc.gz"
    file.write_bytes(foreign_warc.archive(pages, compressed=True))
    assert crawl_run.main(words(str(tmp_path / "c"), "--warc", str(file))) == 0
    shown = capsys.readouterr().out
    read = read_manifest(open_store(str(tmp_path / "c")), "pages", "b").details["rows_read"]
    assert read > 2
    assert f"of {read} WARC records" in shown


def test_a_verdict_is_explained_by_any_address(
    grown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = read_table(open_store(grown), "documents", "b", ["doc_id", "url"]).to_pylist()[0]
    address = row["url"].partition("://")[2]
    for asked in (row["url"], address, f"HTTP://{address}#part", row["doc_id"]):
        capsys.readouterr()
        assert dedup_run.main(words(grown, "--explain", asked)) == 0, asked
        assert capsys.readouterr().out.startswith(f"{row['doc_id']}  {row['url']}")

    for wrong in ("http://unknown.example/", "no address", "http://", "f" * 32):
        assert dedup_run.main(words(grown, "--explain", wrong)) == 2, wrong
        assert "expected an address of a page of it" in errors(capsys)


def test_settings_that_this_command_does_not_read_are_named(
    grown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dedup_run.main(words(grown, "--set", "clean.quality.preset=gopher")) == 0
    assert "without effect here: --set clean.quality.preset" in errors(capsys)
    assert dedup_run.main(words(grown, "--sample", "--set", "dedup.threshold=0.9")) == 2
    assert "has no effect with --explain and --sample" in errors(capsys)
    assert crawl_run.main(words(grown, "--status", "--set", "crawl.fetch.delay_s=3")) == 2
    assert "has no effect with --status" in errors(capsys)


# F5: a corpus with a pinned tokenizer.
def test_the_pinned_tokenizer_is_the_default(
    grown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_tokenizer(open_store(grown)).fingerprint
    assert shards_run.main(grown_corpus.arguments(grown, "b")) == 0
    assert load_tokenizer(open_store(grown)).fingerprint == before

    for setting, words_of_it in {
        "source=gpt2": "a tokenizer trained on its documents (vocab_size 300)",
        "vocab_size=400": "made with vocab_size 300",
    }.items():
        asked = ("--set", f"shards.tokenizer.{setting}")
        assert shards_run.main(grown_corpus.arguments(grown, "b", *asked)) == 2
        told = errors(capsys)
        assert words_of_it in told
        assert f"leave out --set shards.tokenizer.{setting.partition('=')[0]}=" in told


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_a_rebuild_checks_the_pin_before_anything_is_rebuilt(
    grown: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(grown)
    before = store.files("documents/a")
    asked = ["--set", "shards.tokenizer.source=gpt2", "--set", "clean.quality.preset=gopher"]
    given = ["--corpus", grown, "--from", "clean", "--executor", "serial", *asked, *more]
    assert rebuild.main([*given, "--batch", "a"]) == 2
    assert "a corpus never changes its tokenizer" in errors(capsys)
    assert store.files("documents/a") == before
    misspelt = ["--set", "shards.writer.val_fraction=0.1", *more]
    assert rebuild.main(["--corpus", grown, "--from", "clean", "--batch", "a", *misspelt]) == 2
    assert "known: shards.writer.val_frac" in errors(capsys)


def test_a_vocabulary_size_without_training_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    ensure_tokenizer(store, TokenizerConfig(vocab_size=300), ["b"], 0.1)
    assert "shards.tokenizer.vocab_size = 300 has no effect" in caplog.text


# F13, F8: messages in the words of the user.
def test_one_added_test_set_is_named_alone(
    grown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"text": grown_corpus.prose("a question", 3)}) + "\n")
    added = ("--set", f'dedup.testsets=["{mine}"]')
    assert dedup_run.main(grown_corpus.arguments(grown, "a", *added)) == 2
    told = errors(capsys)
    assert "built with other settings or inputs: test set mine was added. Run the same" in told
    assert f"`webtext rebuild --corpus {grown} --from dedup`" in told
    assert "stopped" not in told


@pytest.mark.parametrize(
    ("words_given", "told"),
    [
        (["craw"], "did you mean `webtext crawl`?"),
        (["drop_batch"], "did you mean `webtext drop-batch`?"),
        (["clean", "--batch", "b"], "or once with `export WEBTEXT_CORPUS=C`"),
        (["status"], "or once with `export WEBTEXT_CORPUS=C`"),
        (["clean", "--corpus", "c", "--bach", "b", "--batch", "b"], "did you mean --batch?"),
    ],
)
def test_a_slip_gets_the_line_to_type(
    words_given: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WEBTEXT_CORPUS", raising=False)
    assert cli.main(words_given) == 2
    (line,) = errors(capsys).splitlines()
    assert told in line


def test_a_file_changed_by_hand_is_no_defect_of_a_step(
    grown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A count in a manifest is edited: the message leads to `webtext verify`."""
    root = tmp_path / "copy"
    shutil.copytree(grown, root)
    path = root / "verdicts/a/_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["kept"] += 1
    path.write_text(json.dumps(manifest))
    changed = ("--set", "shards.writer.seams=paragraphs", "--rebuild", "--no-snapshot")
    assert shards_run.main(grown_corpus.arguments(str(root), "a", *changed)) == 1
    told = errors(capsys)
    assert "conservation broken" in told
    assert "run `webtext verify`" in told
    assert "defect of the step" not in told


# F12: a folder with modules named as ours.
def test_a_train_py_in_the_folder_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('the wrong train')\n")
    words_given = [sys.executable, "-m", "webtext", "train", "--help"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        words_given, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: webtext train")


# F16: the report.
def test_the_report_has_a_dark_style_a_date_and_the_snapshots(grown: str, tmp_path: Path) -> None:
    shutil.copytree(grown, tmp_path / "c")
    page = Path(html.write(open_store(str(tmp_path / "c")))).read_text()
    assert "prefers-color-scheme:dark" in page
    assert "section{overflow-x:auto}" in page
    assert re.search(r"written \d{4}-\d\d-\d\d \d\d:\d\d UTC", page)
    assert "<h2>Snapshots</h2>" in page


# F17: the README.
def test_the_readme_says_what_it_takes_before_it_explains() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "Install"
    assert {"Results", "Sizes and times", "Where to read on"} <= set(headings)
    assert "pip install" in text
    assert "(LICENSE)" in text
    assert len(text.splitlines()) < 200


# F18: one way to name the corpus, and a validation share by its setting.
def test_a_corpus_without_validation_names_the_setting(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with (
        pytest.raises(
            InputError, match=r"--set shards.writer.val_frac=0.05 and another --snapshot"
        ),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(job, "open_split", lambda *_, **__: SimpleNamespace(num_tokens=0))
        job._validation_split(store, "s", 8, 0, None)
