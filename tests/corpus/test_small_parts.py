"""Small parts of the core at their borders: frames of zstd, manifests, metrics, settings of a corpus."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from corpus.config import Section, load_config
from corpus.errors import ConfigError, FatalError, SchemaError
from corpus.evaluation_sets.childrens_book import split
from corpus.run import funnel
from corpus.storage.store import open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.manifest import batches
from corpus.tables.mentions import bloom_filter
from corpus.tables.parquet import write_part
from corpus.tables.schemas import LINKS, TABLES
from corpus.urls import Target, target
from corpus.zstd import ZstdReader


def frame(*, single: int, size_flag: int, id_flag: int, repeated: bool) -> tuple[bytes, bytes]:
    """A frame by RFC 8878, section 3.1.1, of one last block; and its content."""
    size_bytes = (single, 2, 4, 8)[size_flag]
    content = b"a" * (255 if size_bytes == 1 else 300)
    header = bytes([size_flag << 6 | single << 5 | id_flag])
    header += b"" if single else bytes([(20 - 10) << 3])  # a window of 1 MiB
    header += bytes((0, 1, 2, 4)[id_flag])  # the id 0: no dictionary
    # Two bytes hold the size less 256.
    field = 0 if size_bytes == 0 else len(content) - 256 * (size_bytes == 2)
    header += field.to_bytes(size_bytes, "little")
    kind, body = (1, b"a") if repeated else (0, content)
    block = (len(content) << 3 | kind << 1 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + header + block + body, content


def test_every_form_of_a_frame_s_header_is_read() -> None:
    """What follows a frame is read from its own first byte, so each field has its length."""
    for single, size_flag, id_flag, repeated in itertools.product(
        (0, 1), range(4), range(4), (False, True)
    ):
        data, content = frame(
            single=single, size_flag=size_flag, id_flag=id_flag, repeated=repeated
        )
        whole = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        assert whole == content, "the library agrees"
        tail, last = frame(single=1, size_flag=1, id_flag=0, repeated=False)
        found = ZstdReader(io.BytesIO(data + tail), 1 << 27).readall()
        assert found == content + last, (single, size_flag, id_flag, repeated)


def test_a_sign_alone_is_one_token() -> None:
    for line in (", a", "a , b", "! !", "the"):
        assert split(line) == line


class Kept(Section):
    outside_corpus = ("secret",)
    secret: str = ""
    """Secret."""
    size: int = 1
    """Size."""


def test_a_corpus_may_set_what_is_not_kept_from_it() -> None:
    assert load_config(Kept, "dedup", corpus_toml="[dedup]\nsize = 2\n", environ={}).size == 2
    with pytest.raises(ConfigError, match=r"dedup\.secret; it is read from --config"):
        load_config(Kept, "dedup", corpus_toml='[dedup]\nsecret = ""\n', environ={})


def test_a_table_without_counts_stands_for_no_rows(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    for name in ("pages", "verdicts"):
        table = TABLES[name]
        empty = write_part(store, table.folder("b"), "part-00000.parquet", table, [])
        commit_table(store, table, "b", [empty])
    for name in ("documents", "spans"):
        table = TABLES[name]
        empty = write_part(store, table.folder("b"), "part-00000.parquet", table, [])
        with pytest.raises(FatalError, match="conservation broken: 0 "):
            commit_table(store, table, "b", [empty.model_copy(update={"rows": 1})])
        commit_table(store, table, "b", [empty])


@pytest.mark.parametrize(("keys", "num_bytes"), [(0, 0), (1, 2), (4, 5), (5, 7), (80, 100)])
def test_a_filter_takes_ten_bits_a_key(keys: int, num_bytes: int) -> None:
    """Bloom 1970: at ten bits and seven probes 1 % of absent keys pass."""
    assert len(bloom_filter(map(str, range(keys)))) == num_bytes


def test_a_row_group_has_4096_rows(tmp_path: Path) -> None:
    """By `docs/dedup.md`: texts of earlier pages are read by row groups of 4,096."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    row = dict.fromkeys(LINKS.schema.names, 0) | {
        field.name: "" for field in LINKS.schema if field.type == pa.string()
    }
    row["over_18"] = False
    each = [{**row, "doc_id": f"{number:032x}"} for number in range(4097)]
    rows = pa.Table.from_pylist(each, LINKS.schema)
    part = write_part(store, "links/b", "part-00000.parquet", LINKS, [rows])
    with store.open_input(f"links/b/{part.file}") as stream:
        metadata = pq.ParquetFile(stream).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4096, 1]


def test_batches_without_a_place_in_the_order_come_first(tmp_path: Path) -> None:
    """Manifests from before the number have none; the first one behind them has 1."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    part = write_part(store, "links/b", "part-00000.parquet", LINKS, [])
    commit_table(store, LINKS, "a", [part])
    commit_table(store, LINKS, "b", [part])
    assert [each.sequence for each in batches(store, "links")] == [1, 2]
    old = store.read_object("links/b/_manifest.json")
    del old["sequence"], old["seal"]
    store.write_json("links/b/_manifest.json", old)
    assert [(each.batch, each.sequence) for each in batches(store, "links")] == [("b", 0), ("a", 1)]


def test_names_of_the_funnel_take_28_columns(tmp_path: Path) -> None:
    """The width of the examples in `docs`."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    part = write_part(store, "links/b", "part-00000.parquet", LINKS, [])
    counts = {"low_score": 10}
    commit_table(store, LINKS, "b", [part], stage="crawl", counts=counts, details={"rows_read": 10})
    rows, reason = funnel.render(store, "b").splitlines()[1:]
    assert rows.startswith("  links                                0 rows ")
    assert reason == "    low_score                         10  100.0%"


def test_a_file_comes_in_chunks_of_its_bytes(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    data = bytes(range(256)) * (1 << 15)  # 8 MiB
    store.write_bytes("x", data + b"end")
    chunks = list(store.chunks("x"))
    assert b"".join(chunks) == data + b"end"
    assert max(map(len, chunks)) <= 4 << 20, "a few megabytes at a time"
    store.write_bytes("x", b"")
    assert list(store.chunks("x")) == []


def test_an_id_may_not_come_twice_at_a_seam(tmp_path: Path) -> None:
    """Ids ascend within a table of rows and from one to the next."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    schema = TABLES["spans"].schema

    def rows(*numbers: int) -> pa.Table:
        row = {field.name: 0 for field in schema if field.type != pa.string()}
        row |= {field.name: "" for field in schema if field.type == pa.string()}
        return pa.Table.from_pylist([{**row, "doc_id": f"{n:032x}"} for n in numbers], schema)

    def write(*pieces: pa.Table) -> int:
        return write_part(store, "spans/b", "part-00000.parquet", TABLES["spans"], pieces).rows

    assert write(rows(1, 2), rows(3, 4)) == 4
    for pieces in ([(1, 2), (2, 3)], [(1, 1)], [(2, 1)], [(1, 2), (1,)]):
        with pytest.raises(SchemaError, match="does not ascend"):
            write(*(rows(*piece) for piece in pieces))


def test_filters_are_read_with_the_probes_that_wrote_them() -> None:
    """A stored filter: other probes would deny what it holds, and a take-down would miss a page."""
    assert bloom_filter(["0" * 32, "f" * 32]).hex() == "499224"


def test_a_chain_of_eight_redirectors_is_followed() -> None:
    """A longer one is not a page, and neither are nine schemes in a row."""
    url = "http://example.com/a"
    for depth in range(10):
        assert isinstance(target(url), Target) == (depth < 8)
        assert isinstance(target("http:" + "//http" * depth + "//example.com/a"), Target) == (
            depth < 8
        )
        url = "https://href.li/?" + url
