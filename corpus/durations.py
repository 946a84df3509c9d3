"""Durations as people write them in settings: `90s`, `15m`, `2h`, `35d`."""

from __future__ import annotations

import re

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(text: str) -> float:
    """The seconds of a duration. Raises: ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(
            f"expected a number with a unit, such as 90s, 15m, 2h or 35d, not {text!r}"
        )
    return float(found[1]) * UNITS[found[2]]
