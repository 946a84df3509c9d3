"""The lock: one holder, named; a dead or silent one is replaced."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from corpus.errors import BusyError, FatalError, Interrupted, LostLeaseError
from corpus.storage import lease as lock
from corpus.storage.store import Store, open_store
from corpus.tables.commit import commit_table
from corpus.tables.schemas import LINKS
from tests.support import toy_stage


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


def test_held_then_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(lock, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    store = open_store(str(tmp_path))
    with lock.hold(store, "l", what="first"):
        with (
            pytest.raises(
                BusyError,
                match=rf"held by process {os.getpid()} on {socket.gethostname()} for 0 s \(first\)",
            ),
            lock.hold(store, "l", what="second"),
        ):
            pass
        assert store.exists("l"), "the refused one leaves the lock alone"
    assert not store.exists("l")
    with lock.hold(store, "l", what="third"):
        pass


def test_a_living_owner_elsewhere_is_believed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write_bytes("l", foreign())
    with (
        pytest.raises(BusyError, match="process 1 on elsewhere for 60 s"),
        lock.hold(store, "l", what="x"),
    ):
        pass


@pytest.mark.parametrize(
    "record",
    [
        foreign(heartbeat=time.time() - lock.STALE_S - 1),
        foreign(host=socket.gethostname(), pid=2**22 + 1),
        foreign(host=socket.gethostname(), pid=os.getpid(), process_started="1"),
        b"cut sho",
        foreign(heartbeat=10**400),
        foreign(heartbeat=float("nan"), started=10**400),
        b"[" * 100_000,
    ],
    ids=[
        "silent",
        "dead",
        "another process with its id",
        "garbled",
        "no float",
        "no number",
        "too deep",
    ],
)
def test_a_stale_lock_is_taken_over(
    tmp_path: Path, record: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 0.05)
    store = open_store(str(tmp_path))
    store.write_bytes("l", record)
    with lock.hold(store, "l", what="x"):
        assert json.loads(store.read_bytes("l"))["pid"] == os.getpid()


def test_the_heartbeat_beats_and_keeps_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    store = open_store(str(tmp_path))
    with lock.hold(store, "l", what="x"):
        first = later = json.loads(store.read_bytes("l"))
        deadline = time.monotonic() + 60
        while later["heartbeat"] == first["heartbeat"] and time.monotonic() < deadline:
            time.sleep(0.01)
            later = json.loads(store.read_bytes("l"))
    assert later["heartbeat"] > first["heartbeat"]
    assert abs(later["started"] - first["started"]) < 0.05


def test_a_lost_lock_is_not_released_for_the_new_owner(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with lock.hold(store, "l", what="x"):
        store.write_bytes("l", foreign())
    assert json.loads(store.read_bytes("l"))["host"] == "elsewhere"


def test_a_silent_owner_whose_heart_beats_after_all_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is behind ours by more than the expiry, and it lives."""
    store = open_store(str(tmp_path))
    old = time.time() - lock.STALE_S - 60
    store.write_bytes("l", foreign(heartbeat=old))

    def beat(seconds: float) -> None:
        store.write_bytes("l", foreign(heartbeat=old + 10))

    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=beat)
    monkeypatch.setattr(lock, "time", clock)
    with pytest.raises(BusyError, match="process 1 on elsewhere"), lock.hold(store, "l", what="x"):
        pass


def test_a_process_of_another_container_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    """Its id means nothing here, though the host's name is the same."""
    store = open_store(str(tmp_path))
    store.write_bytes("l", foreign(host=socket.gethostname(), pid=2**22 + 1, processes="pid:[1]"))
    with pytest.raises(BusyError), lock.hold(store, "l", what="x"):
        pass


def test_a_host_of_the_same_name_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    """The first process namespace has one number on every machine; ids there mean nothing here."""
    store = open_store(str(tmp_path))
    first = os.readlink("/proc/self/ns/pid")
    alike = foreign(host=socket.gethostname(), pid=2**22 + 1, processes=f"another-boot {first}")
    for record in (alike, alike.replace(b"another-boot ", b"")):
        store.write_bytes("l", record)
        with pytest.raises(BusyError), lock.hold(store, "l", what="x"):
            pass


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_renewal_whose_answer_was_lost_is_still_ours(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store took the heartbeat and failed before it said so: no other run was there."""
    store = open_store(str(tmp_path) if where == "local" else request.getfixturevalue("s3_bucket"))
    replace = type(store)._replace_exact

    def lost(self: Store, path: str, before: bytes, after: bytes) -> bool:
        replace(self, path, before, after)
        raise FatalError("no answer")

    with lock.hold(store, "l", what="x") as lease:
        with monkeypatch.context() as outage:
            outage.setattr(type(store), "_replace_exact", lost)
            with pytest.raises(FatalError, match="no answer"):
                lease.confirm()
        lease.confirm()
        with monkeypatch.context() as outage:
            outage.setattr(type(store), "_replace_exact", lost)
            with pytest.raises(FatalError, match="no answer"):
                lease.confirm()
    assert not store.exists("l"), "given back, although its last heartbeat is not known"


def test_a_signal_at_the_end_gives_the_lease_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        join(thread, timeout)
        raise Interrupted(15)

    with pytest.raises(Interrupted), lock.hold(store, "l", what="x"):
        monkeypatch.setattr(threading.Thread, "join", interrupted)
    assert not store.exists("l")
    assert not lock._held


@pytest.mark.parametrize("present", [foreign(), None], ids=["taken over", "removed"])
def test_a_run_that_lost_its_lease_cannot_commit(tmp_path: Path, present: bytes | None) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    before = {path: store.read_bytes(path) for path, _ in store.files("links/b")}
    with lock.hold(store, "work/b/lock.json", what="slow.run"):
        lock.confirm(store)
        if present is None:
            store.delete("work/b/lock.json")
        else:
            store.write_bytes("work/b/lock.json", present)
        with pytest.raises(LostLeaseError, match="slow.run"):
            commit_table(store, LINKS, "b", [], num_parts=5)
    assert {path: store.read_bytes(path) for path, _ in store.files("links/b")} == before
    assert store.exists("work/b/lock.json") is (present is not None), "the new owner's lease stays"


def test_a_renewal_never_undoes_a_takeover(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with lock.hold(store, "l", what="x") as lease:
        store.write_bytes("l", foreign())
        with pytest.raises(LostLeaseError, match="taken over by process 1 on elsewhere"):
            lease.confirm()
        assert json.loads(store.read_bytes("l"))["host"] == "elsewhere"


def test_a_run_whose_lease_goes_is_stopped(tmp_path: Path) -> None:
    """The heartbeat finds it, the process ends as by SIGTERM, with a line that says why."""
    program = f"""
import sys, time
from corpus.run import command
from corpus.storage import lease
from corpus.storage.store import open_store
lease.HEARTBEAT_S = 0.1
def body(argv):
    store = open_store({str(tmp_path)!r})
    with lease.hold(store, "l", what="slow.run"), command.interruptible():
        store.delete("l")
        time.sleep(600)
    return 0
sys.exit(command.run_command(body, [], stage="slow.run"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 1
    assert "error: " in done.stderr.splitlines()[-1]
    assert "the lease of this run (slow.run) was removed; nothing more is committed" in done.stderr


@pytest.mark.parametrize("where", ["local", "s3"])
def test_of_many_who_see_a_stale_lease_one_takes_it(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 0.0)
    root = str(tmp_path) if where == "local" else request.getfixturevalue("s3_bucket")
    open_store(root).write_bytes("l", foreign(heartbeat=0))
    taken, gate = [], threading.Barrier(6)

    def contend(number: int) -> None:
        lease = lock.Lease(open_store(root), "l", f"contender {number}")
        gate.wait()
        try:
            lease.acquire()
        except BusyError:
            return
        taken.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert json.loads(open_store(root).read_bytes("l"))["what"] == f"contender {taken[0]}"


@pytest.mark.parametrize("where", ["local", "s3"])
def test_conditional_writes(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = (
        str(tmp_path) if where == "local" else f"{request.getfixturevalue('s3_bucket')}/deep/root"
    )
    store = open_store(root)
    assert not store.replace_exact("a/l", b"", b"one"), "nothing there is not empty"
    assert store.create_exclusive("a/l", b"one")
    assert not store.create_exclusive("a/l", b"two")
    assert not store.replace_exact("a/l", b"two", b"three")
    assert store.replace_exact("a/l", b"one", b"three")
    assert store.read_bytes("a/l") == b"three"
    assert [path for path, _ in store.files("a")] == ["a/l"]


def test_on_an_object_store(s3_bucket: str) -> None:
    store = open_store(s3_bucket)
    with (
        lock.hold(store, "l", what="first"),
        pytest.raises(BusyError),
        lock.hold(store, "l", what="second"),
    ):
        pass
    assert not store.exists("l")


@pytest.mark.parametrize(
    ("wait_s", "waits"),
    [(0.0, []), (4.0, [4.0]), (5.0, [5.0]), (5.5, [5.0, 0.5]), (12.0, [5.0, 5.0, 2.0])],
)
def test_a_lease_is_asked_for_every_five_seconds(
    wait_s: float, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the end of the wait, and once at it."""
    now, slept, asked = [100.0], [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    def acquire() -> None:
        asked.append(now[0])
        raise BusyError("held")

    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    with pytest.raises(BusyError):
        lock._acquire_within(cast(Any, SimpleNamespace(acquire=acquire)), wait_s)
    assert slept == waits
    assert len(asked) == 1 + len(waits)


def test_leases_of_one_process_have_names_of_their_own(tmp_path: Path) -> None:
    """64 random bits: two starts of one host cannot meet."""
    store = open_store(str(tmp_path))
    tokens = {lock.Lease(store, "l", "x").token for _ in range(3)}
    assert [len(bytes.fromhex(token)) for token in tokens] == [8, 8, 8]
