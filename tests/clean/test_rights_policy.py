"""`clean.rights.policy` decides about pages that were stored although they say no."""

from __future__ import annotations

from pathlib import Path

import pytest

from clean import run as clean_run
from corpus.storage.store import open_store
from corpus.tables.manifest import find_manifest, read_manifest
from corpus.tables.parquet import read_table
from crawl import run as crawl_run
from crawl.warc.writer import digest, http_block, record_bytes
from tests.support.grown_corpus import prose

PAGES = {
    "http://a.test/silent": "",
    "http://b.test/no": '<meta name="robots" content="noai">',
    "http://c.test/agents": '<meta name="GPTBot" content="noai">',
    "http://d.test/by": '<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">x</a>',
}


def write_warc(path: Path) -> str:
    records = []
    for number, (url, head) in enumerate(PAGES.items()):
        html = f"<html><head>{head}</head><body><article>"
        html += "".join(f"<p>{line}</p>" for line in prose(url).split("\n"))
        body = (html + "</article></body></html>").encode()
        block = http_block("HTTP/1.1 200 OK", [(b"Content-Type", b"text/html")], body)
        fields = [
            ("WARC-Record-ID", f"<urn:uuid:00000000-0000-4000-8000-{number:012}>"),
            ("WARC-Date", "2024-01-02T03:04:05Z"),
            ("WARC-Target-URI", url),
            ("WARC-Payload-Digest", digest(body)),
        ]
        records.append(
            record_bytes("response", fields, block, "application/http; msgtype=response")
        )
    path.write_bytes(b"".join(records))
    return str(path)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("rights")
    root = str(folder / "corpus")
    words = ["--corpus", root, "--batch", "b", "--executor", "serial"]
    assert crawl_run.main([*words, "--warc", write_warc(folder / "a.warc")]) == 0
    return root


def clean(root: str, *sets: str) -> dict[str, str | None]:
    """Clean the batch; each page's reason."""
    settings = ("clean.extract.extractor=trafilatura-fast", "clean.language.min_score=0.0", *sets)
    words = [word for each in settings for word in ("--set", each)]
    arguments = ["--corpus", root, "--batch", "b", "--executor", "serial", "--rebuild", *words]
    assert clean_run.main(arguments) == 0
    store = open_store(root)
    kept = read_table(store, "documents", "b", ["url"])["url"].to_pylist()
    dropped = read_table(store, "documents_dropped", "b", ["url", "reason"]).to_pylist()
    return dict.fromkeys(kept) | {row["url"]: row["reason"] for row in dropped}


def test_an_import_says_what_its_pages_say(imported: str) -> None:
    rows = read_table(open_store(imported), "rights", "b").to_pylist()
    links = read_table(open_store(imported), "links", "b").to_pylist()
    urls = {row["doc_id"]: row["url"] for row in links}
    assert {urls[row["doc_id"]].rpartition("/")[2]: row["training"] for row in rows} == {
        "silent": "unsaid",
        "no": "no",
        "agents": "unsaid",
        "by": "yes",
    }
    (row,) = [row for row in rows if row["training"] == "no"]
    assert row["signals"][0]["value"] == "robots: noai"
    assert row["evidence"] == ["urn:uuid:00000000-0000-4000-8000-000000000001"]


def test_the_policy_drops_what_says_no(imported: str) -> None:
    reasons = clean(imported)
    assert reasons["http://b.test/no"] == "training_opt_out"
    assert sum(reason is None for reason in reasons.values()) == 3
    assert read_manifest(open_store(imported), "documents", "b").counts["training_opt_out"] == 1
    first = read_manifest(open_store(imported), "documents", "b").fingerprint

    assert set(clean(imported, "clean.rights.policy=record").values()) == {None}
    assert read_manifest(open_store(imported), "documents", "b").fingerprint != first

    reasons = clean(imported, "clean.rights.policy.ai_agents=obey")
    assert reasons["http://c.test/agents"] == "training_opt_out"


def test_a_batch_without_the_table_is_as_before(imported: str, tmp_path: Path) -> None:
    store = open_store(imported)
    store.delete_dir("rights")
    assert find_manifest(store, "rights", "b") is None
    assert set(clean(imported).values()) == {None}
