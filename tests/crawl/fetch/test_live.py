"""How a running crawl is told: states of shards added up, and read from outside while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import FatalError
from corpus.storage.store import open_store
from crawl.fetch import progress


def state(**changes: Any) -> dict[str, Any]:
    return {
        "done": 30,
        "begun": 20,
        "seconds": 10.0,
        "total": 100,
        "bytes": 1000,
        "in_flight": 3,
        "ready_hosts": 1,
        "waiting_hosts": 2,
        "top": [["a.test", 50], ["b.test", 9]],
        "reasons": {"ok": 28, "timeout": 2},
        "at": 1000.0,
        "delay_s": 2.0,
        **changes,
    }


def test_shards_add_up() -> None:
    whole = progress.merge(
        [state(), state(top=[["c.test", 60]]), state(done=100), state(at=900.0)], 1001.0
    )
    assert (whole.running, whole.done, whole.total, whole.in_flight) == (2, 190, 400, 6)
    assert whole.pages_per_s == pytest.approx(4.0)
    assert whole.bytes_per_s == pytest.approx(200.0)
    assert whole.domains == (("c.test", 60), ("a.test", 50), ("b.test", 9))
    assert whole.eta_s == 120.0, "the hottest domain at its delay, not the rate"
    assert whole.reasons == {"ok": 112, "timeout": 8}
    assert "timeout 8" in whole.lines()[2]
    assert progress.merge([], 0.0).lines()[0].startswith("0 of 0 links")


def test_numbers_go_to_the_corpus_and_to_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file and one set of gauges per shard; a store that is away is no reason to stop."""
    told: list[tuple[dict[str, float], dict[str, str]]] = []
    monkeypatch.setattr(progress, "publish", lambda values, tags: told.append((values, tags)))
    store = open_store(str(tmp_path))
    reporter = progress.Reporter(store, "b", 3, delay_s=2.0)
    reporter.write(state())
    reporter.write(state(done=99))
    assert len(told) == 1, "every few seconds"
    values, tags = told[0]
    assert tags == {"batch": "b", "shard": "3"}
    assert values["webtext_crawl_done"] == 30
    assert values["webtext_crawl_failed"] == 2
    assert progress.read(store, "b", time.time()).done == 30
    reporter.write(state(done=100), last=True)
    assert progress.read(store, "b", time.time()).done == 100

    def away(path: str, data: bytes) -> None:
        raise FatalError("away")

    monkeypatch.setattr(store, "write_bytes", away)
    reporter.write(state(), last=True)
    assert len(told) == 3
