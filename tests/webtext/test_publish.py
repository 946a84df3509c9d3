"""A published snapshot opens with other people's libraries, and its card says what the tables say."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import datasets  # type: ignore[import-untyped]
import mlcroissant  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml  # type: ignore[import-untyped]

from corpus.snapshots.snapshot import read_snapshot, snapshots
from corpus.storage.store import open_store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from shards.reader import open_split
from shards.tokenizer.encode import load_tokenizer
from tests.support import grown_corpus
from webtext.publish import card, command, facts
from webtext.publish.files import Written, write_rows


@pytest.fixture(scope="module")
def name(fates: grown_corpus.Fates) -> str:
    return snapshots(fates.store)[-1]


@pytest.fixture(scope="module")
def folder(fates: grown_corpus.Fates, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("published")
    assert publish(fates, name, place) == 0
    return place


def publish(fates: grown_corpus.Fates, name: str, place: Path, *more: str) -> int:
    words = ["--corpus", fates.root, "--snapshot", name, "--to", str(place)]
    return command.main([*words, "--contact", "take-down@example.org", *more])


def load(folder: Path, config: str, split: str, tmp_path: Path) -> datasets.Dataset:
    return datasets.load_dataset(str(folder), config, split=split, cache_dir=str(tmp_path))


def test_documents_are_those_of_the_snapshot(
    fates: grown_corpus.Fates, name: str, folder: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(fates.store)
    for split in (open_split(fates.root, name, "train"), open_split(fates.root, name, "val")):
        published = "validation" if split.name == "val" else "train"
        rows = load(folder, "documents", published, tmp_path)
        found = split.documents(0, split.num_tokens)
        assert rows["id"] == [each.doc_id for each in found]
        texts = [tokenizer.document_text(split.slice(d.start, d.stop).tolist()) for d in found]
        assert rows["text"] == texts
        assert rows["token_count"] == [each.stop - each.start - 1 for each in found]
        assert sum(rows["token_count"]) + len(found) == split.num_tokens

    streamed = datasets.load_dataset(str(folder), "documents", split="train", streaming=True)
    assert next(iter(streamed))["url"].startswith("http")


def test_every_page_is_a_document_or_a_removal_with_a_reason(
    fates: grown_corpus.Fates, folder: Path, tmp_path: Path
) -> None:
    kept = [
        each
        for split in ("train", "validation")
        for each in load(folder, "documents", split, tmp_path)["id"]
    ]
    removed = load(folder, "removed", "train", tmp_path)
    links = load(folder, "links", "train", tmp_path)
    assert None not in removed["reason"]
    assert {*kept, *removed["id"]} == set(links["doc_id"])
    copy = next(row for row in removed if row["url"] == fates.copy)
    assert (copy["stage"], copy["reason"]) == ("dedup", "exact_duplicate")
    survivor = copy["duplicate_of"]
    [original] = [
        row for row in load(folder, "documents", "train", tmp_path) if row["id"] == survivor
    ] or [row for row in load(folder, "documents", "validation", tmp_path) if row["id"] == survivor]
    assert original["duplicates"] >= 2


def test_tokens_are_the_stream(
    fates: grown_corpus.Fates, name: str, folder: Path, tmp_path: Path
) -> None:
    split = open_split(fates.root, name, "train")
    rows = load(folder, "tokens", "train", tmp_path)["input_ids"]
    assert [token for row in rows for token in row] == split.slice(0, split.num_tokens).tolist()
    assert {len(row) for row in rows[:-1]} <= {1024}


def test_the_card_follows_the_tables(
    fates_copy: grown_corpus.Fates, name: str, folder: Path, tmp_path: Path
) -> None:
    text = (folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert [each["config_name"] for each in head["configs"]] == [
        "documents",
        "tokens",
        "links",
        "removed",
    ]
    snapshot = read_snapshot(fates_copy.store, name)
    documents = sum(split.num_documents for split in snapshot.splits.values())
    assert f"{documents:,} documents" in text
    assert snapshot.digest in text
    assert read_manifest(fates_copy.store, "links", "2024-01").fingerprint in text

    # Another number in a manifest is another number in the card.
    path = Path(fates_copy.root) / "pages/2024-01/_manifest.json"
    record = json.loads(path.read_text())
    record["counts"]["http_404"] = record["counts"].get("http_404", 0) + 4321
    path.write_text(json.dumps(record))
    for batch in ("2024-01", "2024-02"):
        path = Path(fates_copy.root) / f"documents/{batch}/_manifest.json"
        record = json.loads(path.read_text())
        record["config"]["personal"]["replace"] = True
        path.write_text(json.dumps(record))
    assert publish(fates_copy, name, tmp_path / "again") == 0
    changed = (tmp_path / "again/README.md").read_text()
    found = re.search(r"http_404 ([\d,]+)", changed)
    assert found is not None
    assert int(found[1].replace(",", "")) >= 4321
    assert found[0] not in text

    sheets = [(place / "datasheet.md").read_text() for place in (folder, tmp_path / "again")]
    assert all(f"{documents:,} documents" in sheet for sheet in sheets)
    assert "take-down@example.org" in sheets[0]
    assert "addresses in texts were not replaced" in sheets[0]
    assert "addresses in texts were replaced by examples" in sheets[1]


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
def test_croissant_is_valid(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not record.metadata.ctx.issues.errors
    assert not record.metadata.ctx.issues.warnings
    assert not caplog.records
    names = {each.name for each in record.metadata.record_sets}
    assert {"documents-train", "documents-validation", "links-train", "removed-train"} <= names


def test_sums_hold(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {path: digest for digest, path in (line.split("  ") for line in lines)}
    files = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    } - {"SHA256SUMS"}
    assert set(listed) == files
    for path, digest in listed.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest


def test_parts_of_it(fates: grown_corpus.Fates, name: str, tmp_path: Path) -> None:
    assert publish(fates, name, tmp_path / "ids", "--no-text") == 0
    rows = load(tmp_path / "ids", "documents", "train", tmp_path / "cache")
    assert "text" not in rows.column_names
    assert not (tmp_path / "ids/data/tokens").exists()

    assert (
        publish(fates, name, tmp_path / "some", "--where", "token_count > 150 AND rights IS NULL")
        == 0
    )
    some = load(tmp_path / "some", "documents", "train", tmp_path / "cache")
    counts = load(tmp_path / "ids", "documents", "train", tmp_path / "cache")["token_count"]
    assert some["token_count"] == [count for count in counts if count > 150]


def test_wrong_input_is_refused(
    fates: grown_corpus.Fates,
    name: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert publish(fates, name, folder) == 2
    assert "has files already" in capsys.readouterr().err
    assert publish(fates, name, tmp_path / "a", "--columns", "text,nothing") == 2
    assert "--columns nothing: no such column; there are text, id" in capsys.readouterr().err
    for condition in ("nothing > 1", "read_text('/etc/hostname') IS NULL"):
        assert publish(fates, name, tmp_path / condition[:1], "--where", condition) == 2
        assert "--where" in capsys.readouterr().err


def test_files_are_bounded(tmp_path: Path) -> None:
    store, written = open_store(str(tmp_path)), Written()
    schema = pa.schema([("n", pa.binary())])
    rows = [
        pa.table(
            [pa.array([bytes([k]) + (k * b"\x01\x07").ljust(9_000, bytes([k]))] * 4)], schema=schema
        )
        for k in range(40)
    ]
    write_rows(store, written, "x", "train", schema, rows, max_bytes=2_000)
    files = sorted((tmp_path / "data/x").iterdir())
    assert len(files) > 1
    assert written.rows["x", "train"] == 160
    read = pa.concat_tables(pq.read_table(file) for file in files)
    assert read.equals(pa.concat_tables(rows))
    empty = open_store(str(tmp_path / "empty"))
    write_rows(empty, written, "y", "train", schema, [], max_bytes=2_000)
    assert written.rows["y", "train"] == 0
    assert (tmp_path / "empty/data/y/train-00000.parquet").exists()


def test_no_trace_of_an_erased_page(
    fates: grown_corpus.Fates, folder: Path, tmp_path: Path
) -> None:
    dropped = read_table(fates.store, "documents_dropped", "2024-01")
    gone = dropped.filter(pc.equal(dropped["reason"], "taken_down"))["doc_id"].to_pylist()
    assert not set(gone) & set(load(folder, "removed", "train", tmp_path)["id"])


def test_the_card_counts_pages_without_a_row_of_documents(fates: grown_corpus.Fates) -> None:
    """Their domain and languages are unknown: sorted beside names, they ended in a traceback."""
    snapshot = read_snapshot(fates.store, snapshots(fates.store)[-1])
    gathered = facts.gather(fates.store, snapshot)
    for counter in (gathered.domains, gathered.languages, gathered.extractors, gathered.rights):
        counter.update({None: 2, "a.test": 2, "b.test": 1})  # type: ignore[dict-item]
    gathered.documents = 5
    rows = [line for line in card._sources(gathered).splitlines() if line.startswith("|")]
    assert any(line.split("|")[1].strip() == "" and "40.00%" in line for line in rows)
    assert any("a.test" in line for line in rows)
    assert "unknown 2" in card._counts(gathered.languages)
