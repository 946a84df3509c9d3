"""Stores that answer a conditional PUT with success and ignore its condition, or report conflicts."""

from __future__ import annotations

import io
import json
import logging
import math
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.errors import BusyError, RetryableError
from corpus.storage import conditional_write, lease
from corpus.storage.store import Store, open_store
from tests.support import faulty_network

IGNORED = [{"if-none-match"}, {"if-match"}, {"if-none-match", "if-match"}]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditional_write, "CONFLICT_WAIT_S", 0.001)
    conditional_write._say_once.cache_clear()


@pytest.mark.parametrize("ignored", IGNORED, ids=lambda headers: " ".join(sorted(headers)))
def test_a_store_that_ignores_conditions_is_found_out_once(
    network: faulty_network.Network,
    s3_bucket: str,
    ignored: set[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    network.unread = frozenset(ignored)
    store = open_store(f"{s3_bucket}/c")
    with caplog.at_level(logging.WARNING):
        assert store.create_exclusive("work/l", b"1")
        assert not store.create_exclusive("work/l", b"2")
        assert not store.replace_exact("work/l", b"0", b"2")
        assert store.replace_exact("work/l", b"1", b"3")
    assert not store.is_conditional
    assert store.read_bytes("work/l") == b"3"
    told = [
        record.message for record in caplog.records if "no conditional writes" in record.message
    ]
    assert len(told) == 1
    assert "ignores" in told[0]
    assert store.files("", recursive=True) == [("work/l", 1)], "the probe leaves nothing"


def test_a_store_that_obeys_is_asked_once_per_process(
    network: faulty_network.Network, s3_bucket: str
) -> None:
    store = open_store(f"{s3_bucket}/c")
    assert store.is_conditional
    before = network.requests["PUT"]
    for number in range(4):
        assert open_store(f"{s3_bucket}/c").create_exclusive(f"l{number}", b"1")
    assert network.requests["PUT"] == before + 4


def test_a_file_that_goes_between_write_and_look_was_not_created(
    network: faulty_network.Network, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner of before gives it back at this moment: the other start has to try again."""
    network.unread = frozenset({"if-none-match"})
    store = open_store(f"{s3_bucket}/c")
    store.write_bytes("l", b"1")
    write = type(store).write_bytes

    def write_and_lose(self: Store, path: str, data: bytes) -> None:
        write(self, path, data)
        self.delete(path)

    monkeypatch.setattr(type(store), "write_bytes", write_and_lose)
    assert not store.replace_exact("l", b"1", b"2")
    assert not store.create_exclusive("l", b"2")


def _race(store: Store, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take one lease at the same moment with so many commands; the result of each.

    Who has written looks again when all others have written or were refused: what `SETTLE_S` is
    for, without a bet on the speed of this machine.
    """
    results: list[str] = []
    barrier, done = threading.Barrier(count), threading.Event()
    written: list[threading.Thread] = []

    def settle(seconds: float) -> None:
        written.append(threading.current_thread())
        _wait_for(lambda: len(written) + results.count("refused") >= count)

    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=settle)
    monkeypatch.setattr(lease, "time", clock)

    def start() -> None:
        barrier.wait()
        try:
            with lease.hold(store, "work/b/lock.json", what="crawl.run"):
                results.append("held")
                done.wait(60)
        except BusyError:
            results.append("refused")

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    _wait_for(lambda: len(results) == count)
    done.set()
    for thread in threads:
        thread.join()
    return sorted(results)


def _wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("ignored", [set(), IGNORED[2]], ids=["obeys", "ignores"])
def test_of_two_starts_one_holds_the_lease(
    network: faulty_network.Network,
    s3_bucket: str,
    ignored: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two crawls of one batch went on side by side where the second creation succeeds."""
    monkeypatch.setattr(lease, "SETTLE_S", 0.0)
    network.unread = frozenset(ignored)
    store = open_store(f"{s3_bucket}/c")
    second = lease.Lease(store, "work/b/lock.json", "crawl.run")
    with (
        lease.hold(store, "work/b/lock.json", what="crawl.run"),
        pytest.raises(BusyError, match="crawl.run"),
    ):
        second.acquire()
    assert _race(store, 3, monkeypatch) == ["held", "refused", "refused"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_conflict_is_tried_again(
    network: faulty_network.Network, s3_bucket: str, times: int
) -> None:
    """S3's manual about a 409: retry the upload. Nobody else has written."""
    store = open_store(f"{s3_bucket}/c")
    assert store.is_conditional
    left = ["conflict"] * times * 2

    def plan(method: str, path: str) -> Any:
        return left.pop() if method == "PUT" and len(left) > half[0] else ""

    half = [times]
    network.plan = plan
    assert store.create_exclusive("links/b/_manifest.json", b"1")
    half[0] = 0
    assert store.replace_exact("links/b/_manifest.json", b"1", b"2")
    assert not left
    assert store.read_bytes("links/b/_manifest.json") == b"2"


def test_a_conflict_without_end_is_told_as_what_it_is(
    network: faulty_network.Network, s3_bucket: str
) -> None:
    store = open_store(f"{s3_bucket}/c")
    assert store.is_conditional
    network.plan = lambda method, path: "conflict" if method == "PUT" else ""
    with pytest.raises(RetryableError, match="conflict 8 times"):
        store.create_exclusive("l", b"1")
    network.plan = lambda method, path: ""
    store.write_bytes("l", b"2")
    network.plan = lambda method, path: "conflict" if method == "PUT" else ""
    assert not store.create_exclusive("l", b"1"), "somebody else's file is not a conflict"
    assert not store.replace_exact("l", b"1", b"3")


def _foreign(heartbeat: Any) -> bytes:
    record = {"token": "x", "what": "clean.run", "host": "elsewhere", "pid": 1}
    return json.dumps({**record, "started": time.time() + 9e5, "heartbeat": heartbeat}).encode()


@pytest.mark.parametrize(
    "heartbeat",
    [time.time() + 2 * 86_400, time.time() + 1000, math.inf, math.nan, "soon", None, 1e308],
    ids=["two days ahead", "minutes ahead", "inf", "nan", "text", "null", "1e308"],
)
def test_a_heartbeat_that_cannot_be_true_is_watched(
    tmp_path: Any, heartbeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a dead node was two days ahead: its lease was held for two days."""
    monkeypatch.setattr(lease, "WATCH_S", 0.05)
    store = open_store(str(tmp_path))
    store.write_bytes("l", _foreign(heartbeat))
    found = lease.owner(store, "l")
    assert found is not None
    assert not found["alive"]
    with lease.hold(store, "l", what="x"):
        pass


def test_a_fast_clock_that_beats_is_believed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "WATCH_S", 5.0)
    store = open_store(str(tmp_path))
    ahead = time.time() + 3600
    store.write_bytes("l", _foreign(ahead))
    beat = threading.Timer(0.2, lambda: store.write_bytes("l", _foreign(ahead + 10)))
    beat.start()
    with pytest.raises(BusyError, match="for 0 s"), lease.hold(store, "l", what="x"):
        pass
    beat.join()


@pytest.mark.parametrize(
    ("num_bytes", "in_pieces"), [(0, False), (8 << 20, False), ((8 << 20) + 1, True)]
)
def test_an_object_of_eight_mebibytes_is_one_request(num_bytes: int, in_pieces: bool) -> None:
    """A larger one goes in pieces of 16 MiB, four at a time."""
    asked: list[dict[str, Any]] = []
    client = conditional_write.ConditionalStore.__new__(conditional_write.ConditionalStore)
    client._whole, client._root = True, "s3://x"
    client._store = SimpleNamespace(put=lambda path, data, **options: asked.append(options))
    assert client.write("a", io.BytesIO(b"x"), num_bytes)
    pieces = {"chunk_size": 16 << 20, "max_concurrency": 4} if in_pieces else {}
    assert asked == [{"use_multipart": in_pieces, **pieces}]


@pytest.mark.parametrize(("num_bytes", "whole"), [(256 << 10, True), ((256 << 10) + 1, False)])
def test_a_small_object_is_read_at_its_opening(num_bytes: int, whole: bool) -> None:
    client = conditional_write.ConditionalStore.__new__(conditional_write.ConditionalStore)
    client._whole, client._root = True, "s3://x"
    ranges: list[Any] = []

    def get(path: str, options: dict[str, Any]) -> Any:
        ranges.append(options["range"])
        return SimpleNamespace(bytes=lambda: b"data", meta={"size": num_bytes})

    client._store = SimpleNamespace(get=get)
    assert client.read_small("a") == (b"data" if whole else None)
    assert ranges == [(0, 256 << 10)]


@pytest.mark.parametrize(
    ("before", "there", "replaced"),
    [(b"1", b"1", True), (b"0", b"1", False), (b"1", b"9", True), (b"9", b"9", True)],
)
def test_a_version_that_was_written_here_is_of_its_own_bytes_alone(
    before: bytes, there: bytes, replaced: bool
) -> None:
    """Our record of b"1" needs no look before; any other bytes are compared with those there."""
    client = conditional_write.ConditionalStore.__new__(conditional_write.ConditionalStore)
    client._root, client._obeys, client._probing = "s3://x", True, threading.Lock()
    client._written = {"a": (b"1", {"e_tag": "ours"})}
    modes: list[Any] = []

    def put(path: str, data: bytes, *, mode: Any, use_multipart: bool) -> dict[str, str]:
        modes.append(mode)
        return {"e_tag": "new"}

    client._store = SimpleNamespace(
        get=lambda path: SimpleNamespace(bytes=lambda: there, meta={"e_tag": "found"}), put=put
    )
    assert client.replace("a", before, b"2") is replaced
    version = "ours" if before == b"1" else "found"
    assert modes == [{"e_tag": version}] * replaced
