"""The worker as a process: politeness by the server's own log, kills at any moment, and what is left afterwards."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import FatalError, InputError
from corpus.storage.store import open_store
from corpus.tables.takedown_list import Takedown, write_takedown
from corpus.urls import UrlProblem, page_identity, target
from crawl.fetch import worker
from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.fleet.tending import merged_states
from crawl.fetch.network.resolver import Endpoint, Resolved, Resolver
from crawl.fetch.shard_state import alone
from crawl.outcomes import Outcome, Reason, outcome_files, read_outcomes, to_table
from crawl.warc.records import read_response
from tests.crawl.loopback import Shard, Web, assert_polite, gaps, moved, ok, serving, stored

ROOT = Path(__file__).parents[3]


def start(shard: Shard) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "crawl.fetch.worker", str(shard.spec_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_hits(
    web: Web, count: int, process: subprocess.Popen[str], timeout_s: float = 60.0
) -> None:
    until = time.monotonic() + timeout_s
    while len(web.hits) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert len(web.hits) >= count, (
        process.communicate()[1] if process.poll() is not None else "too slow"
    )


def assert_complete(shard: Shard, urls: list[str]) -> dict[str, dict[str, Any]]:
    """Each link has one outcome, each outcome its record, and no segment holds what no outcome points to."""
    outcomes = shard.outcomes(urls)
    store = open_store(str(shard.folder / "corpus"))
    for row in outcomes.values():
        assert row["reason"] is None
        assert (
            read_response(store, row["warc_file"], row["warc_offset"], row["warc_length"]).url
            == row["url"]
        )
    paths = [path for path, _ in store.files("warc/b")]
    found = [url for path in paths for url, _ in stored(store, path)]
    assert sorted(url for url in found if not url.endswith("/robots.txt")) == sorted(urls)
    return outcomes


def test_one_at_a_time_and_the_delay_between(web: Web, shard: Shard) -> None:
    """Hosts of one domain share its pace; the first answer's time counts, robots.txt is one of the requests."""
    web.delay_s = 0.01
    hosts = ["a.one.test", "b.one.test", "two.test", "three.test"]
    shard.crawl(
        [f"http://{host}/{i}" for host in hosts for i in range(3)], delay_s=0.08, latency_factor=0
    )
    assert_polite(
        web, 0.08, groups={"one": hosts[:2], "two": ["two.test"], "three": ["three.test"]}
    )
    assert len(web.hits) == 16


def test_a_domain_is_paced_as_one_whatever_the_table_says(web: Web, shard: Shard) -> None:
    urls = [f"http://{host}.one.test/{i}" for host in "ab" for i in range(2)]
    shard.links(urls)
    table = pq.read_table(shard.folder / "links.parquet").to_pydict()
    table["domain"] = ["a.one.test", "one.test", "b.one.test", "else.test"]
    pq.write_table(pa.table(table), shard.folder / "links.parquet")
    shard.config.update(delay_s=0.05, latency_factor=0)
    assert shard.run() == 0
    assert len(shard.outcomes(urls)) == 4
    assert_polite(web, 0.05, groups={"one": ["a.one.test", "b.one.test"]})


def test_a_slow_site_is_given_more_rest(web: Web, shard: Shard) -> None:
    web.delay_s = 0.1
    shard.crawl([f"http://a.test/{i}" for i in range(2)], delay_s=0.01, latency_factor=2.0)
    hits = web.of("a.test")
    assert all(after.began - before.ended >= 0.19 for before, after in pairwise(hits))


def test_crawl_delay_is_honoured_up_to_its_limit(web: Web, shard: Shard) -> None:
    web.on("a.test/robots.txt", ok(b"User-agent: *\nCrawl-delay: 0.2"))
    web.on("b.test/robots.txt", ok(b"User-agent: *\nCrawl-delay: 3600"))
    shard.crawl(
        [f"http://{host}.test/{i}" for host in "ab" for i in range(2)], max_crawl_delay_s=0.3
    )
    for host, delay_s in (("a", 0.2), ("b", 0.3)):
        assert all(delay_s - 0.005 <= gap for gap in gaps(web.of(f"{host}.test")))
    assert sum(gaps(web.of("b.test"))) < 3600, "not what it asked for"


def test_retry_after_postpones_the_whole_host(web: Web, shard: Shard) -> None:
    busy = ok(b"", "Retry-After: 1", status="503 Busy")
    web.on("a.test/0", lambda earlier: ok(b"<p>late") if earlier else busy)
    outcomes = shard.crawl(
        [*(f"http://a.test/{i}" for i in range(4)), "http://b.test/0"],
        max_delay_s=0.0,
        retry_delay_s=0.0,
    )
    hits = web.of("a.test")
    asked = next(index for index, hit in enumerate(hits) if hit.path == "/0")
    assert hits[asked + 1].began - hits[asked].ended >= 0.995
    assert {row["reason"] for row in outcomes.values()} == {None}
    assert outcomes["http://a.test/0"]["attempts"] == 2
    assert web.of("b.test")[-1].ended < hits[asked + 1].began, "other hosts go on"


def test_a_busy_server_is_asked_ever_more_slowly(web: Web, shard: Shard) -> None:
    for i in range(3):
        web.on(f"a.test/{i}", ok(b"", status="429 Slow down"))
    shard.crawl(
        [f"http://a.test/{i}" for i in range(3)],
        delay_s=0.05,
        max_delay_s=0.4,
        retries=0,
        latency_factor=0,
    )
    slower = gaps(web.of("a.test"))
    assert slower[1] >= 0.1 - 0.005
    assert slower[2] >= 0.2 - 0.005


def test_a_slower_pace_survives_a_restart(web: Web, shard: Shard) -> None:
    """What 429 and 503 taught: a worker that began at its own pace would ask a busy server at once."""
    for number, status in enumerate(2 * ("429 Slow down", "503 Busy")):
        web.on(f"a.test/{number}", ok(b"", status=status))
    urls = [f"http://a.test/{number}" for number in range(6)]
    settings = {"delay_s": 0.02, "max_delay_s": 30.0, "retries": 0, "latency_factor": 0}
    shard.config.update(settings)
    shard.links(urls[:4])
    assert shard.run() == 0
    state = json.loads((shard.folder / "out/state.json").read_bytes())
    assert state["slow_s"] == {"a.test": 0.32}

    num_before = len(web.of("a.test"))
    shard.links(urls)
    assert shard.run() == 0
    first = web.of("a.test")[num_before]
    assert first.began - web.of("a.test")[num_before - 1].ended >= 0.32 - 0.005
    # robots.txt and two pages, each an answer that halves it.
    state = json.loads((shard.folder / "out/state.json").read_bytes())
    assert state["slow_s"] == {"a.test": 0.04}


def test_a_slow_body_is_part_of_the_answer(web: Web, shard: Shard) -> None:
    """The rest is counted from the last byte, and grows with the whole time that the site took."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"<p>" + b"x" * 7).removesuffix(b"x" * 7))
        for _ in range(7):
            await asyncio.sleep(0.03)
            writer.write(b"x")
            await writer.drain()

    for page in range(2):
        web.on(f"a.test/{page}", drip)
    shard.crawl(["http://a.test/0", "http://a.test/1"], delay_s=0.05, latency_factor=1.0)
    _, first, second = web.of("a.test")
    assert second.began - first.ended >= 0.2


def test_a_name_that_moved_leaves_its_place_to_the_next(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts wait for a place at one address; meanwhile the name server sends the first of them elsewhere."""
    web.delay_s = 0.1  # names are forgotten sooner
    asked: Counter[str] = Counter()

    def moving(self: Resolver, host: str) -> Resolved:
        asked[host] += 1
        later = host in ("h1.test", "h2.test") and asked[host] > 1
        return Resolved((Endpoint("127.0.0.1" if not later else "127.0.0.2", web.port),))

    monkeypatch.setattr(Resolver, "_fixed", moving)
    shard.deadline = time.time() + 60
    monkeypatch.setattr("crawl.fetch.network.resolver.DNS_CACHE_S", 0.05)
    shard.config.update(max_in_flight_per_ip=1, retries=0)
    urls = [f"http://h{i}.test/x" for i in range(4)]
    shard.links(urls)
    assert shard.run() == 0, "nobody waits for ever"
    assert [shard.outcomes(urls)[url]["reason"] for url in (urls[0], urls[3])] == [None, None]


def test_names_that_hang_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads hang in dead names: the good one is asked when one of them is back, in a time limit of its own."""
    monkeypatch.setattr("crawl.fetch.network.resolver.NUM_THREADS", 2)
    hanging, back = [], threading.Event()

    def answer(host: str) -> list[Any]:
        if host.startswith("dead"):
            hanging.append(host)
            assert back.wait(60)
            hanging.remove(host)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0))]

    monkeypatch.setattr("crawl.fetch.network.resolver._getaddrinfo", answer)

    async def ask() -> list[Resolved]:
        resolver = Resolver(connect_to={}, networks=(), public=True, timeout_s=0.3, cache_s=60.0)
        dead = [asyncio.create_task(resolver.lookup(f"dead{i}.example")) for i in range(2)]
        await asyncio.sleep(0)
        good = asyncio.create_task(resolver.lookup("good.example"))
        first = [await each for each in dead]
        assert len(hanging) == 2, "a time limit of its own for each"
        assert not good.done()
        back.set()
        return [*first, await good]

    answers = asyncio.run(ask())
    assert [answer.reason for answer in answers] == [Reason.DNS_FAILED, Reason.DNS_FAILED, None]
    assert answers[2].endpoints == (Endpoint("93.184.215.14"),)


def test_a_fault_of_ours_costs_one_page(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever our own code stumbles over, the link ends and the shard goes on."""

    def stumble(headers: list[str], body: bytes, *rest: Any) -> bool:
        if b"/1 at" in body:
            raise RuntimeError("a fault")
        return False

    monkeypatch.setattr("crawl.fetch.answers.is_tagged", stumble)
    shard.deadline = time.time() + 60
    outcomes = shard.crawl([f"http://a.test/{i}" for i in range(3)])
    assert [outcomes[f"http://a.test/{i}"]["reason"] for i in range(3)] == [
        None,
        Reason.INTERNAL_ERROR,
        None,
    ]
    assert "http://a.test/1" in caplog.text


def test_one_worker_per_shard(web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits for the first, and asks nothing before."""
    monkeypatch.setattr("crawl.fetch.shard_state.LOCK_WAIT_S", 0.2)
    shard.links(["http://a.test/x"])
    (shard.folder / "out").mkdir()
    with (
        alone(shard.folder / "out"),
        pytest.raises(FatalError, match="another worker still fetches"),
    ):
        shard.run()
    assert web.hits == []

    def no_locks(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert shard.run() == 0, "some file systems have no locks"


def test_few_at_a_time_on_one_address(web: Web, shard: Shard) -> None:
    web.delay_s = 0.05
    shard.crawl([f"http://h{i}.test/x" for i in range(12)], max_in_flight_per_ip=2)
    moments = sorted([(hit.began, 1) for hit in web.hits] + [(hit.ended, -1) for hit in web.hits])
    level = highest = 0
    for _, step in moments:
        level += step
        highest = max(highest, level)
    assert highest <= 2


def test_a_dead_host_ends_at_once(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nobody(host: str) -> list[Any]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    monkeypatch.setattr("crawl.fetch.network.resolver._getaddrinfo", nobody)
    outcomes = shard.crawl([f"http://dead.example/{i}" for i in range(100)], delay_s=1.0)
    assert {row["reason"] for row in outcomes.values()} == {Reason.DNS_NOT_FOUND}
    assert asked == ["dead.example"]


def test_a_host_that_refuses_connections_is_given_up(shard: Shard) -> None:
    """Nothing listens there; links are not tried one by one for ever."""
    outcomes = shard.crawl(
        [f"http://a.test/{i}" for i in range(50)], connect_to={"*": "127.0.0.1:1"}
    )
    assert {row["reason"] for row in outcomes.values()} <= {
        Reason.ROBOTS_UNREACHABLE,
        Reason.HOST_UNREACHABLE,
    }


def test_no_redirect_brings_back_what_was_taken_down(web: Web, shard: Shard) -> None:
    """Neither the page nor anything of the domain is asked for, whatever leads there."""
    store = open_store(str(shard.folder / "corpus"))
    page = target("http://a.test/gone")
    assert not isinstance(page, UrlProblem)
    keys = {page_identity(page).doc_id: ""}
    gone = Takedown(id="t", asked=[], when="2024-05-02", url_keys=keys, domains=["out.test"])
    write_takedown(store, gone)
    web.on("b.test/1", moved("http://www.a.test/gone?utm_source=x"))
    web.on("b.test/2", moved("http://b.test/hop"))
    web.on("b.test/hop", moved("https://deep.out.test/x"))
    web.on("b.test/3", moved("http://a.test/stays"))
    outcomes = shard.crawl([f"http://b.test/{n}" for n in (1, 2, 3)])
    assert [outcomes[f"http://b.test/{n}"]["reason"] for n in (1, 2, 3)] == [
        Reason.REDIRECT_EXCLUDED,
        Reason.REDIRECT_EXCLUDED,
        None,
    ]
    assert "/gone" not in web.paths("www.a.test")
    assert web.of("deep.out.test") == []


def test_the_cap_keeps_the_best(web: Web, shard: Shard) -> None:
    urls = [f"http://a.test/{i}" for i in range(5)]
    shard.config["per_domain_cap"] = 2
    shard.links(urls, [3, 9, 4, 8, 3])
    assert shard.run() == 0
    outcomes = shard.outcomes(urls)
    assert [outcomes[url]["reason"] for url in urls] == [
        "domain_cap",
        None,
        "domain_cap",
        None,
        "domain_cap",
    ]
    assert web.paths("a.test") == ["/robots.txt", "/1", "/3"]


def test_the_longest_rest_is_handed_on() -> None:
    states = [
        {
            "postponed": {"a.test": until},
            "crawl_delay_s": {"a.test": until / 100},
            "retrying": {"x": [until // 300, 1, until]},
        }
        for until in (500.0, 900.0, 700.0)
    ]
    assert merged_states(states) == {
        "postponed": {"a.test": 900.0},
        "crawl_delay_s": {"a.test": 9.0},
        "retrying": {"x": [3.0, 1, 900.0]},
    }
    assert states[0]["postponed"] == {"a.test": 500.0}


def test_a_finished_shard_is_left_alone(web: Web, shard: Shard) -> None:
    urls = [f"http://a.test/{i}" for i in range(3)]
    shard.crawl(urls)
    hits, before = len(web.hits), sorted(shard.folder.rglob("*.parquet"))
    assert shard.run() == 0
    assert len(web.hits) == hits
    assert sorted(shard.folder.rglob("*.parquet")) == before


def test_segments_roll_over_and_orphans_go(web: Web, shard: Shard) -> None:
    urls = [f"http://h{i % 4}.test/{i}" for i in range(40)]
    folder = shard.folder / "corpus/warc/b"
    folder.mkdir(parents=True)
    (folder / "part-00007-00003.warc.gz").write_bytes(b"left by a kill before its outcomes")
    (folder / ".tmp-part-00007-00004.warc.gz-1-ab").write_bytes(b"left by a kill in the middle")
    (folder / "part-00070-00000.warc.gz").write_bytes(b"another shard's")
    shard.crawl(urls, segment_bytes=4096)
    (folder / "part-00070-00000.warc.gz").unlink()
    assert_complete(shard, urls)
    assert len(list(folder.iterdir())) >= 3
    assert {path.name for path in folder.iterdir()} == {
        Path(row["warc_file"]).name for row in shard.outcomes(urls).values()
    }


def test_requests_are_stored_when_asked(web: Web, shard: Shard) -> None:
    shard.crawl(["http://a.test/x?y=1"], store_requests=True)
    data = next((shard.folder / "corpus/warc/b").iterdir()).read_bytes()
    import gzip

    text = gzip.decompress(data)
    assert b"GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\n" in text
    assert b"WARC-Type: request" in text


def test_a_full_disk_ends_the_run_and_keeps_its_state(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"http://a.test/{i}" for i in range(30)]
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("00001.warc.gz"):
            raise OSError(28, "No space left on device")
        real(source, target)

    shard.config.update(segment_bytes=2048)
    shard.links(urls)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(FatalError, match="No space left"):
            shard.run()
    kept = read_outcomes(shard.folder / "out").num_rows
    assert 0 < kept < 30
    assert shard.run() == 0
    assert_complete(shard, urls)


def test_what_is_no_spec_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.json"
    path.write_text("{}")
    assert worker.main([str(path)]) == 2
    assert worker.main([]) == 2
    assert "no worker spec" in capsys.readouterr().err
    assert worker.main(["--help"]) == 0
    assert "SPEC.json" in capsys.readouterr().out
    with pytest.raises(InputError):
        worker.read_spec(str(tmp_path / "none.json"))


def test_outcomes_have_the_schema_of_pages() -> None:
    table = to_table([Outcome(doc_id="0" * 32, url="http://a/", reason=Reason.TIMEOUT)])
    assert table.column("reason").to_pylist() == ["timeout"]
    assert table.column("redirects").to_pylist() == [[]]


def test_sigterm_keeps_what_is_done(web: Web, shard: Shard) -> None:
    urls = [f"http://h{i % 5}.test/{i}" for i in range(60)]
    shard.config.update(delay_s=0.1, latency_factor=0)
    shard.links(urls)
    with start(shard) as process:
        wait_for_hits(web, 20, process)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 3, stderr
    assert stderr == ""
    last = json.loads(stdout.splitlines()[-1])
    kept = read_outcomes(shard.folder / "out").num_rows
    assert last["done"] == kept >= 10
    assert last["total"] == 60
    shard.config.update(delay_s=0.0)
    assert shard.run() == 0
    assert_complete(shard, urls)
    pages = [hit.path for hit in web.hits if hit.path != "/robots.txt"]
    assert len(pages) <= 65, "at most what was in flight is fetched again"


def kill_and_rerun(web: Web, shard: Shard, urls: list[str], draw: random.Random) -> None:
    """Kill once at a random moment, then run to the end."""
    before = len(web.hits)
    with start(shard) as process:
        wait_for_hits(web, before + draw.randint(1, 60), process)
        time.sleep(draw.random() * 0.2)
        process.kill()
        process.communicate()


@pytest.mark.soak
def test_kill_nine_loses_nothing_and_stays_polite(web: Web, shard: Shard) -> None:
    urls = [f"http://h{i % 10}.test/{i}" for i in range(200)]
    shard.config.update(delay_s=0.05, latency_factor=0, segment_bytes=4096, flush_s=0.2)
    shard.links(urls)
    draw = random.Random(1)
    for _ in range(2):
        kill_and_rerun(web, shard, urls, draw)
    assert shard.run() == 0
    assert_complete(shard, urls)
    assert_polite(web, 0.05)
    numbers = [path.name for path in outcome_files(shard.folder / "out")]
    assert len(numbers) == len(set(numbers)) > 1


@pytest.mark.soak
def test_twenty_five_kills(tmp_path: Path) -> None:
    draw = random.Random(25)
    with serving(Web()) as web:
        shard = Shard(tmp_path, web.port)
        urls = [f"http://h{i % 20}.test/{i}" for i in range(3000)]
        shard.config.update(delay_s=0.05, latency_factor=0, segment_bytes=8192, flush_s=0.2)
        shard.links(urls)
        for _ in range(25):
            kill_and_rerun(web, shard, urls, draw)
        assert shard.run() == 0
        assert_complete(shard, urls)
        assert_polite(web, 0.05)


def test_retries_wait_across_a_restart(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.on("a.test/x", ok(b"", status="502 Later"))
    shard.config.update(retries=3, retry_delay_s=60.0)
    shard.links(["http://a.test/x"])
    shard.deadline = time.time() + 3.0
    took, states = [], Dispatcher.state

    def taken(self: Dispatcher, now: float, wall: float) -> dict[str, Any]:
        took.append(threading.current_thread() is threading.main_thread())
        return states(self, now, wall)

    monkeypatch.setattr(Dispatcher, "state", taken)
    monkeypatch.setattr(worker, "PROGRESS_S", 0.1)
    assert shard.run() == 3
    assert took == [True, True], (
        "saved soon after the failure and at the end; nothing changes while it is taken"
    )
    assert web.paths("a.test").count("/x") == 1
    shard.deadline = time.time() + 0.3
    assert shard.run() == 3
    assert web.paths("a.test").count("/x") == 1, "its time has not come"
    state = json.loads((shard.folder / "out/state.json").read_bytes())
    ((attempts, tries, not_before),) = state["retrying"].values()
    assert (attempts, tries) == (1, 1)
    assert 50 < not_before - time.time() < 70


def test_a_worker_killed_a_moment_ago_may_just_have_asked(
    web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever request a killed worker made last, the next one keeps the delay to it."""
    monkeypatch.setattr(worker, "PROGRESS_S", 0.4)
    (shard.folder / "out").mkdir()
    (shard.folder / "out/heartbeat").touch()
    began = time.monotonic()
    shard.crawl(["http://a.test/x"], delay_s=0.3)
    assert web.of("a.test")[0].began - began >= 0.65


def test_links_of_a_shard_may_be_none(shard: Shard) -> None:
    shard.links(["http://a.test/x"])
    table = pq.read_table(shard.folder / "links.parquet")
    pq.write_table(table.slice(0, 0), shard.folder / "links.parquet")
    assert shard.run() == 0
