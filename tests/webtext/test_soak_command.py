"""The soak command: a difference of a byte is found, a command that fails is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.errors import FatalError
from corpus.storage.store import open_store
from webtext import soak


def test_a_byte_or_a_file_that_differs_is_named(tmp_path: Path) -> None:
    calm, rough = open_store(str(tmp_path / "calm")), open_store(str(tmp_path / "rough"))
    for store in (calm, rough):
        for name in ("part-00000.parquet", "part-00001.parquet", "_manifest.json"):
            store.write_bytes(f"verdicts/{soak.BATCH}/{name}", name.encode())
    found = soak.Survived()
    soak._compare(calm, rough, found)
    assert (found.files, found.differing) == (2, [])
    rough.write_bytes(f"verdicts/{soak.BATCH}/_manifest.json", b"holds the time")
    rough.write_bytes(f"verdicts/{soak.BATCH}/part-00001.parquet", b"other")
    rough.write_bytes(f"tokens/{soak.BATCH}/train/part-00000.parquet", b"more")
    found = soak.Survived()
    soak._compare(calm, rough, found)
    assert found.differing == [
        f"verdicts/{soak.BATCH}/part-00001.parquet",
        f"tokens/{soak.BATCH}/train/part-00000.parquet",
    ]
    assert "2 differ" in soak.render(found)


def test_a_command_that_fails_ends_the_soak_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"clean .* ended with 2: error: .*no corpus there"):
        soak._finish(soak._start("clean", str(tmp_path / "none"), []))


def test_the_made_month_is_the_same_each_time_and_has_copies() -> None:
    rows = [json.loads(line) for line in soak._documents(30)]
    assert rows == [json.loads(line) for line in soak._documents(30)]
    assert len({row["url"] for row in rows}) == 30
    assert len({row["text"] for row in rows}) == 26


@pytest.mark.soak
@pytest.mark.parametrize("executor", ["pool", "serial"])
def test_a_month_under_kills(tmp_path: Path, executor: str) -> None:
    words = ["--corpus", str(tmp_path), "--executor", executor, "--kills", "6"]
    assert soak.main([*words, "--workers", "2" if executor == "pool" else "1"]) == 0
    assert list(tmp_path.iterdir()) == [], "both corpora are deleted"
