"""The lock: one holder, named; a dead or silent one is replaced."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from corpus import lock
from corpus.errors import BusyError
from corpus.layout import Store


def foreign(**fields: Any) -> bytes:
    record = {
        "token": "x",
        "what": "clean.run",
        "host": "elsewhere",
        "pid": 1,
        "process_started": "1",
        "started": time.time() - 60,
        "heartbeat": time.time(),
    }
    return json.dumps({**record, **fields}).encode()


def test_held_then_free(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with lock.hold(store, "l", what="first"):
        with (
            pytest.raises(
                BusyError, match=rf"held by process {os.getpid()} on {socket.gethostname()} for 0 s \(first\)"
            ),
            lock.hold(store, "l", what="second"),
        ):
            pass
        assert store.exists("l"), "the refused one leaves the lock alone"
    assert not store.exists("l")
    with lock.hold(store, "l", what="third"):
        pass


def test_a_living_owner_elsewhere_is_believed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("l", foreign())
    with pytest.raises(BusyError, match="process 1 on elsewhere for 60 s"), lock.hold(store, "l", what="x"):
        pass


@pytest.mark.parametrize(
    "record",
    [
        foreign(heartbeat=time.time() - lock.STALE_S - 1),
        foreign(host=socket.gethostname(), pid=2**22 + 1),
        foreign(host=socket.gethostname(), pid=os.getpid(), process_started="1"),
        b"cut sho",
    ],
    ids=["silent", "dead", "another process with its id", "garbled"],
)
def test_a_stale_lock_is_taken_over(tmp_path: Path, record: bytes) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("l", record)
    with lock.hold(store, "l", what="x"):
        assert json.loads(store.read_bytes("l"))["pid"] == os.getpid()


def test_the_heartbeat_beats_and_keeps_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    store = Store(str(tmp_path))
    with lock.hold(store, "l", what="x"):
        first = json.loads(store.read_bytes("l"))
        time.sleep(0.3)
        later = json.loads(store.read_bytes("l"))
    assert later["heartbeat"] > first["heartbeat"]
    assert abs(later["started"] - first["started"]) < 0.05


def test_a_lost_lock_is_not_released_for_the_new_owner(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with lock.hold(store, "l", what="x"):
        store.write_bytes("l", foreign())
    assert json.loads(store.read_bytes("l"))["host"] == "elsewhere"


def test_on_an_object_store(s3_bucket: str) -> None:
    store = Store(s3_bucket)
    with lock.hold(store, "l", what="first"), pytest.raises(BusyError), lock.hold(store, "l", what="second"):
        pass
    assert not store.exists("l")
