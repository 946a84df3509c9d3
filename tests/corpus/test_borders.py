"""Recorded times, zombies and optional tables of the core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from corpus.errors import FatalError, PartitionError, SchemaError
from corpus.run import runner
from corpus.run.executors.interface import Attempt
from corpus.storage import lease
from corpus.storage.store import open_corpus
from corpus.tables import commit
from corpus.tables import manifest as manifests
from corpus.tables.commit import commit_table
from corpus.tables.inventory import OPTIONAL_TABLES, entries
from corpus.tables.parquet import write_part
from corpus.tables.schemas import LINKS, TABLES
from tests.support import toy_stage


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


def test_a_watch_on_a_silent_owner_looks_every_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's heart beats after 3 s of 12: the watch ends there, not at its end."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    store.write_bytes("l", b"before")
    clock = [100.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] >= 103.0:
            store.write_bytes("l", b"after")

    monkeypatch.setattr(
        lease, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep, time=time.time)
    )
    assert lease.WATCH_S == 12.0
    assert lease._beats(store, "l", b"before") is True
    assert clock[0] == 103.0
    assert lease._beats(store, "l", b"after") is False
    assert clock[0] == 115.0


@pytest.mark.parametrize(
    ("theirs", "refused"), [("the same", False), ("another", True), (None, True)]
)
def test_a_commit_beside_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str | None, refused: bool
) -> None:
    """A run that committed the same table meanwhile is no conflict; anything else is named."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    part = write_part(store, "links/b", "part-00000.parquet", LINKS, [])
    present = commit_table(store, LINKS, "b", [part])
    ours = present.model_copy(update={"wall_s": 9.0})
    if theirs != "the same":
        ours = ours.model_copy(update={"fingerprint": "other"})
    if theirs is None:
        # Removed between the attempt to write and the second look.
        monkeypatch.setattr(type(store), "create_exclusive", lambda *_: False)
        store.delete("links/b/_manifest.json")

    if refused:
        with pytest.raises(FatalError, match="another run committed this table meanwhile"):
            commit._write_fenced(store, "links/b", None, ours)
    else:
        commit._write_fenced(store, "links/b", None, ours)


def test_the_first_of_several_failures_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to eight parts are listed in order, and the error of the first is shown."""
    store = toy_stage.make_corpus(str(tmp_path / "c"))
    failures = {n: Attempt(n, "error", error=f"reason {n}") for n in (4, 2, 3)}
    monkeypatch.setattr(runner, "run_tasks", lambda *_: ({}, failures))
    run = toy_stage.run_of(store)
    with pytest.raises(
        PartitionError,
        match=r"3 of 5 parts failed and are quarantined \(part 2, 3, 4\); part 2: error: reason 2",
    ):
        runner.run_steps(run, toy_stage.STEPS)


def test_a_write_that_fails_says_why(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    store.write_bytes("work/a", b"1")
    store.write_bytes("links/b/x", b"1")
    with pytest.raises(FatalError, match=r"cannot move work/a to .*/links/b: Is a directory; "):
        store.move("work/a", "links/b")
    with pytest.raises(FatalError, match=r"cannot write .*/links/b: Is a directory; "):
        store.write_bytes("links/b", b"2")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_parts": "many"}, r"\(num_parts : Input should be a valid integer"),
        ({"created": "2026-11-30T12:00:00"}, r"\(created : .*no time zone"),
        # Of several the first, in the order of the fields.
        ({"wall_s": None, "table": 1}, r"\(table : Input should be a valid string"),
    ],
)
def test_a_manifest_is_refused_with_its_first_wrong_field(
    changes: dict[str, object], problem: str, tmp_path: Path
) -> None:
    store = open_corpus(str(tmp_path), create=True)
    manifest = commit_table(store, LINKS, "b", [])
    data = json.dumps({**manifest.model_dump(mode="json"), **changes})
    with pytest.raises(SchemaError, match=problem):
        manifests._parse(data.encode(), "links/b")
