"""The scheduled increment: what is missing is made, oldest first, once; months with kills, changes and take-downs."""

from __future__ import annotations

import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import Interrupted, LostLeaseError
from corpus.snapshots.snapshot import read_snapshot, snapshots
from corpus.storage import conditional_write, lease
from corpus.storage.lease import hold
from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.manifest import read_manifest
from crawl import run as crawl_run
from tests.support import faulty_network, grown_corpus, simulated_refresh
from webtext.inspection import explain, explain_text
from webtext.reports import summary
from webtext.rights import command as rights
from webtext.takedown import command as forget
from webtext.upkeep import rebuild, refresh
from webtext.upkeep.hooks import call_hooks
from webtext.verify import command as verify

COMPARED = (
    "links",
    "documents",
    "documents_dropped",
    "signatures",
    "verdicts",
    "bands",
    "tokens",
    "spans",
)


def months(count: int, size: int = 14) -> list[list[grown_corpus.Site]]:
    """A web that grows: new pages each month, copies of earlier ones, failures, and links that come again."""
    made: list[list[grown_corpus.Site]] = []
    for month in range(count):
        sites = grown_corpus.ordinary(size, month)
        sites[0] = grown_corpus.Site(sites[0].url, grown_corpus.prose(f"long {month}", 40))
        if month:
            sites.append(
                grown_corpus.Site(f"http://copycat.test/{month}", made[month - 1][0].text, score=5)
            )
            sites.append(made[month - 1][1])
            sites.append(made[0][2])
        sites.append(
            grown_corpus.Site(f"http://gone.test/{month}", status=404, reason="http_status")
        )
        made.append(sites)
    return made


def name(month: int) -> str:
    return f"2024-{month + 1:02}"


class Play:
    """Dumps that appear month by month, and a config."""

    def __init__(
        self, folder: Path, root: str, made: list[list[grown_corpus.Site]], *settings: str
    ) -> None:
        self.folder, self.root, self.made, self.settings = folder, root, made, settings
        self.dumps = folder / "dumps"
        self.dumps.mkdir(parents=True)
        self.web = {site.url: site for month in made for site in month}
        self.configure()

    def configure(self, *settings: str) -> None:
        self.config = simulated_refresh.write_config(
            self.folder / "webtext.toml", self.root, self.dumps, *self.settings, *settings
        )

    def appear(self, month: int) -> None:
        grown_corpus.write_dump(
            self.dumps / f"RS_{name(month)}.zst", self.made[month], start=1000 * month
        )

    def run(self, *words: str) -> int:
        run = simulated_refresh.refresh_with(list(self.web.values()))
        return run(["--config", str(self.config), "--executor", "serial", *words])

    @property
    def store(self) -> Store:
        return open_store(self.root)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path, str(tmp_path / "corpus"), months(2))


@pytest.fixture
def short(tmp_path: Path) -> Play:
    """Of few pages, where it matters only that they come."""
    return Play(tmp_path, str(tmp_path / "corpus"), months(2, 6))


def test_what_is_missing_is_made_oldest_first_and_once(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play.run("--dry-run") == 2
    assert "no file matches; mount the folder" in capsys.readouterr().err
    assert not Path(play.root).exists()
    play.appear(1)
    play.appear(0)
    assert play.run("--dry-run") == 0
    out = capsys.readouterr().out
    assert out.index("would make batch 2024-01") < out.index("would make batch 2024-02")
    assert not Path(play.root).exists()
    assert play.run("--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["batches"] == ["2024-01", "2024-02"]
    assert [read_manifest(play.store, "links", name(month)).sequence for month in (0, 1)] == [1, 2]
    figures = told["summaries"][1]["figures"]
    assert figures["links"] == 16, "two of the month's links came before"
    assert figures["tokens"] == sum(
        part.metadata["num_tokens"] for part in read_manifest(play.store, "tokens", "2024-02").parts
    )
    assert figures["duplicate_share"] == pytest.approx(1 / 15, abs=1e-6)
    assert told["summaries"][1]["before"]["links"] == 15
    assert play.store.read_json("reports/refresh-2024-02.json") == told["summaries"][1]
    before = {path: play.store.read_bytes(path) for path, _ in play.store.files("", recursive=True)}
    assert play.run() == 0
    assert "up to date: 2 dumps" in capsys.readouterr().out
    assert {
        path: play.store.read_bytes(path) for path, _ in play.store.files("", recursive=True)
    } == before
    play.made.append(months(3)[2])
    play.web |= {site.url: site for site in play.made[2]}
    play.appear(2)
    assert play.run("--dry-run", "--json") == 0
    [estimate] = json.loads(capsys.readouterr().out.splitlines()[-1])["estimates"]
    assert 10 < estimate["links"] < 25
    assert 3000 < estimate["tokens"] < 20000


def test_a_stage_that_fails_is_named_and_told_and_the_rest_is_kept(
    short: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    short.appear(0)
    note = short.folder / "note.json"
    short.configure('dedup.testsets=["/no/such/set"]', f"refresh.command=tee {note}")
    assert short.run() == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "batch 2024-01: dedup ended with exit code 2" in message
    assert "run the same command to continue" in message
    assert json.loads(note.read_text())["event"] == "failure"
    note.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            refresh, "_make", lambda *_: (_ for _ in ()).throw(OSError("the store is away"))
        )
        assert short.run() == 1
    assert json.loads(note.read_text())["error"] == "the store is away"
    documents = grown_corpus.table_bytes(short.store, "2024-01", "documents")
    short.configure("clean.quality.min_words=372")
    assert short.run() == 2, "what is there was made with another setting"
    assert "Run the same command with --rebuild" in capsys.readouterr().err
    short.configure()
    assert short.run() == 0
    assert grown_corpus.table_bytes(short.store, "2024-01", "documents") == documents


def test_a_batch_that_was_begun_with_other_settings_is_made_new_when_told(short: Play) -> None:
    short.appear(0)
    short.configure('dedup.testsets=["/no/such/set"]')
    assert short.run() == 2
    short.configure("clean.quality.min_words=372")
    assert short.run("--rebuild") == 0
    assert grown_corpus.rows(short.store, "documents_dropped", "2024-01")
    assert not short.store.folders("work/2024-01")


def test_what_came_in_is_told_though_the_run_was_killed_before(
    short: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The batch was complete; the stages are not asked again, whatever the settings are now."""
    short.appear(0)
    note = short.folder / "note.json"
    short.configure(f"refresh.command=tee {note}")
    with monkeypatch.context() as patch, pytest.raises(KillError):
        patch.setattr(summary, "summarise", _die)
        short.run()
    assert snapshots(short.store) == ["2024-01"]
    assert not note.exists()
    short.configure(f"refresh.command=tee {note}", "clean.quality.min_words=372")
    assert short.run() == 0
    assert json.loads(note.read_text())["batch"] == "2024-01"
    note.unlink()
    assert short.run() == 0
    assert "up to date" in capsys.readouterr().out
    assert json.loads(note.read_text())["event"] == "nothing_to_do"


def _die(*words: Any) -> Any:
    raise KillError


def test_dumps_of_an_object_store(short: Play, s3_bucket: str) -> None:
    """Found by a pattern, oldest first, and read from there."""
    short.appear(0)
    dumps = open_store(f"{s3_bucket}/reddit")
    dumps.write_bytes("RS_2024-01.zst", (short.dumps / "RS_2024-01.zst").read_bytes())
    for name_ in ("RS_2023-12.zst", "RC_2024-01.zst", "old/RS_2020-01.zst"):
        dumps.write_bytes(name_, b"x")
    config = refresh.RefreshConfig(corpus=short.root, dumps=f"{s3_bucket}/reddit/RS_*.zst")
    found = list(refresh.find_increments(config))
    assert [(each.batch, *each.dumps) for each in found] == [
        ("2023-12", f"{s3_bucket}/reddit/RS_2023-12.zst"),
        ("2024-01", f"{s3_bucket}/reddit/RS_2024-01.zst"),
    ]
    assert short.run("--set", f"refresh.dumps={s3_bucket}/reddit/RS_2024-01.*") == 0
    assert read_manifest(short.store, "links", "2024-01").rows == len(short.made[0])


def test_a_dump_that_comes_late_is_named(short: Play, capsys: pytest.CaptureFixture[str]) -> None:
    short.appear(0)
    assert short.run() == 0
    assert "left out" not in capsys.readouterr().err
    (short.dumps / "RS_2024-01.v2.zst").write_bytes(b"x")
    assert short.run("--set", r"refresh.batch=RS_(\d+-\d+)\.") == 0
    assert (
        "RS_2024-01.v2.zst came after batch 2024-01 was made from RS_2024-01.zst"
        in capsys.readouterr().err
    )


@pytest.fixture
def listener() -> Iterator[tuple[str, list[Any]]]:
    """A webhook and what it was sent."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()
        thread.join()


def test_hooks_get_the_summary_and_their_failure_is_a_warning(
    play: Play, listener: tuple[str, list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    play.appear(0)
    call_hooks(listener[0], "false", {"event": "batch", "batch": "2024-01"})
    assert listener[1] == [{"event": "batch", "batch": "2024-01"}]
    assert "refresh.command = 'false': exit code 1" in caplog.text
    call_hooks("http://127.0.0.1:9/", "/no/such", {})
    assert "refresh.webhook = 'http://127.0.0.1:9/'" in caplog.text
    call_hooks("http://[", "", {})
    assert "refresh.webhook = 'http://['" in caplog.text
    assert "refresh.command = '/no/such'" in caplog.text


def test_every_end_is_an_event_and_only_good_ones_are_a_heartbeat(
    short: Play, listener: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong pattern, a folder that is not mounted, a month that did not come: green for a year."""
    address, received = listener
    note = short.folder / "note.json"
    hooks = [f"refresh.command=tee {note}", f"refresh.heartbeat={address}/beat"]

    def end(*words: str) -> tuple[int, str, bool]:
        note.unlink(missing_ok=True)
        received.clear()
        short.configure(*hooks)
        code = short.run(*words)
        return code, json.loads(note.read_text())["event"], bool(received)

    assert end() == (2, "failure", False), "no dump at all"
    assert "no file matches" in note.read_text()
    short.appear(0)
    assert end() == (0, "batch", True)
    assert end() == (0, "nothing_to_do", True)
    assert end("--set", "refresh.expect_every=35d") == (0, "nothing_to_do", True)
    assert end("--set", "refresh.expect_every=0.001s") == (0, "overdue", False)
    assert end("--set", "refresh.usual_factor=0") == (2, "failure", False), "a bad config"

    asked: list[list[str]] = []
    monkeypatch.setattr(rights, "main", lambda words: asked.append(words) or 3)
    old = ("--set", "refresh.rights_older_than=180d", "--set", "crawl.fetch.delay_s=2")
    assert end(*old) == (0, "nothing_to_do", True)
    [words] = asked
    assert words[:1] == ["check"]
    assert words[words.index("--older-than") + 1] == "180d"
    assert "--apply" in words
    assert "crawl.fetch.delay_s=2" in words, "the stage's settings are the crawl's"
    assert end() == (0, "nothing_to_do", True)
    assert len(asked) == 1, "only where asked for"
    assert end("--set", "dedup.no_such=1") == (2, "failure", False)
    assert end("--set", f"refresh.dumps={short.folder}/unmounted/RS_*") == (2, "failure", False)

    secret = "s3://AK:hidden-key@bucket/c"
    assert end("--corpus", secret) == (2, "failure", False)
    assert "hidden-key" not in note.read_text()
    short.appear(1)
    with hold(short.store, refresh.LEASE, what="webtext.refresh"):
        assert end() == (2, "busy", False)

    def stop(*_: Any) -> int:
        raise Interrupted(15)

    def lose(*_: Any) -> int:
        raise OSError("the store is away")

    for failure, code, event in ((stop, 143, "stopped"), (lose, 1, "failure")):
        with monkeypatch.context() as patch:
            patch.setattr(refresh, "_make", failure)
            assert end() == (code, event, False)
    assert json.loads(note.read_text())["batch"] == "2024-02"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://127.0.0.1:9/services/T0/B0/hidden", "'http://127.0.0.1:9/***'"),
        ("http://127.0.0.1:9/?token=hidden", "'http://127.0.0.1:9/***'"),
        ("http://user:hidden@127.0.0.1:9/", "'http://***@127.0.0.1:9/'"),
        ("hooks.test/services/T0/B0/hidden", "'hooks.test/***'"),
        ("http://127.0.0.1:9/services/T0/hid den/hidden", "'http://127.0.0.1:9/***'"),
    ],
)
def test_the_secret_of_a_webhook_is_not_logged(
    address: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    call_hooks(address, "", {})
    assert f"refresh.webhook = {shown}" in caplog.text
    assert "hidden" not in caplog.text


def test_figures_that_leave_their_usual_range_are_warned_of() -> None:
    usual = [{"links": 100.0, "tokens": 1000.0, "kept_share": 0.9, "duplicate_share": 0.01}] * 3
    assert summary.unusual(usual[0], usual, 2.0) == []
    assert summary.unusual(usual[0], [], 2.0) == []
    far = {"links": 9000.0, "tokens": 9.0, "kept_share": 0.1, "duplicate_share": 0.9}
    assert summary.unusual(far, usual[:2], 2.0) == [], "two batches before are no usual range"
    assert len(summary.unusual(far, usual, 2.0)) == 4
    none = [{"duplicate_share": 0.0}] * 3
    assert summary.unusual({"duplicate_share": 0.024}, none, 2.0) == [], "an alarm every month"
    assert len(summary.unusual({"duplicate_share": 0.07}, none, 2.0)) == 1
    few = [{"links": 5.0, "duplicate_share": 0.0}] * 3
    assert summary.unusual({"links": 15.0, "duplicate_share": 0.01}, few, 2.0) == []
    odd = {"links": 40.0, "tokens": 2001.0, "kept_share": 0.4, "duplicate_share": 0.025}
    assert [line.split(":")[0] for line in summary.unusual(odd, usual, 2.0)] == [
        "links 40",
        "tokens 2,001",
        "kept share 40.0%",
    ], "a share of duplicates of 2.5 % is within noise"
    worse = {
        "shop.test": {"links": 40, "failed": 30},
        "few.test": {"links": 3, "failed": 3},
        "old.test": {"links": 40, "failed": 39},
    }
    before = {
        "shop.test": {"links": 50, "failed": 5},
        "few.test": {"links": 3, "failed": 0},
        "old.test": {"links": 40, "failed": 38},
    }
    assert summary.newly_failing(worse, before) == [
        "shop.test: 30 of 40 links failed, 10% in the batch before"
    ]


def test_deferred_pages_are_picked_up(short: Play) -> None:
    late = [
        grown_corpus.Site(
            f"http://late.test/{n}", grown_corpus.prose(f"late {n}"), reason="deferred", status=200
        )
        for n in range(3)
    ]
    short.made[0] += late
    short.web |= {site.url: site for site in late}
    short.appear(0)
    assert short.run() == 0
    short.web |= {site.url: grown_corpus.Site(site.url, site.text) for site in late}
    short.appear(1)
    short.configure("refresh.retry_deferred=true")
    assert short.run() == 0
    urls = {row["url"] for row in grown_corpus.rows(short.store, "documents", "2024-02").values()}
    assert {site.url for site in late} <= urls
    assert not short.store.files("refresh"), "no file waits for the next batch"
    links = read_manifest(short.store, "links", "2024-02")
    assert links.counts["carried:submissions"] == 3
    assert {each.batch for each in links.inputs if each.table == "pages"} == {"2024-01"}
    story = explain.trace(short.store, late[0].url)
    assert story.batch == "2024-02"
    assert story.link is not None
    assert story.link["score"] == 10
    assert verify.verify(short.store).problems == []


def test_a_deferred_page_comes_with_the_karma_that_admitted_it(tmp_path: Path) -> None:
    """Under OpenWebText2's rule the sum of its submissions, of which none might have done."""
    root, site = (
        str(tmp_path / "c"),
        grown_corpus.Site("http://late.test/1", reason="deferred", score=2, submissions=2),
    )

    def link(batch: str, dump: str, *more: str) -> None:
        rule = ("--set", "crawl.links.karma_rule=openwebtext2")
        words = grown_corpus.arguments(
            root, batch, "--only", "links", "--dumps", dump, *rule, *more
        )
        assert crawl_run.main(words) == 0

    link("b", str(grown_corpus.write_dump(tmp_path / "RS_b.zst", [site])))
    store = open_store(root)
    grown_corpus.fetch(store, "b", [site])
    before = grown_corpus.rows(store, "links", "b")
    other = grown_corpus.Site("http://new.test/1", score=5)
    dump = str(grown_corpus.write_dump(tmp_path / "RS_c.zst", [other], 5000))
    link("plain", dump)
    assert before.keys().isdisjoint(grown_corpus.rows(store, "links", "plain"))
    store.delete("links/plain/_manifest.json")

    link("c", dump, "--set", "crawl.links.carry_over=true")
    rows = grown_corpus.rows(store, "links", "c")
    assert len(rows) == 2
    assert [rows[doc_id] for doc_id in before] == list(before.values()), "the row as it was"
    assert [row["score_sum"] for row in before.values()] == [3]
    words = rebuild.files_by_batch(store, ["c"], [dump])["c"]
    assert words == ["--dumps", dump, "--set", "crawl.links.carry_over=true"]


def test_a_second_start_while_the_first_runs_is_refused(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play.appear(0)
    with hold(open_corpus(play.root, create=True), refresh.LEASE, what="webtext.refresh"):
        assert play.run() == 2
    assert "held by process" in capsys.readouterr().err


def test_a_refresh_that_lost_its_lease_commits_nothing_more(
    short: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    """Taken over while the second stage works: its commit is refused."""
    short.appear(0)
    real = grown_corpus.fetch

    def slow_fetch(store: Store, batch: str, sites: Any) -> None:
        real(store, batch, sites)
        record = json.loads(store.read_bytes(refresh.LEASE))
        store.write_bytes(
            refresh.LEASE,
            json.dumps(
                {**record, "token": "x", "host": "elsewhere", "heartbeat": time.time()}
            ).encode(),
        )

    grown_corpus.fetch = slow_fetch
    try:
        assert short.run() == LostLeaseError.exit_code
    finally:
        grown_corpus.fetch = real
    assert "nothing more is committed" in capsys.readouterr().err
    assert short.store.exists("pages/2024-01/_manifest.json")
    assert not short.store.exists("documents/2024-01/_manifest.json")
    assert json.loads(short.store.read_bytes(refresh.LEASE))["host"] == "elsewhere"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "refresh.snapshot=x"], "expected {batch} in it"),
        (["--set", "refresh.snapshot={batch.x}"], "only {batch} can be filled in"),
        (["--set", "refresh.snapshot={batch[0]}"], "only {batch} can be filled in"),
        (["--set", "refresh.snapshot={batch:>9}"], "only {batch} can be filled in"),
        (["--set", "refresh.snapshot={batch}/x"], "expected letters, digits"),
        (["--set", "refresh.webhook=ftp://x"], "expected an http:// or https:// address"),
        (["--set", "refresh.usual_factor=1"], "refresh.usual_factor = 1"),
        (["--set", "refresh.batch=RS_"], "expected one group, found 0"),
        (["--set", "refresh.dumps=/no/such/RS_*"], "the folder cannot be listed"),
        (["--set", "refresh.dump=x"], "unknown setting refresh.dump"),
    ],
)
def test_wrong_use(
    play: Play, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play.run(*words) == 2
    assert message in capsys.readouterr().err
    assert not Path(play.root).exists()


# ---- months played -------------------------------------------------------------------------------------------------


class KillError(BaseException):
    """Stands for the end of the process."""


def killed_in_process(play: Play, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refresh ends at some write to the store; nothing after it happens, not even the giving back of leases."""
    left = rng.randrange(3, 60)
    with monkeypatch.context() as patch:
        for method in ("write_bytes", "create_exclusive", "replace_exact", "delete"):
            patch.setattr(Store, method, _counted(getattr(Store, method)))
        try:
            _Kills.left = left
            play.run()
        except KillError:
            pass
    for path, _ in play.store.files("work", recursive=True):
        if path.endswith(("lock.json", "refresh.json")):
            play.store.delete(path)  # the owner's process id is this test's own, which lives


class _Kills:
    left = 0


def _counted(real: Any) -> Any:
    def call(self: Store, *words: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return real(
                self, *words
            )  # a heartbeat of its own time would make the kills another time's
        _Kills.left -= 1
        if _Kills.left < 0:
            raise KillError
        return real(self, *words)

    return call


def killed_as_a_process(play: Play, rng: random.Random) -> None:
    """The refresh as a program, killed with SIGKILL at some moment."""
    web = simulated_refresh.write_web(play.folder / "web.json", list(play.web.values()))
    command = [sys.executable, str(Path(simulated_refresh.__file__)), str(play.config), str(web)]
    here = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here / 'tests' / 'corpus'}"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(rng.uniform(2.5, 9.0))
    process.send_signal(signal.SIGKILL)
    process.wait()


def play_months(play: Play, count: int, change_in: int, takedown_in: int, kill: Any) -> list[str]:
    """Month by month, each killed before it is made; the addresses that were taken down."""
    gone = [play.made[0][5].url, play.made[1][3].url]
    for month in range(count):
        if month == change_in:
            play.configure("clean.quality.min_words=372")
        play.appear(month)
        kill()
        if month == takedown_in:
            words = [word for url in gone for word in ("--url", url)]
            assert forget.main(["--corpus", play.root, *words, "--why", "a test", "--yes"]) in (
                0,
                1,
            ), "1: the batch that was killed waits"
        assert play.run() == 0
    return gone


def assert_equal_to_a_single_run(
    play: Play, other: Play, count: int, change_in: int, gone: list[str]
) -> None:
    """Tables and token files byte for byte those of a corpus that never had the pages, never was killed, never waited."""
    store = open_corpus(other.root, create=True)
    for path, _ in play.store.files("forgotten"):
        store.write_bytes(path, play.store.read_bytes(path))
    for month in range(count):
        other.appear(month)
        if month == change_in - 1:
            assert other.run() == 0
            other.configure("clean.quality.min_words=372")
    assert other.run() == 0
    for month in range(count):
        ours = grown_corpus.table_bytes(play.store, name(month), *COMPARED)
        theirs = grown_corpus.table_bytes(store, name(month), *COMPARED)
        assert {t: ours[t] == theirs[t] for t in COMPARED} == dict.fromkeys(COMPARED, True), name(
            month
        )
    final, expected = (read_snapshot(each, name(count - 1)) for each in (play.store, store))
    for split in ("train", "val"):
        left, right = final.splits[split], expected.splits[split]  # type: ignore[index]
        assert [file.digest for file in left.files] == [file.digest for file in right.files]
        assert (left.num_documents, left.num_tokens, left.num_bytes) == (
            right.num_documents,
            right.num_tokens,
            right.num_bytes,
        )
    assert verify.verify(play.store).problems == []
    for url in gone:
        assert explain.trace(play.store, url).link is None


def assert_every_fate_is_explained(play: Play, count: int) -> None:
    kept = [
        row["doc_id"]
        for row in grown_corpus.rows(play.store, "verdicts", name(count - 1)).values()
        if row["kept"]
    ]
    fates = {
        kept[0]: f"snapshots   {name(count - 1)}",
        f"http://copycat.test/{count - 1}": "exact_duplicate of",
        f"http://gone.test/{count - 1}": "not fetched http_status",
        play.made[0][5].url: "it never comes back",
        "http://example.org/a.pdf": "file_type",
    }
    dropped = grown_corpus.rows(play.store, "documents_dropped", name(count - 1))
    fates |= {next(iter(dropped)): "dropped"} if dropped else {}
    for asked, words in fates.items():
        assert words in explain_text.render(explain.trace(play.store, asked)), asked


FAULTS: tuple[faulty_network.Fault, ...] = ("error", "slow_down", "lost")


def stopped_by_the_store(
    play: Play,
    network: faulty_network.Network,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing can be written from the middle of a stage on: the refresh says so in one line and keeps what is done."""
    before, down = network.plan, [False]

    def plan(method: str, path: str) -> faulty_network.Fault:
        down[0] = down[0] or (method == "PUT" and "/documents/" in path)
        return "error" if down[0] and method == "PUT" else ""

    network.plan = plan
    with monkeypatch.context() as patch:
        patch.setattr(conditional_write, "MAX_RETRIES", 1)
        conditional_write.open_conditional.cache_clear()
        assert play.run() == 1
    conditional_write.open_conditional.cache_clear()
    network.plan = before
    lines = capsys.readouterr().err.splitlines()
    assert not any(line.startswith("Traceback") for line in lines)
    assert lines[-1].startswith("error: batch 2024-01: clean ended with exit code 1")
    assert play.store.exists("pages/2024-01/_manifest.json")
    assert not play.store.exists("documents/2024-01/_manifest.json")


def test_two_months_on_an_object_store_behind_a_bad_network(
    tmp_path: Path,
    network: faulty_network.Network,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first stopped by a store that fails, the second killed at some write; one request in a hundred refused or its
    answer lost all the time. The soak test plays six."""
    monkeypatch.setattr(lease, "HEARTBEAT_S", 1.0)
    network.plan = faulty_network.seldom(0.008, 7, *FAULTS)
    made, rng = months(2, 6), random.Random(5)
    few = ("crawl.links.num_parts=2",)
    play = Play(tmp_path / "ours", f"{s3_bucket}/corpus", made, *few)
    ends = iter(
        (
            lambda: stopped_by_the_store(play, network, monkeypatch, capsys),
            lambda: killed_in_process(play, rng, monkeypatch),
        )
    )
    gone = play_months(play, 2, change_in=1, takedown_in=1, kill=lambda: next(ends)())
    assert min(network.faults[kind] for kind in FAULTS) > 1
    other = Play(tmp_path / "theirs", str(tmp_path / "single"), made, *few)
    assert_equal_to_a_single_run(play, other, 2, 1, gone)
    assert_every_fate_is_explained(play, 2)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_six_months_on_an_object_store_with_kills(
    tmp_path: Path, network: faulty_network.Network, s3_bucket: str
) -> None:
    network.plan = faulty_network.seldom(0.005, 7, *FAULTS)
    made, rng = months(6, 20), random.Random(int(os.environ.get("PLAY_SEED", "1")))
    play = Play(tmp_path / "ours", f"{s3_bucket}/corpus", made)

    def kill() -> None:
        for _ in range(2):
            killed_as_a_process(play, rng)

    gone = play_months(play, 6, change_in=3, takedown_in=4, kill=kill)
    assert min(network.faults[kind] for kind in FAULTS) > 3
    other = Play(tmp_path / "theirs", str(tmp_path / "single"), made)
    assert_equal_to_a_single_run(play, other, 6, 3, gone)
    assert_every_fate_is_explained(play, 6)
    assert name(5) in snapshots(play.store)
