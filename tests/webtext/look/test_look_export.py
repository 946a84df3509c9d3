"""Labels are written in the form that the fits read, and lead to the pages that were judged."""

from __future__ import annotations

import json
from pathlib import Path

from bench.clean.soft_failure_material import labelled_pages
from corpus.tables.parquet import read_table
from tests.support import grown_corpus
from tools import fit_extractor
from tools.annotated_pages import read_pages, sample
from webtext.look import command
from webtext.look.export import SOURCE
from webtext.look.labels import Labels


def test_the_readers_of_both_fits_find_the_labelled_pages(
    fates_copy: grown_corpus.Fates, tmp_path: Path
) -> None:
    store = fates_copy.store
    documents = read_table(store, "documents", "2024-01", ["doc_id", "url", "text"]).to_pylist()
    links = {
        row["url"]: row["doc_id"]
        for row in read_table(store, "links", "2024-01", ["doc_id", "url"]).to_pylist()
    }
    right, wrong, kept = documents[:3]
    labels = Labels(store, "w")
    labels.add("extraction", right["doc_id"], "too_much")
    labels.add("extraction", right["doc_id"], "right")
    labels.add("extraction", wrong["doc_id"], "too_little")
    labels.add("soft_failure", kept["doc_id"], "page")
    labels.add("soft_failure", links[fates_copy.short], "failure")
    # No response of this one is stored, and no batch has the other.
    labels.add("soft_failure", links[fates_copy.missing], "failure")
    labels.add("soft_failure", "0" * 32, "failure")
    labels.add("pair", right["doc_id"], "yes", wrong["doc_id"], 0.9)

    folder = tmp_path / "labels"
    assert command.main(["--corpus", fates_copy.root, "--export-labels", str(folder)]) == 0

    [(gold, html)] = list(read_pages(folder))
    assert (gold["id"], gold["text"]) == (right["doc_id"], right["text"])
    assert gold["source"] == SOURCE
    assert SOURCE in fit_extractor.TRAINED_ON
    assert gold["kind"] in fit_extractor.TEXT_KINDS
    assert sample(gold, html).labels.max() > 0.9, "the gold text is on the page"

    found = {page.url: page for page in labelled_pages(folder)}
    assert {url: page.failure for url, page in found.items()} == {
        kept["url"]: False,
        fates_copy.short: True,
    }
    assert found[fates_copy.short].page().html.startswith("<html>")
    rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert sorted(row["question"] for row in rows) == [
        "extraction", "extraction", "pair", *["soft_failure"] * 4
    ]  # fmt: skip
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    command.main(["--corpus", fates_copy.root, "--export-labels", str(folder)])
    assert before == {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
