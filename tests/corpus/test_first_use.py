"""The first run of a stage after an installation says that it compiles, and no later one."""

from __future__ import annotations

import logging
from pathlib import Path

import numba
import pytest

from corpus.run.first_use import note_first_use


@pytest.mark.parametrize("stage", ["clean", "dedup", "shards"])
@pytest.mark.parametrize("kept", ["nowhere", "beside the source", "in another folder"])
def test_compiling_is_announced(
    stage: str,
    kept: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A new user waited a minute at 0 pages/s."""
    cache = tmp_path / "cache"
    (tmp_path / stage).mkdir()
    (tmp_path / stage / "loops.py").touch()
    (cache / "other_1").mkdir(parents=True)
    (cache / "other_1" / "unrelated.f-1.py311.nbi").touch()
    if kept != "nowhere":
        place = (
            tmp_path / stage / "__pycache__" if kept.startswith("beside") else cache / "package_2"
        )
        place.mkdir()
        (place / "loops.add-1.py311.nbi").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache))
    with caplog.at_level(logging.INFO):
        note_first_use(stage, tmp_path)
    said = "compiles its loops before the first page" in caplog.text
    assert said is (kept == "nowhere" and stage != "shards")
    assert not said or str(cache) in caplog.text
