"""Durations of settings."""

from __future__ import annotations

import pytest

from corpus.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("35d", 3_024_000.0), ("1.5h", 5400.0), (" 1s ", 1.0), ("0.001s", 0.001)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0s", "0.0h", "-1s", "1", "1 s", "1w", ".5h", "1h30m", "1e3s"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number with a unit"):
        parse_duration(text)
