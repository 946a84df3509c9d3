"""Student's t distribution for whole degrees of freedom, exact, without a library.

Abramowitz and Stegun 1964, 26.7.3 and 26.7.4: finite sums for odd and even degrees of freedom.
"""

from __future__ import annotations

import math
from functools import lru_cache

# Halvings of the interval around a quantile: enough for every digit of a float.
HALVINGS = 64


def cdf(t: float, df: int) -> float:
    """The probability of a value up to `t`."""
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0

    angle = math.atan(t / math.sqrt(df))
    # Probability of a value between -t and t.
    if df % 2:
        inside = 2 / math.pi * (angle + math.sin(angle) * _odd_sum(math.cos(angle), df))
    else:
        inside = math.sin(angle) * _even_sum(math.cos(angle), df)
    return 0.5 + inside / 2


def _odd_sum(cosine: float, df: int) -> float:
    total, term = 0.0, cosine
    for k in range(1, df - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return total


def _even_sum(cosine: float, df: int) -> float:
    total, term = 0.0, 1.0
    for k in range(0, df - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return total


@lru_cache(maxsize=4096)
def quantile(probability: float, df: int) -> float:
    """The value that is not exceeded with this probability."""
    low, high = -1.0, 1.0
    while cdf(low, df) > probability:
        low *= 2
    while cdf(high, df) < probability:
        high *= 2

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if cdf(middle, df) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def two_sided_p(t: float, df: int) -> float:
    """The probability of a value at least as far from 0 as `t`."""
    return 2 * cdf(-abs(t), df)
