"""500 hosts with every kind of signal, through all stages: no page with a "no" is in the snapshot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clean import run as clean_run
from corpus.storage.store import open_store
from corpus.tables.parquet import read_table
from dedup import run as dedup_run
from shards import run as shards_run
from tests.crawl.loopback import Batch, Web
from tests.crawl.rights.test_crawl_rights import serve
from tests.crawl.rights.web_of_signals import SignalHost, hosts
from tests.support.grown_corpus import prose

NUM_HOSTS = 500


@dataclasses.dataclass(frozen=True)
class ProseHost(SignalHost):
    """A host whose page has a text of its own."""

    @property
    def page(self) -> bytes:
        body = "".join(f"<p>{part}</p>" for part in prose(self.name, 30).split("\n"))
        head = f"<head><title>{self.name}</title>{self.head}</head>"
        return f"<html>{head}<body><article>{body}</article></body></html>".encode()


def many_hosts() -> list[ProseHost]:
    made = []
    for number in range(NUM_HOSTS):
        kind = hosts()[number % len(hosts())]
        fields = {each.name: getattr(kind, each.name) for each in dataclasses.fields(kind)}
        made.append(ProseHost(**{**fields, "name": f"{kind.name}-{number}"}))
    return made


@pytest.mark.soak
def test_no_page_with_a_no_is_in_a_snapshot(web: Web, tmp_path: Path) -> None:
    batch = Batch(tmp_path, str(tmp_path / "corpus"), web.port, {"delay_s": 0.0, "shards": 1})
    batch.rights = {}
    asked = many_hosts()
    batch.links([serve(web, host) for host in asked])
    batch.crawl()

    words = ["--corpus", batch.root, "--batch", "b", "--executor", "serial"]
    fast = ("clean.extract.extractor=trafilatura-fast", "clean.language.min_score=0.0")
    assert clean_run.main([*words, *(word for each in fast for word in ("--set", each))]) == 0
    assert dedup_run.main(words) == 0
    assert shards_run.main([*words, "--snapshot", "x"]) == 0

    store = open_store(batch.root)
    urls = {row["doc_id"]: row["url"] for row in read_table(store, "links", "b").to_pylist()}
    held = {
        urls[doc_id].split("/")[2].removesuffix(".test")
        for path, _ in store.files("spans", recursive=True)
        if path.endswith(".parquet")
        for doc_id in pq.read_table(store.local_path(path))["doc_id"].to_pylist()
    }
    refused = {host.name for host in asked if host.training in ("no", "conflict")}
    assert held & refused == set()
    assert held == {host.name for host in asked} - refused
