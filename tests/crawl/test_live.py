"""How a running crawl is told: states of shards added up, and read from outside while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from corpus.layout import Store
from crawl import live, run
from tests.crawl.loopback import Batch, Web


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
    whole = live.together([state(), state(top=[["c.test", 60]]), state(done=100), state(at=900.0)], 1001.0)
    assert (whole.running, whole.done, whole.total, whole.in_flight) == (2, 190, 400, 6)
    assert whole.pages_per_s == pytest.approx(4.0)
    assert whole.bytes_per_s == pytest.approx(200.0)
    assert whole.domains == (("c.test", 60), ("a.test", 50), ("b.test", 9))
    assert whole.eta_s == 120.0, "the hottest domain at its delay, not the rate"
    assert whole.reasons == {"ok": 112, "timeout": 8}
    assert "timeout 8" in whole.lines()[2]
    assert live.together([], 0.0).lines()[0].startswith("0 of 0 links")


def test_a_run_is_seen_from_outside(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.5, "latency_factor": 0})
    batch.links([f"http://a.test/{i}" for i in range(200)])
    process = batch.start("--executor", "serial")
    try:
        until = time.monotonic() + 60
        while not live.read(Store(batch.root), "b", time.time()).running and time.monotonic() < until:
            time.sleep(0.1)
        assert run.main(["--corpus", batch.root, "--batch", "b", "--status"]) == 0
    finally:
        process.terminate()
        process.communicate()
    shown = capsys.readouterr().out
    assert "of 200 links" in shown
    assert "1 workers" in shown
    assert "most left: a.test" in shown
    assert process.returncode == 143
