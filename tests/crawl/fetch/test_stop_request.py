"""A fetch that no signal reaches stops by what stands in the corpus, and continues later."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from corpus.storage import lease
from corpus.storage.store import open_corpus
from crawl import run as crawl_run
from crawl.fetch import stop_request
from crawl.fetch.steps import EXIT_LEFT
from tests.crawl.loopback import Shard, Web


@pytest.mark.parametrize("how", ["asked", "taken over"])
def test_a_worker_stops_and_loses_nothing(
    web: Web, shard: Shard, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on a node that Ray has given up went on beside its successor."""
    monkeypatch.setattr(stop_request, "EVERY_S", 0.1)
    store = open_corpus(str(shard.folder / "corpus"), create=True)
    path = "work/b/lock.json"
    store.write_bytes(path, json.dumps({"token": "ours", "pid": 1, "host": "h"}).encode())
    urls = [f"http://a.test/{number}" for number in range(60)]
    shard.config.update(delay_s=0.1, latency_factor=0)
    shard.more = {"stop_batch": "b", "lease_token": stop_request.lease_token(store, "b")}
    shard.links(urls)

    def later() -> None:
        while len(web.hits) < 5 and thread.is_alive():
            time.sleep(0.01)
        if how == "asked":
            stop_request.request_stop(store, "b", "a test")
        else:
            store.write_bytes(path, json.dumps({"token": "theirs", "pid": 2}).encode())

    thread = threading.current_thread()
    watch = threading.Thread(target=later)
    watch.start()
    assert shard.run() == EXIT_LEFT
    watch.join()
    asked = len(web.hits)
    assert 0 < asked < 60

    stop_request.withdraw(store, "b")
    shard.more["lease_token"] = stop_request.lease_token(store, "b")
    shard.config.update(delay_s=0.0)
    assert shard.run() == 0
    shard.outcomes(urls)
    # A request that was in flight at the stop may be made again, and no other.
    pages = Counter(hit.path for hit in web.hits if hit.path != "/robots.txt")
    assert len(pages) == 60
    assert pages.total() - 60 <= 1


def test_a_store_that_is_away_and_a_lease_given_back_are_no_reason(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path), create=True)
    assert stop_request.reason_to_stop(store, "b", "ours") is None
    assert stop_request.lease_token(store, "b") is None
    with lease.hold(store, "work/b/lock.json", what="crawl.run") as held:
        assert stop_request.lease_token(store, "b") == held.token
        assert stop_request.reason_to_stop(store, "b", held.token) is None
        assert "took the batch over" in str(stop_request.reason_to_stop(store, "b", "other"))
        store.exists = lambda path: (_ for _ in ()).throw(OSError("away"))  # type: ignore[method-assign]
        assert stop_request.reason_to_stop(store, "b", "other") is None


def test_the_command_asks_a_run_and_refuses_where_none_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_corpus(str(tmp_path), create=True)
    words = ["--corpus", str(tmp_path), "--batch", "b", "--stop"]
    assert crawl_run.main(words) == 2
    assert "nothing to stop" in capsys.readouterr().err
    with lease.hold(store, "work/b/lock.json", what="crawl.run"):
        assert crawl_run.main(words) == 0
    assert store.exists(stop_request.stop_path("b"))
