from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from xxhash import xxh3_128_hexdigest

from clean import run as clean_run
from corpus.storage.store import open_corpus
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from corpus.tables.takedown_list import Takedown, write_takedown
from crawl import run as crawl_run
from crawl.warc import records
from crawl.warc.archives import RecordDisposition
from crawl.warc.writer import digest
from tests.support.foreign_warc import HTML, TYPE, archive
from webtext.reports import html


def door(root: Path, files: Sequence[Path], *more: str, batch: str = "b") -> int:
    given = ["--warc", *map(str, files)] if files else []
    return crawl_run.main(
        ["--corpus", str(root), "--batch", batch, "--workers", "1", *given, *more]
    )


def clean(root: Path) -> int:
    words = ["--corpus", str(root), "--batch", "b", "--workers", "1"]
    return clean_run.main([*words, "--set", "clean.quality.min_words=60"])


def answers(names: str, body: bytes = HTML) -> bytes:
    return archive(
        [(f"http://e.example/{name}", "200 OK", body, TYPE) for name in names], compressed=True
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.warc.gz" for name in ("one", "two")]
    paths[0].write_bytes(answers("abcd"))
    paths[1].write_bytes(answers("zzzzdef", HTML + b"newer "))  # d was captured later here
    return paths


def test_links_and_pages_add_up_and_the_latest_capture_stays(
    tmp_path: Path, files: list[Path]
) -> None:
    assert door(tmp_path / "c", files) == 0
    store = open_corpus(str(tmp_path / "c"))
    pages = read_table(store, "pages", "b").to_pylist()
    links = read_table(store, "links", "b").to_pylist()
    assert [row["doc_id"] for row in pages] == [row["doc_id"] for row in links]
    assert {row["url"][-1] for row in links} == set("abcdefz")
    for row in pages:
        assert row["doc_id"] == xxh3_128_hexdigest(f"e.example/{row['url'][-1]}".encode())
        response = records.read_response(
            store, row["warc_file"], row["warc_offset"], row["warc_length"]
        )
        assert response.body == HTML + (b"newer " if row["url"][-1] in "defz" else b"")
        assert digest(response.body) == row["payload_digest"]
    counts = read_manifest(store, "pages", "b").counts
    assert counts["fetched"] + counts["capture:earlier"] == counts[RecordDisposition.CAPTURE] == 11
    assert (
        sum(counts[disposition] for disposition in RecordDisposition if disposition in counts)
        == 2 * 11 + 2
    )


def test_the_same_files_give_the_same_bytes(tmp_path: Path, files: list[Path]) -> None:
    assert door(tmp_path / "c", files) == 0
    assert door(tmp_path / "d", files[::-1]) == 0
    stores = [open_corpus(str(tmp_path / name)) for name in "cd"]
    digests = [
        [
            part.digest
            for table in ("links", "pages")
            for part in read_manifest(store, table, "b").parts
        ]
        for store in stores
    ]
    assert digests[0] == digests[1]
    segments = [path for path, _ in stores[0].files("warc/b") if path.endswith(".gz")]
    assert segments
    assert [stores[0].read_bytes(path) for path in segments] == [
        stores[1].read_bytes(path) for path in segments
    ]
    assert door(tmp_path / "c", files[::-1]) == 0, "up to date, in whatever order"


def test_a_page_stays_with_the_batch_that_stored_it(tmp_path: Path, files: list[Path]) -> None:
    assert door(tmp_path / "c", files[:1]) == 0
    assert door(tmp_path / "c", files[1:], batch="later") == 0
    store = open_corpus(str(tmp_path / "c"))
    later = read_table(store, "links", "later", ["url"])["url"].to_pylist()
    assert {url[-1] for url in later} == set("efz")
    assert read_manifest(store, "pages", "later").counts["capture:seen_before"] == 1


def test_what_was_taken_down_does_not_come_back(tmp_path: Path, files: list[Path]) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    keys = {xxh3_128_hexdigest(b"e.example/a"): "e.example/a"}
    write_takedown(
        store, Takedown(id="t", asked=[], when="2024-05-02", url_keys=keys, domains=["out.example"])
    )
    other = tmp_path / "other.warc.gz"
    other.write_bytes(
        archive([("http://deep.out.example/x", "200 OK", HTML, TYPE)], compressed=True)
    )
    assert door(tmp_path / "c", [*files, other]) == 0
    for table in ("links", "pages"):
        assert {row["url"][-1] for row in read_table(store, table, "b").to_pylist()} == set(
            "bcdefz"
        )
    assert read_manifest(store, "pages", "b").counts["capture:taken_down"] == 2


def test_a_rebuild_leaves_no_old_segments_and_a_crawl_is_not_replaced(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "c"
    assert door(root, files) == 0
    assert door(root, files[:1]) == 2
    assert "--rebuild" in capsys.readouterr().err
    assert door(root, files[:1], "--rebuild") == 0
    store = open_corpus(str(root))
    named = set(read_table(store, "pages", "b", ["warc_file"])["warc_file"].to_pylist())
    assert {path for path, _ in store.files("warc/b") if path.endswith(".gz")} == named
    manifest = read_manifest(store, "links", "b")
    store.write_bytes(
        "links/b/_manifest.json",
        manifest.model_copy(update={"inputs": []}).model_dump_json().encode(),
    )
    assert door(root, files, "--rebuild") == 2
    assert "name another batch" in capsys.readouterr().err


def test_an_imported_batch_is_not_fetched_and_its_lost_part_names_the_import(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(tmp_path / "c", files) == 0
    assert door(tmp_path / "c", [], "--set", "crawl.fetch.contact=a@b.example") == 2
    assert "--warc FILE" in capsys.readouterr().err
    store = open_corpus(str(tmp_path / "c"))
    store.delete(f"pages/b/{read_manifest(store, 'pages', 'b').parts[0].file}")
    assert clean(tmp_path / "c") != 0
    assert "--rebuild --warc FILE" in capsys.readouterr().err


def test_a_missing_file_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(tmp_path / "c", [tmp_path / "none.warc.gz"]) == 2
    assert "none.warc.gz" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["warc.paths.gz", "notes.txt"])
def test_a_file_without_a_record_is_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = b"crawl-data/CC-MAIN-2026-01/segments/1/warc/a.warc.gz\n" * 9
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert door(tmp_path / "c", [path]) == 2
    assert f"{name}: no WARC record" in capsys.readouterr().err


def test_a_batch_is_made_again_from_its_own_segments_alone(
    tmp_path: Path, files: list[Path]
) -> None:
    """Documents need neither the foreign files nor the tables: the stored WARC files alone give them again."""
    long = tmp_path / "long.warc"
    prose = b"".join(
        b"<p>Sentence %d tells of the owl in the tower of the old church.</p>" % i for i in range(9)
    )
    long.write_bytes(answers("ab", b"<html><body><article>" + prose))
    assert door(tmp_path / "c", [long]) == 0
    long.unlink()
    assert clean(tmp_path / "c") == 0
    store = open_corpus(str(tmp_path / "c"))
    segments = [tmp_path / "c" / path for path, _ in store.files("warc/b") if path.endswith(".gz")]
    assert door(tmp_path / "d", segments) == 0
    assert clean(tmp_path / "d") == 0
    columns = ["doc_id", "url", "text", "fetched_at"]
    documents = [
        read_table(open_corpus(str(tmp_path / name)), "documents", "b", columns).to_pylist()
        for name in "cd"
    ]
    assert documents[0] == documents[1]
    assert len(documents[0]) == 2


def test_a_batch_without_submissions_tells_of_none(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(tmp_path / "c", files) == 0
    store = open_corpus(str(tmp_path / "c"))
    written = Path(html.write(store)).read_text()
    for told in (capsys.readouterr().out, written):
        assert "links" in told
        assert "submissions" not in told
