"""Shards that workers share: who takes, gives and loses them, alone and as processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import FatalError, InputError, LostLeaseError
from corpus.storage.store import open_store
from corpus.urls import registered_domain
from crawl.fetch import frozen_settings
from crawl.fetch.fleet.membership import EXPIRE_S, RENEW_S, Membership
from crawl.fetch.fleet.roster import FREE, MOST_LOST, Roster, balance
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason
from tests.crawl.fetch.test_fetch import ADDRESSES, DELAY_S, domain, scripted
from tests.crawl.loopback import Batch, Web, assert_polite, doc_id, serving, stored

ROOT = Path(__file__).parents[3]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), min_size=1, max_size=60),
    st.integers(1, 6),
)
def test_moves_make_loads_even_and_end(shards: list[tuple[int, int]], num_members: int) -> None:
    """No move is left that would help, and none goes back."""
    members = [*range(num_members)]
    owners = np.array([owner % num_members for owner, _ in shards])
    weights = np.array([float(load) for _, load in shards])
    before = [weights[owners == member].sum() for member in members]
    moves = balance(owners, weights, members, least=64.0)
    for shard, to in moves.items():
        owners[shard] = to
    after = [weights[owners == member].sum() for member in members]
    assert max(after) <= max(before)
    assert min(after) >= min(before)
    assert balance(owners, weights, members, least=64.0) == {}
    gap = max(after) - min(after)
    rich = weights[owners == members[int(np.argmax(after))]]
    small = rich[(rich > 0) & (rich <= gap / 2)]
    assert gap < max(64.0, 0.1 * sum(after) / num_members) or not len(small)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 40), st.data())
def test_every_free_shard_is_claimed(
    num_shards: int, num_members: int, most: int, data: st.DataObject
) -> None:
    """However the loads are, some member's share has space for what is free."""
    roster = Roster.empty(num_shards)
    roster.members = [*range(num_members)]
    roster.weights = data.draw(
        st.lists(st.floats(0, 1e6), min_size=num_shards, max_size=num_shards)
    )
    roster.is_done = data.draw(st.lists(st.booleans(), min_size=num_shards, max_size=num_shards))
    for _ in range(num_shards):
        for member in roster.members:
            claimed = [*roster.claims(member, most, range(num_shards))]
            assert len(claimed) <= most
            for shard in claimed:
                assert roster.owners[shard] == FREE
                roster.own(shard, member)
    assert [owner != FREE for owner in roster.owners] == [not done for done in roster.is_done]
    assert Roster.parse(roster.dump()) == roster


def test_the_first_worker_leaves_shares_for_those_that_start_with_it() -> None:
    roster = Roster.empty(100)
    roster.members = [0]
    assert [*roster.claims(0, 25, range(100))] == [*range(25)]
    roster.members = [0, 1]
    for shard in range(60):
        roster.own(shard, 0)
    assert [*roster.claims(0, 25, range(100))] == [], "it has more than its share"
    assert [*roster.claims(1, 99, range(100))] == [*range(60, 100)]
    assert roster.moves() == {}, "some are free, and none is counted"


def test_links_left_decide_if_a_move_is_worth_it() -> None:
    """Of hosts that rest, one link each counts: 64 links are few of a batch, not few of its hosts."""
    roster = Roster.empty(8)
    roster.members = [0, 1]
    for shard in range(8):
        roster.own(shard, 0)
    roster.count_up_to(1.0)
    assert roster.moves() == {}, "nothing is counted"
    roster.weights = [4.0] * 8
    roster.num_left = [200] * 8
    assert [*roster.moves().values()] == [1] * 4
    roster.num_left = [7] * 8
    assert roster.moves() == {}
    roster.count_up_to(1.9)
    assert roster.weights == [4.0] * 8, "loads are comparable"
    roster.count_up_to(2.1)
    assert roster.weights == [0.0] * 8
    assert Roster.parse(roster.dump()) == roster


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_worker_is_lost_and_cannot_come_back(tmp_path: Path) -> None:
    """By the observer's clock alone, and what it left behind goes before its shards are free."""
    store, clock = open_store(str(tmp_path)), Clock()
    cleaned: list[int] = []
    one, two = (
        Membership(store, "fleet", 4, clean_up=cleaned.append, clock=clock) for _ in range(2)
    )
    assert (one.join(), two.join()) == (0, 1)
    one.change(lambda roster: [roster.own(shard, 0) for shard in (1, 2)])  # type: ignore[arg-type,return-value]
    assert two.look().roster.members == [0, 1]
    clock.now += EXPIRE_S - 1
    one.renew()
    assert one.valid_until == clock.now + 45.0
    assert two.look().roster.members == [0, 1]
    clock.now += EXPIRE_S
    two.confirm()
    seen = two.look()
    assert (seen.roster.members, seen.roster.owners) == ([1], [FREE] * 4)
    assert seen.roster.num_lost == [0, 1, 1, 0]
    assert seen.roster.lives == [[], [0], [0], []]
    assert cleaned == [0]
    with pytest.raises(LostLeaseError):
        one.confirm()
    assert two.look().roster.members == [1]


def test_a_lease_is_renewed_after_ten_seconds_and_lost_after_ninety(tmp_path: Path) -> None:
    store, clock = open_store(str(tmp_path)), Clock()
    one, two = (Membership(store, "fleet", 2, clock=clock) for _ in range(2))
    one.join()
    two.join()
    began_at = clock.now
    assert two.look().roster.members == [0, 1]
    for passed, renewed in ((9.5, 0.0), (10.0, 10.0), (19.5, 10.0), (20.0, 20.0)):
        clock.now = began_at + passed
        one.renew()
        assert one.valid_until == began_at + renewed + 45.0

    assert two.look().roster.members == [0, 1]
    clock.now += 89.5
    assert two.look().roster.members == [0, 1]
    clock.now += 0.5
    assert two.look().roster.members == [1]


def test_every_change_of_a_roster_counts_its_version_on(tmp_path: Path) -> None:
    member = Membership(open_store(str(tmp_path)), "fleet", 2)
    versions = [member.read().roster.version]
    for life in range(3):
        versions.append(member.change(lambda roster, life=life: roster.own(0, life)).version)
        assert member.read().roster.version == versions[-1]
    assert versions == [0, 1, 2, 3]


def test_a_change_that_others_always_forestall_is_given_up(tmp_path: Path) -> None:
    waits: list[float] = []
    member = Membership(open_store(str(tmp_path)), "fleet", 2, wait=waits.append)
    member.replace = lambda seen, changed: False  # type: ignore[method-assign]
    with pytest.raises(FatalError, match="changed by others 100 times"):
        member.change(lambda roster: None)
    assert len(waits) == 100
    assert 0.0 <= min(waits) <= max(waits) <= 0.2


@pytest.mark.parametrize(
    ("weights", "owners", "moved"),
    [
        # The largest shard of half the gap or less goes, and a gap of a tenth of the mean stays.
        ([4, 3, 2, 1], [0, 0, 0, 0], {0: 1, 3: 1}),
        ([21, 19], [0, 1], {}),
        ([10, 1, 10], [0, 0, 1], {}),
        ([10, 1, 9], [0, 0, 1], {1: 1}),
        ([20, 1, 19], [0, 0, 1], {1: 1}),
        ([20.5, 1, 19.5], [0, 0, 1], {}),
        ([0, 8, 0, 0], [0, 0, 0, 1], {}),
    ],
)
def test_shards_move_until_loads_are_even(
    weights: list[float], owners: list[int], moved: dict[int, int]
) -> None:
    found = balance(np.array(owners), np.array(weights, float), [0, 1], least=0.5)
    assert found == moved
    assert balance(np.array(owners), np.array(weights, float), [0], least=0.5) == {}


def test_of_two_changes_of_one_version_one_wins(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    one, two = (Membership(store, "fleet", 2) for _ in range(2))
    one.join()
    two.join()
    seen, also = one.read(), two.read()
    assert seen == also
    first, second = Roster.parse(seen.data), Roster.parse(also.data)
    first.own(0, 0)
    second.own(0, 1)
    assert one.replace(seen, first)
    assert not two.replace(also, second)
    assert two.read().roster.owners == [0, FREE]
    one.leave()
    assert two.read().roster.owners == [FREE, FREE]
    assert two.read().roster.num_lost == [0, 0], "it left, and was not lost"
    assert two.look().roster.members == [1]
    assert RENEW_S * 3 < EXPIRE_S


def test_a_shard_that_kills_its_workers_ends_the_run() -> None:
    from crawl.fetch.fleet.tending import refuse_deadly

    roster = Roster.empty(2)
    roster.num_lost[1] = MOST_LOST
    refuse_deadly(roster)
    roster.num_lost[1] += 1
    with pytest.raises(FatalError, match="shard 1 has lost 21 workers"):
        refuse_deadly(roster)
    roster.is_done[1] = True
    refuse_deadly(roster)


def test_a_batch_of_an_older_version_is_refused(tmp_path: Path) -> None:
    from crawl.config import CrawlConfig

    run = Batch(tmp_path, str(tmp_path / "corpus"), 80)
    run.links(["http://a.test/"])
    store = open_store(run.root)
    old = {"shards": 3, "max_body_bytes": FetchConfig().max_body_bytes, "started_at": 1.0}
    store.write_bytes("work/b/crawl.fetch-terms/terms.json", json.dumps(old).encode())
    with pytest.raises(InputError, match="older version.* or fetch the batch again with --rebuild"):
        frozen_settings.settled(CrawlConfig(), store, "b", slots=2, now=1.0)
    settled = frozen_settings.settled(CrawlConfig(), store, "b", slots=2, now=1.0, rebuild=True)
    assert settled.fetch.shards == 1
    assert frozen_settings.expected_workers(store, "b") == 2


class Fleet:
    """Worker processes of one batch, without a run around them."""

    def __init__(self, folder: Path, web: Web, urls: list[str], num_domains: int) -> None:
        self.root, self.folder = folder / "corpus", folder
        (self.root / "scattered").mkdir(parents=True)
        rows = [
            {
                "doc_id": doc_id(url),
                "url": url,
                "domain": registered_domain(url.split("/")[2]),
                "score": 3,
            }
            for url in urls
        ]
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(self.root / "scattered/part-00000.arrow", table.schema) as writer:
            writer.write_table(table)
        places = {
            f"*.{domain(i)}": f"127.0.0.{i % ADDRESSES + 1}:{web.port}" for i in range(num_domains)
        }
        self.config = {
            "connect_to": places,
            "allow_networks": ["127.0.0.0/8"],
            "allow_ports": [80, web.port],
            "delay_s": DELAY_S,
            "latency_factor": 0,
            "flush_s": 0.2,
            "segment_age_s": 0.5,
        }

    def start(self, number: int) -> subprocess.Popen[str]:
        spec = self.folder / f"spec-{number}.json"
        fleet = {
            "batch": "b",
            "folder": "fleet",
            "scattered": "scattered",
            "num_buckets": 1,
            "num_shards": 16,
            "expected": 2,
        }
        document = {"corpus": str(self.root), "shard": number, "warc_prefix": "warc/b"}
        spec.write_text(json.dumps({**document, "fleet": fleet, "config": self.config}))
        command = [sys.executable, "-m", "crawl.fetch.worker", str(spec)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def outcomes(self) -> list[dict[str, Any]]:
        return [
            row
            for path in sorted((self.root / "fleet/lives").glob("*/outcomes-*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]

    def roster(self) -> Roster:
        return Roster.parse((self.root / "fleet/roster.json").read_bytes())


def wait_until(web: Web, hits: int, worker: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while len(web.hits) < hits:
        assert worker.poll() is None or worker.returncode == 0, worker.communicate()[1]
        assert time.monotonic() < until, "too slow"
        time.sleep(0.01)


def test_workers_join_leave_and_die(tmp_path: Path) -> None:
    """One joins, one leaves by SIGTERM, one is killed: each link ends once, each domain has one pace."""
    with serving(Web(), ADDRESSES) as web:
        urls = scripted(web, 24, 18)
        fleet = Fleet(tmp_path, web, urls, 24)
        one, two = fleet.start(0), fleet.start(5)
        wait_until(web, 40, one)
        three = fleet.start(11)
        wait_until(web, 120, one)
        one.send_signal(signal.SIGTERM)
        one.wait()
        wait_until(web, 260, two)
        two.kill()
        _, errors = three.communicate(timeout=120)
        two.communicate()
        assert three.returncode == 0, errors
        assert one.returncode == 3, one.communicate()[1]

        roster = fleet.roster()
        assert roster.is_finished
        assert roster.members == []
        assert any(len(lives) > 1 for lives in roster.lives), "no shard changed hands"
        rows = fleet.outcomes()
        ended = [row for row in rows if row["reason"] != Reason.HANDED_OVER]
        assert Counter(row["url"] for row in ended) == Counter(urls)
        assert {row["reason"] for row in ended} == {None}
        groups = {domain(i): [f"{sub}.{domain(i)}" for sub in "abcd"] for i in range(24)}
        assert_polite(web, DELAY_S, groups=groups)

        store = open_store(str(fleet.root))
        kept = Counter(
            (path, *response)
            for path, _ in store.files("warc/b")
            for response in stored(store, path)
        )
        for row in ended:
            assert kept[row["warc_file"], row["final_url"], 200] == 1
        assert sum(count for (_, _, status), count in kept.items() if status == 200) == len(urls)
