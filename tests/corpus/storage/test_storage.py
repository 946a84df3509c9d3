"""Implementations of `Store` keep its invariants; what only one of them can do wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.errors import FatalError, InputError, PathError
from corpus.storage.local import LocalStore
from corpus.storage.objects import ObjectStore
from corpus.storage.store import Store, open_store
from tests.corpus.storage.storage_laws import CALLS, StorageLaws


class TestLocalStore(StorageLaws):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(str(tmp_path / "c"))

    @pytest.fixture
    def canary(self, tmp_path: Path) -> Callable[[], bytes | None]:
        path = tmp_path / "canary"
        path.write_bytes(b"canary")
        return lambda: path.read_bytes() if path.exists() else None


class TestObjectStore(StorageLaws):
    @pytest.fixture
    def store(self, s3_bucket: str) -> Store:
        return ObjectStore(f"{s3_bucket}/c")

    @pytest.fixture
    def canary(self, s3_bucket: str) -> Callable[[], bytes | None]:
        beside = ObjectStore(s3_bucket)
        beside.write_bytes("canary", b"canary")
        return lambda: beside.read_bytes("canary") if beside.exists("canary") else None


WRITES = ("open_output", "write_bytes", "write_json", "create_exclusive")


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A corpus whose links lead out: to a file, to a folder, up, and by a chain."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"canary")
    (outside / ".tmp-victim").write_bytes(b"canary")
    (outside / "victim.json").write_bytes(b"1")
    root = tmp_path / "c"
    (root / "t").mkdir(parents=True)
    (root / "t" / "own").write_bytes(b"1")
    (root / "file").symlink_to(outside / "victim")
    (root / "folder").symlink_to(outside)
    (root / "t" / "up").symlink_to("../../outside")
    (root / "chain").symlink_to("t/up")
    (root / "t" / "absent").symlink_to(outside / "new")
    (root / "t" / "loop").symlink_to("loop")
    return root


def outside_of(root: Path) -> dict[str, bytes]:
    folder = root.parent / "outside"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "key",
    [
        "file",
        "folder",
        "folder/victim",
        "t/up/victim",
        "chain/victim",
        "t/absent",
        "folder/deep/new",
    ],
)
def test_links_that_leave_the_root_are_refused(linked: Path, name: str, key: str) -> None:
    before = outside_of(linked)
    with pytest.raises(PathError, match="outside of the corpus; copy the data"):
        CALLS[name](LocalStore(str(linked)), key)
    assert outside_of(linked) == before


def test_listings_and_sweeps_do_not_follow_links(linked: Path) -> None:
    store, before = LocalStore(str(linked)), outside_of(linked)
    assert store.files("", recursive=True) == [("t/own", 1)]
    assert store.folders("") == ["t"]
    store.sweep("")
    store.delete_dir("t")
    assert store.files("", recursive=True) == []
    assert outside_of(linked) == before


def test_links_inside_the_root_are_names_of_the_same_file(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "c"))
    store.write_bytes("t/x", b"1")
    (tmp_path / "c" / "y").symlink_to("t/x")
    assert store.read_bytes("y") == b"1"
    assert store.files("", recursive=True) == [("t/x", 1), ("y", 1)]
    store.delete("y")
    assert store.files("", recursive=True) == [("t/x", 1)]


def test_a_root_behind_a_link_is_a_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = LocalStore(str(tmp_path / "link"))
    store.write_bytes("x", b"1")
    assert store.files("") == [("x", 1)]
    (tmp_path / "real-2").mkdir()
    (tmp_path / "real" / "sibling").symlink_to("../real-2")
    with pytest.raises(PathError, match="outside of the corpus"):
        store.write_bytes("sibling/x", b"1")


@pytest.mark.parametrize(
    ("root", "kind"),
    [
        ("c", LocalStore),
        ("file:///c", LocalStore),
        ("FILE:///c", LocalStore),
        ("s3://bucket/c", ObjectStore),
        ("S3://bucket/c", ObjectStore),
    ],
)
def test_the_root_decides_the_implementation(
    root: str, kind: type[Store], s3_endpoint: str
) -> None:
    store = open_store(root)
    assert (type(store), store.is_local) == (kind, kind is LocalStore)


def test_a_replacement_that_fails_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(str(tmp_path))
    store.write_bytes("x", b"1")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("corpus.storage.local.os.replace", refuse)
    with pytest.raises(FatalError, match="No space"):
        store.replace_exact("x", b"1", b"2")
    assert os.listdir(tmp_path) == ["x"]


def test_unwritable_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in WRITES:
        with pytest.raises(FatalError, match="cannot write"):
            CALLS[name](LocalStore(str(tmp_path / "file")), "x")


def test_unknown_scheme() -> None:
    with pytest.raises(InputError, match="not a path or URI"):
        open_store("nosuch://bucket/x")


def test_sweep_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.write_bytes("t/part", b"1")
    (tmp_path / "t" / ".tmp-part-1-abcd").write_bytes(b"half")
    assert store.files("t") == [("t/part", 1)]
    store.sweep("t")
    assert os.listdir(tmp_path / "t") == ["part"]


def test_a_sweep_beside_another_finds_some_files_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that end at once sweep the same folder."""
    store = LocalStore(str(tmp_path))
    store.write_bytes("t/part", b"1")
    (tmp_path / "t" / ".tmp-last").write_bytes(b"half")
    seen = [(str(tmp_path / "t"), [], [".tmp-gone", "part", ".tmp-last"])]
    monkeypatch.setattr("corpus.storage.local.os.walk", lambda _: iter(seen))
    store.sweep("t")
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["part"]
