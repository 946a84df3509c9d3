"""Each property of a store that the corpus relies on, missing in turn, and the clock to the second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.storage import self_test
from corpus.storage.local import LocalStore
from corpus.storage.self_test import CHECKS, LARGE_CHECKS, Finding, check_store
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


def test_a_sound_store_passes_and_nothing_stays_in_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    found = check_store(store)
    assert [(each.subject, each.state) for each in found] == [(name, "ok") for name in CHECKS]
    quick = [each.subject for each in check_store(store, quick=True)]
    assert quick == [name for name in CHECKS if name not in LARGE_CHECKS]
    assert store.files("", recursive=True, leftovers=True) == []


_real_range = LocalStore._read_range


def _late(self: LocalStore, folder: str, recursive: bool) -> list[tuple[str, int]]:
    """Nothing yet, in whatever order files were written."""
    return []


def _stale(self: LocalStore, folder: str, recursive: bool) -> list[tuple[str, int]]:
    return [(f"{folder}/{number}", 1) for number in range(self_test.SMALL_FILES)]


def _shifted(least: int) -> Callable[..., bytes]:
    def read(self: LocalStore, path: str, offset: int, num_bytes: int) -> bytes:
        return _real_range(self, path, offset + (offset >= least), num_bytes)

    return read


FAULTS: tuple[tuple[str, Any, str, str, str], ...] = (
    ("_read_bytes", lambda self, path: b"other", "access", "failure", "other bytes"),
    ("_exists", lambda self, path: True, "access", "failure", "is still there"),
    ("is_conditional", property(lambda self: False), "conditional writes", "warning", "ignores"),
    ("_create_exclusive", lambda self, *_: True, "conditional writes", "failure", "[True, True]"),
    ("_create_exclusive", lambda self, *_: False, "conditional writes", "failure", "[False, F"),
    ("_replace_exact", lambda self, *_: True, "conditional writes", "failure", "[True, True]"),
    ("_replace_exact", lambda self, *_: False, "conditional writes", "failure", "[False, F"),
    ("_files", _late, "listing", "failure", "not listed right after"),
    ("_files", _stale, "listing", "failure", "after it was deleted"),
    ("_size", lambda self, path: 9, "large files", "failure", "another size"),
    ("_read_range", _shifted(0), "large files", "failure", "range 0+10"),
    ("_read_range", _shifted(1), "large files", "failure", "range 8388603+10"),
    ("_read_range", _shifted(1 << 23), "large files", "failure", "range 9437179+10"),
)


@pytest.mark.parametrize(
    ("method", "replacement", "subject", "state", "text"),
    FAULTS,
    ids=[f"{fault[0]} {fault[-1]}" for fault in FAULTS],
)
def test_a_store_without_a_property_is_found_out(
    method: str,
    replacement: Any,
    subject: str,
    state: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LocalStore, method, replacement)
    found = check_store(open_store(str(tmp_path)))
    wrong = [each for each in found if each.state != "ok"]
    assert [(each.subject, each.state) for each in wrong] == [(subject, state)]
    assert text in wrong[0].text
    assert (found[-1] is wrong[0]) == (subject == "access"), "all else would fail as well"
