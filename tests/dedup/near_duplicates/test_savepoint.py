"""A choice that was stopped continues where it was, with the same result."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest

from corpus.storage.store import open_store
from dedup import kernels
from dedup.near_duplicates import greedy, savepoint
from dedup.near_duplicates.greedy import Edges, LargeBuckets, Selection
from dedup.near_duplicates.savepoint import Savepoint
from dedup.near_duplicates.shingle_store import StoredSets
from tests.dedup.test_survivors import stored

PAGES, OLD = 40, 3


class Stop(BaseException):
    """A kill after a savepoint."""


class Stopping(Savepoint):
    """Stops the run after so many savepoints."""

    def keep(self, settled: int, *state: np.ndarray) -> None:
        super().keep(settled, *state)
        raise Stop


def choose(sets: StoredSets, kept: Savepoint | None) -> Selection:
    none = np.zeros(0, np.int64)
    edges = Edges(none, none, np.zeros(0), np.zeros(0, bool))
    large = LargeBuckets(np.zeros(PAGES, np.int64), np.arange(PAGES), np.zeros(PAGES, bool))
    return greedy.choose_in_large(PAGES, OLD, edges, large, 0.5, sets, 0.0, kept)


def test_a_stopped_choice_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    pages = [np.array(sorted(generator.sample(range(9), 4)), np.uint64) for _ in range(PAGES)]
    sets = stored(pages, np.arange(PAGES))
    whole = choose(sets, None)
    assert 0 < (whole.duplicate_of != greedy.KEPT).sum() < PAGES - OLD

    monkeypatch.setattr(savepoint, "INTERVAL_S", 0.0)
    monkeypatch.setattr(greedy, "CHUNK_PAGES", 7)
    store = open_store(str(tmp_path))
    real, begun = kernels.walk, []

    def walk(num_old: int, first_page: int, after_page: int, *rest: object) -> None:
        begun.append(first_page)
        real(num_old, first_page, after_page, *rest)

    monkeypatch.setattr(kernels, "walk", walk)
    for _ in range(-(-PAGES // 7) - 1):
        with pytest.raises(Stop):
            choose(sets, Stopping(store, "settled/0.npz", [whole.exact]))
    found = choose(sets, Savepoint(store, "settled/0.npz", [whole.exact]))
    assert begun == [0, 7, 14, 21, 28, 35]
    assert found.duplicate_of.tolist() == whole.duplicate_of.tolist()
    assert np.array_equal(found.similarity, whole.similarity, equal_nan=True)
    assert found.exact.tolist() == whole.exact.tolist()

    # Of other inputs, or damaged, it counts as none.
    state = [np.zeros(PAGES, np.int64)] * 3
    assert Savepoint(store, "settled/0.npz", [whole.exact]).restore(*state) == 35
    assert Savepoint(store, "settled/0.npz", [~whole.exact]).restore(*state) == 0
    store.write_bytes("settled/0.npz", store.read_bytes("settled/0.npz")[:-30])
    assert Savepoint(store, "settled/0.npz", [whole.exact]).restore(*state) == 0


class Command:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self._path,)


def test_a_savepoint_runs_no_code(tmp_path: Path) -> None:
    """A corpus may come from a stranger."""
    store = open_store(str(tmp_path))
    kept = Savepoint(store, "settled/0.npz", [])
    buffer = io.BytesIO()
    objects = np.array([Command(tmp_path / "made")], object)
    np.savez(buffer, np.array(kept._digest), objects)
    store.write_bytes("settled/0.npz", buffer.getvalue())
    assert kept.restore(np.zeros(1, np.int64)) == 0
    assert not (tmp_path / "made").exists()
