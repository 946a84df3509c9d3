"""Parts: the same rows give the same bytes, and rows that break the contract are refused."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from corpus.errors import InputError, SchemaError
from corpus.storage.store import open_store
from corpus.tables.commit import commit_table
from corpus.tables.manifest import (
    batches,
    earlier_batches,
    find_manifest,
    fingerprint,
    read_manifest,
    section,
    serialized,
)
from corpus.tables.parquet import (
    ROW_GROUP_ROWS,
    find_row,
    iter_tables,
    locate_row,
    open_part,
    read_file,
    read_table,
    write_part,
)
from corpus.tables.schemas import LINKS, SPANS, part_of, part_of_id
from tests.support import toy_stage

SPAN_ROWS = st.lists(
    st.binary(min_size=16, max_size=16).map(bytes.hex), unique=True, max_size=40
).map(sorted)


def spans(ids: list[str]) -> pa.Table:
    return pa.table(
        {"doc_id": ids, "start": range(len(ids)), "num_tokens": [1] * len(ids)}, schema=SPANS.schema
    )


@settings(max_examples=30, deadline=None)
@given(ids=SPAN_ROWS, cut=st.integers(0, 40))
def test_bytes_do_not_depend_on_how_rows_arrive(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], cut: int
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("s")))
    whole = write_part(store, "t", "a.parquet", SPANS, [spans(ids)])
    table = spans(ids)
    pieces = write_part(store, "t", "b.parquet", SPANS, [table.slice(0, cut), table.slice(cut)])
    assert whole.digest == pieces.digest == xxh3_128_hexdigest(store.read_bytes("t/a.parquet"))
    assert whole.bytes == store.size("t/a.parquet")
    assert read_file(store, "t/a.parquet")["doc_id"].to_pylist() == ids


def test_a_part_that_is_given_up_leaves_no_file_and_no_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", complaints.append)
    store = open_store(str(tmp_path))
    ids = sorted(xxh3_128_hexdigest(str(i).encode()) for i in range(ROW_GROUP_ROWS))
    with pytest.raises(KeyError), open_part(store, "t", "a.parquet", SPANS) as writer:
        writer.write(spans(ids))
        raise KeyError
    del writer
    gc.collect()
    assert complaints == []
    assert list(tmp_path.rglob("*.parquet*")) == []


def test_row_groups_are_full_but_the_last(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    ids = sorted(xxh3_128_hexdigest(str(i).encode()) for i in range(2 * ROW_GROUP_ROWS + 10))
    table = spans(ids)
    write_part(
        store, "t", "a.parquet", SPANS, [table.slice(i, 999) for i in range(0, len(ids), 999)]
    )
    metadata = pq.ParquetFile(tmp_path / "t" / "a.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(3)] == [
        ROW_GROUP_ROWS,
        ROW_GROUP_ROWS,
        10,
    ]
    assert sum(piece.num_rows for piece in iter_tables(store, "t/a.parquet", ["start"])) == len(ids)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["b" * 32, "a" * 32], "does not ascend"),
        (["a" * 32, "a" * 32], "comes twice"),
        (["0" * 32, "f" * 32], "does not belong to part 0 of 4"),
    ],
)
def test_rows_out_of_order_or_place_are_refused(
    tmp_path: Path, ids: list[str], message: str
) -> None:
    store = open_store(str(tmp_path))
    with pytest.raises(SchemaError, match=message):
        write_part(store, "t", "a.parquet", SPANS, [spans(ids)], 0, 4)
    assert store.files("t") == []


def test_a_part_is_the_only_one_unless_there_are_more(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    ids = ["0" * 32, "f" * 32]
    assert write_part(store, "t", "a.parquet", SPANS, [spans(ids)], 0).rows == 2


def test_other_columns_and_nulls_are_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with pytest.raises(SchemaError, match="columns"):
        write_part(store, "t", "a.parquet", SPANS, [pa.table({"doc_id": ["a"]})])
    nulls = pa.table(
        {
            "doc_id": ["a"],
            "start": pa.array([None], pa.int64()),
            "num_tokens": pa.array([1], pa.int32()),
        }
    )
    with pytest.raises(SchemaError, match="do not fit"):
        write_part(store, "t", "a.parquet", SPANS, [nulls])


@given(st.binary(min_size=16, max_size=16).map(bytes.hex), st.integers(1, 5000))
def test_parts_are_ranges_of_ids(doc_id: str, num_parts: int) -> None:
    part = part_of_id(doc_id, num_parts)
    assert 0 <= part < num_parts
    assert part_of(pa.array([doc_id]), num_parts).tolist() == [part]
    assert part_of_id("0" * 32, num_parts) == 0
    assert part_of_id("f" * 32, num_parts) == num_parts - 1


def test_a_row_is_found_by_its_id(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    manifest = read_manifest(store, "links", "b")
    table = read_table(store, "links", "b")
    for index in (0, 17, table.num_rows - 1):
        row = table.slice(index, 1).to_pylist()[0]
        assert find_row(store, "links", manifest, row["doc_id"]) == row
    assert find_row(store, "links", manifest, "0123456789abcdef" * 2) is None


def test_a_row_is_found_in_whichever_file_of_its_part_it_lies(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    ids = sorted(xxh3_128_hexdigest(str(i).encode()) for i in range(60))
    sides = {"train": ids[::2], "val": ids[1::2]}
    parts = []
    for side, chosen in sides.items():
        for index in range(3):
            inside = [doc_id for doc_id in chosen if part_of_id(doc_id, 3) == index]
            name = f"{side}/part-{index:05}.00ff.parquet"
            parts.append(write_part(store, "spans/b", name, SPANS, [spans(inside)], index, 3))
    manifest = commit_table(store, SPANS, "b", parts, num_parts=3)
    for side, chosen in sides.items():
        for doc_id in chosen:
            part, row = locate_row(store, "spans", manifest, doc_id) or pytest.fail(doc_id)
            assert part.file.startswith(f"{side}/")
            assert row["doc_id"] == doc_id
    assert locate_row(store, "spans", manifest, "0123456789abcdef" * 2) is None


def test_damaged_part_and_manifest_are_named(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    store.write_bytes("links/b/part-00001.parquet", b"PAR1 not really")
    with pytest.raises(SchemaError, match=r"part-00001.parquet: damaged Parquet"):
        read_table(store, "links", "b")
    store.write_bytes("links/b/_manifest.json", b"{}")
    with pytest.raises(SchemaError, match="not a manifest"):
        find_manifest(store, "links", "b")


def test_batches_are_ordered_by_commit(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path), batch="z", num_rows=10)
    for batch in ("m", "a"):
        parts = [
            write_part(
                store,
                LINKS.folder(batch),
                "part-00000.parquet",
                LINKS,
                [toy_stage.links(3, seed=len(batch))],
            )
        ]
        commit_table(store, LINKS, batch, parts)
    assert [manifest.batch for manifest in batches(store, "links")] == ["z", "m", "a"]
    assert [manifest.sequence for manifest in batches(store, "links")] == [1, 2, 3]
    assert earlier_batches(store, "m") == ["z"]
    assert earlier_batches(store, "new") == ["z", "m", "a"]
    again = commit_table(store, LINKS, "m", read_manifest(store, "links", "m").parts)
    assert again.sequence == 2, "a rebuild keeps its place"


def test_fingerprint_ignores_order_of_keys_only() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path))
    manifest = read_manifest(store, "links", "b")
    other = manifest.model_copy(update={"schema_version": LINKS.version + 1})
    store.write_bytes("links/b/_manifest.json", serialized(other))
    expected = r"table links of batch 'b' has schema 2, this version reads 1; .*--only links .*--batch b --rebuild"
    with pytest.raises(SchemaError, match=expected):
        read_table(store, "links", "b")


def test_missing_table_names_its_door(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"webtext clean --corpus .* --batch b"):
        read_manifest(open_store(str(tmp_path)), "documents", "b")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *((name, None, 5) for name in ("links", "fetch_identity", "personal", "passages", "shingles", "minhash", "overlap", "writer")),
        ("shingles", "n", ".."), ("shingles", "n", 0), ("shingles", "n", 65), ("shingles", "n", None),
        ("minhash", "seed", "1"), ("minhash", "seed", -1), ("minhash", "seed", 1 << 32),
        ("threshold", None, "high"), ("threshold", None, 1.5), ("passages", "min_words", -1), ("passages", "anywhere", "yes"),
        ("writer", "val_frac", "x"), ("writer", "val_frac", 2), ("overlap", "measure_n", 8), ("overlap", "measure_n", [0]),
        ("against", None, [5]), ("against", None, "known"),
        ("links", "carry_over", "no"), ("fetch_identity", "rights", "all"), ("personal", "replace", 3),
    ],
)  # fmt: skip
def test_settings_that_later_commands_read_have_their_type(
    tmp_path: Path, name: str, key: str | None, value: Any
) -> None:
    """A take-down read the words of a shingle from a manifest that said '..'."""
    store = toy_stage.make_corpus(str(tmp_path), num_rows=3)
    path = tmp_path / "links/b/_manifest.json"
    document = json.loads(path.read_text())
    document["config"][name] = value if key is None else {key: value}
    path.write_text(json.dumps(document))
    with pytest.raises(SchemaError, match=rf"links/b/_manifest.json: .*config.*{key or name}"):
        read_manifest(store, "links", "b")


def test_a_section_of_settings_is_complete_or_refused(tmp_path: Path) -> None:
    store = toy_stage.make_corpus(str(tmp_path), num_rows=3)
    manifest = read_manifest(store, "links", "b")
    with pytest.raises(SchemaError, match=r"config.toy is missing"):
        section(manifest, "toy", toy_stage.ToyConfig)
    other = manifest.model_copy(update={"config": {"toy": {"no_such": 1}}})
    with pytest.raises(SchemaError, match=r"config.toy.*no_such"):
        section(other, "toy", toy_stage.ToyConfig)
