"""Rights are asked for again: one host changes its mind, and only its pages go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.storage.store import Store, open_store
from corpus.tables.parquet import read_table
from corpus.tables.takedown_list import takedowns
from tests.crawl.loopback import Batch, Web, ok
from webtext.rights import command as rights
from webtext.takedown import command as forget

NO = ok(b"User-agent: *\nContent-Signal: ai-train=no\n", kind="text/plain")
YES = ok(b"User-agent: *\nAllow: /\n", kind="text/plain")


def settings(batch: Batch) -> list[str]:
    words = batch.arguments
    return ["--corpus", batch.root, *words[words.index("--config") :]]


@pytest.fixture
def crawled(web: Web, tmp_path: Path) -> Batch:
    batch = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.0})
    batch.rights = {}
    for name in ("a", "b"):
        web.on(f"{name}.test/robots.txt", YES)
        web.on(f"{name}.test/.well-known/tdmrep.json", ok(b"", status="404 Not Found"))
        for n in range(3):
            page = f"<html><title>{name}{n}</title><p>A page of {name}, number {n}.</p></html>"
            web.on(f"{name}.test/{n}", ok(page.encode(), f'ETag: "{name}{n}"'))
    batch.links([f"http://{name}.test/{n}" for name in ("a", "b") for n in range(3)])
    assert all(row["reason"] is None for row in batch.crawl())
    return batch


def answers(store: Store) -> dict[str, str]:
    rows = read_table(store, "rights", "b").to_pylist()
    links = read_table(store, "links", "b").to_pylist()
    urls = {row["doc_id"]: row["url"] for row in links}
    return {urls[row["doc_id"]]: row["training"] for row in rows}


def test_one_host_changes_its_mind(
    web: Web, crawled: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(crawled.root)
    assert rights.main(["check", *settings(crawled)]) == 0
    assert "6 pages checked, 0 changed" in capsys.readouterr().out

    web.on("a.test/robots.txt", NO)
    hits = len(web.hits)
    assert rights.main(["check", *settings(crawled)]) == 0
    out = capsys.readouterr().out
    assert "http://a.test/0  unsaid -> no (content_signal)" in out
    assert "6 pages checked, 3 changed" in out
    assert "add --apply" in out
    asked = {hit.path for hit in web.hits[hits:]}
    assert asked == {"/robots.txt", "/.well-known/tdmrep.json"}, "no page was asked for"
    assert answers(store)["http://b.test/0"] == "unsaid"
    assert answers(store)["http://a.test/0"] == "no"
    assert any("rights-" in path for path, _ in store.files("warc/b"))


def test_applied_it_goes_and_nothing_else_changes(web: Web, crawled: Batch) -> None:
    store = open_store(crawled.root)
    before = {row["url"]: row for row in read_table(store, "pages", "b").to_pylist()}
    web.on("a.test/robots.txt", NO)
    assert rights.main(["check", *settings(crawled), "--apply"]) == 0
    left = {row["url"]: row for row in read_table(store, "pages", "b").to_pylist()}
    assert left == {url: row for url, row in before.items() if "//b.test/" in url}
    (record,) = takedowns(store)
    assert record.why.startswith("training_opt_out: content_signal")
    assert record.finished
    assert forget.main(["--corpus", crawled.root, "--prove", record.id]) == 0


def test_only_what_is_old_is_asked_again(
    crawled: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rights.main(["check", *settings(crawled), "--older-than", "180d"]) == 0
    assert "0 pages checked" in capsys.readouterr().out
    assert rights.main(["check", *settings(crawled), "--older-than", "soon"]) == 2


def test_pages_are_asked_by_conditional_requests(
    web: Web, crawled: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        for n in range(3):
            unchanged = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n"
            web.on(f"{name}.test/{n}", unchanged)
    web.on("b.test/2", ok(b"<html><meta name=robots content=noai><p>It says no now.</p></html>"))
    assert rights.main(["check", *settings(crawled), "--pages", "--json"]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    found = json.loads(last)
    assert found["checked"] == 6
    assert [each["url"] for each in found["changes"]] == ["http://b.test/2"]
    assert found["changes"][0]["refused"] == "robots_tag"
    headers = [hit.header for hit in web.hits if hit.path == "/1"]
    assert 'if-none-match: "a1"' in headers[-1].lower() + headers[-2].lower()


def test_the_report_is_made_of_tables(crawled: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert rights.main(["report", "--corpus", crawled.root, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["answers"] == {"unsaid": 6}
    summary = found["summary"]
    assert summary["crawler"]["names"] == ["webtext"]
    assert "content_signal" in summary["crawler"]["obeyed"]
    assert summary["modalities"]["text"]["pages"] == 6
    assert len(summary["period"]) == 2
    text = open_store(crawled.root).read_bytes("reports/rights.md").decode()
    assert "template of Article 53(1)(d)" in text
