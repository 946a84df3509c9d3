"""Take-downs by content: copies go along, later ones are left out and erased, and the proof finds what is left."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from corpus.snapshots.snapshot_remarks import warn_of_trained_on
from corpus.storage.store import Store
from corpus.tables.manifest import read_manifest
from corpus.tables.takedown_list import load_forgotten, takedowns
from dedup import run as dedup_run
from shards import run as shards_run
from shards.export import main as export
from tests.support import grown_corpus
from tests.webtext.takedown.test_forget import everything, id_of, residue, run
from webtext.inspection import explain
from webtext.look.labels import Labels
from webtext.reports import status
from webtext.takedown import command as forget
from webtext.takedown import proof
from webtext.verify import command as verify

STORY = grown_corpus.prose("story", 40)
THIRD = "http://third.test/again"


def story_lines(store: Store) -> list[str]:
    """Files that hold a sentence of the story, as text or as tokens."""
    return residue(store, [STORY.split("\n")[2][10:90]])


def third_month(fates: grown_corpus.Fates, text: str = STORY) -> None:
    """A later batch with another copy."""
    sites = [*grown_corpus.ordinary(8, 7), grown_corpus.Site(THIRD, text)]
    grown_corpus.grow(fates.root, "2024-03", sites, fates.folder, start=3000)


def test_no_copy_of_the_text_is_left_after_rebuild_and_a_third_copy(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fates_copy.store
    assert story_lines(store)
    ids = {id_of(fates_copy, url) for url in (fates_copy.original, fates_copy.copy)}
    ids |= {id_of(fates_copy, url) for url in (fates_copy.near, fates_copy.later_copy)}
    assert run(fates_copy, "--url", fates_copy.original) == 0
    (record,) = takedowns(store)
    assert ids == set(record.url_keys)
    assert story_lines(store) == []
    assert verify.verify(store).problems == []

    third_month(fates_copy)
    counts = read_manifest(store, "verdicts", "2024-03").counts
    assert counts["taken_down"] == 1
    assert not any(path.startswith("tokens/") for path in story_lines(store))

    for main, batch in ((dedup_run.main, "2024-03"), (shards_run.main, "2024-03")):
        assert main(grown_corpus.arguments(fates_copy.root, batch, "--rebuild")) == 0
    assert not any(path.startswith("tokens/") for path in story_lines(store))

    capsys.readouterr()
    assert forget.main(["--corpus", fates_copy.root, "--dry-run"]) == 0
    assert "would take down" in capsys.readouterr().out, "the copy that dedup left out"
    assert forget.main(["--corpus", fates_copy.root]) == 0
    assert story_lines(store) == []
    assert explain.trace(store, THIRD).taken_down is not None
    assert verify.verify(store).problems == []
    for each in takedowns(store):
        assert forget.main(["--corpus", fates_copy.root, "--prove", each.id]) == 0


def test_a_near_copy_is_told_and_a_stranger_is_not(fates_copy: grown_corpus.Fates) -> None:
    assert run(fates_copy, "--url", fates_copy.original) == 0
    third_month(fates_copy, STORY.replace("number 2", "figure 2", 1))
    counts = read_manifest(fates_copy.store, "verdicts", "2024-03").counts
    assert counts["taken_down"] == 1
    assert counts["kept"] == 8


def test_copies_can_be_kept(fates_copy: grown_corpus.Fates) -> None:
    store = fates_copy.store
    assert run(fates_copy, "--url", fates_copy.original, "--keep-copies") == 0
    (record,) = takedowns(store)
    assert set(record.url_keys.values()) == {"originals.test/story"}
    assert record.contents == []
    third_month(fates_copy)
    assert read_manifest(store, "verdicts", "2024-03").counts.get("taken_down") is None


def test_a_copy_of_a_page_that_stays_is_no_content_of_the_list(
    fates_copy: grown_corpus.Fates,
) -> None:
    """Its text stands in the corpus by right of the original."""
    store = fates_copy.store
    assert run(fates_copy, "--url", fates_copy.copy) == 0
    (record,) = takedowns(store)
    assert record.contents == []
    assert explain.trace(store, fates_copy.original).document is not None


def test_a_mistyped_address_takes_nothing_down(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(fates_copy.store)
    wrong = "http://originals.test/storry"
    assert run(fates_copy, "--url", fates_copy.kept, "--url", wrong) == 2
    assert f"{wrong}: no batch has a page of that address" in capsys.readouterr().err
    assert run(fates_copy, "--domain", "orignals.test") == 2
    assert everything(fates_copy.store) == before

    assert run(fates_copy, "--url", wrong, "--in-advance") == 0
    assert load_forgotten(fates_copy.store).has_page(wrong)


def test_a_mistaken_take_down_is_withdrawn_for_the_future(
    fates_copy: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fates_copy.store
    assert run(fates_copy, "--url", fates_copy.original) == 0
    (record,) = takedowns(store)
    assert forget.main(["--corpus", fates_copy.root, "--revoke", "none"]) == 2
    assert forget.main(["--corpus", fates_copy.root, "--revoke", record.id]) == 0
    assert "withdrawn since" in capsys.readouterr().out
    assert not load_forgotten(store).has_page(fates_copy.original)
    assert verify.verify(store).problems == []
    third_month(fates_copy)
    assert read_manifest(store, "verdicts", "2024-03").counts.get("taken_down") is None


def test_the_proof_finds_what_is_left(
    fates_copy: grown_corpus.Fates,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    store = fates_copy.store
    out = tmp_path / "exported"
    words = ["--corpus", fates_copy.root, "--snapshot", "2024-02", "--to", "nanogpt"]
    assert export([*words, "--out", str(out)]) == 0
    saved = store.read_bytes("runs/r/config.json") if store.exists("runs/r/config.json") else None
    assert saved is None
    store.write_bytes("runs/r/config.json", json.dumps({"snapshot": "2024-02"}).encode())
    doc_id = id_of(fates_copy, fates_copy.original)
    Labels(store, "w").add("extraction", doc_id, "right")
    left = Path(fates_copy.root) / "tokens" / ".tmp-part-00000-1-aa"
    left.write_bytes(b"x")
    os.utime(left, (time.time() - 600,) * 2)

    assert run(fates_copy, "--url", fates_copy.original) == 0
    (record,) = takedowns(store)
    assert record.removed["leftover_files"] == 1
    assert record.removed["labels"] == 1, "the search below would find its doc_id"
    assert record.runs == ["r"]
    assert record.exports == [f"nanogpt to {out}"]
    warn_of_trained_on(store, "r", "2024-02")
    assert "it saw pages that were taken down" in capsys.readouterr().err
    said = status.render(store, [])
    assert "run r was trained on a snapshot with its pages" in said
    assert f"its pages were exported: nanogpt to {out}" in said
    capsys.readouterr()

    assert forget.main(["--corpus", fates_copy.root, "--prove", record.id, "--json"]) == 1
    receipt = json.loads(capsys.readouterr().out)
    assert len(receipt["findings"]) == 1
    assert str(out) in receipt["findings"][0], "the export was made before"
    for path in out.glob("*"):
        path.unlink()
    assert proof.prove(store, record).findings == []

    left.write_bytes(f"a row of {doc_id}".encode())
    store.write_bytes("reports/x.json", b'"originals.test/story"')
    receipt = proof.prove(store, record).to_json()
    assert len(receipt["findings"]) == 2
    clear = json.dumps(receipt | {"findings": [], "takedown": ""})
    assert "originals.test" not in clear
    assert doc_id not in clear
    assert len(receipt["files"]["pages/2024-01/_manifest.json"]) == 64


def test_the_proof_of_no_take_down(fates: grown_corpus.Fates) -> None:
    assert forget.main(["--corpus", fates.root, "--prove", "x"]) == 2
