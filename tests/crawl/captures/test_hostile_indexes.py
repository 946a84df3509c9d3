"""Indexes and archives of captures from strangers: refused or read within limits, in one line."""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import InputError, WebtextError
from corpus.tables import parquet
from crawl.captures import local
from crawl.captures.columnar import ColumnarIndex
from crawl.captures.index import IndexedCapture
from crawl.captures.local import LocalIndex
from crawl.captures.record import CaptureError, RecordSource, fetch_record
from crawl.warc import records, writer

URL = "http://a.test/page"
LINE = f"test,a)/page 20200101000000 {URL} text/html 200 AAAA - - 10 0 file.warc.gz\n"
WHEN = datetime(2020, 1, 1, tzinfo=UTC)


def record(body: bytes, url: str = URL) -> bytes:
    """A record of an answer with the body, as it is stored uncompressed."""
    fields = [
        ("WARC-Record-ID", writer.record_id()),
        ("WARC-Date", "2020-01-01T00:00:00Z"),
        ("WARC-Target-URI", url),
    ]
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    return writer.record_bytes("response", fields, block, "application/http; msgtype=response")


def columnar(path: Path, num_rows: int = 100, long: int = 1) -> Path:
    """An index in Parquet with captures of the page, one without an address and one without a time."""
    absent = [None] * 2
    columns = {
        "url_surtkey": ["test,a)/page"] * (num_rows + 2),
        "url": [URL] * num_rows + [None, URL],
        "fetch_time": pa.array([WHEN] * (num_rows + 1) + [None], pa.timestamp("ms")),
        "fetch_status": pa.array([200] * num_rows + absent, pa.int16()),
        "content_mime_detected": ["text/html"] * num_rows + absent,
        "content_digest": ["A" * 32] * num_rows + absent,
        "warc_filename": ["f" * long] * num_rows + absent,
        "warc_record_offset": pa.array([7] * num_rows + absent, pa.int32()),
        "warc_record_length": pa.array([9] * num_rows + absent, pa.int32()),
    }
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=50)
    return path


def urls_in(path: Path) -> list[str]:
    """The captures of the page that an index has."""
    [(_, captures)] = LocalIndex([path]).captures([URL])
    return [each.url for each in captures]


def found_in(path: str, offset: int = 0, length: int = 0) -> bytes:
    """The body that an index finds at a place."""
    capture = IndexedCapture(URL, WHEN, 200, "text/html", "", path, offset, length)
    return fetch_record(capture, [capture], RecordSource(), None).response.payload


def test_pieces_of_any_size_give_the_same_captures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = " CDX N b a m s k r M S V g\n\n" + LINE * 3 + "!meta\n" + LINE
    row = {"url": URL, "timestamp": "20200101000000", "filename": "f", "offset": "1"}
    lines += f"test,a)/page 20200101000000 {json.dumps(row)}"
    path = tmp_path / "index.cdx.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    for size in (len(LINE) + 40, len(LINE) + 41, 300, 1 << 20):
        monkeypatch.setattr(local, "PIECE_BYTES", size)
        assert urls_in(path) == [URL] * 5


@pytest.mark.parametrize(("limit", "is_read"), [(-1, False), (0, True), (1, True)])
def test_an_index_unpacks_to_its_limit(
    limit: int, is_read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.cdxj.gz"
    path.write_bytes(gzip.compress(LINE.encode() * 10))
    monkeypatch.setattr(local, "MAX_INDEX_BYTES", 10 * len(LINE) + limit)
    if is_read:
        assert urls_in(path) == [URL] * 10
        return
    with pytest.raises(InputError, match="unpacks to more than .*columnar:PATH"):
        urls_in(path)


def test_an_index_holds_captures_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.cdx"
    path.write_text(LINE * 3)
    monkeypatch.setattr(local, "MAX_CAPTURES", 3)
    assert urls_in(path) == [URL] * 3
    path.write_text(LINE * 4)
    with pytest.raises(InputError, match="more than 3 captures"):
        urls_in(path)


@pytest.mark.parametrize("head", [b"x", b"["])
def test_a_bomb_of_one_line_is_refused_before_it_is_unpacked(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "index.cdxj.gz"
    path.write_bytes(gzip.compress(head + b"0" * (100 << 20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="not an index of captures"):
            urls_in(path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_an_array_and_addresses_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "index.cdx"
    rows = [["timestamp", "original"], ["2020", URL], ["2020", "http://[x/"], ["2020", "a:b:c"]]
    path.write_text(json.dumps(rows))
    assert urls_in(path) == [URL]


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_large_record_of_an_archive_is_left_out(packed: int, tmp_path: Path) -> None:
    large = record(b"0" * (records.MAX_RECORD_BYTES + 1), "http://a.test/large")
    content = gzip.compress(large, 1) + gzip.compress(record(b"small"))
    path = tmp_path / "a.wacz"
    with zipfile.ZipFile(path, "w", packed) as package:
        package.writestr("archive/a.warc.gz", content)
    index = LocalIndex([path])
    [(_, captures)] = index.captures([URL])
    [capture] = captures
    assert fetch_record(capture, captures, RecordSource(), None).response.payload == b"small"
    [(_, none)] = index.captures(["http://a.test/large"])
    assert none == []


@pytest.mark.parametrize("name", ["a.wacz", "a.warc.gz", "a.warc"])
def test_a_broken_archive_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    whole = gzip.compress(record(b"small" * 1000, URL))
    for content in (b"PK\x03\x04" + b"0" * 50, whole[:-40] + b"\xff" * 40, b"\x1f\x8b" + b"9" * 99):
        path.write_bytes(content)
        try:
            found = urls_in(path)
        except InputError as error:
            found = [str(path) if str(path) in str(error) else f"unnamed: {error}"]
        assert found in ([], [URL], [str(path)])


def test_a_package_may_lack_what_an_index_names(tmp_path: Path) -> None:
    path = tmp_path / "a.wacz"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("archive/a.warc", record(b"small"))
    path.write_bytes(stream.getvalue())
    inside = f"{path}{local.INSIDE}archive/a.warc"
    assert found_in(inside) == b"small"
    with pytest.raises(CaptureError, match="none"):
        found_in(f"{path}{local.INSIDE}none")
    path.write_bytes(b"no package")
    with pytest.raises(CaptureError, match="zip"):
        found_in(inside)


@pytest.mark.parametrize("length", [0, 1 << 40, 10**18 - 1])
@pytest.mark.parametrize("offset", [0, 1 << 40, 10**18 - 1])
def test_any_place_that_an_index_states_is_read_within_limits(
    offset: int, length: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(record(b"small"))
    for place in (str(path), path.as_uri()):
        if offset == 0:
            assert found_in(place, offset, length) == b"small"
            continue
        with pytest.raises(CaptureError):
            found_in(place, offset, length)


@pytest.mark.parametrize("name", ["", "none.warc", "/dev/zero", "a\0b"])
def test_a_file_that_is_none_is_a_lost_capture(name: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError):
        found_in(str(tmp_path / name))


def test_a_columnar_index_of_a_folder_and_its_faults(tmp_path: Path) -> None:
    columnar(tmp_path / "x" / "a.parquet")
    columnar(tmp_path / "x" / "_temporary.parquet")
    (tmp_path / "x" / "_SUCCESS").write_text("")
    [(_, captures)] = ColumnarIndex(str(tmp_path / "x")).captures([URL])
    expected = IndexedCapture(URL, WHEN, 200, "text/html", "A" * 32, "f", 7, 9)
    assert captures == [expected] * 100

    pq.write_table(pa.table({"url": [URL]}), tmp_path / "x" / "b.parquet")
    with pytest.raises(WebtextError, match=r"b\.parquet.*url_surtkey"):
        list(ColumnarIndex(str(tmp_path / "x")).captures([URL]))
    for name in ("none", "x/_SUCCESS/y"):
        with pytest.raises(InputError, match="columnar:"):
            list(ColumnarIndex(str(tmp_path / name)).captures([URL]))


def test_texts_of_any_width_are_read_and_other_columns_refused(tmp_path: Path) -> None:
    path = columnar(tmp_path / "x" / "a.parquet")
    table = pq.read_table(path)
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())):
        wide = [kind if each.type == pa.string() else each.type for each in table.schema]
        names = table.column_names
        pq.write_table(table.cast(pa.schema([*zip(names, wide, strict=True)])), path)
        assert len(dict(ColumnarIndex(str(path)).captures([URL]))[URL]) == 100

    for number, name in enumerate(table.column_names):
        for values in (
            pa.nulls(102, pa.list_(pa.int8())),
            pa.array([b"\xff"] * 102),
            pa.nulls(102),
        ):
            pq.write_table(table.set_column(number, name, values), path)
            try:
                found = len(dict(ColumnarIndex(str(path)).captures([URL]))[URL])
            except WebtextError as error:
                found = 0 if "a.parquet: " in str(error) else -1
            assert found in (0, 100)


def test_a_damaged_columnar_index_neither_ends_the_process_nor_hangs(tmp_path: Path) -> None:
    """Arrow's scanner of folders did both for some of these files."""
    path = columnar(tmp_path / "x" / "a.parquet")
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    rng = random.Random(1)
    outcomes = set()
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = len(whole) - 1 - rng.randrange(footer)
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, changed[at] ^ 1 << rng.randrange(8)])
        path.write_bytes(changed)
        try:
            outcomes.add(len([*ColumnarIndex(str(path)).captures([URL])]) == 1)
        except WebtextError as error:
            outcomes.add(str(path) in str(error))
    assert outcomes == {True}


def test_a_columnar_index_unpacks_within_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = columnar(tmp_path / "x" / "a.parquet", 4000, 1000)
    index = ColumnarIndex(str(path))
    assert len(dict(index.captures([URL]))[URL]) == 4000
    # A slice of 50 rows has 50 KB: the sum counts.
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 100_000)
    with pytest.raises(WebtextError, match=r"a\.parquet: unpacks to more than"):
        list(index.captures([URL]))
