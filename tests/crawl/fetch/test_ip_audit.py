"""The pace of an address: kept over all domains on it, and shown from what the batch stored."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from crawl import run
from crawl.fetch.pace.ip_audit import _most_within
from tests.crawl.loopback import Batch, Web, assert_polite, serving


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


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_two_workers_on_an_object_store_keep_the_pace(
    s3_bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 hosts at 0.1 s on two addresses, which have one table of addresses for none of them."""
    hosts = {f"d{i}.test": f"127.0.0.{i % 2 + 1}" for i in range(20)}
    with serving(Web(), 2) as web:
        config = {
            "connect_to": {host: f"{ip}:{web.port}" for host, ip in hosts.items()},
            "delay_s": 0.1,
            "latency_factor": 0.0,
            "max_in_flight_per_ip": 8,
            "shards": 8,
        }
        batch = Batch(tmp_path, f"{s3_bucket}/corpus", web.port, config)
        batch.links([f"http://{host}/{page}" for host in hosts for page in range(200)])
        pages = batch.crawl("--workers", "2")

    assert {row["reason"] for row in pages} == {None}
    assert len({row["warc_file"].rpartition("-")[0] for row in pages}) == 2, "two workers"
    assert_polite(web, 0.1)
    for ip in ("127.0.0.1", "127.0.0.2"):
        began = sorted(hit.began for hit in web.hits if hosts[hit.host] == ip)
        # The rate of 8 hosts, and one request more for each worker, whose clock is its own.
        assert _most_within(began, 1.0) <= 8 / 0.1 + 2

        capsys.readouterr()
        command = ["audit", "--corpus", batch.root, "--batch", "b", "--ip", ip, "--json"]
        assert run.main(command) == 0
        (load,) = json.loads(capsys.readouterr().out)
        assert (load["num_requests"], load["num_sites"]) == (len(began), 10)
        assert load["most_in_1_s"] <= 8 / 0.1 + 2
