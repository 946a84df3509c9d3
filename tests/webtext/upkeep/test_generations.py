"""A table's folder holds one generation of files, and snapshots keep theirs, at whatever moment a
rebuild is killed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.snapshots.snapshot import read_snapshot
from corpus.storage.local import LocalStore
from corpus.storage.store import Store, open_store
from corpus.tables.generations import earlier_path, find_file
from corpus.tables.manifest import read_manifest
from corpus.tables.takedown_list import takedowns
from shards.reader import open_split, snapshot_files
from tests.support import document_corpus, grown_corpus
from webtext.takedown import command as forget
from webtext.upkeep import prune
from webtext.verify import command as verify

REBUILD = ("--rebuild", "--set", "shards.writer.row_tokens=32", "--snapshot", "b.new")
# What a store does that can be seen.
CHANGES = ("_move", "_delete", "_create_exclusive", "_replace_exact", "_open_output")


class KillError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus of two batches with tokens and snapshots. Not to be changed."""
    root = str(tmp_path_factory.mktemp("made") / "c")
    for number, batch in enumerate(("a", "b")):
        document_corpus.commit_batch(root, batch, document_corpus.documents(40, seed=number))
        document_corpus.make_shards(root, batch)
    return root


@pytest.fixture
def corpus(made: str, tmp_path: Path) -> str:
    """A copy to change."""
    root = str(tmp_path / "c")
    shutil.copytree(made, root)
    return root


def rebuild(root: str, batch: str = "b", *extra: str) -> int:
    return document_corpus.run.main(document_corpus.arguments(root, batch, *(extra or REBUILD)))


def token_files(store: Store, table: str, batch: str = "b") -> set[str]:
    return {path for path, _ in store.files(f"{table}/{batch}", recursive=True)}


def named(store: Store, table: str, batch: str = "b") -> set[str]:
    parts = read_manifest(store, table, batch).parts
    return {f"{table}/{batch}/{part.file}" for part in parts} | {f"{table}/{batch}/_manifest.json"}


def content(root: str, snapshot: str) -> list[np.ndarray]:
    """The tokens of both splits, after their files were compared with the snapshot's digests."""
    found = []
    for name in ("train", "val"):
        split = open_split(root, snapshot, name)  # type: ignore[arg-type]
        split.verify()
        found.append(split.slice(0, split.num_tokens))
        split.documents(0, split.num_tokens)
    return found


def killing_at(number: int, patch: pytest.MonkeyPatch) -> list[int]:
    """Patch the local store so that it dies before its change of this number; the count of changes
    so far.
    """
    count = [0]

    def dying(name: str) -> Any:
        real = getattr(LocalStore, name)

        def call(store: Store, *args: Any) -> Any:
            count[0] += 1
            if count[0] == number:
                raise KillError
            return real(store, *args)

        return call

    for name in CHANGES:
        patch.setattr(LocalStore, name, dying(name))
    return count


def test_a_rebuild_moves_what_a_snapshot_names_and_deletes_the_rest(corpus: str) -> None:
    store = open_store(corpus)
    before = content(corpus, "b")
    old = {file.path for file in read_snapshot(store, "b").splits["train"].files}
    assert rebuild(corpus) == 0
    assert (
        rebuild(
            corpus, "b", *REBUILD[:-2], "--set", "shards.writer.row_tokens=128", "--no-snapshot"
        )
        == 0
    )
    for table in ("tokens", "spans"):
        assert token_files(store, table) == named(store, table)
    assert not any(store.exists(path) for path in old if "/b/" in path)
    assert all(map(np.array_equal, content(corpus, "b"), before))
    assert content(corpus, "b.new")
    assert {path for path, _ in store.files("earlier/tokens/b", recursive=True)} == {
        file.path
        for snapshot in ("b", "b.new")
        for split in read_snapshot(store, snapshot).splits.values()
        for file in split.files
        if file.batch == "b"
    }
    assert verify.main(["--corpus", corpus]) == 0


def test_back_to_the_old_settings_and_forth_keeps_one_of_every_file(corpus: str) -> None:
    store = open_store(corpus)
    before = content(corpus, "b")
    for setting in (32, 64, 32, 64):
        extra = ("--rebuild", "--set", f"shards.writer.row_tokens={setting}", "--no-snapshot")
        assert rebuild(corpus, "b", *extra) == 0
        assert token_files(store, "tokens") == named(store, "tokens")
        assert all(map(np.array_equal, content(corpus, "b"), before))
    both = {path for path, _ in store.files("", recursive=True)}
    assert not {path for path in both if earlier_path(path) in both}


def test_a_kill_at_any_moment_loses_nothing_and_the_next_run_tidies(
    made: str, tmp_path: Path
) -> None:
    before = content(made, "b")
    number = 0
    while True:
        number += 1
        root = str(tmp_path / f"{number}")
        shutil.copytree(made, root)
        with pytest.MonkeyPatch.context() as patch:
            count = killing_at(number, patch)
            try:
                assert rebuild(root) == 0
            except KillError:
                pass
            else:
                break

        assert all(map(np.array_equal, content(root, "b"), before)), number
        store = open_store(root)
        store.delete("work/b/lock.json")  # its owner is this process, which lives on
        assert rebuild(root) == 0, number
        for table in ("tokens", "spans"):
            assert token_files(store, table) == named(store, table), number
        assert all(map(np.array_equal, content(root, "b"), before)), number
        assert content(root, "b.new")
        shutil.rmtree(root)
    assert number > 30, count


def test_a_reader_that_was_opened_before_reads_on(corpus: str) -> None:
    split = open_split(corpus, "b", "train")
    assert rebuild(corpus) == 0
    again = open_split(corpus, "b", "train")
    assert np.array_equal(split.slice(0, split.num_tokens), again.slice(0, again.num_tokens))


def test_others_read_each_page_once_after_a_rebuild(corpus: str) -> None:
    assert rebuild(corpus) == 0
    split = open_split(corpus, "b.new", "train")
    files = snapshot_files(corpus, "b.new", "train")
    rows = sum(file.rows for file in split.files)
    assert sum(pq.read_metadata(file).num_rows for file in files) == rows
    counted = {
        batch: sum(file.rows for file in split.files if file.batch == batch) for batch in "ab"
    }
    for batch, expected in counted.items():
        pattern = f"{corpus}/tokens/{batch}/train/*.parquet"
        assert duckdb.sql(f"select count(*) from '{pattern}'").fetchall() == [(expected,)]
        assert pq.read_table(f"{corpus}/tokens/{batch}/train").num_rows == expected
    old = snapshot_files(corpus, "b", "train")
    assert [Path(file).is_file() for file in old] == [True] * len(old)
    spans = snapshot_files(corpus, "b", "val", spans=True)
    assert sum(pq.read_metadata(file).num_rows for file in spans) == sum(
        totals.splits["val"].num_documents
        for totals in read_snapshot(open_store(corpus), "b").batches
    )


def test_prune_deletes_what_moved_once_no_snapshot_names_it(corpus: str) -> None:
    store = open_store(corpus)
    assert rebuild(corpus) == 0
    assert prune.make_plan(store, []).files == []
    assert prune.main(["--corpus", corpus, "--snapshot", "b", "--delete"]) == 0
    assert store.files("earlier", recursive=True) == []
    assert content(corpus, "b.new")
    assert content(corpus, "a"), "snapshot a names files of batch a, which was not rebuilt"


def test_a_takedown_reaches_files_that_moved(fates_copy: grown_corpus.Fates) -> None:
    store, folder = fates_copy.store, fates_copy.folder
    extra = ("--set", f'dedup.testsets=["{folder / "testset.jsonl"}"]')
    words = grown_corpus.arguments(fates_copy.root, "2024-01", *extra, "--rebuild")
    changed = (*words, "--set", "shards.writer.val_frac=0.5", "--snapshot", "new")
    assert document_corpus.run.main(list(changed)) == 0
    moved = {path for path, _ in store.files("earlier", recursive=True)}
    assert moved
    assert (
        forget.main(
            ["--corpus", fates_copy.root, "--url", fates_copy.kept, "--why", "a test", "--yes"]
        )
        == 0
    )
    [record] = takedowns(store)
    assert set(record.withdrawn) == {"2024-01", "2024-02", "new"}
    [page] = record.url_keys
    for path, _ in store.files("", recursive=True):
        if path.endswith(".parquet") and "doc_id" in pq.read_schema(f"{store.root}/{path}").names:
            assert page not in pq.read_table(f"{store.root}/{path}")["doc_id"].to_pylist(), path
    assert verify.main(["--corpus", fates_copy.root]) == 0


def test_on_an_object_store_files_move_too(made: str, s3_bucket: str) -> None:
    store, source = open_store(s3_bucket), open_store(made)
    for path, _ in source.files("", recursive=True):
        store.write_bytes(path, source.read_bytes(path))
    before = content(made, "b")
    assert rebuild(s3_bucket) == 0
    assert token_files(store, "tokens") == named(store, "tokens")
    assert all(map(np.array_equal, content(s3_bucket, "b"), before))
    file = read_snapshot(store, "b").splits["train"].files[-1]
    assert file.path.startswith("earlier/tokens/b/")
    assert find_file(store, file.path.removeprefix("earlier/")) == file.path
