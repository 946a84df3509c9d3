"""The clock of a store to the second."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from corpus.storage import self_test
from corpus.storage.self_test import Finding
from corpus.storage.store import open_store


@pytest.mark.parametrize(
    ("stamped", "warned", "within"),
    [
        (1000.0, False, 1),
        # S3 gives whole seconds.
        (999.0, False, 1),
        (1001.0, False, 1),
        (954.0, False, 46),
        (953.9, True, 46),
        (1046.0, False, 46),
        (1046.1, True, 46),
    ],
)
def test_clocks_may_differ_by_45_seconds(
    stamped: float, warned: bool, within: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the time after which a silent lease looks dead."""
    monkeypatch.setattr(self_test, "time", SimpleNamespace(time=lambda: 1000.0))
    monkeypatch.setattr(self_test, "_modified", lambda store, path: stamped)
    found = list(self_test._clock(open_store(str(tmp_path)), "work/x"))
    assert [isinstance(each, Finding) for each in found] == [True] * warned + [False]
    assert found[-1] == f"within {within} s of the store's"
