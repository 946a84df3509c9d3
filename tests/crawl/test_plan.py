"""The plan's numbers are the arithmetic of politeness."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl import plan

DOMAINS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500_000), max_size=8)


def test_the_largest_domain_sets_the_time() -> None:
    domains = {"nytimes.com": 333_160, "example.org": 10}
    assert plan.duration(plan.wall_time_s(domains, 1.0)) == "3.9 days"
    assert plan.wall_time_s(domains, 2.0, cap=1_000) == 2_000
    assert plan.wall_time_s({}, 1.0) == 0


@settings(deadline=None)
@given(DOMAINS, st.floats(0.1, 30), st.integers(0, 100_000))
def test_plans_add_up(domains: dict[str, int], delay_s: float, cap: int) -> None:
    found = plan.plan(domains, delay_s=delay_s, cap=cap)
    assert found.links == sum(links for _, links in found.order) == plan.num_capped(domains, cap)
    assert {domain for domain, _ in found.order} == set(domains)
    assert [links for _, links in found.order] == sorted(
        (links for _, links in found.order), reverse=True
    )
    assert found.wall_time_s == max((links for _, links in found.order), default=0) * delay_s
    for effect in found.caps:
        assert effect.links + effect.dropped == sum(domains.values())
        assert effect.links < found.links
        assert effect.wall_time_s == effect.cap * delay_s < found.wall_time_s
    assert all(line for line in plan.render(found).splitlines())


def test_the_order_of_equal_domains_is_their_names() -> None:
    assert plan.start_order({"b": 2, "a": 2, "c": 9}) == (("c", 9), ("a", 2), ("b", 2))


def test_links_are_counted_by_domain() -> None:
    tables = [pa.table({"domain": ["a.org", "b.org", "a.org"]}), pa.table({"domain": ["b.org"]})]
    assert plan.links_per_domain(tables) == {"a.org": 2, "b.org": 2}
    assert plan.links_per_domain([pa.table({"domain": pa.array([], pa.string())})]) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (90, "1.5 minutes"), (5_400, "1.5 hours"), (333_160, "3.9 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert plan.duration(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (30_000, "30 KB"), (1_500_000_000_000, "1.5 TB")]
)
def test_sizes(num_bytes: int, text: str) -> None:
    assert plan.size(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.4, "59 s"), (60, "1.0 minutes"), (3_599, "60.0 minutes"), (3_600, "1.0 hours"), (86_399, "24.0 hours"), (86_400, "1.0 days")],
)  # fmt: skip
def test_a_unit_of_time_begins_at_one(seconds: float, text: str) -> None:
    assert plan.duration(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(999, "999 B"), (1_000, "1 KB"), (1_000_000, "1 MB"), (10**15, "1 PB"), (5 * 10**18, "5e+03 PB")],
)  # fmt: skip
def test_a_unit_of_size_begins_at_one(num_bytes: int, text: str) -> None:
    assert plan.size(num_bytes) == text


@pytest.mark.parametrize(
    ("largest", "cap", "shown"),
    [(100, 0, []), (101, 0, [100]), (1_000, 0, [100]), (1_001, 0, [1_000, 100]), (500_000, 0, [100_000, 10_000, 1_000, 100]),
     (500_000, 1_000, [100]), (500_000, 1_001, [1_000, 100])],
)  # fmt: skip
def test_a_cap_is_shown_if_it_shortens_the_crawl(largest: int, cap: int, shown: list[int]) -> None:
    """The caps are those of the default, and a page is counted as 30 KB."""
    found = plan.plan({"a.org": largest, "b.org": 1}, delay_s=1.0, cap=cap)
    assert [effect.cap for effect in found.caps] == shown
    assert found.disk_bytes == 30_000 * found.links


def test_twenty_domains_are_listed() -> None:
    many = plan.plan({f"d{number:02}.org": 1 for number in range(21)}, delay_s=1.0)
    assert plan.render(many).splitlines()[-1].endswith("d19.org")
    assert "set by d00.org with 1 links" in plan.render(many)
    assert "set by" not in plan.render(plan.plan({}, delay_s=1.0))
