"""Recorded times, zombies and optional tables of the core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from corpus.storage import lease
from corpus.storage.store import open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.inventory import OPTIONAL_TABLES, entries
from corpus.tables.parquet import write_part
from corpus.tables.schemas import LINKS, TABLES


def test_a_commit_records_when_and_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In UTC, wherever the machine is."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        store = open_corpus(str(tmp_path / "c"), create=True)
        part = write_part(store, "links/b", "part-00000.parquet", LINKS, [])
        before = datetime.now(UTC)
        manifest = commit_table(store, LINKS, "b", [part], wall_s=1.23456)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    created = datetime.fromisoformat(manifest.created)
    assert created.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=2) <= created <= before + timedelta(seconds=60)
    assert manifest.wall_s == 1.235


def test_marks_are_never_missing(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    commit_table(store, LINKS, "b", [write_part(store, "links/b", "part-00000.parquet", LINKS, [])])
    missing = {entry.table for entry in entries(store) if entry.state == "missing"}
    assert "marks" in TABLES
    assert "marks" in OPTIONAL_TABLES
    assert missing == set(TABLES) - {"links", "marks", "rights"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_zombie_holds_no_lease() -> None:
    """It has ended; only its parent has not asked for the exit code."""
    process = subprocess.Popen(["true"])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                break
            time.sleep(0.01)
        assert lease._process_start(process.pid) is None
    finally:
        process.wait()
    assert lease._process_start(os.getpid()) is not None


@pytest.mark.parametrize(("age_s", "stale"), [(0, False), (80, False), (100, True), (1e6, True)])
def test_a_lease_elsewhere_is_stale_by_its_heartbeat(age_s: float, stale: bool) -> None:
    record = {"host": "another", "pid": os.getpid(), "heartbeat": time.time() - age_s}
    assert lease.STALE_S == 90.0
    assert lease._is_stale(record) is stale
