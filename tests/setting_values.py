"""The least and greatest values of a setting, and those beyond them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from corpus.config import Section


def check_values(
    section: type[Section], name: str, allowed: Iterable[Any], refused: Iterable[Any], message: str
) -> None:
    """Assert that a section takes some values of a setting, and refuses others with a message."""
    for value in allowed:
        assert getattr(section(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=message):
            section(**{name: value})
