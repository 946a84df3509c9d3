"""Opening a corpus, and the rule for names."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.errors import FatalError, InputError
from corpus.storage.store import Store, check_name, is_name, open_corpus, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(str(tmp_path / "c"))
    return open_store(request.getfixturevalue("s3_bucket") + "/c")


def test_a_new_corpus_and_an_old_one(store: Store) -> None:
    with pytest.raises(InputError, match=r"corpus.json is missing.*webtext crawl"):
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
        open_store(str(tmp_path / "file")).write_bytes("x", b"")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "-x",
        "a b",
        "x" * 101,
        ".hidden",
        "é",
        "а",
        "x\n",
        "x\0",
        "x.",
        "x..",
        "a\u200bb",
        "ﬁ",
        "１",
    ],
)
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="--batch"):
        check_name("--batch", name)
    assert not is_name(name)


@pytest.mark.parametrize(
    "name", ["CON", "con", "nul.txt", "Aux", "PRN.", "com1", "LPT9.x.y", "COM0"]
)
def test_device_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--run '{name}'"):
        check_name("--run", name)
    assert not is_name(name)


@pytest.mark.parametrize(
    "name", ["x" * 100, "2024-01", "a..b", "CONS", "nul0", "COM10", "xCON", "com", "A", "0"]
)
def test_other_names_are_accepted(name: str) -> None:
    assert check_name("--batch", name) == name
    assert is_name(name)
