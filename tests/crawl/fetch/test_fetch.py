"""The fetch of a whole batch through its door, several workers at a time, with the server's log as the referee."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import InputError
from corpus.storage import conditional_write
from corpus.storage.store import open_store
from corpus.urls import registered_domain
from crawl import run as door
from crawl.config import CrawlConfig
from crawl.fetch import frozen_settings, progress
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.settings import FetchConfig, deadline_at
from crawl.outcomes import Reason
from tests.crawl.loopback import Batch, Web, assert_polite, moved, serving, stored
from tests.support import faulty_network
from tests.support.ray_head import free_port, running_head

ADDRESSES = 64
DELAY_S = 0.1


@pytest.fixture
def wide_web() -> Iterator[Web]:
    with serving(Web(), ADDRESSES) as running:
        yield running


def domain(number: int) -> str:
    return f"n{number}.test"


def scripted(web: Web, num_domains: int, pages_each: int, *, far: bool = False) -> list[str]:
    """Links of hosts on many addresses; every third page lies behind a redirect to the next domain, some behind two."""
    urls = []
    for number in range(num_domains):
        for page in range(pages_each):
            host = f"{'ab'[page % 2]}.{domain(number)}"
            urls.append(f"http://{host}/{page}")
            if page % 3 == 0:
                web.on(
                    f"{host}/{page}",
                    moved(f"http://c.{domain((number + 1) % num_domains)}/{number}-{page}"),
                )
            if far and page == 3:
                hop = f"c.{domain((number + 1) % num_domains)}/{number}-3"
                web.on(hop, moved(f"http://d.{domain((number + 2) % num_domains)}/{number}-far"))
    return urls


def batch(folder: Path, web: Web, num_domains: int, **config: Any) -> Batch:
    places = {
        f"*.{domain(i)}": f"127.0.0.{i % ADDRESSES + 1}:{web.port}" for i in range(num_domains)
    }
    settings = {
        "connect_to": places,
        "delay_s": DELAY_S,
        "latency_factor": 0,
        "flush_s": 0.2,
        "segment_age_s": 0.5,
    }
    return Batch(folder, str(folder / "corpus"), web.port, {**settings, **config})


def assert_law_abiding(
    web: Web,
    pages: list[dict[str, Any]],
    urls: list[str],
    root: str,
    delay_s: float = DELAY_S,
) -> None:
    """Each link one row, each stored page one record that it points to, each domain at one pace whoever asks."""
    assert sorted(row["url"] for row in pages) == sorted(urls)
    assert {row["reason"] for row in pages} == {None}
    groups = defaultdict(list)
    for host in {hit.host for hit in web.hits}:
        groups[registered_domain(host)].append(host)
    assert_polite(web, delay_s, groups=groups)
    store = open_store(root)
    kept = Counter(
        (path, *response)
        for path, _ in store.files("warc/b")
        if path.endswith(".warc.gz")
        for response in stored(store, path)
    )
    for row in pages:
        assert kept[row["warc_file"], row["final_url"], 200] == 1
    assert sum(count for (_, _, status), count in kept.items() if status == 200) == len(urls)


def kill_one_worker(web: Web, after: int, process: Any) -> bool:
    """kill -9 a fetching process of the run, once the web has had so many requests."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if len(web.hits) >= after:
            children = [
                pid
                for pid in descendants(process.pid)
                if b"crawl.fetch.worker" in command_line(pid)
            ]
            if children:
                os.kill(random.choice(children), signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


def descendants(pid: int) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = each.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            child = int(each.parent.name)
            found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_two_workers_one_of_which_is_killed(wide_web: Web, tmp_path: Path) -> None:
    """Redirects across shards, kill -9 in the middle: no domain ever has two requests, or one too early."""
    urls = scripted(wide_web, 4, 4)
    run = batch(tmp_path, wide_web, 4, shards=2)
    run.links(urls)
    process = run.start("--workers", "2")
    assert kill_one_worker(wide_web, 8, process)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    pages = run.pages()
    assert_law_abiding(wide_web, pages, urls, run.root)
    by_url = {row["url"]: row for row in pages}
    moved_on = by_url[f"http://b.{domain(0)}/3"]
    assert moved_on["redirects"] == [f"http://b.{domain(0)}/3"]
    assert moved_on["final_url"] == f"http://c.{domain(1)}/0-3"
    owners = {shard_of(domain(i), 2) for i in range(4)}
    assert owners == {0, 1}, "both shards have domains, or nothing was handed over"


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "too slow"
        time.sleep(0.01)


def test_a_killed_run_takes_its_worker_along(
    wide_web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 of the driver, and the next run at once: nothing is asked twice, too early, or lost."""
    urls = scripted(wide_web, 4, 16)
    run = batch(tmp_path, wide_web, 4, shards=1, segment_age_s=0.2)
    run.links(urls)
    process = run.start("--executor", "serial")
    store = open_store(run.root)
    wait_until(
        lambda: progress.read(store, "b", time.time()).running > 0 and len(wide_web.hits) > 12,
        process,
    )
    assert door.main(["--corpus", run.root, "--batch", "b", "--status"]) == 0
    shown = capsys.readouterr().out
    assert "of 64 links" in shown
    assert "  1 worker  " in shown
    assert "most left: n" in shown
    (worker,) = (
        pid for pid in descendants(process.pid) if b"crawl.fetch.worker" in command_line(pid)
    )
    process.kill()
    process.communicate()
    pages = run.crawl()
    assert not command_line(worker)
    capsys.readouterr()
    assert door.main(["--corpus", run.root, "--batch", "b", "--status"]) == 0
    assert "fetch of batch b ended: 64 links in " in capsys.readouterr().out
    assert_law_abiding(wide_web, pages, urls, run.root)
    asked = Counter(hit.host for hit in wide_web.hits if hit.path == "/robots.txt")
    assert max(asked.values()) == 2, "the second worker had something to do"


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("kills", ["", "ww", "wtdw"])
def test_any_number_of_workers(tmp_path: Path, workers: int, kills: str) -> None:
    """Whatever is killed meanwhile: w a worker, d the driver, t the driver by SIGTERM; the same command goes on."""
    with serving(Web(), ADDRESSES) as web:
        urls = scripted(web, 64, 12, far=True)
        run = batch(tmp_path, web, 64, shards=4)
        run.links(urls)
        process = run.start("--workers", str(workers))
        for number, kind in enumerate(kills):
            if kind == "w":
                assert kill_one_worker(web, 100 * (number + 1), process)
                continue
            hits = 100 * (number + 1)
            wait_until(lambda: len(web.hits) >= hits, process)  # noqa: B023 - called at once
            process.send_signal(signal.SIGTERM if kind == "t" else signal.SIGKILL)
            process.communicate()
            assert process.returncode == (143 if kind == "t" else -9)
            process = run.start("--workers", str(workers))
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert_law_abiding(web, run.pages(), urls, run.root)
        far = next(row for row in run.pages() if row["url"] == f"http://b.{domain(0)}/3")
        assert far["redirects"] == [f"http://b.{domain(0)}/3", f"http://c.{domain(1)}/0-3"]
        assert far["final_url"] == f"http://d.{domain(2)}/0-far"


def use_cluster(environment: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)
    patch.setenv("RAY_ADDRESS", environment["HEAD_ADDRESS"])


def join_cluster(environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """A node of two CPUs that joins the cluster."""
    ray = Path(sys.executable).parent / "ray"
    join = [str(ray), "start", "--address", environment["HEAD_ADDRESS"], "--num-cpus", "2"]
    # Every node of a machine needs its own.
    join += ["--dashboard-agent-listen-port", str(free_port())]
    with (folder / "node.log").open("wb") as log:
        return subprocess.Popen(
            [*join, "--block", "--disable-usage-stats"], env=environment, stdout=log, stderr=log
        )


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [[], ["--workers", "4"]], ids=["elastic", "four"])
def test_a_node_that_joins_ray_takes_shards(tmp_path: Path, workers: list[str]) -> None:
    """In the middle of a fetch: its workers get shards, and no domain is asked by two."""
    with serving(Web(), ADDRESSES) as web, running_head(tmp_path) as environment:
        urls = scripted(web, 60, 100)
        run = batch(tmp_path, web, 60, shards=24, delay_s=1.0)
        run.links(urls)
        with pytest.MonkeyPatch.context() as patch:
            use_cluster(environment, patch)
            process = run.start("--executor", "ray", *workers)
            wait_until(lambda: len(web.hits) > 60, process)
            node = join_cluster(environment, tmp_path)
            try:
                _, errors = process.communicate(timeout=600)
            finally:
                for pid in [node.pid, *descendants(node.pid)]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                node.wait()

        assert process.returncode == 0, errors
        pages = run.pages()
        assert_law_abiding(web, pages, urls, run.root, delay_s=1.0)
        stored_by = Counter(row["warc_file"].rpartition("-")[0] for row in pages)
        shares = sorted(stored_by.values(), reverse=True)
        assert len(shares) >= 4, "the head has two CPUs, the node as many"
        assert shares[3] > len(urls) / 20


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_killed_node_of_ray(tmp_path: Path) -> None:
    """kill -9 of all that Ray runs on a node: the other node goes on with its shards, and no domain is asked by two."""
    with serving(Web(), ADDRESSES) as web, running_head(tmp_path) as environment:
        urls = scripted(web, 32, 20)
        run = batch(tmp_path, web, 32, shards=4)
        run.links(urls)
        with pytest.MonkeyPatch.context() as patch:
            use_cluster(environment, patch)
            node = join_cluster(environment, tmp_path)
            time.sleep(10)
            process = run.start("--executor", "ray", "--workers", "4")
            wait_until(
                lambda: any(
                    b"crawl.fetch.worker" in command_line(p) for p in descendants(node.pid)
                ),
                process,
            )
            hits = len(web.hits)
            wait_until(lambda: len(web.hits) > hits + 60, process)
            for pid in [node.pid, *descendants(node.pid)]:
                if b"crawl.fetch.worker" not in command_line(pid):
                    os.kill(pid, signal.SIGKILL)
            node.wait()
            _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert_law_abiding(web, run.pages(), urls, run.root)


def settle(
    run: Batch, *, slots: int = 8, now: float = 1000.0, rebuild: bool = False, **fetch: Any
) -> FetchConfig:
    config = CrawlConfig(fetch=FetchConfig(**fetch))
    return frozen_settings.settled(
        config, open_store(run.root), run.name, slots=slots, now=now, rebuild=rebuild
    ).fetch


def test_shards_are_fixed_at_the_first_start(tmp_path: Path) -> None:
    run = Batch(tmp_path, str(tmp_path / "corpus"), 80)
    run.links([f"http://a.test/{i}" for i in range(1200)])
    assert settle(run).shards == 3, "a process for few links is not worth its start"
    assert settle(run, slots=1).shards == settle(run, slots=64, shards=3).shards == 3
    with pytest.raises(
        InputError, match="shards is 5, but the fetch of batch 'b' was begun with 3"
    ):
        settle(run, shards=5)
    with pytest.raises(InputError, match="max_body_bytes"):
        settle(run, max_body_bytes=1 << 20)
    assert settle(run, shards=5, rebuild=True).shards == 5
    assert settle(run).shards == 5


def test_a_store_without_conditional_writes_has_one_worker(
    network: faulty_network.Network,
    s3_bucket: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The store says that two workers took a shard, whoever wrote last: both would ask its domains."""
    network.unread = frozenset({"if-none-match", "if-match"})
    run = Batch(tmp_path, f"{s3_bucket}/corpus", 80)
    run.links([f"http://a.test/{i}" for i in range(1200)])
    with pytest.raises(InputError, match="shards is 3, but s3://.* has no conditional writes"):
        settle(run, shards=3)
    with caplog.at_level("WARNING", logger=frozen_settings.__name__):
        assert settle(run).shards == 1
    assert "one worker fetches the whole batch" in caplog.text
    assert settle(run).shards == settle(run, shards=1).shards == 1


def test_shards_of_a_store_that_lost_its_conditions_have_one_worker(
    network: faulty_network.Network, s3_bucket: str, tmp_path: Path
) -> None:
    """As after a move of the corpus to another store: several workers could own one shard."""
    run = Batch(tmp_path, f"{s3_bucket}/corpus", 80)
    run.links(["http://a.test/x"])
    assert settle(run, shards=3).shards == 3
    network.unread = frozenset({"if-none-match", "if-match"})
    # A process asks each store once.
    conditional_write.open_conditional.cache_clear()
    with pytest.raises(InputError, match="begun with 3 shards, and s3://.* --executor serial"):
        settle(run)
    with pytest.raises(InputError, match="no conditional writes"):
        frozen_settings.settled(
            CrawlConfig(), open_store(run.root), run.name, slots=1, now=1.0, may_grow=True
        )
    assert settle(run, slots=1).shards == 3


@pytest.mark.soak
def test_one_worker_continues_the_shards_of_several(
    network: faulty_network.Network, s3_bucket: str, web: Web, tmp_path: Path
) -> None:
    """Two workers are killed, then the store no longer obeys conditions."""
    run = Batch(tmp_path, f"{s3_bucket}/corpus", web.port, {"delay_s": 0.2, "flush_s": 1.0})
    run.links([f"http://{host}.test/{page}" for host in "abcdefgh" for page in range(40)])
    process = run.start("--workers", "2", "--set", "crawl.fetch.shards=4")
    wait_until(lambda: len(web.hits) > 100, process)
    process.kill()
    process.communicate()

    network.unread = frozenset({"if-none-match", "if-match"})
    conditional_write.open_conditional.cache_clear()
    pages = run.crawl()
    assert {row["reason"] for row in pages} == {None}
    assert len(pages) == 320
    assert settle(run).shards == 4, "nothing is left to fetch"


def test_a_deadline_counts_from_the_first_start(tmp_path: Path) -> None:
    run = Batch(tmp_path, str(tmp_path / "corpus"), 80)
    run.links(["http://a.test/"])
    assert settle(run, now=1000.0).deadline == ""
    assert settle(run, now=5000.0, deadline="1.5h").deadline == "1970-01-01T01:46:40+00:00"
    assert deadline_at("1970-01-02T00:00", 5.0) == 86400.0
    assert deadline_at("1970-01-02T01:00+01:00", 5.0) == 86400.0
    for text in (
        "soon",
        "99999999d",
        "9" * 400 + "s",
        "9999-12-31T23:59-10:00",
        "0001-01-01T00:00+14:00",
    ):
        with pytest.raises(ValueError, match="deadline"):
            FetchConfig(deadline=text)


def test_a_batch_is_closed_at_its_deadline(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.5, "deadline": "3s"})
    urls = [f"http://a.test/{i}" for i in range(60)]
    run.links(urls)
    pages = run.crawl()
    assert "fetch pages        60 links" in capsys.readouterr().err, "each link is counted once"
    assert sorted(row["url"] for row in pages) == sorted(urls)
    reasons = Counter(row["reason"] for row in pages)
    assert reasons.keys() <= {None, Reason.DEFERRED}
    assert reasons[Reason.DEFERRED] > 0
    assert len(web.hits) <= reasons[None] + 2, "robots.txt, and at most one cut off"
