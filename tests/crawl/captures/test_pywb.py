"""Captures served by pywb: its index, its replay, and a crawl that asks both.

pywb is no dependency: its virtual environment is named by WEBTEXT_PYWB, or `wayback` is on the
PATH. In the suite 30 histories are served, in `make soak` 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from corpus.storage.store import open_store
from crawl import run
from crawl.captures.cdx_server import CdxServer
from crawl.captures.choice import candidates
from crawl.captures.client import ArchiveClient
from crawl.captures.index import IndexedCapture
from crawl.captures.record import RecordSource, fetch_record
from crawl.fetch.settings import FetchConfig
from crawl.warc import records
from tests.crawl.captures.made_archive import Archive
from tests.crawl.captures.pywb import Pywb, tool
from tests.crawl.loopback import Batch

WHEN = datetime(2009, 6, 1, tzinfo=UTC)
WINDOW = timedelta(days=1500)


pytestmark = pytest.mark.skipif(
    tool("wayback") is None or tool("wb-manager") is None,
    reason="pywb is not installed; install it in an environment of its own and set WEBTEXT_PYWB",
)


@dataclass(frozen=True)
class Served:
    """A made archive and the pywb that serves it."""

    archive: Archive
    server: Pywb


@pytest.fixture(scope="module", params=[30, pytest.param(1000, marks=pytest.mark.soak)])
def pywb(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pywb")
    archive = Archive(folder, request.param, seed=11)
    found = Served(archive, Pywb(archive.path, folder))
    yield found
    found.server.close()


def client() -> ArchiveClient:
    config = {"delay_s": 0.0, "allow_networks": ["127.0.0.0/8"]}
    return ArchiveClient(FetchConfig.model_validate(config))


def nearest(archive: Archive, url: str, policy: str) -> IndexedCapture | None:
    """The right capture, by the made history alone."""
    fitting = [
        each
        for each in archive.captures[url]
        if archive.is_page(each)
        and abs(each.at - WHEN) <= WINDOW
        and (policy != "before" or each.at <= WHEN)
        and (policy != "after" or each.at >= WHEN)
    ]
    return min(fitting, key=lambda each: (abs(each.at - WHEN), each.at), default=None)


def test_the_right_capture_of_every_history(pywb: Served) -> None:
    asking = client()
    index = CdxServer(f"{pywb.server.root}/made/cdx", asking)
    source = RecordSource(replay=pywb.server.root + "/made/{timestamp}id_/{url}")
    archive, revived = pywb.archive, 0
    for url, captures in index.captures([*archive.captures]):
        made = archive.captures[url]
        assert [(each.at, each.digest) for each in captures] == [
            (each.at, each.digest) for each in made
        ]
        for policy in ("nearest", "before", "after"):
            right = nearest(archive, url, policy)
            found = candidates(captures, WHEN, policy, WINDOW)  # type: ignore[arg-type]
            assert (found[0].at if found else None) == (right.at if right else None)
            if right is None or policy != "nearest":
                continue

            fetched = fetch_record(found[0], captures, source, asking)
            assert fetched.response.payload == archive.payloads[url, right.timestamp]
            revived += 1

    assert revived > len(archive.captures) // 2
    # One for the index of a page, one for its replay, and robots.txt.
    assert asking.requests == len(archive.captures) + revived + 1


def test_a_crawl_that_asks_pywb(pywb: Served, tmp_path: Path) -> None:
    archive = pywb.archive
    urls = [*archive.captures][:30]
    batch = Batch(tmp_path, str(tmp_path / "corpus"), 1, {"delay_s": 0.0})
    batch.links(urls)
    settings = {
        "fetch.archive": '"only"',
        "captures.indexes": f'["{pywb.server.root}/made/cdx"]',
        "captures.replay": f'"{pywb.server.root}/made/{{timestamp}}id_/{{url}}"',
        "captures.policy": '"before"',
        "captures.window_days": "7000",
    }
    sets = [word for name, value in settings.items() for word in ("--set", f"crawl.{name}={value}")]
    assert run.main([*batch.arguments, *sets, "--executor", "serial"]) == 0

    rows = {row["url"]: row for row in batch.pages()}
    assert sorted(rows) == sorted(urls)
    store = open_store(batch.root)
    for url, row in rows.items():
        pages = [each for each in archive.captures[url] if archive.is_page(each)]
        if not pages:
            assert row["reason"] == "no_capture"
            continue
        # All were captured before the submission, so the last is the nearest.
        assert row["captured_at"] == pages[-1].at
        place = row["warc_file"], row["warc_offset"], row["warc_length"]
        assert (
            records.read_response(store, *place).body
            == (archive.payloads[url, pages[-1].timestamp])
        )
