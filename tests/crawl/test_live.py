"""How a running crawl is told: states of shards added up, and read from outside while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from crawl import live


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
