"""A crawl that asks archives for links whose pages are not there: one row for each link."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from corpus.storage.store import Store, open_corpus, open_store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from corpus.urls import Target, page_identity, target
from crawl import run
from crawl.captures import archive_step, lookup, plan
from crawl.captures.choice import candidates
from crawl.captures.client import ArchiveClient
from crawl.fetch.progress import read, report_archive
from crawl.warc import records, writer
from tests.crawl import loopback
from tests.crawl.captures.made_archive import Archive, ArchiveServer, member
from tests.crawl.loopback import Batch, Web, moved, ok, stored
from webtext.inspection.explain import trace
from webtext.inspection.explain_text import render
from webtext.reports.years import by_archive, by_year
from webtext.takedown import command as takedown
from webtext.verify.command import main as verify

# The submissions of `Batch.links`.
WHEN = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LIVE, GONE, LOST, BUSY = (f"http://a{n}.test/2014/page" for n in range(4))
WALLED, MOVED, REFUSED, TAKEN = (f"http://b{n}.test/2014/page" for n in range(4))
URLS = [LIVE, GONE, LOST, BUSY, WALLED, MOVED, REFUSED, TAKEN]
MISSING = ok(b"gone", status="404 Not Found")


def capture(url: str, text: str, at: datetime = WHEN, *headers: tuple[bytes, bytes]) -> bytes:
    """A gzip member of a capture."""
    if not headers:
        return member(url, at, 200, f"<p>{text}".encode(), revisit=False)
    block = writer.http_block(
        "HTTP/1.1 200 OK", [(b"Content-Type", b"text/html"), *headers], b"<p>"
    )
    fields = [
        ("WARC-Record-ID", writer.record_id()),
        ("WARC-Date", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        ("WARC-Target-URI", url),
    ]
    return writer.record_bytes("response", fields, block, "application/http; msgtype=response")


def doc_id(url: str) -> str:
    page = target(url)
    assert isinstance(page, Target)
    return page_identity(page).doc_id


def setting(name: str, value: str) -> list[str]:
    return ["--set", f"crawl.{name}={value}"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Captures of all pages but one, two days before and a day after each submission."""
    path = tmp_path / "old.warc"
    data = b"".join(
        records.first_member(capture(url, f"{text} {url}", at))
        for url in URLS
        if url not in (LOST, REFUSED)
        for text, at in (("then", WHEN - 2 * DAY), ("near", WHEN + DAY))
    )
    path.write_bytes(data + capture(REFUSED, "", WHEN, (b"X-Robots-Tag", b"noai")))
    return path


@pytest.fixture
def batch(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> Batch:
    # Take-downs name pages by their real ids.
    monkeypatch.setattr(loopback, "doc_id", doc_id)
    for url in (GONE, LOST, REFUSED, TAKEN):
        web.on(url.removeprefix("http://"), MISSING)
    web.on(BUSY.removeprefix("http://"), ok(b"", status="503 Busy"))
    web.on(WALLED.removeprefix("http://"), ok(b"<title>Just a moment...</title>"))
    web.on(MOVED.removeprefix("http://"), moved("http://b1.test/"))
    made = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.0, "retries": 0})
    open_corpus(made.root, create=True)
    taken = ["--corpus", made.root, "--url", TAKEN, "--why", "a test", "--yes", "--in-advance"]
    assert takedown.main(taken) == 0
    made.links(URLS)
    return made


def with_archive(mode: str, *indexes: object) -> list[str]:
    named = ", ".join(f'"{each}"' for each in indexes)
    return [
        *setting("fetch.archive", f'"{mode}"'),
        *setting("captures.indexes", f"[{named}]"),
        *("--executor", "serial"),
    ]


def by_url_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for row in rows}


def by_url(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert sorted(row["url"] for row in rows) == sorted(URLS)
    return {row["url"]: row for row in rows}


def body(store: Store, row: dict[str, Any]) -> bytes:
    place = row["warc_file"], row["warc_offset"], row["warc_length"]
    return records.read_response(store, *place).body


def test_captures_take_the_place_of_failures(
    batch: Batch, archive: Path, web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = by_url(batch.crawl(*with_archive("fallback", archive)))
    store = open_store(batch.root)
    for url in (GONE, WALLED, MOVED):
        row = rows[url]
        assert (row["reason"], row["status"], row["capture"]) == (None, 200, "old.warc")
        assert row["captured_at"] == row["fetched_at"] == WHEN + DAY
        assert body(store, row) == f"<p>near {url}".encode()
        assert row["original_record_id"].startswith("<urn:uuid:")
    assert (rows[LIVE]["capture"], rows[LIVE]["cause"]) == ("live", None)
    for url, status, cause in ((LOST, 404, "no_capture"), (TAKEN, 404, None), (BUSY, 503, None)):
        row = rows[url]
        assert (row["reason"], row["status"], row["capture"]) == ("http_status", status, "live")
        assert row["cause"] == cause

    refused = rows[REFUSED]
    assert (refused["reason"], refused["cause"]) == ("training_opt_out", "robots_tag")
    assert refused["warc_file"] is None
    rights = {row["doc_id"]: row for row in read_table(store, "rights", "b").to_pylist()}
    assert rights[doc_id(REFUSED)]["training"] == "no"
    assert rights[doc_id(REFUSED)]["evidence"]
    assert rights[doc_id(GONE)]["training"] == "unsaid"

    assert store.files("work/b", recursive=True) == []
    counts = read_manifest(store, "pages", "b").counts
    assert (counts["fetched"], counts["capture:old.warc"]) == (4, 4)
    assert by_year(store, ["b"]) == {2024: {"live": 1, "revived": 3, "lost": 4}}
    assert by_archive(store, ["b"]) == {"old.warc": 3}
    assert "captured by old.warc on 2024-01-02" in render(trace(store, GONE))
    assert "no capture in the archives" in render(trace(store, LOST))
    assert "archives" not in render(trace(store, BUSY))
    capsys.readouterr()
    verify(["--corpus", batch.root])
    problems = capsys.readouterr().out.splitlines()
    # The links of this test have made keys.
    assert not [line for line in problems if line.startswith(("pages", "rights"))]


def test_only_archives_are_asked(batch: Batch, archive: Path, web: Web) -> None:
    rows = by_url(batch.crawl(*with_archive("only", archive)))
    assert web.hits == []
    reasons = {url: row["reason"] for url, row in rows.items() if row["reason"]}
    assert reasons == {LOST: "no_capture", TAKEN: "no_capture", REFUSED: "training_opt_out"}
    assert {row["capture"] for row in rows.values() if row["reason"] is None} == {"old.warc"}

    # A take-down erases a captured page as it erases a live one.
    store = open_store(batch.root)
    taken = ["--corpus", batch.root, "--url", GONE, "--why", "a test", "--yes"]
    assert takedown.main(taken) == 0
    left = by_url_of(batch.pages())
    assert GONE not in left
    assert body(store, left[LIVE]) == f"<p>near {LIVE}".encode()
    for path, _ in store.files("warc/b"):
        assert all(url != GONE for url, _ in stored(store, path))


class Asked:
    """A corpus whose links are pages of an archive server, in groups of five."""

    def __init__(
        self, folder: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.server = server
        self.waits: list[float] = []
        client = partial(ArchiveClient, sleep=self.waits.append)
        monkeypatch.setattr(lookup, "ArchiveClient", client)
        monkeypatch.setattr(archive_step, "GROUP_LINKS", 5)
        self.urls = [*server.archive.captures][:18]
        self.batch = Batch(folder, str(folder / "corpus"), 1, {"delay_s": 0.0})
        self.batch.links(self.urls)
        server.seen.clear()

    def arguments(self, *more: str) -> list[str]:
        return [
            *with_archive("only", f"{self.server.root}/cdx/lines"),
            *setting("captures.records", f'"{self.server.root}/files/"'),
            *setting("captures.window_days", "7000"),
            *more,
        ]

    def run(self, *more: str) -> int:
        return run.main([*self.batch.arguments, *self.arguments(*more)])

    def lookups(self) -> list[str]:
        """The pages that the index was asked for, each by its first request."""
        asked = (parse_qs(urlsplit(each).query) for each in self.server.seen if "/cdx" in each)
        return [each["url"][0] for each in asked if not {"resumeKey", "from"} & {*each}]

    def check(self) -> None:
        """Each link has one row: that of the nearest capture that can be had."""
        rows = {row["url"]: row for row in self.batch.pages()}
        assert sorted(rows) == sorted(self.urls)
        archive = self.server.archive
        for url, row in rows.items():
            fitting = candidates(archive.captures[url], WHEN, "nearest", timedelta(days=7000))
            assert row["reason"] == (None if fitting else "no_capture")
            if fitting:
                assert row["captured_at"] == fitting[0].at
                expected = archive.payloads[url, fitting[0].timestamp]
                assert body(open_store(self.batch.root), row) == expected


@pytest.fixture
def asked(tmp_path: Path, history: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    server = ArchiveServer(history)
    yield Asked(tmp_path, server, monkeypatch)
    server.close()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("history"))


def test_an_archive_that_fails_is_asked_again_from_the_open_group(asked: Asked) -> None:
    asked.server.failures = [(429, {"Retry-After": "30"}), (503, {})]
    answer = asked.server.answer

    def fail_late(path: str, given: str | None) -> Any:
        if len(asked.lookups()) > 8:
            return 503, {}, b""
        return answer(path, given)

    asked.server.answer = fail_late  # type: ignore[method-assign]
    assert asked.run() == 1
    assert 30.0 in asked.waits
    assert not open_store(asked.batch.root).exists("pages/b/_manifest.json")

    first = [*dict.fromkeys(asked.lookups())]
    asked.server.seen.clear()
    asked.server.answer = answer  # type: ignore[method-assign]
    assert asked.run() == 0
    asked.check()
    # The links of finished groups are not looked up again.
    assert sorted({*asked.urls} - {*asked.lookups()}) == sorted(first[:5])
    assert len(asked.lookups()) == len({*asked.lookups()})


def test_a_group_without_outcomes_is_fetched_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between a segment and its outcomes leaves a segment that nothing names."""
    written: list[int] = []
    write = archive_step.write_outcomes

    def killed(folder: Path, index: int, outcomes: Any) -> None:
        written.append(index)
        if len(written) > 2:
            raise OSError("killed")
        write(folder, index, outcomes)

    monkeypatch.setattr(archive_step, "write_outcomes", killed)
    assert asked.run() == 1
    monkeypatch.setattr(archive_step, "write_outcomes", write)
    assert asked.run() == 0
    asked.check()
    named = {row["warc_file"] for row in asked.batch.pages() if row["warc_file"]}
    files = {path for path, _ in open_store(asked.batch.root).files("warc/b")}
    assert files == named


def test_a_killed_crawl_continues(asked: Asked) -> None:
    answer = asked.server.answer

    killed = threading.Event()

    def held(path: str, given: str | None) -> Any:
        if len(asked.lookups()) > 8:
            killed.wait(200)
        return answer(path, given)

    asked.server.answer = held  # type: ignore[method-assign]
    process = asked.batch.start(*asked.arguments())
    while len(asked.lookups()) < 8:
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed.set()
    asked.server.answer = answer  # type: ignore[method-assign]
    assert asked.run() == 0
    asked.check()


def test_a_closed_batch_defers_what_is_left(asked: Asked) -> None:
    assert asked.run(*setting("fetch.deadline", '"2020-01-01"')) == 0
    assert {row["reason"] for row in asked.batch.pages()} == {"deferred"}
    assert asked.server.seen == []


def test_the_plan_counts_covered_links_and_fetches_no_record(
    asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    captures = asked.server.archive.captures
    window = timedelta(days=7000)
    covered = sum(bool(candidates(captures[url], WHEN, "nearest", window)) for url in asked.urls)
    assert asked.run("--plan") == 0
    assert f"archives: {covered} of 18 links have a capture" in capsys.readouterr().out
    assert not [each for each in asked.server.seen if "/files/" in each]

    monkeypatch.setattr(plan, "SAMPLE_LINKS", 7)
    asked.server.seen.clear()
    assert asked.run("--plan") == 0
    assert "of a sample of 7 of 18 links" in capsys.readouterr().out
    assert len(asked.lookups()) == 7


def test_an_archive_needs_an_index_and_is_part_of_the_batch(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*asked.batch.arguments, *setting("fetch.archive", '"only"')]) == 2
    assert "set crawl.captures.indexes" in capsys.readouterr().err
    assert asked.run() == 0
    assert asked.run(*setting("captures.policy", '"before"')) == 2
    assert "--rebuild" in capsys.readouterr().err


def test_the_status_shows_the_links_asked(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path / "corpus"), create=True)
    report_archive(store, "b", {"of": 400, "asked": 120, "revived": 80})
    lines = read(store, "b", time.time()).lines()
    assert "archives: 120 of 400 links asked, 80 have a capture" in lines


def test_captures_leave_the_segments_of_every_worker_alone(
    batch: Batch, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that were stopped and continued number their segments on and on."""
    store = open_store(batch.root)
    planted = [f"warc/b/part-{life:05}-00000.warc.gz" for life in range(1, 30)]
    open_terms = archive_step.open_terms

    def after_many_workers(*words: Any) -> Any:
        for path in planted:
            store.write_bytes(path, store.read_bytes("warc/b/part-00000-00000.warc.gz"))
        return open_terms(*words)

    monkeypatch.setattr(archive_step, "open_terms", after_many_workers)
    batch.crawl(*with_archive("fallback", archive))
    whole = store.read_bytes("warc/b/part-00000-00000.warc.gz")
    assert [path for path in planted if store.read_bytes(path) != whole] == []
    captured = [row["warc_file"] for row in batch.pages() if row["capture"] not in (None, "live")]
    # None: a captured page that said no to training.
    assert {*captured} - {None} == {"warc/b/archive-00000-00000.warc.gz"}
