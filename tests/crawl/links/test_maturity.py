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


def test_only_dumps_of_a_thousand_scores_are_compared() -> None:
    others = {name: _statistics(0.45) for name in ("a", "b")}
    assert immature("x", _statistics(0.10, num=999), others) is None
    assert immature("x", _statistics(0.10, num=1000), others) is not None
    for num, counted in ((999, False), (1000, True)):
        small = others | {"b": _statistics(0.45, num=num)}
        assert (immature("x", _statistics(0.10), small) is not None) is counted


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


BORDERS = [
    # Under 5 % for any lag.
    (0.0499, 300, True),
    (0.05, 300, False),
    (0.05, None, False),
    # Under 12 % if the median lag is under a day.
    (0.1199, 23, True),
    (0.12, 23, False),
    (0.1199, 24, False),
    (0.05, 24, False),
]


@pytest.mark.parametrize(("share", "lag_hours", "is_immature"), BORDERS)
def test_a_share_is_judged_at_its_borders(
    share: float, lag_hours: int | None, is_immature: bool
) -> None:
    assert (immature("x", _statistics(share, lag_hours)) is not None) is is_immature


@pytest.mark.parametrize(
    ("share", "lag_hours", "low", "is_immature"),
    [(0.1499, 300, 1, True), (0.15, 300, 1, False), (0.1499, 300, 2, False), (0.1499, 24, 2, False), (0.1499, 23, 2, True), (0.1499, None, 2, False),
     (0.1499, None, 0, True)],
)  # fmt: skip
def test_a_share_under_a_third_of_its_neighbours_is_immature(
    share: float, lag_hours: int | None, low: int, is_immature: bool
) -> None:
    """With a low median score or a short lag, and if at least two neighbours are large enough."""
    two = {name: _statistics(0.45, num=1_000) for name in "ab"}
    statistics = _statistics(share, lag_hours, low=low)
    assert (immature("x", statistics, two) is not None) is is_immature
    assert immature("x", statistics, {"a": two["a"], "b": _statistics(0.45, num=999)}) is None
    small = {name: _statistics(0.45, num=1_000) for name in "ab"}
    assert immature("x", _statistics(0.06, num=999), small) is None


def test_the_middle_share_of_the_neighbours_is_usual() -> None:
    others = {name: _statistics(share) for name, share in zip("abc", (0.2, 0.3, 0.9), strict=True)}
    found = immature("x", _statistics(0.09), others)
    assert found is not None
    assert "median share is 30.0%" in str(found)
    assert immature("x", _statistics(0.101), others) is None


@pytest.mark.parametrize(
    ("scores", "share", "median"),
    [([], 0.0, 0), ([2], 0.0, 2), ([3], 1.0, 3), ([2, 3], 0.5, 2), ([1, 2, 3], 1 / 3, 2), ([1, 1, 5, 9], 0.5, 1), ([4, 5, 6, 7], 1.0, 5)],
)  # fmt: skip
def test_scores_from_three_on_are_admitted_and_the_lower_median_counts(
    scores: list[int], share: float, median: int
) -> None:
    statistics = ScoreStatistics()
    statistics.add_scores(scores)
    assert (statistics.admitted_share, statistics.median_score) == (share, median)


@pytest.mark.parametrize(
    ("seconds", "hours"),
    [(-1, 0), (0, 0), (3_599, 0), (3_600, 1), (8_760 * 3_600 - 1, 8_759), (8_760 * 3_600, 8_760), (8_761 * 3_600, 8_760)],
)  # fmt: skip
def test_a_lag_is_in_whole_hours_up_to_a_year(seconds: int, hours: int) -> None:
    statistics = ScoreStatistics()
    statistics.add_lag(10**9, 10**9 + seconds)
    assert statistics.median_lag_hours == hours


def test_three_dumps_on_either_side_are_neighbours() -> None:
    """Two of them suffice; a dump that is four away does not count."""
    for num_before, num_behind, found in ((3, 3, 1), (2, 0, 1), (0, 2, 1), (1, 0, 0), (0, 1, 0)):
        names = [f"RS_2010-{n:02}" for n in range(num_before + num_behind + 1)]
        dumps = {name: _statistics(0.45) for name in names}
        dumps[names[num_before]] = _statistics(0.10)
        assert len(immature_among(dumps)) == found

    # Of eight dumps in a row the fourth has three low ones before and three others behind it.
    far = {f"RS_2011-{n:02}": _statistics(0.11 if n < 4 else 0.9) for n in range(8)}
    assert [verdict.name for verdict in immature_among(far)] == ["RS_2011-03"]


def test_scores_are_capped_at_1000_and_10000_values_wait() -> None:
    statistics = ScoreStatistics()
    statistics.add_scores([999, 1000, 1001, -999, -1000, -1001])
    assert statistics.scores == {999: 1, 1000: 2, -999: 1, -1000: 2}
    assert not statistics.truncated

    waiting = ScoreStatistics()
    waiting.add_scores(range(5_000, 15_000))
    assert len(waiting.values) == 10_000
    waiting.add_scores([15_000])
    assert waiting.values == {1000: 10_001}
