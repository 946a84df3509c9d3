"""Runs, ablations and comparisons show what the tables, the training order and the extractor give."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from clean.extract import ExtractConfig, page_extractor
from corpus.snapshots.snapshot import read_snapshot
from corpus.tables.parquet import read_file, read_table
from shards.reader import BlockStream, open_split
from tests.support import grown_corpus
from tests.support.written_runs import BATCH_SIZE, BLOCK, SNAPSHOT, add_run
from train.step_documents import step_documents
from webtext.look import life
from webtext.look.app import Origins, look_app
from webtext.reports.ablations import read_ablations

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ORIGINS = Origins("http://127.0.0.1:1", "secret")
BASE = "http://127.0.0.1"


def test_runs_share_axes_and_their_points_lead_to_steps(fates_copy: grown_corpus.Fates) -> None:
    names = ("first", "a second & <b>third")
    for number, name in enumerate(names):
        add_run(fates_copy, name, 4.0 + number)
    client = TestClient(look_app(fates_copy.store, ORIGINS), base_url=BASE)

    shown = client.get("/runs").text
    drawings = re.findall(r"<svg viewBox='0 0 720 320'.*?</svg>", shown, re.S)
    assert [each.count("<polyline") for each in drawings] == [2, 2]
    assert "<b>third" not in shown
    assert re.search(r"sets lambada ppl</th><td class=\"n\">5</td><td class=\"n\">4</td>", shown)

    links = re.findall(r"<a href='(/runs/[^']+)'", shown)
    assert len(links) == 3 * len(names) * len(drawings)
    step = client.get(links[-1])
    assert step.status_code == 200
    page = client.get(re.findall(r"/page/[0-9a-f]{32}", step.text)[0]).text
    assert '/runs?run=first">first</a> ' in page, "a page names the runs that read it"
    alone = client.get("/runs", params={"run": "first"}).text
    assert alone.count("<polyline") == 2
    assert client.get("/runs/nothing/step?step=1").status_code == 400
    assert client.get("/runs/first/step?step=0").status_code == 400


def test_the_pages_of_a_step_are_those_whose_tokens_it_reads(
    fates_copy: grown_corpus.Fates,
) -> None:
    """Blocks of the real order are searched for in the split; the last step is in a later epoch."""
    add_run(fates_copy, "r", 1.0)
    split = open_split(fates_copy.root, SNAPSHOT, "train")
    stream = BlockStream(split, block_size=BLOCK, seed=11)
    tokens = np.asarray(split.slice(0, split.num_tokens)).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, BLOCK + 1)

    steps = stream.num_blocks // BATCH_SIZE + 2
    for step in range(1, steps + 1):
        batch = stream.next_batch(BATCH_SIZE)
        if step not in (1, 2, steps - 1, steps):
            continue
        wanted = set()
        for row in batch:
            [start] = np.flatnonzero((windows == row).all(1))
            wanted |= {each.doc_id for each in split.documents(int(start), int(start) + BLOCK + 1)}
        assert set(step_documents(fates_copy.store, "r", step)) == wanted, step


def test_two_snapshots_are_compared_by_the_documents_in_them(fates: grown_corpus.Fates) -> None:
    def members(name: str) -> set[str]:
        return {
            doc_id
            for split in read_snapshot(fates.store, name).splits.values()
            for file in split.files
            for doc_id in read_file(fates.store, file.spans_path, ["doc_id"])["doc_id"].to_pylist()
        }

    client = TestClient(look_app(fates.store, ORIGINS), base_url=BASE)
    old, new = members("2024-01"), members("2024-02")
    for left, right in (("2024-01", "2024-02"), ("2024-02", "2024-01")):
        shown = client.get("/compare", params={"old": left, "new": right, "seed": 3})
        gained, lost = shown.text.split("<h2>Lost", 1)
        before, after = (old, new) if left == "2024-01" else (new, old)
        for part, wanted in ((gained, after - before), (lost, before - after)):
            found = set(re.findall(r"/page/([0-9a-f]{32})", part))
            assert found <= wanted
            assert len(found) == min(25, len(wanted))
    again = client.get("/compare", params={"old": left, "new": right, "seed": 3})
    assert again.text == shown.text
    assert client.get("/compare", params={"old": "no", "new": right}).status_code == 400


def test_a_page_is_extracted_under_two_settings(fates: grown_corpus.Fates) -> None:
    """The setting that built the documents gives their words."""
    rows = read_table(fates.store, "documents", "2024-01", ["doc_id", "url", "text"]).to_pylist()
    row = next(row for row in rows if row["url"] == fates.kept)
    client = TestClient(look_app(fates.store, ORIGINS), base_url=BASE)
    asked = {"left": "learned recall", "right": "trafilatura-fast"}
    shown = client.get(f"/compare/{row['doc_id']}", params=asked).text
    [text] = re.findall(r'aria-label="trafilatura-fast">(.*?)</div>', shown, re.S)
    assert re.sub(r"<[^>]+>", "", text).split() == row["text"].split()
    assert all(f">{name}</option>" in shown for name in life.SETTINGS)
    wrong = client.get(f"/compare/{row['doc_id']}", params={"left": "readability"})
    assert wrong.status_code == 400


def test_ablations_are_drawn_with_their_bands(fates: grown_corpus.Fates, tmp_path: Path) -> None:
    arms = [
        {"name": name, "mean": 1.5, "against_first": against, "curves": curves}
        for name, against, curves in (
            ("plain", None, [[[10, 2.0], [20, 1.0]], [[10, 2.2], [20, 1.1]]]),
            (
                "strict",
                {"verdict": "better", "mean": -0.25},
                [[[10, 1.9], [20, 0.9]], [[10, 2.0], [20, 1.0]]],
            ),
        )
    ]
    (tmp_path / "result.json").write_text(json.dumps({"arms": arms}))
    app = look_app(fates.store, ORIGINS, read_ablations([str(tmp_path)]))
    shown = TestClient(app, base_url=BASE).get("/runs").text
    assert shown.count("<polygon") == 2
    assert "style=" not in shown, "the policy forbids inline styles"
    assert "better" in shown
    assert "-0.2500" in shown
    with pytest.raises(Exception, match="no result of `webtext ablate"):
        read_ablations([str(tmp_path / "missing")])


def test_the_text_of_another_extractor_is_the_pipelines() -> None:
    """Only the learned one reads the rewritten page."""
    said = "The owners sold the wheel to a museum in the city, where it stands in the hall today. "
    power = "<math><msup><mi>x</mi><mn>2</mn></msup></math>"
    html = f"<html><body><article><p>{said * 3}</p><p>{said}{power} {said}</p></article></body>"
    response = SimpleNamespace(headers=[("content-type", "text/html")], body=html.encode())
    for name in ("learned balanced", "trafilatura"):
        config = ExtractConfig.model_validate({"extractor": name.split()[0]})
        expected = page_extractor(config)(html).text
        assert life.extracted_text(response, name) == expected != ""
