"""Dead links of a batch come back from an archive as a batch of their own."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import SchemaError
from corpus.storage.store import Store, open_store
from corpus.tables.commit import commit_table
from corpus.tables.parquet import part_paths, read_table, write_part
from corpus.tables.schemas import DOCUMENTS_DROPPED, PAGES
from crawl import run
from crawl.captures import revive
from crawl.captures.dead_links import dead_links
from crawl.captures.groups import receipts
from crawl.outcomes import Outcome, Reason, to_table
from crawl.warc.archives import archive_name
from tests.crawl.captures.made_archive import member
from tests.crawl.links.test_dumps import PAGE, _dump, _fetched, _links, _url
from webtext.inspection.explain import trace
from webtext.inspection.explain_text import render
from webtext.inspection.query import query
from webtext.reports.years import by_year, section
from webtext.takedown import command as takedown

GONE: dict[str, Any] = {"status": 404, "reason": Reason.HTTP_STATUS}
BUSY: dict[str, Any] = {"status": 503, "reason": Reason.HTTP_STATUS}
LATE = datetime(2024, 1, 1, tzinfo=UTC)
NO_HOST: dict[str, Any] = {"status": None, "reason": Reason.DNS_NOT_FOUND}


@pytest.fixture
def corpus(tmp_path: Path) -> Store:
    """A batch of seven links: three are dead, one is a soft failure, one is taken down."""
    store = open_store(str(tmp_path / "corpus"))
    assert _links(store, "b", [_dump(tmp_path / "RS_1", [5, 6, 7, 8, 9, 10, 11])]) == 0
    _fetched(store, "b", [PAGE, GONE, BUSY, NO_HOST, PAGE, GONE, GONE])
    ids = _ids(store)
    row = {"doc_id": ids[_url(4)], "url": _url(4), "step": "soft_failures", "reason": "parked"}
    table = pa.Table.from_pylist([row], DOCUMENTS_DROPPED.schema)
    folder = DOCUMENTS_DROPPED.folder("b")
    part = write_part(store, folder, "part-00000.parquet", DOCUMENTS_DROPPED, [table])
    commit_table(
        store, DOCUMENTS_DROPPED, "b", parts=[part], inputs=[], config={}, counts={}, wall_s=0.0
    )
    taken = ["--corpus", store.root, "--url", _url(6), "--why", "a test", "--yes"]
    assert takedown.main(taken) == 0
    return store


def test_pages_of_an_earlier_version_are_read_without_their_capture(corpus: Store) -> None:
    rows = read_table(corpus, "pages", "b")
    old = rows.drop_columns(list(PAGES.later_columns))
    _rewrite(corpus, list(PAGES.later_columns))
    assert read_table(corpus, "pages", "b").drop_columns(list(PAGES.later_columns)) == old
    assert read_table(corpus, "pages", "b", ["capture"])["capture"].null_count == rows.num_rows
    assert "fetched" in render(trace(corpus, _url(0)))
    counted = query(corpus, "SELECT count(*) n, count(capture) c FROM pages").to_pylist()
    assert counted == [{"n": rows.num_rows, "c": 0}]

    # Any other missing column is a damaged table, as before.
    _rewrite(corpus, ["repairs"])
    with pytest.raises(SchemaError, match="not the table pages"):
        read_table(corpus, "pages", "b")


def test_fetched_pages_are_live() -> None:
    [row] = to_table([Outcome(doc_id="0" * 32, url="http://a.test/")]).to_pylist()
    assert (row["capture"], row["captured_at"]) == ("live", None)


def _rewrite(store: Store, without: list[str]) -> None:
    for path in part_paths(store, "pages", "b"):
        file = Path(store.root) / path
        pq.write_table(pq.ParquetFile(file).read().drop_columns(without), file)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("https://data.archive.example/crawl/a.warc.gz#12", "data.archive.example"),
        ("http://user:secret@Archive.example:8080/web/2010id_/http://x/", "archive.example:8080"),
        ("s3://bucket/crawl/a.warc.gz#7", "bucket"),
        ("/home/me/old.warc.gz#7", "old.warc.gz"),
        ("old.warc.gz", "old.warc.gz"),
        ("<http://archive.example/x>", "archive.example"),
        ("http://[broken/x", "http://[broken/x"),
    ],
)
def test_an_origin_names_its_archive(origin: str, name: str) -> None:
    assert archive_name(origin) == name


def _ids(store: Store) -> dict[str, str]:
    rows = read_table(store, "links", "b", ["doc_id", "url"]).to_pylist()
    return {row["url"]: row["doc_id"] for row in rows}


def _archive(store: Store, path: Path, numbers: list[int]) -> Path:
    """Captures of some pages, a day before and a year after each submission."""
    created = {row["url"]: row["created"] for row in read_table(store, "links", "b").to_pylist()}
    members = [
        member(
            _url(n),
            created.get(_url(n), LATE) + shift,
            200,
            b"<p>" + text + str(n).encode(),
            revisit=False,
        )
        for n in numbers
        for shift, text in ((timedelta(days=-1), b"then "), (timedelta(days=365), b"later "))
    ]
    path.write_bytes(b"".join(members))
    return path


def test_dead_links_are_permanent_failures_and_soft_ones(corpus: Store) -> None:
    found = {each.url: each.why for each in dead_links(corpus, "b")}
    assert found == {
        _url(1): "http_status",
        _url(3): "dns_not_found",
        _url(4): "parked",
        _url(5): "http_status",
    }


def test_captures_become_a_batch_with_the_links_of_the_first(
    corpus: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = _archive(corpus, tmp_path / "old.warc.gz", [0, 1, 3, 4, 6])
    asked = ["--corpus", corpus.root, "--batch", "b", "--index", str(index)]
    assert revive.main([*asked, "--plan"]) == 0
    assert "3 of 4 dead links have a capture (75%)" in capsys.readouterr().out
    assert not corpus.exists("revived/b/part-00000.json")

    assert revive.main(asked) == 0
    assert "no_capture 1, revived 3" in capsys.readouterr().out
    warc = f"{corpus.root}/revived/b/part-00000.warc.gz"
    assert run.main(["--corpus", corpus.root, "--batch", "b-revived", "--warc", warc]) == 0

    links = {row["url"]: row for row in read_table(corpus, "links", "b-revived").to_pylist()}
    assert {url: row["score"] for url, row in links.items()} == {
        _url(1): 6, _url(3): 8, _url(4): 9,
    }  # fmt: skip
    assert by_year(corpus, ["b", "b-revived"]) == {
        min(links.values(), key=lambda row: row["created"])["created"].year: {
            "live": 1, "revived": 3, "lost": 2,
        }
    }  # fmt: skip
    assert "revived 3" in section(corpus, ["b", "b-revived"])
    for page in read_table(corpus, "pages", "b-revived").to_pylist():
        captured = links[page["url"]]["created"] - timedelta(days=1)
        assert page["fetched_at"] == page["captured_at"] == captured
        assert page["capture"] == "old.warc.gz"

    receipt = corpus.read_json("revived/b/part-00000.json")
    ids = {each["url"]: each["record_id"] for each in receipt["links"] if each["record_id"]}
    found = query(corpus, "SELECT url, original_record_id FROM pages WHERE capture <> 'live'")
    assert {row["url"]: row["original_record_id"] for row in found.to_pylist()} == ids
    assert "Pages from archives: old.warc.gz 3<" in section(corpus, ["b", "b-revived"])
    told = render(trace(corpus, _url(1)))
    assert f"captured by old.warc.gz on {captured:%Y-%m-%d}, record {ids[_url(1)]}" in told


def test_a_killed_run_continues_with_the_groups_without_a_receipt(
    corpus: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revive, "GROUP_LINKS", 1)
    index = _archive(corpus, tmp_path / "old.warc.gz", [1, 3, 4])
    asked = ["--corpus", corpus.root, "--batch", "b", "--index", str(index)]
    assert revive.main(asked) == 0
    receipts = [f"revived/b/part-{n:05}.json" for n in range(4)]
    whole = [corpus.read_json(each) for each in receipts]

    # A kill after the segment and before the receipt.
    folder = Path(corpus.root)
    os.unlink(folder / receipts[2])
    before = (folder / receipts[1]).stat().st_mtime_ns
    assert revive.main(asked) == 0
    assert [json.loads((folder / each).read_text()) for each in receipts] == whole
    assert (folder / receipts[1]).stat().st_mtime_ns == before
    assert [link["doc_id"] for each in whole for link in each["links"]] == sorted(
        link.doc_id for link in dead_links(corpus, "b")
    )


def test_a_take_down_removes_the_group_and_the_rest_comes_again(
    corpus: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revive, "GROUP_LINKS", 2)
    index = _archive(corpus, tmp_path / "old.warc.gz", [1, 3, 4])
    asked = ["--corpus", corpus.root, "--batch", "b", "--index", str(index)]
    assert revive.main(asked) == 0
    taken = ["--corpus", corpus.root, "--url", _url(3), "--why", "a test", "--yes"]
    assert takedown.main(taken) == 0
    named = [each["url"] for _, receipt in receipts(corpus, "b") for each in receipt["links"]]
    assert len(named) == 2
    assert _url(3) not in named

    assert revive.main(asked) == 0
    named = [each["url"] for _, receipt in receipts(corpus, "b") for each in receipt["links"]]
    assert sorted(named) == sorted([_url(1), _url(4), _url(5)])
