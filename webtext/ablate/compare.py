"""Paired differences of two arms over seeds, with intervals, a verdict and the seeds it would take.

Runs with the same seed begin with the same weights and take samples in the same order of numbers,
so arms are compared seed by seed. Two intervals are given: paired t, and a bootstrap of the mean
with expanded percentiles (Hesterberg 2015, section 5.3), since plain percentiles are too narrow for
five seeds. A difference is claimed only if both intervals leave out 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from webtext.ablate.student import quantile, two_sided_p

LEVEL = 0.95
POWER = 0.8
RESAMPLES = 10_000
# Fixed, so that a second call prints the same interval.
RESAMPLING_SEED = 20240131
# More seeds than anybody trains: beyond it, arms count as equal for all purposes.
MOST_SEEDS = 1000

Verdict = Literal["better", "worse", "identical", "not enough seeds to tell"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against the first one, in bits per byte: below 0 is better."""

    differences: tuple[float, ...]
    """By seed: the arm's minus the first arm's."""
    mean: float
    level: float
    """Confidence of each interval, raised for several comparisons (Bonferroni)."""
    t_interval: tuple[float, float] | None
    bootstrap_interval: tuple[float, float] | None
    p: float | None
    """Two-sided, of the paired t test."""
    verdict: Verdict
    seeds_needed: int | None
    """Seeds that would show this mean difference in 80 % of experiments; None: cannot be said."""

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def compare(
    first: Sequence[float], other: Sequence[float], *, num_comparisons: int = 1
) -> Comparison:
    """Compare results of two arms, in the same order of seeds."""
    differences = np.array(other, float) - np.array(first, float)
    level = 1 - (1 - LEVEL) / num_comparisons
    mean = float(differences.mean())
    values = tuple(differences.tolist())

    if not differences.any():
        # Two arms of the same tokens: their runs are equal to the last bit.
        return Comparison(values, 0.0, level, None, None, None, "identical", None)
    if len(differences) < 2:
        return Comparison(values, mean, level, None, None, None, "not enough seeds to tell", None)

    deviation = float(differences.std(ddof=1))
    t_interval = _t_interval(mean, deviation, len(values), level)
    bootstrap = bootstrap_interval(differences, level)
    t = mean / (deviation / math.sqrt(len(values))) if deviation else math.copysign(math.inf, mean)
    told = all(low > 0 or high < 0 for low, high in (t_interval, bootstrap))
    verdict: Verdict = "not enough seeds to tell"
    if told:
        verdict = "better" if mean < 0 else "worse"

    return Comparison(
        values,
        mean,
        level,
        t_interval,
        bootstrap,
        two_sided_p(t, len(values) - 1),
        verdict,
        seeds_needed(mean, deviation, level=level),
    )


def _t_interval(mean: float, deviation: float, num: int, level: float) -> tuple[float, float]:
    half = quantile((1 + level) / 2, num - 1) * deviation / math.sqrt(num)
    return mean - half, mean + half


def bootstrap_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The interval of the mean by resampling, with percentiles expanded for few values."""
    num = len(values)
    picks = np.random.default_rng(RESAMPLING_SEED).integers(0, num, (RESAMPLES, num))
    means = values[picks].mean(axis=1)

    # A resample's mean varies by (n - 1) / n too little, and normal quantiles are too short.
    expanded = quantile((1 - level) / 2, num - 1) * math.sqrt(num / (num - 1))
    tail = NormalDist().cdf(expanded)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def seeds_needed(mean: float, deviation: float, *, level: float = LEVEL) -> int | None:
    """The fewest seeds to detect such a mean with probability `POWER`; None above the limit."""
    if abs(mean) < _detectable(MOST_SEEDS, level) * deviation:
        return None

    # More seeds detect less, so the fewest are found by halving.
    low, high = 2, MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        if abs(mean) >= _detectable(middle, level) * deviation:
            high = middle
        else:
            low = middle + 1
    return low


def detectable(num_seeds: int, *, level: float = LEVEL) -> float | None:
    """The least difference detectable with probability `POWER` by this number of seeds.

    In standard deviations of the paired differences; None for one seed.
    """
    return _detectable(num_seeds, level) if num_seeds > 1 else None


@lru_cache(maxsize=1024)
def _detectable(num: int, level: float) -> float:
    quantiles = quantile((1 + level) / 2, num - 1) + quantile(POWER, num - 1)
    return quantiles / math.sqrt(num)
