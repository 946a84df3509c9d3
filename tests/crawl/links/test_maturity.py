"""Dumps whose scores were taken too early are told by their own numbers, and by their neighbours'."""

from __future__ import annotations

import pytest

from crawl.links import maturity
from crawl.links.maturity import (
    LAG_CAP_HOURS,
    MIN_SCORES,
    SCORE_CAP,
    ScoreStatistics,
    immature,
    immature_among,
)


def _statistics(
    share: float, lag_hours: int | None = 300, num: int = 10_000, low: int = 1
) -> ScoreStatistics:
    """`share` of `num` scores at 50, the others at `low`."""
    statistics = ScoreStatistics()
    admitted = round(share * num)
    statistics.add_scores([50] * admitted + [low] * (num - admitted))
    if lag_hours is not None:
        for _ in range(100):
            statistics.add_lag(1_000_000, 1_000_000 + lag_hours * 3_600)
    return statistics


@pytest.mark.parametrize(
    ("share", "lag_hours", "is_immature"),
    [
        (0.30, 300, False),  # an ordinary month
        (0.30, None, False),  # 2011: no retrieval in the rows
        (0.70, 0, False),  # few posts, many votes, whatever the lag
        (0.30, 0, False),
        (0.00, 0, True),  # 2023-08
        (0.03, 300, True),
        (0.03, None, True),
        (0.08, 300, False),
        (0.08, 1, True),  # 2024-03: part of the month
        (0.08, 36, False),
    ],
)
def test_a_dump_is_judged_by_its_own_numbers(
    share: float, lag_hours: int | None, is_immature: bool
) -> None:
    verdict = immature("RS_x", _statistics(share, lag_hours))
    assert (verdict is not None) == is_immature
    if verdict is not None:
        for part in ("RS_x", "--allow-immature-scores", f"{share:.1%}"):
            assert part in str(verdict)


def test_a_small_dump_is_not_judged() -> None:
    assert immature("x", _statistics(0, 0, MIN_SCORES - 1)) is None
    assert immature("x", _statistics(0, 0, MIN_SCORES)) is not None
    assert immature("x", ScoreStatistics()) is None


def test_a_dump_is_compared_with_its_neighbours() -> None:
    others = {name: _statistics(0.45) for name in ("a", "b", "c")}
    assert immature("x", _statistics(0.10), others) is not None
    assert immature("x", _statistics(0.20), others) is None
    assert (
        immature("x", _statistics(0.10, low=2), others) is None
    )  # the median score says that votes were in
    assert (
        immature("x", _statistics(0.10), {"a": others["a"]}) is None
    )  # one neighbour is no measure
    assert (
        immature("x", _statistics(0.10), {"x": others["a"], "y": others["b"]}) is None
    )  # nor the dump itself


def test_statistics_are_integers_that_stay_small() -> None:
    statistics = ScoreStatistics()
    statistics.add_scores([10**9, "7", 7.9, None, "", 3, -2])
    assert dict(statistics.scores) == {SCORE_CAP: 1, 7: 2, 3: 1, -2: 1}
    statistics.add_lag(1, 10**9)
    statistics.add_lag(10**9, 1)
    assert dict(statistics.lags) == {LAG_CAP_HOURS: 1, 0: 1}
    assert statistics.median_lag_hours == 0
    assert ScoreStatistics().median_lag_hours is None


def test_no_dump_fills_the_memory_with_its_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maturity, "MAX_VALUES", 3_000)
    statistics = ScoreStatistics()
    for start in range(-4_000, 4_000, 1_000):
        statistics.add_scores(str(score) for score in range(start, start + 1_000))
        assert len(statistics.values) <= 3_000
    assert statistics.num_scores == 8_000
    assert (min(statistics.scores), max(statistics.scores)) == (-SCORE_CAP, SCORE_CAP)


def test_neighbours_are_the_nearest_by_name() -> None:
    """Shares fall over the years: what is usual in 2020 is not held against 2005."""
    dumps = {f"RS_{2005 + n // 4}-{n % 4:02}": _statistics(0.9 * 0.85**n) for n in range(14)}
    assert immature("RS_2008-01", dumps["RS_2008-01"], dumps) is not None
    assert immature_among(dumps) == []
    dumps["RS_2006-02"] = _statistics(0.1)
    assert [verdict.name for verdict in immature_among(dumps)] == ["RS_2006-02"]
    assert immature_among(dict(reversed(dumps.items()))) == immature_among(dumps)
    scattered = {
        f"/disk{number % 3}/{name}": each for number, (name, each) in enumerate(dumps.items())
    }
    assert [verdict.name[-10:] for verdict in immature_among(scattered)] == ["RS_2006-02"]


def test_statistics_travel() -> None:
    statistics = _statistics(0.3, 7, 100)
    statistics.truncated = True
    assert ScoreStatistics.from_json(statistics.to_json()) == statistics
    assert ScoreStatistics.from_json(ScoreStatistics().to_json()) == ScoreStatistics()
