"""Other projects' readers open the folder of every table as it is, also after a rebuild."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from corpus.storage.store import Store
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import find_manifest_in
from tests.support import grown_corpus
from webtext.upkeep import rebuild


def _datasets(folder: str) -> int:
    import datasets

    found = datasets.load_dataset(folder, cache_dir=f"{folder}/../../../huggingface")
    return sum(split.num_rows for split in found.values())


READERS: dict[str, Callable[[str], int]] = {
    "pyarrow": lambda folder: pq.read_table(folder).num_rows,
    "pyarrow.dataset": lambda folder: pads.dataset(folder).count_rows(),
    "duckdb": lambda folder: duckdb.sql(
        f"SELECT count(*) FROM read_parquet('{folder}')"
    ).fetchall()[0][0],
    "duckdb, a pattern": lambda folder: duckdb.sql(
        f"SELECT count(*) FROM '{folder}/**/*.parquet'"
    ).fetchall()[0][0],
    # Polars skips names only by the prefix that it is given, and refuses a folder with two kinds of files.
    "polars": lambda folder: polars.scan_parquet(folder, hidden_file_prefix="_").collect().height,
    "polars, a pattern": lambda folder: polars.read_parquet(f"{folder}/**/*.parquet").height,
    "datasets": _datasets,
}


def folders(store: Store) -> dict[str, int]:
    """Every folder of a committed table, with its rows by the manifest."""
    found = {}
    for table in store.folders(""):
        for batch in batch_names(store):
            manifest = find_manifest_in(store, f"{table}/{batch}")
            if manifest is not None:
                found[f"{table}/{batch}"] = manifest.rows
    return found


def file_rows(store: Store, folder: str) -> int:
    """Rows of the parts that the manifest names: those of `tokens` are not documents."""
    manifest = find_manifest_in(store, folder)
    assert manifest is not None
    return sum(
        pq.read_metadata(f"{store.root}/{folder}/{part.file}").num_rows for part in manifest.parts
    )


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def assert_readable(store: Store) -> None:
    found = folders(store)
    tables = {folder.partition("/")[0] for folder in found}
    assert tables >= {"links", "pages", "documents", "signatures", "verdicts", "tokens", "spans"}
    for folder in found:
        expected = file_rows(store, folder)
        for name, count in READERS.items():
            if expected or not name.startswith("datasets"):
                assert count(f"{store.root}/{folder}") == expected, (folder, name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_reader_opens_every_folder(fates: grown_corpus.Fates) -> None:
    assert_readable(fates.store)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_rebuilt_folder_holds_one_generation(fates_copy: grown_corpus.Fates) -> None:
    """Snapshots keep the earlier token files, which no reader of the folder may meet."""
    sets = [word for setting in grown_corpus.SETTINGS for word in ("--set", setting)]
    changed = ["--set", "clean.quality.min_words=372", "--set", "dedup.testsets=[]"]
    # Half of the few pages, so that the library has a validation split to open.
    changed += ["--set", "shards.writer.val_frac=0.5"]
    words = ["--corpus", fates_copy.root, "--from", "clean", "--executor", "serial"]
    assert rebuild.main([*words, *sets, *changed]) == 0
    assert_readable(fates_copy.store)


def test_folders_hold_nothing_but_parquet_and_the_manifest(fates: grown_corpus.Fates) -> None:
    for folder in folders(fates.store):
        for path, _, files in os.walk(Path(fates.root) / folder):
            strangers = [name for name in files if not name.endswith(".parquet")]
            assert set(strangers) <= {"_manifest.json"}, path
