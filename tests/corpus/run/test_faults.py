"""An object store behind a bad network: nothing half visible, nothing lost, every wait bounded."""

from __future__ import annotations

import time

import pytest

from corpus.errors import FatalError, RetryableError
from corpus.storage import conditional_write
from corpus.storage.store import open_store
from tests.support import faulty_network


def once(
    method: str | tuple[str, ...], fault: faulty_network.Fault, part: str = ""
) -> faulty_network.Plan:
    """The fault for the first such request."""
    left = [fault]
    return lambda m, path: (
        left.pop()
        if left and m in ((method,) if isinstance(method, str) else method) and part in path
        else ""
    )


def always(fault: faulty_network.Fault) -> faulty_network.Plan:
    return lambda method, path: fault


@pytest.mark.parametrize("fault", ["error", "slow_down", "lost"])
def test_one_fault_is_not_noticed(
    network: faulty_network.Network, s3_bucket: str, fault: faulty_network.Fault
) -> None:
    """Also where it was done and the answer was lost: a commit that meets itself is a commit."""
    store = open_store(f"{s3_bucket}/c")
    for method, call, result in (
        ("PUT", lambda: store.write_bytes("a/x", b"1"), None),
        ("GET", lambda: store.read_bytes("a/x"), b"1"),
        ("PUT", lambda: store.create_exclusive("a/l", b"1"), True),
        ("PUT", lambda: store.replace_exact("a/l", b"1", b"2"), True),
        ("HEAD", lambda: store.exists("a/l"), True),
        ("GET", lambda: store.files("a"), [("a/l", 1), ("a/x", 1)]),
        (("DELETE", "POST"), lambda: store.delete("a/x"), None),
    ):
        network.plan = once(method, fault)
        assert call() == result, method  # type: ignore[no-untyped-call]
    assert network.faults == {fault: 7}
    assert store.read_bytes("a/l") == b"2"
    assert not store.create_exclusive("a/l", b"3"), "somebody else's is no success"
    assert not store.replace_exact("a/l", b"1", b"3")


def test_a_large_object_comes_whole_or_not_at_all(
    network: faulty_network.Network, s3_bucket: str
) -> None:
    store = open_store(f"{s3_bucket}/c")
    data = bytes(range(256)) * (80 << 10)  # 20 MiB, two pieces
    network.plan = once("PUT", "lost", "partNumber=2")
    store.write_bytes("big", data)
    assert store.read_bytes("big") == data
    network.plan = lambda method, path: "error" if "partNumber=2" in path else ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditional_write, "MAX_RETRIES", 1)
        conditional_write.open_conditional.cache_clear()
        with pytest.raises(RetryableError, match="cannot be written"):
            store.write_bytes("big", data[::-1])
    assert store.read_bytes("big") == data
    assert store.files("") == [("big", len(data))]


def test_a_store_that_is_down_ends_every_wait(
    network: faulty_network.Network, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditional_write, "MAX_RETRIES", 2)
    conditional_write.open_conditional.cache_clear()
    store = open_store(f"{s3_bucket}/c")
    assert store.create_exclusive("l", b"1")
    network.plan = always("error")
    for call, kind in (
        (lambda: store.write_bytes("x", b"1"), RetryableError),
        (lambda: store.read_bytes("x"), RetryableError),
        (lambda: store.create_exclusive("y", b"1"), FatalError),
        (lambda: store.replace_exact("l", b"1", b"2"), FatalError),
    ):
        network.requests.clear()
        with pytest.raises(kind, match="run again"):
            call()
        assert network.requests.total() <= 12
    network.plan = always("")
    assert store.files("") == [("l", 1)]
    assert store.read_bytes("l") == b"1"


def test_a_silent_store_is_asked_again(
    network: faulty_network.Network, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that never comes: by both clients, within their limits of time."""
    monkeypatch.setattr(faulty_network, "SILENT_S", 100.0)
    monkeypatch.setattr(conditional_write, "TIMEOUT_S", 1)
    conditional_write.open_conditional.cache_clear()
    store = open_store(f"{s3_bucket}/c")
    assert store.create_exclusive("l", b"1")
    for method, call, result in (
        ("PUT", lambda: store.replace_exact("l", b"1", b"2"), True),
        ("HEAD", lambda: store.exists("l"), True),
    ):
        network.plan = once(method, "silent")
        began = time.monotonic()
        assert call() == result
        assert time.monotonic() - began < 100, "the answer that never comes was not waited for"
    assert store.read_bytes("l") == b"2"


def test_long_paths_with_numbers_in_them(network: faulty_network.Network, s3_bucket: str) -> None:
    """What a store answered is read from its status, wherever that stands in the message and whatever the path holds."""
    store = open_store(f"{s3_bucket}/{'deep/' * 40}part-00501-00416")
    store.write_bytes("empty", b"")
    with store.open_input("empty") as stream:
        assert stream.read() == b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditional_write, "MAX_RETRIES", 0)
        conditional_write.open_conditional.cache_clear()
        network.plan = always("error")
        for call in (
            lambda: store.read_bytes("x"),
            lambda: store.open_input("x"),
            lambda: store.size("x"),
        ):
            with pytest.raises(RetryableError, match="run again"):
                call()
        with pytest.raises(FatalError, match=r"status code: 500.*run again"):
            store.create_exclusive("l", b"1")
        network.plan = lambda method, path: "unable" if method == "PUT" else ""
        assert conditional_write.open_conditional(store.root).create("l", b"1") is None, (
            "it can't, and says so"
        )
