"""Invariants of `corpus.storage.interface.Store`: every implementation's tests inherit this suite."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.errors import FatalError, InputError, PathError
from corpus.storage import conditional_write
from corpus.storage.interface import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, Store

REFUSED = (
    "/etc/passwd", "//x", "..", "../x", "a/..", "a/../b", "a/../../x", ".", "./x", "a/./b", "a//b", "a/", "/",
    "a\0b", "\0", "a\nb", "a\x1b[31m", "a\\b", "..\\x", "C:\\x", "a\x7f", "\ud800", "a/\udcff", "a\u202eb", "a\u200b",
    "x" * (MAX_SEGMENT_BYTES + 1), "é" * 101, "a/" * 512 + "b", "/".join("x" * 100 for _ in range(11)),
)  # fmt: skip
"""Keys that a store must not pass on: some leave the root, some are one file here and another there."""

ACCEPTED = (
    "a", "a/b", ".hidden", "a..b", "...", "..a", "a/..b/c", "~", "a b", "%2e%2e", "%2e%2e/x", "é/ü", "a:b", "x" * MAX_SEGMENT_BYTES,
    "é" * 100,
)  # fmt: skip

CALLS: dict[str, Callable[[Store, str], Any]] = {
    "exists": lambda store, key: store.exists(key),
    "size": lambda store, key: store.size(key),
    "read_bytes": lambda store, key: store.read_bytes(key),
    "read_json": lambda store, key: store.read_json(key),
    "open_input": lambda store, key: store.open_input(key).close(),
    "open_output": lambda store, key: store.open_output(key).__enter__(),
    "read_range": lambda store, key: store.read_range(key, 0, 3),
    "write_bytes": lambda store, key: store.write_bytes(key, b"new"),
    "write_json": lambda store, key: store.write_json(key, 1),
    "create_exclusive": lambda store, key: store.create_exclusive(key, b"new"),
    "replace_exact": lambda store, key: store.replace_exact(key, b"canary", b"new"),
    "files": lambda store, key: store.files(key),
    "files_below": lambda store, key: store.files(key, recursive=True),
    "folders": lambda store, key: store.folders(key),
    "sweep": lambda store, key: store.sweep(key),
    "move": lambda store, key: store.move(key, "elsewhere"),
    "move to": lambda store, key: store.move("source", key),
    "delete": lambda store, key: store.delete(key),
    "delete_dir": lambda store, key: store.delete_dir(key),
    "full_path": lambda store, key: store.full_path(key),
    "local_path": lambda store, key: store.local_path(key),
}
"""Every public method that takes a key."""


class StorageLaws(ABC):
    """Subclasses name a fixture `store`: an empty store, and `beside`: a key's text that leads to a canary beside it."""

    @abstractmethod
    @pytest.fixture
    def store(self) -> Store: ...

    @abstractmethod
    @pytest.fixture
    def canary(self) -> Callable[[], bytes | None]:
        """Reads the bytes of `../canary`, which begin as b'canary'."""

    def test_write_read_list_delete(self, store: Store) -> None:
        store.write_bytes("a/b/x.bin", b"one")
        store.write_bytes("a/b/x.bin", b"two!")
        store.write_bytes("a/y.bin", b"")
        assert store.read_bytes("a/b/x.bin") == b"two!"
        assert store.size("a/b/x.bin") == 4
        assert store.exists("a/y.bin")
        assert not store.exists("a/z.bin")
        assert not store.exists("a/b")
        assert store.files("a") == [("a/y.bin", 0)]
        assert store.files("a", recursive=True) == [("a/b/x.bin", 4), ("a/y.bin", 0)]
        assert store.files("", recursive=True) == [("a/b/x.bin", 4), ("a/y.bin", 0)]
        assert store.files("nothing") == []
        assert store.folders("a") == ["b"]
        assert store.folders("") == ["a"]
        assert store.folders("nothing") == []
        store.delete("a/y.bin")
        store.delete("a/y.bin")
        assert not store.exists("a/y.bin")
        store.delete_dir("a")
        store.delete_dir("a")
        assert store.files("", recursive=True) == []
        for call in (store.read_bytes, store.size, store.open_input):
            with pytest.raises(FileNotFoundError):
                call("a/y.bin")

    def test_a_batch_named_like_a_temporary_file_is_listed(self, store: Store) -> None:
        store.write_bytes("links/a.tmp-b/part", b"1")
        store.write_bytes("links/a.tmp-b/.tmp-part", b"1")
        assert store.files("links", recursive=True) == [("links/a.tmp-b/part", 1)]

    def test_a_move_leaves_one_file_and_may_be_repeated(self, store: Store) -> None:
        store.write_bytes("a/x", b"one")
        store.write_bytes("b/c/x", b"two!")
        store.move("a/x", "b/c/x")
        assert store.files("", recursive=True) == [("b/c/x", 3)]
        store.move("a/x", "b/c/x")
        assert store.read_bytes("b/c/x") == b"one"
        with pytest.raises(FileNotFoundError):
            store.move("a/x", "nothing")

    @pytest.mark.parametrize(
        "num_bytes", [0, 1, conditional_write.SMALL_BYTES, conditional_write.SMALL_BYTES + 1]
    )
    def test_files_of_every_size_are_read_from_anywhere(self, store: Store, num_bytes: int) -> None:
        """Small objects come whole when they are opened, larger ones by ranges."""
        data = os.urandom(num_bytes)
        store.write_bytes("x", data)
        with store.open_input("x") as stream:
            assert stream.size() == num_bytes
            assert stream.read() == data
            stream.seek(num_bytes // 2)
            assert stream.read(7) == data[num_bytes // 2 :][:7]

    def test_ranges_are_those_of_the_file(self, store: Store) -> None:
        data = bytes(range(256)) * 3000
        store.write_bytes("a/file", data)
        for offset, num_bytes in ((0, 5), (1000, 600_000), (767_990, 100), (5, 0)):
            found = store.read_range("a/file", offset, num_bytes)
            assert found == data[offset : offset + num_bytes]
        with pytest.raises(FileNotFoundError):
            store.read_range("a/none", 0, 5)

    def test_names_do_not_change_bytes(self, store: Store) -> None:
        """Arrow compresses by the ending of the name unless told not to: a WARC file was gzipped twice that way."""
        for name in ("x.gz", "x.zst", "x.bz2", "x.warc.gz"):
            store.write_bytes(name, b"plain")
            assert store.read_bytes(name) == b"plain"
            assert store.size(name) == 5

    def test_failed_write_leaves_the_old_bytes(self, store: Store) -> None:
        store.write_bytes("x", b"old")
        with pytest.raises(ZeroDivisionError), store.open_output("x") as stream:
            stream.write(b"new, in part")
            raise ZeroDivisionError
        assert store.read_bytes("x") == b"old"
        assert store.files("") == [("x", 3)]

    def test_exclusive_creation_has_one_winner(self, store: Store) -> None:
        assert store.create_exclusive("lock", b"first")
        assert not store.create_exclusive("lock", b"second")
        assert store.read_bytes("lock") == b"first"

    def test_exclusive_creation_has_one_winner_among_threads(self, store: Store) -> None:
        won: list[int] = []

        def create(number: int) -> None:
            if store.create_exclusive("l", str(number).encode()):
                won.append(number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.read_bytes("l") == str(won[0]).encode()

    def test_replacement_compares_bytes(self, store: Store) -> None:
        assert not store.replace_exact("x", b"", b"1")
        store.write_bytes("x", b"1")
        assert not store.replace_exact("x", b"2", b"3")
        assert store.replace_exact("x", b"1", b"2")
        assert store.read_bytes("x") == b"2"

    def test_pickles_by_root(self, store: Store) -> None:
        store.write_bytes("x", b"1")
        again = pickle.loads(pickle.dumps(store))
        assert type(again) is type(store)
        assert again.read_bytes("x") == b"1"

    def test_json_comes_back_and_other_bytes_are_refused(self, store: Store) -> None:
        store.write_json("x.json", {"b": [1, "é"], "a": None})
        assert store.read_json("x.json") == {"a": None, "b": [1, "é"]}
        for data in (b"", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000):
            store.write_bytes("x.json", data)
            with pytest.raises(InputError, match=r"x\.json: not JSON"):
                store.read_json("x.json")

    @pytest.mark.parametrize("name", CALLS)
    def test_keys_that_would_leave_the_root_are_refused(
        self, store: Store, canary: Callable[[], bytes | None], name: str
    ) -> None:
        for key in (*REFUSED, "../canary", "a/../../canary"):
            with pytest.raises(PathError, match="refused the path"):
                CALLS[name](store, key)
        assert canary() == b"canary"
        assert store.files("", recursive=True) == []

    @pytest.mark.parametrize("key", ACCEPTED)
    def test_other_keys_are_names_and_nothing_more(
        self, store: Store, canary: Callable[[], bytes | None], key: str
    ) -> None:
        store.write_bytes(f"t/{key}", b"1")
        assert store.read_bytes(f"t/{key}") == b"1"
        assert store.files("t", recursive=True) == [(f"t/{key}", 1)]
        store.delete(f"t/{key}")
        assert store.files("t", recursive=True) == []
        assert canary() == b"canary"

    def test_the_longest_key(self, store: Store) -> None:
        segments = ["x" * 200] * 5
        longest = "/".join([*segments, "y" * (MAX_KEY_BYTES - 5 * 201)])
        assert len(longest) == MAX_KEY_BYTES
        assert not store.exists(longest)
        with pytest.raises(PathError, match="more than 1024 bytes"):
            store.exists(longest + "y")

    def test_the_root_itself_is_never_deleted(self, store: Store) -> None:
        store.write_bytes("x", b"1")
        for call in (store.delete, store.delete_dir):
            with pytest.raises(PathError, match="the corpus itself"):
                call("")
        assert store.files("") == [("x", 1)]

    @given(
        key=st.lists(
            st.sampled_from(
                ["..", ".", "", "a", "canary", "\0", "\\", "~", "\u2025", "%2e%2e", "..;", "$HOME"]
            )
            | st.text(max_size=3),
            min_size=1,
            max_size=6,
        ).map("/".join),
        name=st.sampled_from(
            ["exists", "read_bytes", "write_bytes", "delete", "delete_dir", "files"]
        ),
    )
    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    def test_no_key_reaches_the_canary(
        self, store: Store, canary: Callable[[], bytes | None], key: str, name: str
    ) -> None:
        with contextlib.suppress(FatalError, OSError):
            CALLS[name](store, key)
        assert canary() == b"canary"
