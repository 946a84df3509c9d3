"""Documents that are text already, from their file to tokens."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from corpus import json_values
from corpus.errors import InputError
from corpus.storage.store import open_corpus
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from crawl.warc.records import warc_date
from webtext import cli, import_documents

PROSE = (
    "The river runs north through the valley, and the people who live there have built their houses "
    "on the higher ground. In spring the water rises, and the fields on both sides are under it for weeks. "
    "Nobody minds, because the mud that it leaves makes the ground rich. "
)


def rows(count: int) -> list[dict[str, Any]]:
    found = []
    for number in range(count):
        words = " ".join(random.Random(number).choices(PROSE.split(), k=60))
        text = f"Story {number}. {PROSE} It was seen in {words}."
        url = f"https://books{number % 3}.example.org/story/{number}"
        found.append({"text": text, "url": url, "id": number, "date": "2024-05-06"})
    return found


def write(path: Path, documents: list[dict[str, Any]]) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in documents).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(documents), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".zst":
        path.write_bytes(zstandard.compress(lines))
    else:
        path.write_bytes(lines)
    return path


def bring_in(root: str, batch: str, *arguments: str) -> int:
    return cli.main(["import", "--corpus", root, "--batch", batch, "--workers", "1", *arguments])


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_texts_become_documents_and_tokens(tmp_path: Path, name: str) -> None:
    documents = rows(20)
    path = write(
        tmp_path / name,
        [*documents, {**documents[0], "text": "too short", "url": "https://short.example.org/"}],
    )
    root = str(tmp_path / "corpus")
    kind = "--parquet" if name.endswith("parquet") else "--jsonl"
    flags = [
        kind,
        str(path),
        "--text-column",
        "text",
        "--url-column",
        "url",
        "--date-column",
        "date",
    ]
    assert bring_in(root, "books", *flags) == 0
    common = ["--corpus", root, "--batch", "books", "--executor", "serial"]
    for stage in ("clean", "dedup", "shards"):
        extra = ["--set", "shards.writer.val_frac=0.2"] if stage == "shards" else []
        assert cli.main([stage, *common, *extra]) == 0

    store = open_corpus(root)
    assert read_manifest(store, "links", "books").rows == 21
    assert read_manifest(store, "pages", "books").rows == 21
    found = {row["url"]: row for row in read_table(store, "documents", "books").to_pylist()}
    dropped = read_table(store, "documents_dropped", "books").num_rows
    assert len(found) + dropped == 21
    assert len(found) == 20
    for row in documents:
        kept = found[row["url"]]
        assert kept["text"] == row["text"]
        assert kept["language"] == "en"
        assert kept["domain"] == "example.org"
        assert kept["fetched_at"].date().isoformat() == "2024-05-06"
    assert read_manifest(store, "spans", "books").rows > 0
    assert cli.main(["verify", "--corpus", root]) == 0
    path.unlink()
    assert cli.main(["clean", *common, "--rebuild"]) == 0


def test_documents_without_an_address_get_one_that_stays(tmp_path: Path) -> None:
    documents = [{"body": row["text"], "key": f"k/{row['id']} ä"} for row in rows(6)]
    store = None
    ids = []
    for number, flags in enumerate((["--id-column", "key"], [], [])):
        path = write(
            tmp_path / f"Büch er{number // 2}.jsonl", documents[:: -1 if number == 2 else 1]
        )
        root = str(tmp_path / f"corpus{number}")
        assert bring_in(root, "b", "--jsonl", str(path), "--text-column", "body", *flags) == 0
        store = open_corpus(root)
        links = read_table(store, "links", "b")
        assert links.num_rows == 6
        assert all(domain.endswith(".invalid") for domain in links["domain"].to_pylist())
        ids.append(links["doc_id"].to_pylist())
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("row", "flags", "message"),
    [
        ({"text": "a"}, ["--text-column", "body"], "no column 'body'; present: text"),
        ({"text": 3}, ["--text-column", "text"], "column 'text' holds 3; expected text"),
        (
            {"text": "a", "url": "ftp://x"},
            ["--text-column", "text", "--url-column", "url"],
            "not an http",
        ),
        (
            {"text": "a", "d": "May"},
            ["--text-column", "text", "--date-column", "d"],
            "expected a date",
        ),
        ({"text": "a", "id": ""}, ["--text-column", "text", "--id-column", "id"], "is empty"),
    ],
)
def test_bad_rows_are_named(
    tmp_path: Path,
    row: dict[str, Any],
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "a.parquet", [row])
    assert bring_in(str(tmp_path / "corpus"), "b", "--parquet", str(path), *flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]\n", b"\n\n", b"[" * 100_000],
    ids=["empty", "cut", "list", "blank", "too deep"],
)
def test_broken_files_are_named(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert bring_in(str(tmp_path / "corpus"), "b", "--jsonl", str(path), "--text-column", "t") == 2
    assert str(path) in capsys.readouterr().err
    assert (
        bring_in(str(tmp_path / "corpus"), "b", "--parquet", str(path), "--text-column", "t") == 2
    )


def test_a_damaged_parquet_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The footer is whole; a page of data is not, or holds bytes that are no text."""
    path, flags = tmp_path / "a.parquet", ["--text-column", "t"]
    text = pa.array([f"text {number}" for number in range(100)])
    pq.write_table(pa.table({"t": text}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    assert bring_in(str(tmp_path / "corpus"), "b", "--parquet", str(path), *flags) == 2
    assert f"{path}: damaged" in capsys.readouterr().err

    offsets = pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00")
    pq.write_table(
        pa.table(
            {"t": pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])}
        ),
        path,
    )
    assert bring_in(str(tmp_path / "corpus"), "b", "--parquet", str(path), *flags) == 2
    assert f"{path}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("0800-01-02", "0800-01-02T00:00:00Z"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
        ("2024-05-06T01:00:00+02:00", "2024-05-05T23:00:00Z"),
        ("0001-01-01T00:00:00+05:00", None),
        ("9999-12-31T23:59:59-01:00", None),
    ],
)
def test_dates_at_the_ends_of_the_calendar(value: str, stored: str | None) -> None:
    """A year of three digits is no WARC date, and a shift by a time zone can leave the calendar."""
    columns = import_documents.Columns("text", "", "", "d")
    if stored is None:
        with pytest.raises(InputError, match="expected a date"):
            import_documents._date({"d": value}, columns, "row 1")
        return
    assert import_documents._date({"d": value}, columns, "row 1") == stored
    assert warc_date(stored) is not None


def test_a_time_that_no_calendar_has_is_named(tmp_path: Path) -> None:
    far = pa.array([500 * 10**15], pa.timestamp("ms"))
    pq.write_table(pa.table({"text": ["a"], "d": far}), tmp_path / "far.parquet")
    columns = import_documents.Columns("text", "", "", "d")
    with pytest.raises(InputError, match="expected texts, ids and dates in text, d"):
        list(import_documents._parquet_rows(str(tmp_path / "far.parquet"), columns))


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_line_has_a_limit(beyond: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"text": "words"}) + "\n"
    path = tmp_path / "texts.jsonl.gz"
    path.write_bytes(gzip.compress((line * 3).encode()))
    monkeypatch.setattr(json_values, "MAX_LINE_BYTES", len(line) - beyond)
    if not beyond:
        assert len([*import_documents._json_rows(str(path))]) == 3
        return
    with pytest.raises(InputError, match=r"texts\.jsonl\.gz: a line of more than"):
        list(import_documents._json_rows(str(path)))
