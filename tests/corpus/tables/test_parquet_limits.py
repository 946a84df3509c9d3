"""Parquet files from strangers: sizes are bounded before memory is taken, and every fault ends in one line."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import SchemaError
from corpus.storage.store import Store, open_store
from corpus.tables import parquet
from corpus.tables.parquet import (
    PartFile,
    iter_tables,
    read_file,
    row_in_file,
    unpacked_limit,
    write_part,
)
from corpus.tables.schemas import DOCUMENTS, SPANS, VERDICTS

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def bomb(path: Path, rows: int, chars: int, groups: int = 1) -> None:
    """A text once in the dictionary, and its number `rows` times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * rows, pa.int32()), pa.array(["x" * chars], pa.string())
    )
    with pq.ParquetWriter(
        path, pa.schema([("text", text.type)]), compression="zstd", store_schema=False
    ) as writer:
        for _ in range(groups):
            writer.write_table(pa.table({"text": text}), row_group_size=rows)


def test_the_limits_as_they_are() -> None:
    """Ours have 20 MB a row group: limits far above, and far below what a machine has."""
    assert parquet.MAX_UNPACKED_BYTES == 1 << 30
    assert parquet.MAX_UNPACKED_RATIO == 100
    assert unpacked_limit(0) == unpacked_limit((1 << 30) // 100) == 1 << 30
    assert unpacked_limit(1 << 30) == 100 << 30


def test_a_row_group_that_unpacks_to_gigabytes_is_one_line(store: Store, tmp_path: Path) -> None:
    """6 GB in 0.6 MB: the limit is reached in slices, so that memory stays near it."""
    bomb(tmp_path / "x" / "a.parquet", 2_000_000, 3000)
    assert (tmp_path / "x" / "a.parquet").stat().st_size < 700_000
    before = pa.total_allocated_bytes()
    peak = 0
    original = parquet.check_unpacked

    def watch(*arguments: Any) -> None:
        nonlocal peak
        peak = max(peak, pa.total_allocated_bytes() - before)
        original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "check_unpacked", watch)
        with pytest.raises(
            SchemaError,
            match=r"x/a\.parquet: unpacks to more than [\d,]+ bytes, the limit is 1,073,741,824",
        ):
            list(iter_tables(store, "x/a.parquet"))
    assert peak < 2.5 * parquet.MAX_UNPACKED_BYTES


def test_a_bomb_of_long_texts_is_noticed_near_the_limit(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices that each fit the limit would take twice as much before the sum is looked at."""
    bomb(tmp_path / "x" / "a.parquet", 65_536, 8000)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 256)
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 32 * MIB)
    sums: list[int] = []
    original = parquet.check_unpacked

    def watch(where: str, num_bytes: int, limit: int) -> None:
        sums.append(num_bytes)
        original(where, num_bytes, limit)

    monkeypatch.setattr(parquet, "check_unpacked", watch)
    with pytest.raises(SchemaError, match="the limit is 33,554,432"):
        list(iter_tables(store, "x/a.parquet"))
    assert max(sums) < 1.3 * 32 * MIB


@pytest.mark.parametrize(("chars", "fits"), [(1023, True), (1024, True), (1025, False)])
def test_the_border_of_a_row_group(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chars: int, fits: bool
) -> None:
    """1,024 texts with 4 bytes of offset each, and one offset more: just at the limit, and a byte a text more."""
    rows = 1024
    bomb(tmp_path / "x" / "a.parquet", rows, chars)
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", rows * (1024 + 4) + 4)
    monkeypatch.setattr(parquet, "MIN_SLICE_ROWS", rows)
    expected = contextlib.nullcontext() if fits else pytest.raises(SchemaError, match="unpacks to")
    with expected:
        assert read_file(store, "x/a.parquet").num_rows == rows


def test_many_row_groups_are_streamed_and_not_read_as_a_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 4 * MIB)
    monkeypatch.setattr(parquet, "MAX_UNPACKED_RATIO", 1)
    bomb(tmp_path / "x" / "a.parquet", 1000, 3000, groups=5)
    assert sum(piece.num_rows for piece in iter_tables(store, "x/a.parquet")) == 5000
    with pytest.raises(SchemaError, match="the limit is 4,194,304"):
        read_file(store, "x/a.parquet")


def test_slices_give_the_rows_of_the_group(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(1)
    table = pa.table(
        {
            "text": [None if rng.random() < 0.1 else "y" * rng.randrange(900) for _ in range(3000)],
            "cuts": [[{"start": n, "end": n + 1}] * rng.randrange(4) for n in range(3000)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1000)
    whole = list(iter_tables(store, "a.parquet"))
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 8 * MIB)
    sliced = list(iter_tables(store, "a.parquet"))
    assert sliced == whole
    assert pa.concat_tables(sliced).equals(table)
    assert [column.num_chunks for column in sliced[0].columns] == [1, 1]


def test_columns_and_types_are_those_of_the_contract(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "documents" / "b"
    folder.mkdir(parents=True)
    good = DOCUMENTS.schema.empty_table()
    for changed, message in (
        (good.drop_columns(["text"]), "column 'language' \\(string\\), expected 'text' \\(string\\)"),
        (good.rename_columns([*good.column_names[:-1], "x"]), "column 'x' .*not the table documents"),
        (good.append_column("x", pa.array([], pa.int8())), "column 'x' \\(int8\\), expected none"),
        (good.set_column(0, "doc_id", pa.array([], pa.int64())), "column 'doc_id' \\(int64\\), expected 'doc_id'"),
    ):  # fmt: skip
        pq.write_table(changed, folder / "part-00000.parquet")
        with pytest.raises(SchemaError, match=message):
            read_file(store, "documents/b/part-00000.parquet")
    pq.write_table(good, folder / "part-00000.parquet")
    assert read_file(store, "documents/b/part-00000.parquet").num_rows == 0
    with pytest.raises(SchemaError, match="no column 'nothing'"):
        bomb(tmp_path / "x.parquet", 1, 1)
        read_file(store, "x.parquet", ["nothing"])
    # A part of ours without rows has no row group, which a check of columns could hang on.
    write_part(store, "documents/b", "part-00000.parquet", DOCUMENTS, [])
    with pytest.raises(SchemaError, match="no column 'nothing'"):
        read_file(store, "documents/b/part-00000.parquet", ["nothing"])
    assert read_file(store, "documents/b/part-00000.parquet", []).num_columns == 0


def test_replaced_files_are_of_the_contract_too(store: Store, tmp_path: Path) -> None:
    """A snapshot's files are moved below `earlier/`."""
    folder = tmp_path / "earlier" / "documents" / "b"
    folder.mkdir(parents=True)
    whole = DOCUMENTS.schema.empty_table()
    pq.write_table(whole.drop_columns(["quality"]), folder / "part-00000.parquet")
    assert read_file(store, "earlier/documents/b/part-00000.parquet").column_names[-1] == "quality"
    pq.write_table(whole.drop_columns(["text"]), folder / "part-00000.parquet")
    with pytest.raises(SchemaError, match="not the table documents"):
        read_file(store, "earlier/documents/b/part-00000.parquet")


def test_text_is_utf8(store: Store, tmp_path: Path) -> None:
    """Compiled loops decode it without looking."""
    (tmp_path / "x" / "b").mkdir(parents=True)
    for data in (b"\xff", b"ab\xe2\x82", b"\xed\xa0\x80"):
        text = pa.array([b"fine", data], pa.binary()).view(pa.string())
        pq.write_table(pa.table({"text": text}), tmp_path / "x" / "b" / "a.parquet")
        with pytest.raises(SchemaError, match="damaged Parquet .*UTF8"):
            read_file(store, "x/b/a.parquet")


def test_statistics_that_do_not_say_are_not_asked(tmp_path: Path) -> None:
    ids = [f"{n:032x}" for n in range(5)]
    path = tmp_path / "part-00000.parquet"
    for column, options, expected in (
        (ids, {}, (ids[0], ids[-1])),
        (ids, {"write_statistics": False}, None),
        ([None] * 5, {}, None),
        (["x", *ids[1:]], {}, None),
        (range(5), {}, None),
    ):
        pq.write_table(pa.table({"doc_id": column}), path, **options)
        with open(path, "rb") as stream:
            assert PartFile(stream, "x").id_range(0) == expected


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_bytes_end_in_rows_or_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("p") / "verdicts" / "b"
    folder.mkdir(parents=True)
    rows = [
        {"doc_id": f"{n:032x}", "kept": True, "reason": None, "duplicate_of": None, "similarity": None,
         "testsets": ["s"], "overlap_ngrams": 0, "cuts": [{"start": 0, "end": 1}]}
        for n in range(5)
    ]  # fmt: skip
    path = folder / "part-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=VERDICTS.schema), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + 1] = data.draw(st.binary(max_size=2))
    path.write_bytes(bytes(content))
    store = open_store(str(folder.parent.parent))
    for call in (
        lambda: read_file(store, "verdicts/b/part-00000.parquet"),
        lambda: row_in_file(store, "verdicts/b/part-00000.parquet", f"{3:032x}"),
    ):
        with contextlib.suppress(SchemaError):
            call()


@pytest.mark.parametrize(
    ("factor", "slice_rows"), [(1, 16), (15, 16), (16, 16), (17, 17), (39, 39), (40, 40), (41, 40)]
)
def test_rows_that_are_decoded_at_once(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: int,
    slice_rows: int,
) -> None:
    """As many as fit if each were as long as the whole column, and at least 16."""
    assert parquet.MIN_SLICE_ROWS == 16
    pq.write_table(
        pa.table({"text": [f"{n:0100}" for n in range(40)]}),
        tmp_path / "a.parquet",
        compression="none",
        use_dictionary=False,
    )
    column = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(0)
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", factor * column.total_uncompressed_size)
    asked = []

    class Recorded:
        """A Parquet file that records how many rows are asked for at once."""

        def __init__(self, *given: Any, **options: Any) -> None:
            self._file = pq.core.ParquetFile(*given, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def iter_batches(self, **options: Any) -> Any:
            asked.append(options["batch_size"])
            return self._file.iter_batches(**options)

    monkeypatch.setattr(parquet, "pq", SimpleNamespace(ParquetFile=Recorded))
    with parquet.open_file(store, "a.parquet") as file:
        assert file.read_row_group(0, ["text"]).num_rows == 40
    assert asked == [slice_rows]


DAMAGES = """
import sys
from corpus.errors import SchemaError
from corpus.storage.store import open_store
from corpus.tables.parquet import row_in_file

store, path = open_store(sys.argv[1]), "spans/b/train/part-00000.parquet"
data = store.read_bytes(path)
length = int.from_bytes(data[-8:-4], "little")
lines = []
for place in range(len(data) - 8 - length, len(data) - 8):
    for change in (1, 2, 0x10, 0x80):
        changed = bytearray(data)
        changed[place] ^= change
        store.write_bytes(path, bytes(changed))
        try:
            row_in_file(store, path, f"{7:032x}")
        except SchemaError as error:
            lines.append(str(error))
print(*lines, sep="\\n")
"""


def test_no_byte_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    """Arrow ends the process where a record of a column is looked at whose histogram is too long."""
    row = {"doc_id": f"{7:032x}", "start": 0, "num_tokens": 3}
    fields = [pa.field(field.name, field.type) for field in SPANS.schema]  # nullable: with levels
    folder = tmp_path / "spans" / "b" / "train"
    folder.mkdir(parents=True)
    rows = pa.Table.from_pylist([row], schema=pa.schema(fields))
    pq.write_table(rows, folder / "part-00000.parquet")

    done = subprocess.run(
        [sys.executable, "-c", DAMAGES, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "histogram size mismatch" in done.stdout
    assert all(str(folder) in line for line in done.stdout.splitlines())


@pytest.mark.parametrize(("num_bytes", "fits"), [(0, True), (99, True), (100, True), (101, False)])
def test_a_file_may_unpack_to_its_limit(num_bytes: int, fits: bool) -> None:
    with contextlib.nullcontext() if fits else pytest.raises(SchemaError, match="the limit is 100"):
        parquet.check_unpacked("x", num_bytes, 100)
