"""Redirects into other shards: followed when they are met, whatever the deadline and the workers."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from corpus.storage.store import open_store
from crawl.fetch import progress
from crawl.fetch.hand_over import HandOver
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.steps import FETCHED_OUTCOMES, last_outcomes
from crawl.outcomes import OUTCOME_SCHEMA, Outcome, Reason, to_table, write_outcomes
from tests.crawl.loopback import Batch, Web, assert_polite, moved, serving


@pytest.mark.parametrize("shards", [1, 2, pytest.param(8, marks=pytest.mark.soak)])
def test_a_deadline_costs_no_redirect(tmp_path: Path, shards: int) -> None:
    """Links of a hot domain beyond the deadline, and links that redirect into other domains."""
    with serving(Web()) as web:
        config = {"delay_s": 0.1, "latency_factor": 0.0, "deadline": "14s", "shards": shards}
        run = Batch(tmp_path, str(tmp_path / "corpus"), web.port, config)
        hot = [f"http://hot.test/{i}" for i in range(400)]
        short = [f"http://s{i}.test/x" for i in range(40)]
        for i in range(40):
            web.on(f"s{i}.test/x", moved(f"http://t{i}.test/1"))
            if i % 4 == 0:  # and on into a third domain
                web.on(f"t{i}.test/1", moved(f"http://u{i}.test/2"))
        run.links(hot + short)
        pages = {row["url"]: row for row in run.crawl("--workers", str(shards))}
        reasons = Counter(pages[url]["reason"] for url in short)
        assert reasons == {None: 40}
        assert pages["http://s0.test/x"]["redirects"] == [
            "http://s0.test/x",
            "http://t0.test/1",
        ]
        assert Counter(pages[url]["reason"] for url in hot)[Reason.DEFERRED] > 100
        assert_polite(web, 0.1)
        asked = Counter((hit.host, hit.path) for hit in web.hits)
        assert max(asked.values()) == 1, "no page twice"
        store = open_store(run.root)
        assert not [path for path, _ in store.files("work/b", recursive=True) if "fetch" in path]


def outcome(
    number: int, reason: Reason | None, *redirects: str, at: str = "http://a.test/"
) -> Outcome:
    return Outcome(
        doc_id=f"{number:032x}",
        url=redirects[0] if redirects else at,
        final_url=at,
        redirects=redirects,
        reason=reason,
    )


def test_queues_are_sent_again_and_read_once(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "corpus"))
    out = [tmp_path / "0", tmp_path / "1"]
    for folder in out:
        folder.mkdir()

    def owner(key: str) -> int:
        return shard_of(key, 2)

    theirs = next(f"d{i}.test" for i in range(99) if owner(f"d{i}.test") == 1)
    handed = outcome(1, Reason.HANDED_OVER, "http://a.test/x", at=f"http://{theirs}/y")
    write_outcomes(out[0], 0, [handed, outcome(2, None), outcome(3, Reason.TIMEOUT)])
    sender = HandOver(store, "b", 0, 2, out[0], owner)
    receiver = HandOver(store, "b", 1, 2, out[1], owner)
    assert receiver.receive() == []
    sender.send()
    HandOver(store, "b", 0, 2, out[0], owner).send()  # a worker that was restarted
    (link,) = receiver.receive()
    assert (link.doc_id, link.url, link.target) == (
        handed.doc_id,
        "http://a.test/x",
        f"http://{theirs}/y",
    )
    assert link.redirects == ("http://a.test/x",)
    assert receiver.receive() == []
    assert [link] == HandOver(store, "b", 1, 2, out[1], owner).receive(), "after a restart"


def test_a_shard_waits_for_others_only_while_all_have_a_place(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    queue = HandOver(store, "b", 0, 3, tmp_path, lambda key: 0)
    now = time.time()
    assert not queue.may_get_more(now), "nobody else has begun"
    one, two = (progress.Reporter(store, "b", number, delay_s=1.0) for number in (1, 2))
    one.begin(5)
    assert not queue.may_get_more(now), "a shard has yet to begin: it may need this place"
    two.begin(0)
    assert queue.may_get_more(now)
    assert not queue.may_get_more(now + 60), "its worker is gone"
    one.write({"done": 5, "total": 5}, last=True)
    assert not queue.may_get_more(now)


def test_the_last_outcome_of_a_link_is_that_of_the_longest_chain() -> None:
    rows = [
        outcome(1, Reason.HANDED_OVER, "http://a.test/", at="http://b.test/"),
        outcome(2, None),
        outcome(1, Reason.HANDED_OVER, "http://a.test/", "http://b.test/", at="http://c.test/"),
        outcome(3, Reason.HANDED_OVER, "http://a.test/3", at="http://b.test/3"),
        outcome(1, None, "http://a.test/", "http://b.test/", at="http://c.test/"),
        outcome(3, Reason.TIMEOUT, "http://a.test/3", at="http://b.test/3"),
        outcome(4, Reason.HANDED_OVER, "http://a.test/4", at="http://b.test/4"),
    ]
    table = to_table(rows)
    shards = pa.array(range(len(rows)), pa.int32())
    table = table.add_column(0, FETCHED_OUTCOMES.schema.field(0), shards)
    kept = last_outcomes(table).to_pylist()
    assert [(int(row["doc_id"], 16), row["shard"]) for row in kept] == [
        (1, 4),
        (2, 1),
        (3, 5),
        (4, 6),
    ]
    empty = FETCHED_OUTCOMES.schema.empty_table()
    assert last_outcomes(empty).schema.names == ["shard", *OUTCOME_SCHEMA.names]
