"""A crawl reads what sites and pages say about training, obeys it by the policy, and keeps the proof."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from corpus.storage.store import open_store
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from corpus.tables.segments import segment_files
from tests.crawl.loopback import Batch, Web, ok
from tests.crawl.rights.web_of_signals import SignalHost, hosts, rsl

HOSTS = hosts()


def serve(web: Web, host: SignalHost) -> str:
    """Put a host on the web; the address of its page."""
    name = f"{host.name}.test"
    if host.robots:
        web.on(f"{name}/robots.txt", ok(host.robots.encode(), kind="text/plain"))
    missing = ok(b"", status="404 Not Found")
    tdmrep = ok(host.tdmrep.encode(), kind="application/json") if host.tdmrep else missing
    web.on(f"{name}/.well-known/tdmrep.json", tdmrep)
    web.on(f"{name}/license.xml", missing)
    for path, text in host.files.items():
        web.on(f"{name}{path}", ok(text.encode(), kind="application/rsl+xml"))

    lines = b"".join(f"{key}: {value}\r\n".encode() for key, value in host.headers)
    answer = ok(host.page)
    web.on(f"{name}/page", answer.replace(b"\r\n", b"\r\n" + lines, 1))
    return f"http://{name}/page"


def crawl(web: Web, folder: Path, policy: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Crawl all hosts; rows of `pages` and of `rights` by host."""
    batch = Batch(folder, str(folder / "corpus"), web.port, {"delay_s": 0.0})
    batch.rights = {} if policy is None else {"policy": policy}
    batch.links([serve(web, host) for host in HOSTS])
    pages = {row["url"].split("/")[2].removesuffix(".test"): row for row in batch.crawl()}
    names = {row["doc_id"]: name for name, row in pages.items()}
    rights = read_table(open_store(batch.root), "rights", "b").to_pylist()
    return pages, {names[row["doc_id"]]: row for row in rights}


def records(root: Path) -> dict[str, tuple[str, str, bytes]]:
    """All WARC records by id: type, address, payload."""
    store = open_store(str(root))
    found = {}
    for path, _ in segment_files(store, "b"):
        for record in ArchiveIterator(io.BytesIO(store.read_bytes(path)), parse_http=True):
            found[record.record_id.strip("<>")] = (
                "response" if record.record_type == WarcRecordType.response else "other",
                record.headers.get("WARC-Target-URI", ""),
                record.reader.read(),
            )
    return found


def test_a_no_is_obeyed_and_kept_with_its_proof(web: Web, tmp_path: Path) -> None:
    pages, rights = crawl(web, tmp_path)
    stored = records(tmp_path / "corpus")

    for host in HOSTS:
        page, row = pages[host.name], rights[host.name]
        assert row["training"] == host.training, host.name
        asked = any(hit.path == "/page" for hit in web.of(f"{host.name}.test"))
        assert asked is host.asked, host.name
        assert all(each in stored for each in row["evidence"]), host.name

        if host.signal is None:
            assert page["reason"] is None, host.name
            continue
        assert page["reason"] == "training_opt_out", host.name
        assert page["cause"] == host.signal, host.name
        assert page["warc_file"] is None, host.name
        assert row["evidence"], host.name
        said = [each for each in row["signals"] if each["says"] == "no"]
        assert host.signal in {each["signal"] for each in said}, host.name
        assert all(each["value"] and each["where"] for each in said)

    payloads = [payload for kind, _, payload in stored.values() if kind == "response"]
    refused = [host for host in HOSTS if host.signal is not None]
    for host in refused:
        assert not any(f"<h1>{host.name}</h1>".encode() in each for each in payloads), host.name

    counts = read_manifest(open_store(str(tmp_path / "corpus")), "pages", "b").counts
    assert counts["training_opt_out"] == len(refused)
    for signal in {host.signal for host in refused}:
        number = sum(host.signal == signal for host in refused)
        assert counts[f"training_opt_out:{signal}"] == number


def test_record_keeps_everything_and_says_the_same(web: Web, tmp_path: Path) -> None:
    pages, rights = crawl(web, tmp_path, "record")
    for host in HOSTS:
        assert pages[host.name]["reason"] is None, host.name
        assert rights[host.name]["training"] == host.training, host.name


def test_a_signal_is_obeyed_where_it_is_set(web: Web, tmp_path: Path) -> None:
    policy = {"ai_agents": "obey", "noarchive": "obey", "rsl": "record"}
    pages, rights = crawl(web, tmp_path, policy)
    assert pages["agents"]["cause"] == "ai_agents"
    assert rights["agents"]["training"] == "no"
    assert pages["noarchive"]["cause"] == "noarchive"
    assert pages["rsl-inline"]["reason"] is None
    assert rights["rsl-inline"]["training"] == "no", "recorded all the same"
    assert pages["usage-robots"]["cause"] == "content_usage"


@pytest.mark.parametrize("status", ["503 Service Unavailable", "404 Not Found"])
def test_what_cannot_be_read_is_told_from_what_is_not_there(
    web: Web, tmp_path: Path, status: str
) -> None:
    batch = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.0, "retries": 0})
    batch.rights = {}
    web.on("a.test/robots.txt", ok(b"License: http://b.test/l.xml\n", kind="text/plain"))
    for path in ("a.test/.well-known/tdmrep.json", "b.test/l.xml"):
        web.on(path, ok(b"", status=status))
    batch.links(["http://a.test/page"])
    (page,) = batch.crawl()
    assert page["reason"] is None
    (row,) = read_table(open_store(batch.root), "rights", "b").to_pylist()
    assert row["training"] == "unsaid"
    said = [(each["signal"], each["says"], each["value"]) for each in row["signals"]]
    unreadable = [("tdmrep", "unreadable", "status_503"), ("rsl", "unreadable", "status_503")]
    assert said == (unreadable if status.startswith("503") else [])


def test_a_licence_document_of_many_pages_is_fetched_once(web: Web, tmp_path: Path) -> None:
    """On another host, behind a redirect, for pages of two sites."""
    batch = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.0})
    batch.rights = {}
    moved = ok(b"", status="302 Found").replace(
        b"\r\n", b"\r\nLocation: http://c.test/new.xml\r\n", 1
    )
    web.on("c.test/l.xml", moved)
    web.on("c.test/new.xml", ok(rsl("http://b.test/").encode(), kind="application/rsl+xml"))
    for name in ("a", "b"):
        web.on(f"{name}.test/robots.txt", ok(b"License: http://c.test/l.xml\n", kind="text/plain"))
    batch.links([f"http://{name}.test/{n}" for name in ("a", "b") for n in range(5)])
    reasons = {row["url"]: row["reason"] for row in batch.crawl()}
    assert web.paths("c.test") == ["/l.xml", "/new.xml"]
    assert all(reasons[f"http://a.test/{n}"] is None for n in range(5))
    assert all(reasons[f"http://b.test/{n}"] == "training_opt_out" for n in range(5))
