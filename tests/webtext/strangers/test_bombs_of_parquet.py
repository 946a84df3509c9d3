"""Every reader of a stranger's Parquet file bounds what it unpacks, whatever the footer says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import WebtextError
from corpus.evaluation_sets.files import find_testsets, load_testset
from corpus.storage.store import open_store
from corpus.tables import parquet
from corpus.tables.parquet import read_data
from train.held_out import read_texts
from webtext import import_documents
from webtext.look import labels

NUM_ROWS = 4000
LONG = "words of a text " * 64


def _imported(path: Path) -> object:
    columns = import_documents.Columns("text", "", "", "")
    return sum(1 for _ in import_documents._parquet_rows(str(path), columns))


READERS: dict[str, Callable[[Path], object]] = {
    "held-out texts": lambda path: read_texts(str(path)),
    "imported documents": _imported,
    "labels": lambda path: labels._read(open_store(str(path.parent)), path.name),
    "outcomes of a scored set": lambda path: read_data(path.read_bytes(), str(path)),
    "test sets": lambda path: [load_testset(each) for each in find_testsets([str(path)])],
}


@pytest.mark.parametrize("name", READERS)
def test_one_long_text_many_times(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    long = pa.array([LONG] * NUM_ROWS).dictionary_encode()
    pq.write_table(pa.table({"text": long.cast(pa.string())}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    READERS[name](path)

    # A quarter of what it unpacks to. Rows of an import go on as they come, in slices that fit the
    # limit: only 16 rows, the least slice, may be too many.
    rows = 10 if name == "imported documents" else NUM_ROWS // 4
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", rows * len(LONG))
    monkeypatch.setattr(parquet, "MAX_UNPACKED_RATIO", 1)
    with pytest.raises(WebtextError, match=r"bomb\.parquet.*limit"):
        READERS[name](path)


def test_damage_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": ["words"]}), path)
    whole = path.read_bytes()
    for content in (b"", whole[:-20], whole.replace(b"words", b"wor\xffs")):
        path.write_bytes(content)
        for read in READERS.values():
            with pytest.raises(WebtextError, match=r"bomb\.parquet") as caught:
                read(path)
            assert "\n" not in str(caught.value)
