"""Redirects into other shards: followed when they are met, whatever the deadline and the workers."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from corpus.storage.store import Store, open_store
from crawl.fetch.fleet.files import FleetFiles
from crawl.fetch.fleet.journals import MERGE_FILES, Journals, merge_run
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.steps import FETCHED_OUTCOMES, last_outcomes
from crawl.outcomes import (
    OUTCOME_SCHEMA,
    Outcome,
    Reason,
    next_index,
    outcome_files,
    to_table,
    write_outcomes,
)
from tests.crawl.loopback import Batch, Web, assert_polite, moved, serving


@pytest.mark.parametrize(
    "shards", [pytest.param(1, marks=pytest.mark.soak), 2, pytest.param(8, marks=pytest.mark.soak)]
)
def test_a_deadline_costs_no_redirect(tmp_path: Path, shards: int) -> None:
    """Links of a hot domain beyond the deadline, and links that redirect into other domains."""
    hot = [f"http://hot.test/{i}" for i in range(700)]
    short = [f"http://s{i}.test/x" for i in range(40)]
    # The deadline counts from the command, and a busy machine may begin to fetch just before it.
    for deadline_s in (14, 60):
        with serving(Web()) as web:
            config = {
                "delay_s": 0.1,
                "latency_factor": 0.0,
                "deadline": f"{deadline_s}s",
                "shards": shards,
            }
            folder = tmp_path / str(deadline_s)
            folder.mkdir()
            run = Batch(folder, str(folder / "corpus"), web.port, config)
            for i in range(40):
                web.on(f"s{i}.test/x", moved(f"http://t{i}.test/1"))
                if i % 4 == 0:  # and on into a third domain
                    web.on(f"t{i}.test/1", moved(f"http://u{i}.test/2"))
            run.links(hot + short)
            begun = time.monotonic()
            pages = {row["url"]: row for row in run.crawl("--workers", str(shards))}
        if web.hits and min(hit.began for hit in web.hits) < begun + deadline_s - 8:
            break

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


def test_the_cap_is_that_of_the_links_own_domain(tmp_path: Path) -> None:
    """As it is for redirects inside a shard: what shares a shard must not decide which pages there are."""
    with serving(Web()) as web:
        config = {"delay_s": 0.0, "latency_factor": 0.0, "per_domain_cap": 2, "shards": 2}
        run = Batch(tmp_path, str(tmp_path / "corpus"), web.port, config)
        urls = [f"http://short{i}.test/x" for i in range(6)]
        for number in range(6):
            web.on(f"short{number}.test/x", moved(f"http://a.test/{number}"))
        run.links(urls)
        rows = run.crawl()
        shards = {shard_of(f"short{number}.test", 2) for number in range(6)}
        assert shards == {0, 1}, "some of them change their shard"
        assert [(row["reason"], row["final_url"][:14]) for row in rows] == [
            (None, "http://a.test/")
        ] * 6


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


def journals(store: Store) -> Journals:
    return Journals(store, "fleet", 2)


def test_links_that_are_handed_over_are_read_once(tmp_path: Path) -> None:
    """From the journal of the sender, by the worker that owns the shard, and by its successor."""
    store = open_store(str(tmp_path))
    out = [tmp_path / f"fleet/lives/{life:05}" for life in range(2)]
    for folder in out:
        folder.mkdir(parents=True)

    theirs = next(f"d{i}.test" for i in range(99) if shard_of(f"d{i}.test", 2) == 1)
    handed = outcome(1, Reason.HANDED_OVER, "http://a.test/x", at=f"http://{theirs}/y")
    receiver = journals(store)
    assert receiver.read_new(without=1).num_rows == 0
    write_outcomes(out[0], 0, [handed, outcome(2, None), outcome(3, Reason.TIMEOUT)])
    (arrival,) = receiver.arrivals(receiver.read_new(without=1))
    assert (arrival.shard, arrival.sender, arrival.link.doc_id) == (1, 0, handed.doc_id)
    assert (arrival.link.url, arrival.link.target) == ("http://a.test/x", f"http://{theirs}/y")
    assert arrival.link.redirects == ("http://a.test/x",)
    assert receiver.read_new(without=1).num_rows == 0
    assert journals(store).history([1]).arrivals == [arrival], "a successor's"

    sender = journals(store).history([0])
    assert sender.hops[0] == {handed.doc_id: 1, f"{2:032x}": 0, f"{3:032x}": 0}
    assert sender.sent == {arrival.key: (0, 1)}
    end = outcome(1, None, "http://a.test/x", at=f"http://{theirs}/y")
    end.shard = 1
    write_outcomes(out[1], 0, [end])
    assert journals(store).history([0]).sent == {}
    assert journals(store).history([1]).hops == {1: {handed.doc_id: 1}}


def test_many_small_files_become_one(tmp_path: Path) -> None:
    """Without what an open segment will say: its number has a gap until it is committed."""
    store = open_store(str(tmp_path))
    own = tmp_path / "fleet/lives/00000"
    own.mkdir(parents=True)
    for number in range(2 * MERGE_FILES + 9):
        if number != 5:
            write_outcomes(own, number, [outcome(number, None)])

    names = [path.name for path in outcome_files(own)]
    assert merge_run(names) == names[5 : 5 + MERGE_FILES]
    reader = journals(store)
    before = reader.history([0])
    files = FleetFiles(store, reader, own, 0, scattered="", num_buckets=1, num_shards=2)
    listed = reader.files()
    files.merge()
    files.merge()
    files.merge()
    kept = [path.name for path in outcome_files(own)]
    assert kept[5:7] == ["outcomes-00006-00069.parquet", "outcomes-00070-00133.parquet"]
    assert len(kept) == 5 + 2 + 3
    assert journals(store).history([0]) == before
    reader.files = lambda: listed  # type: ignore[method-assign]
    assert reader.read_new(without=1).num_rows == 8, "merged since they were listed"
    del reader.files  # type: ignore[method-assign]
    assert reader.read_new(without=1).num_rows == 2 * MERGE_FILES
    assert next_index(own, []) == 2 * MERGE_FILES + 9


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
