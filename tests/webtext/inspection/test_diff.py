"""What came and what went between snapshots, and why, against the tables."""

from __future__ import annotations

import json

import pytest

from tests.support import grown_corpus
from webtext.inspection import diff, explain, query
from webtext.takedown import command
from webtext.upkeep import rebuild


def test_a_later_month(fates: grown_corpus.Fates) -> None:
    found = diff.compare(fates.store, "2024-01", "2024-02")
    sql = "SELECT domain, sum(num_tokens) AS n FROM spans JOIN links USING (doc_id, batch) WHERE batch = '2024-02' GROUP BY ALL"
    domains = {row["domain"]: int(row["n"]) for row in query.query(fates.store, sql).to_pylist()}
    assert found.tokens_by_domain == domains
    assert found.came == {"batch 2024-02": 16}
    assert not found.went
    assert not found.changed
    assert found.tokens_by_batch["2024-02"] == (0, sum(domains.values()))
    back = diff.compare(fates.store, "2024-02", "2024-01")
    assert back.went == {"batch 2024-02 is left out": 16}
    assert back.tokens_by_domain == {name: -tokens for name, tokens in domains.items()}


def test_another_config_and_a_take_down(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [word for setting in grown_corpus.SETTINGS for word in ("--set", setting)]
    longer = ["--set", "clean.quality.min_words=372", "--set", "dedup.testsets=[]"]
    words = ["--corpus", fates_copy.root, "--from", "clean", "--executor", "serial", *sets, *longer]
    assert rebuild.main(words) == 0
    found = diff.compare(fates_copy.store, "2024-02", "2024-02.2")
    assert found.changed == 1, "the page whose overlap with the test set is cut no longer"
    sql = "SELECT reason, count(*) AS n FROM documents_dropped d JOIN links l USING (doc_id) WHERE l.domain <> 'short.test' AND NOT l.domain IN ('copies.test', 'nearly.test') GROUP BY ALL"
    assert found.went == {
        row["reason"]: row["n"] for row in query.query(fates_copy.store, sql).to_pylist()
    }
    assert found.went.total() > 0

    gone = explain.trace(fates_copy.store, "http://originals.test/story")
    assert gone.place is not None
    assert (
        command.main(
            [
                "--corpus",
                fates_copy.root,
                "--yes",
                "--why",
                "a test",
                "--url",
                "http://originals.test/story",
                "--keep-withdrawn",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert diff.main(["--corpus", fates_copy.root, "2024-02.2", "2024-02.3", "--json"]) == 0
    out = capsys.readouterr().out
    told = json.loads(out.splitlines()[-1])
    assert told["went"] == {"taken down": 1}
    assert told["gone_ids"] == [gone.doc_id]
    assert told["tokens_by_domain"] == {"(taken down)": -gone.place.num_tokens}
    assert "went              1 documents: taken down 1" in out


def test_the_same_snapshot_and_wrong_use(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    found = diff.compare(fates.store, "2024-01", "2024-01")
    assert (found.came, found.went, found.changed) == ({}, {}, 0)
    assert found.same_files > 0
    assert diff.main(["--corpus", fates.root, "2024-01", "none"]) == 2
    assert "no snapshot 'none'; present: 2024-01, 2024-02" in capsys.readouterr().err
