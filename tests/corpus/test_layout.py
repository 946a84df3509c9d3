"""Bytes appear whole or not at all, locally and over a real S3 protocol."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from corpus.errors import FatalError, InputError
from corpus.storage import conditional_write
from corpus.storage.store import Store, check_name, open_corpus


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "c"))
    return Store(request.getfixturevalue("s3_bucket") + "/c")


def test_write_read_list_delete(store: Store) -> None:
    store.write_bytes("a/b/x.bin", b"one")
    store.write_bytes("a/b/x.bin", b"two!")
    store.write_bytes("a/y.bin", b"")
    assert store.read_bytes("a/b/x.bin") == b"two!"
    assert store.size("a/b/x.bin") == 4
    assert store.exists("a/y.bin")
    assert not store.exists("a/z.bin")
    assert store.files("a") == [("a/y.bin", 0)]
    assert store.files("a", recursive=True) == [("a/b/x.bin", 4), ("a/y.bin", 0)]
    assert store.files("nothing") == []
    assert store.folders("a") == ["b"]
    store.delete("a/y.bin")
    store.delete("a/y.bin")
    assert not store.exists("a/y.bin")
    store.delete_dir("a")
    store.delete_dir("a")
    assert store.files("", recursive=True) == []
    with pytest.raises(FileNotFoundError):
        store.read_bytes("a/y.bin")


@pytest.mark.parametrize(
    "num_bytes", [0, 1, conditional_write.SMALL_BYTES, conditional_write.SMALL_BYTES + 1]
)
def test_files_of_every_size_are_read_from_anywhere(store: Store, num_bytes: int) -> None:
    """Small objects come whole when they are opened, larger ones by ranges."""
    data = os.urandom(num_bytes)
    store.write_bytes("x", data)
    with store.open_input("x") as stream:
        assert stream.size() == num_bytes
        assert stream.read() == data
        stream.seek(num_bytes // 2)
        assert stream.read(7) == data[num_bytes // 2 :][:7]
    with pytest.raises(FileNotFoundError):
        store.open_input("y")


def test_names_do_not_change_bytes(store: Store) -> None:
    """Arrow compresses by the ending of the name unless told not to: a WARC file was gzipped twice that way."""
    for name in ("x.gz", "x.zst", "x.bz2", "x.warc.gz"):
        store.write_bytes(name, b"plain")
        assert store.read_bytes(name) == b"plain"
        assert store.size(name) == 5


def test_failed_write_leaves_the_old_bytes(store: Store) -> None:
    store.write_bytes("x", b"old")
    with pytest.raises(ZeroDivisionError), store.open_output("x") as stream:
        stream.write(b"new, in part")
        raise ZeroDivisionError
    assert store.read_bytes("x") == b"old"
    assert store.files("") == [("x", 3)]


def test_exclusive_creation_has_one_winner(store: Store) -> None:
    assert store.create_exclusive("lock", b"first")
    assert not store.create_exclusive("lock", b"second")
    assert store.read_bytes("lock") == b"first"


def test_exclusive_creation_has_one_winner_among_threads(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    won = []
    threads = [
        threading.Thread(
            target=lambda n=n: (
                won.append(n) if store.create_exclusive("l", str(n).encode()) else None
            )
        )
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read_bytes("l") == str(won[0]).encode()


def test_pickles_by_root(store: Store) -> None:
    store.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(store)).read_bytes("x") == b"1"


def test_a_new_corpus_and_an_old_one(store: Store) -> None:
    with pytest.raises(InputError, match=r"corpus.json is missing.*python -m crawl.run"):
        open_corpus(store.root)
    open_corpus(store.root, create=True)
    assert open_corpus(store.root).read_json("corpus.json") == {"format": 1}
    store.write_json("corpus.json", {"format": 99})
    with pytest.raises(InputError, match="format 99, this version reads 1"):
        open_corpus(store.root)


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match="not a corpus .* and not empty"):
        open_corpus(str(tmp_path), create=True)


def test_unwritable_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FatalError, match="cannot write"):
        Store(str(tmp_path / "file")).write_bytes("x", b"")


def test_unknown_scheme() -> None:
    with pytest.raises(InputError, match="not a path or URI"):
        Store("nosuch://bucket/x")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "x" * 101, ".hidden", "é"])
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="--batch"):
        check_name("--batch", name)


def test_sweep_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("t/part", b"1")
    (tmp_path / "t" / ".tmp-part-1-abcd").write_bytes(b"half")
    assert store.files("t") == [("t/part", 1)]
    store.sweep("t")
    assert os.listdir(tmp_path / "t") == ["part"]
