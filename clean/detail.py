"""Details of dropped pages: the measured value, the threshold, and the setting of the
threshold.

    3 sentences, needs 5: clean.quality.c4.min_sentences
    0.41 of lines repeated, allowed 0.3: clean.quality.gopher.max_dup_lines_frac

Shares are rounded away from the threshold: the value shown, used as the setting, keeps the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable

DECIMALS = 3


def below(value: float, least: float, of: str, key: str) -> str:
    """The detail of a value under its least."""
    return f"{_shown(value, math.floor)} {_counted(value, of)}, needs {_limit(least)}: clean.{key}"


def above(value: float, most: float, of: str, key: str) -> str:
    """The detail of a value over its most."""
    return f"{_shown(value, math.ceil)} {_counted(value, of)}, allowed {_limit(most)}: clean.{key}"


def outside(value: float, least: float, most: float, of: str, keys: tuple[str, str]) -> str:
    """The detail of a value outside a range with a setting at either end."""
    return below(value, least, of, keys[0]) if value < least else above(value, most, of, keys[1])


def unsettable(found: str, key: str) -> str:
    """The detail of a rule without a threshold: it can only be turned off by its setting."""
    return f"{found}, allowed none: clean.{key}"


def _limit(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _counted(value: float, of: str) -> str:
    return of.removesuffix("s") if isinstance(value, int) and value == 1 else of


def _shown(value: float, rounded: Callable[[float], int]) -> str:
    if isinstance(value, int):
        return str(value)
    scale = 10**DECIMALS
    return f"{rounded(value * scale) / scale:g}"
