"""The whole way on a small demo web: dump to loss, again for nothing, on S3, on other executors, month after month.

The demo starts its doors as processes, as a person would; what follows calls them in this one.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.manifest import read_manifest
from examples.demo import checks, dump, web
from examples.demo.__main__ import BATCH, RUN, write_config
from examples.demo.server import DemoServer
from webtext.stages import stage_main
from webtext.upkeep import refresh

NUM_PAGES = 60
STAGES = ("clean", "dedup", "shards")
DERIVED = ("documents", "documents_dropped", "signatures", "verdicts", "bands", "tokens", "spans")


@dataclass(frozen=True)
class Demo:
    """A finished demo."""

    folder: Path
    output: str

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "corpus"))

    @property
    def config(self) -> str:
        return str(self.folder / "demo.toml")


@pytest.fixture(scope="module", autouse=True)
def small_means() -> Iterator[None]:
    """A fraction of the demo's model and tokens, for what is asked here is whether it learns, not how well; one process that fetches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBTEXT_CRAWL__FETCH__SHARDS", "1")
        patch.setenv("WEBTEXT_TRAIN__MODEL__N_EMBD", "96")
        patch.setenv("WEBTEXT_TRAIN__MODEL__N_LAYER", "2")
        patch.setenv("WEBTEXT_TRAIN__MODEL__BLOCK_SIZE", "64")
        patch.setenv("WEBTEXT_TRAIN__BATCH_SIZE", "12")
        patch.setenv("WEBTEXT_TRAIN__OPTIMIZER__LEARNING_RATE", "0.004")
        patch.setenv("WEBTEXT_SHARDS__TOKENIZER__VOCAB_SIZE", "2048")
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("whole") / "demo"
    command = [
        sys.executable,
        "-m",
        "examples.demo",
        "--folder",
        str(folder),
        "--pages",
        str(NUM_PAGES),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return Demo(folder, done.stdout)


def run_stages(demo: Demo, corpus: str, *extra: str) -> None:
    for stage in STAGES:
        assert (
            stage_main(stage)(
                ["--corpus", corpus, "--batch", BATCH, "--config", demo.config, *extra]
            )
            == 0
        )


def derived(store: Store, batch: str = BATCH) -> dict[str, bytes]:
    """All bytes that clean, dedup and shards made, manifests aside (they hold the time)."""
    return {
        path: store.read_bytes(path)
        for table in DERIVED
        for path, _ in store.files(f"{table}/{batch}", recursive=True)
        if path.endswith(".parquet")
    }


def fetched_only(demo: Demo, root: str) -> Store:
    """A corpus that has the demo's links, pages and WARC segments and nothing later."""
    store = open_corpus(root, create=True)
    for table in ("links", "pages", "warc"):
        for path, _ in demo.store.files(f"{table}/{BATCH}"):
            store.write_bytes(path, demo.store.read_bytes(path))
    return store


def test_the_demo_shows_commands_funnel_loss_sample_and_report(demo: Demo) -> None:
    for stage in ("crawl", *STAGES, "train", "evaluate"):
        assert f"$ webtext {stage} --corpus" in demo.output
    assert "every planted case was handled rightly" in demo.output
    assert "Validation loss fell from" in demo.output
    for row in (
        "| wsc273 (not the official file) | partial accuracy |",
        "| validation | bits per byte |",
    ):
        assert row in demo.output
    report = (demo.folder / "corpus" / "reports" / "report.html").read_text()
    for part in (
        "submissions read",
        "Removed by dedup",
        "paper: WebText",
        "Top domains",
        "<polyline",
        "<pre>",
    ):
        assert part in report
    assert "http" not in report.split("</style>")[0], "the report loads nothing"


def test_the_laws_hold_between_the_tables(demo: Demo) -> None:
    rows = {
        table: read_manifest(demo.store, table, BATCH) for table in ("links", "pages", *DERIVED)
    }
    assert rows["links"].rows == rows["pages"].rows
    assert (
        rows["pages"].counts["fetched"] == rows["documents"].rows + rows["documents_dropped"].rows
    )
    assert rows["documents"].rows == rows["verdicts"].rows
    assert rows["verdicts"].counts["kept"] == rows["spans"].rows


def test_every_door_again_is_up_to_date(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    before = derived(demo.store)
    doors: dict[str, list[str]] = {
        "crawl": ["--batch", BATCH, "--dumps", str(demo.folder / "RS_demo.zst")],
        **{stage: ["--batch", BATCH] for stage in STAGES},
        "train": ["--snapshot", BATCH, "--run", RUN],
    }
    for stage, arguments in doors.items():
        capsys.readouterr()
        where = ["--corpus", demo.store.root, "--config", demo.config, "--json"]
        assert stage_main(stage)([*where, *arguments]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["up_to_date"] is True, stage
    assert derived(demo.store) == before


def test_one_process_and_s3_give_the_same_bytes(demo: Demo, s3_bucket: str) -> None:
    store = fetched_only(demo, f"{s3_bucket}/corpora/demo")
    run_stages(demo, store.root, "--executor", "serial")
    assert derived(store) == derived(demo.store)
    assert read_snapshot(store, BATCH).digest == read_snapshot(demo.store, BATCH).digest


@pytest.mark.soak
def test_ray_gives_the_same_bytes(demo: Demo, tmp_path: Path) -> None:
    store = fetched_only(demo, str(tmp_path / "c"))
    program = (
        "import sys, ray; from webtext.stages import stage_main;"
        "ray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False);"
        f"sys.exit(max(stage_main(stage)(sys.argv[1:]) for stage in {STAGES}))"
    )
    arguments = [
        "--corpus",
        store.root,
        "--batch",
        BATCH,
        "--config",
        demo.config,
        "--executor",
        "ray",
    ]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert derived(store) == derived(demo.store)


@pytest.fixture(scope="module")
def months() -> Iterator[tuple[web.DemoWeb, DemoServer]]:
    made = web.build(NUM_PAGES, seed=3)
    with DemoServer(made.answers) as server:
        yield made, server


def test_refresh_makes_month_after_month_and_nothing_twice(
    months: tuple[web.DemoWeb, DemoServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, server = months
    (tmp_path / "dumps").mkdir()
    config = write_config(
        tmp_path, server.port, made.write_testset(tmp_path / "testsets"), NUM_PAGES
    )
    with config.open("a") as stream:
        stream.write(
            f'\n[refresh]\ncorpus = "{tmp_path / "corpus"}"\ndumps = "{tmp_path / "dumps"}/RS_*.zst"\n'
        )
    arguments = ["--config", str(config), "--workers", "1"]

    first = dump.write_dump(made, tmp_path / "dumps" / "RS_2017-12.zst")
    assert refresh.main(arguments) == 0
    store = open_store(str(tmp_path / "corpus"))
    assert checks.check(store, "2017-12", made, first, server.log).failures == []

    requests = len(server.log)
    before = {path: store.read_bytes(path) for path, _ in store.files("", recursive=True)}
    assert refresh.main(arguments) == 0
    assert "up to date" in capsys.readouterr().out
    assert len(server.log) == requests
    assert {path: store.read_bytes(path) for path, _ in store.files("", recursive=True)} == before

    second = dump.write_followup_dump(made, tmp_path / "dumps" / "RS_2018-01.zst")
    assert refresh.main([*arguments, "--dry-run"]) == 0
    assert "would make batch 2018-01" in capsys.readouterr().out
    assert refresh.main(arguments) == 0
    found = checks.review(store, "2018-01", made.followup, dump=second, earlier=["2017-12"])
    assert found.failures == []
    assert read_manifest(store, "links", "2018-01").counts["seen_before"] >= len(second.seen) > 0
    asked = {web.address(request.host, request.target) for request in server.log[requests:]}
    seen = {
        web.address(
            url.removeprefix("http://").partition("/")[0],
            "/" + url.removeprefix("http://").partition("/")[2],
        )
        for url in second.seen
    }
    assert not asked & seen, "a page that an earlier batch has is not fetched again"
    assert [each.batch for each in read_snapshot(store, "2018-01").batches] == [
        "2017-12",
        "2018-01",
    ]
