"""SQL over committed tables: the same rows as the files hold, all batches, nothing uncommitted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import SchemaError
from corpus.storage.store import open_corpus
from corpus.tables import parquet
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from tests.support import grown_corpus
from webtext.inspection import query


@pytest.mark.parametrize("table", grown_corpus.TABLE_NAMES)
def test_a_view_is_its_table(fates: grown_corpus.Fates, table: str) -> None:
    rows = query.query(fates.store, f"SELECT * FROM {table}")
    expected = [
        row | {"batch": batch}
        for batch in ("2024-01", "2024-02")
        for row in read_table(fates.store, table, batch).to_pylist()
    ]
    found = [
        {key: value for key, value in row.items() if key != "split"} for row in rows.to_pylist()
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert ("split" in rows.column_names) == (table in ("spans", "tokens"))


def test_joins_over_batches(fates: grown_corpus.Fates) -> None:
    sql = "SELECT v.batch, l.url, s.url AS survivor FROM verdicts v JOIN links l USING (doc_id) JOIN links s ON s.doc_id = v.duplicate_of WHERE NOT kept ORDER BY l.url"
    rows = query.query(fates.store, sql).to_pylist()
    assert [(row["batch"], row["url"], row["survivor"]) for row in rows] == [
        ("2024-01", fates.copy, fates.original),
        ("2024-02", fates.later_copy, fates.original),
        ("2024-01", fates.near, fates.original),
    ]


def test_an_uncommitted_batch_is_not_seen(fates_copy: grown_corpus.Fates) -> None:
    fates_copy.store.delete("documents/2024-02/_manifest.json")
    rows = query.query(fates_copy.store, "SELECT DISTINCT batch FROM documents").to_pylist()
    assert rows == [{"batch": "2024-01"}]


def test_names_of_python_are_no_tables(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    assert query.main(["--corpus", fates.root, "SELECT * FROM known"]) == 2
    assert "tables here: links, pages" in capsys.readouterr().err


def test_forms_of_output(fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT batch, count(*) AS rows FROM links GROUP BY ALL ORDER BY ALL"
    counts = [read_manifest(fates.store, "links", batch).rows for batch in ("2024-01", "2024-02")]
    assert query.main(["--corpus", fates.root, sql]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["2024-01", str(counts[0])],
        ["2024-02", str(counts[1])],
    ]
    assert query.main(["--corpus", fates.root, sql, "--json"]) == 0
    assert [json.loads(line)["rows"] for line in capsys.readouterr().out.splitlines()] == counts
    assert query.main(["--corpus", fates.root, sql, "--csv"]) == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:] == [
        ["2024-01", str(counts[0])],
        ["2024-02", str(counts[1])],
    ]


def test_columns_of_one_name_are_all_shown(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT l.url, p.url, 1 AS url_2, p.url FROM links l JOIN pages p USING (doc_id) ORDER BY ALL LIMIT 1"
    names = ["url", "url_3", "url_2", "url_4"]
    (row,) = query.query(fates.store, sql).to_pylist()
    assert list(row) == names
    url = row["url"]
    assert query.main(["--corpus", fates.root, sql, "--csv"]) == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [names, [url, url, "1", url]]
    assert query.main(["--corpus", fates.root, sql]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == [url, url, "1", url]


def test_on_an_object_store(fates: grown_corpus.Fates, s3_bucket: str) -> None:
    store = open_corpus(f"{s3_bucket}/c", create=True)
    for path, _ in fates.store.files("links", recursive=True):
        store.write_bytes(path, fates.store.read_bytes(path))
    sql = "SELECT batch, max(score) AS score FROM links GROUP BY ALL ORDER BY ALL"
    assert query.query(store, sql).to_pylist() == query.query(fates.store, sql).to_pylist()


def test_an_empty_corpus_and_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_corpus(str(tmp_path / "c"), create=True)
    assert query.main(["--corpus", str(tmp_path / "c"), "SELECT 1 AS one"]) == 0
    assert capsys.readouterr().out.split() == ["one", "---", "1"]
    assert query.main(["--corpus", str(tmp_path / "c"), "SELECT * FROM links"]) == 2
    assert "none, no batch is committed yet" in capsys.readouterr().err
    assert query.main(["--corpus", str(tmp_path / "c"), "SELEC"]) == 2


STATEMENTS = (
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM read_csv('{file}')",
    "COPY (SELECT 1) TO '{new}'",
    "COPY (SELECT 1) TO '{new}' (FORMAT parquet)",
    "ATTACH '{new}' AS other",
    "EXPORT DATABASE '{new}'",
    "IMPORT DATABASE '{folder}'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{file}'",
    "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "SET enable_external_access = true; SELECT * FROM read_text('{file}')",
    "RESET lock_configuration; SET enable_external_access = true; SELECT * FROM read_text('{file}')",
    "SET temp_directory = '{new}'",
    "SET home_directory = '{folder}'",
    "SELECT * FROM glob('{folder}/*')",
    "CREATE SECRET (TYPE s3)",
    "SELECT getenv('HOME')",
)


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_statement_sees_the_views_and_nothing_else(
    fates: grown_corpus.Fates, tmp_path: Path, sql: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.txt").write_text("secret words")
    names = {"file": tmp_path / "secret.txt", "new": tmp_path / "new", "folder": tmp_path}
    assert query.main(["--corpus", fates.root, sql.format(**names)]) == 2
    output = capsys.readouterr()
    assert "secret words" not in output.out + output.err
    assert len([line for line in output.err.splitlines() if line.startswith("error: ")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


def test_files_are_open_where_asked(
    fates: grown_corpus.Fates, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    sql = f"COPY (SELECT count(*) AS n FROM links) TO '{new}'"
    assert query.main(["--corpus", fates.root, sql]) == 2
    assert "--allow-files" in capsys.readouterr().err
    assert query.main(["--corpus", fates.root, sql, "--allow-files"]) == 0
    assert new.read_text().startswith("n\n")


def test_terminals_get_no_control_characters(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT chr(27) || ']0;owned' || chr(7) || chr(8238) || chr(155) AS \"a\x1b[31m\x9b\""
    assert query.main(["--corpus", fates.root, sql]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a\\x1b[31m\\x9b",
        "-" * 26,
        "\\x1b]0;owned\\x07\\u202e\\x9b",
    ]
    for form in ("--csv", "--json", "--csv-safe"):
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout.isatty", lambda: True, raising=False)
            assert query.main(["--corpus", fates.root, sql, form]) == 0
        assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
    assert query.main(["--corpus", fates.root, sql, "--csv"]) == 0
    assert "\x1b]0;owned\x07" in capsys.readouterr().out


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_csv_safe_cells_are_no_formulas(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str], start: str
) -> None:
    sql = f"SELECT '{start}' AS a, 'x=1' AS b, -5 AS c, NULL AS d, -0.5 AS \"=e\""
    found = {}
    for form in ("--csv", "--csv-safe"):
        assert query.main(["--corpus", fates.root, sql, form]) == 0
        found[form] = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert found["--csv"] == [["a", "b", "c", "d", "=e"], [start, "x=1", "-5", "", "-0.5"]]
    assert found["--csv-safe"][0][-1] == "'=e"
    assert found["--csv-safe"][1] == [f"'{start}", "x=1", "-5", "", "-0.5"]


def test_bytes_are_hex_digits_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "c")
    open_corpus(root, create=True)
    shown = []
    for form in ([], ["--csv"], ["--csv-safe"], ["--json"]):
        assert query.main(["--corpus", root, "SELECT '\\xAA\\x0b'::BLOB AS x", *form]) == 0
        shown.append(capsys.readouterr().out.splitlines()[-1])
    assert shown == ["aa0b", "aa0b", "aa0b", '{"x": "aa0b"}']


def replace_documents(root: Path, change: Callable[[pa.Table], pa.Table], **options: Any) -> Path:
    """Write the first part of `documents` again."""
    part = next(
        path
        for path in sorted((root / "documents/2024-01").glob("*.parquet"))
        if pq.read_metadata(path).num_rows > 1
    )
    pq.write_table(change(pq.read_table(part)), part, **options)
    return part


def with_texts(rows: pa.Table, texts: pa.Array) -> pa.Table:
    """The table with other texts."""
    place = rows.column_names.index("text")
    return rows.set_column(place, pa.field("text", texts.type), texts)


def assert_refused(root: Path, part: Path, sql: str, fault: str) -> None:
    """The statement ends with one line of our reader."""
    with pytest.raises(SchemaError, match=fault) as caught:
        query.query(open_corpus(str(root)), sql)
    assert str(caught.value).startswith(str(part))
    assert len(str(caught.value).splitlines()) == 1


def test_a_part_that_unpacks_to_gigabytes_is_refused(
    fates_copy: grown_corpus.Fates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's scanner held 6 GB for a part of 13 KB."""
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 1 << 20)
    root = Path(fates_copy.root)

    def bomb(rows: pa.Table) -> pa.Table:
        indices = pa.array([0] * rows.num_rows, pa.int32())
        text = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (1 << 19)]))
        return with_texts(rows, text)

    part = replace_documents(root, bomb, store_schema=False)
    assert part.stat().st_size < 1 << 16
    for sql in ("SELECT sum(length(text)) FROM documents", "SELECT * FROM documents LIMIT 1"):
        assert_refused(root, part, sql, "unpacks to more than .* the limit is 1,048,576")


def test_faults_of_a_part_are_found_before_duckdb_sees_them(
    fates_copy: grown_corpus.Fates,
) -> None:
    root = Path(fates_copy.root)
    sql = "SELECT max(text) FROM documents"

    broken = pa.array([b"\xff"], pa.binary()).view(pa.string())
    part = replace_documents(root, lambda rows: with_texts(rows, pa.concat_arrays([broken] * rows.num_rows)))  # fmt: skip
    assert_refused(root, part, sql, "damaged Parquet .*UTF8")

    replace_documents(root, lambda rows: with_texts(rows, pa.array(range(rows.num_rows))))
    assert_refused(root, part, sql, r"column 'text' \(int64\), expected 'text' \(string\)")

    part.write_bytes(part.read_bytes()[:-40] + b"\0" * 40)
    assert_refused(root, part, sql, "damaged Parquet")

    part.unlink()
    assert_refused(root, part, sql, "the manifest names this part and it is missing")


def opened_parts(
    root: str, sql: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[dict[str, Any]]]:
    """Row groups that a statement decodes, and its rows."""
    decoded = []
    original = parquet.PartFile.read_row_group

    def watch(self: parquet.PartFile, index: int, columns: Any = None) -> pa.Table:
        decoded.append(f"{self._where}: {','.join(columns)}")
        return original(self, index, columns)

    with monkeypatch.context() as patch:
        patch.setattr(parquet.PartFile, "read_row_group", watch)
        rows = query.query(open_corpus(root), sql).to_pylist()
    return decoded, rows


def test_filters_spare_files_row_groups_and_columns(
    fates: grown_corpus.Fates, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = read_table(fates.store, "documents", "2024-01").to_pylist()
    one = documents[0]
    sql = f"SELECT url FROM documents WHERE doc_id = '{one['doc_id']}' AND batch = '2024-01'"
    decoded, rows = opened_parts(fates.root, sql, monkeypatch)
    assert rows == [{"url": one["url"]}]
    assert len(decoded) == 1
    assert "documents/2024-01" in decoded[0]
    assert "text" not in decoded[0]

    sql = "SELECT url FROM documents WHERE batch = 'none' AND score > 3"
    assert opened_parts(fates.root, sql, monkeypatch) == ([], [])

    best = f"SELECT url FROM documents WHERE score >= {one['score']} ORDER BY url"
    decoded, rows = opened_parts(fates.root, best, monkeypatch)
    every = [*documents, *read_table(fates.store, "documents", "2024-02").to_pylist()]
    wanted = sorted(each["url"] for each in every if each["score"] >= one["score"])
    assert [each["url"] for each in rows] == wanted
    assert all("text" not in each and "score" in each for each in decoded)


def test_a_long_result_is_counted_and_not_held(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT range AS n FROM range(25_000)"
    with query.opened(fates.store, sql) as (_, tables):
        assert max(table.num_rows for table in tables) <= query.PIECE_ROWS
    assert query.main(["--corpus", fates.root, sql]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + query.MAX_ROWS + 1
    assert lines[-1] == "... 25,000 rows; --json or --csv for all"
    assert query.main(["--corpus", fates.root, sql, "--csv"]) == 0
    assert capsys.readouterr().out.split() == ["n", *map(str, range(25_000))]


def test_sorts_beyond_memory_leave_nothing_in_the_users_folder(
    fates: grown_corpus.Fates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (row,) = query.query(
        fates.store, "SELECT current_setting('temp_directory') AS folder"
    ).to_pylist()
    assert "webtext-query-" in row["folder"]
    assert not Path(row["folder"]).exists()
    assert list(tmp_path.iterdir()) == []
