"""The pace of an address: kept over all domains on it, and shown from what the batch stored."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from crawl import run
from tests.crawl.loopback import Batch, Web


def test_many_domains_on_one_address_share_its_pace(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 domains, two workers: the server and the audit see the same rate."""
    config = {
        "delay_s": 0.4,
        "latency_factor": 0.0,
        "max_in_flight_per_ip": 8,
        "shards": 2,
        "retries": 0,
    }
    batch = Batch(tmp_path, str(tmp_path / "corpus"), web.port, config)
    urls = [f"http://d{i}.test/x" for i in range(40)]
    batch.links(urls)
    pages = batch.crawl("--workers", "2")
    assert {row["reason"] for row in pages} == {None}
    began = sorted(hit.began for hit in web.hits)
    assert len(began) == 80
    busiest = max(Counter(int(at - began[0]) for at in began).values())
    assert busiest <= 23, "8 requests in 0.4 s"
    assert began[-1] - began[0] >= 79 * 0.05 - 0.1

    command = ["audit", "--corpus", batch.root, "--batch", "b", "--ip"]
    capsys.readouterr()
    assert run.main([*command, "127.0.0.1", "--json"]) == 0
    (load,) = json.loads(capsys.readouterr().out)
    assert (load["address"], load["num_requests"], load["num_sites"]) == ("127.0.0.1", 80, 40)
    assert load["most_in_1_s"] <= 23
    assert load["shortest_gap_s"] > 0.01
    assert run.main(command) == 0
    assert "127.0.0.1" in capsys.readouterr().out
    assert run.main([*command, "nowhere"]) == 2
    assert run.main(["audit", "--corpus", batch.root, "--batch", "none", "--ip"]) == 2
