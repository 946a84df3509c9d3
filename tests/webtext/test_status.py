"""Batches and tables at a glance: what is there, missing, stale, and who works."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading

import pytest

from corpus.storage.lease import hold
from corpus.storage.store import Store, open_corpus
from corpus.tables.inventory import entries
from corpus.tables.manifest import read_manifest, serialized
from corpus.tables.takedown_list import Takedown, write_takedown
from tests.support import grown_corpus
from webtext.reports import status


def test_a_whole_corpus(fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["--corpus", fates.root, "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert found["batches"] == ["2024-01", "2024-02"]
    assert {entry["state"] for entry in found["tables"]} == {"ok"}
    for entry in found["tables"]:
        manifest = read_manifest(fates.store, entry["table"], entry["batch"])
        assert (entry["rows"], entry["bytes"], entry["fingerprint"]) == (
            manifest.rows,
            manifest.bytes,
            manifest.fingerprint,
        )
    assert [each["batches"] for each in found["snapshots"]] == [["2024-01"], ["2024-01", "2024-02"]]
    assert "snapshot 2024-02: " in out
    assert "stale" not in out
    assert "missing" not in out


def test_what_is_missing_and_what_is_stale(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    verdicts = read_manifest(store, "bands", "2024-01").model_copy(update={"fingerprint": "f" * 32})
    store.write_bytes("bands/2024-01/_manifest.json", serialized(verdicts))
    store.delete("spans/2024-02/_manifest.json")
    found = {(entry.table, entry.batch): entry for entry in entries(store)}
    assert found["verdicts", "2024-02"].state == "stale"
    assert found["verdicts", "2024-02"].why == "bands 2024-01 was rebuilt since"
    assert found["verdicts", "2024-01"].state == "ok"
    assert found["spans", "2024-02"].state == "missing"
    assert found["spans", "2024-02"].why == "webtext shards"


def test_manifests_are_read_many_at_a_time(
    fates: grown_corpus.Fates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store far away answers none of them before eight are asked for."""
    together, calls, read = threading.Barrier(8), itertools.count(), Store.read_bytes

    def far(store: Store, path: str) -> bytes:
        if path.endswith("_manifest.json") and next(calls) < 8:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(30)
        return read(store, path)

    expected = entries(fates.store, ["2024-01", "2024-02"])
    monkeypatch.setattr(Store, "read_bytes", far)
    monkeypatch.setattr(type(fates.store), "is_local", property(lambda store: False))
    assert entries(fates.store, ["2024-01", "2024-02"]) == expected
    assert not together.broken, "one waited for another's answer"


def test_who_works_and_what_was_left(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    store.write_bytes("work/2024-02/clean.documents-abc/map/00000.json", b"{}")
    write_takedown(store, Takedown(id="t1", asked=[], when="2024-05-02", url_keys={}))
    with (
        hold(store, "work/2024-01/lock.json", what="clean.run"),
        hold(store, "work/prune.json", what="pruner"),
    ):
        words = status.render(store, entries(store))
    assert "corpus: pruner, process" in words
    assert f"take-down t1: unfinished; to continue: `webtext forget --corpus {store.root}`" in words
    assert "batch 2024-01: clean.run, process" in words
    assert "at work" in words
    assert "batch 2024-02: interrupted at clean.documents-abc" in words


def test_an_empty_corpus(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    open_corpus(f"{tmp_path}/c", create=True)
    assert status.main(["--corpus", f"{tmp_path}/c"]) == 0
    assert "no batch yet; begin with `webtext crawl" in capsys.readouterr().out
