"""The report: a run's scores beside the paper's, what dedup removed, what the test sets met."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from corpus.errors import InputError
from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import read_table, write_part
from corpus.tables.schemas import DOCUMENTS, LINKS
from tests.support import grown_corpus
from tests.support.written_runs import add_run
from webtext.reports import charts, html
from webtext.reports.ablations import read_ablations


def with_a_batch(folder: Path) -> Store:
    store = open_corpus(str(folder / "c"), create=True)
    commit_table(
        store, LINKS, "b", [write_part(store, LINKS.folder("b"), "part-00000.parquet", LINKS, [])]
    )
    return store


def test_the_scores_of_a_run_stand_in_a_table(tmp_path: Path) -> None:
    store = with_a_batch(tmp_path)
    store.write_json("runs/r/config.json", {})
    store.write_json("runs/r/scores.json", {"sets": {"lambada": {"entries": 3}}})
    store.write_bytes(
        "runs/r/scores.md",
        b"| set | figure | 117M | overlap |\n| --- | --- | ---: | ---: |\n| lambada | <b> | 45.99 |  |\n",
    )
    page = Path(html.write(store)).read_text()
    assert (
        "<tr class=h><th>set</th><th>figure</th><th class=n>117M</th><th class=n>overlap</th></tr>"
        in page
    )
    assert (
        "<tr><td>lambada</td><td>&lt;b&gt;</td><td class=n>45.99</td><td class=n></td></tr>" in page
    )
    assert "sets lambada entries" in page


def test_what_dedup_removed_stands_beside_what_test_sets_met(tmp_path: Path) -> None:
    store = with_a_batch(tmp_path)
    duplicates = {
        "removed_frac": 0.25,
        "similarity_histogram": {"0.75-0.80": 1, "0.95-1.00": 4},
        "largest_groups": [{"survivor": "ab", "url": "http://a.test/<i>", "removed": 1200}],
        "domains": [{"domain": "a.test", "pages": 10, "removed": 5, "removed_frac": 0.5}],
    }
    row = {
        "testset": "ptb",
        "n": 8,
        "ngrams": 1000,
        "share": 0.01,
        "share_so_far": 0.02,
        "share_of_own_train": None,
    }
    overlap = {
        "table": [
            row | {"gpt2": {"webtext": 0.0088, "train": 0.0267}},
            row | {"testset": "mine", "gpt2": None},
        ],
        "worst_entries": [
            {"testset": "ptb", "entry": 3, "text": "a <b>", "words": 9, "words_found": 8}
        ],
        "worst_pages": [{"url": "http://b.test/", "passage": "met & found", "overlap_ngrams": 7}],
    }
    assert "Removed by dedup" not in Path(html.write(store)).read_text()
    store.write_json("reports/dedup-b.json", duplicates)
    store.write_json("reports/overlap-b.json", overlap)
    page = Path(html.write(store)).read_text()
    for part in (
        "Removed by dedup: 25.0% of the documents",
        "<th>0.95-1.00</th><td class=n>4</td><td class=w><i style='width:100.0%'></i>",
        "<td>http://a.test/&lt;i&gt;</td><td class=n>1,200</td>",
        "<td>a.test</td><td class=n>10</td><td class=n>5</td><td class=n>50.0%</td>",
        "<td>ptb</td><td class=n>8</td><td class=n>1,000</td><td class=n>1.00%</td><td class=n>2.00%</td>"
        "<td class=n>-</td><td class=n>0.88%</td><td class=n>2.67%</td>",
        "<td>mine</td>",
        "<td>ptb 3: a &lt;b&gt;</td><td class=n>8 of 9</td>",
        "<td>http://b.test/: met &amp; found</td><td class=n>7</td>",
    ):
        assert part in page, part


def test_the_kept_shares_of_a_batch_are_bars(tmp_path: Path) -> None:
    store = with_a_batch(tmp_path)
    assert "Kept words" not in Path(html.write(store)).read_text()
    part = write_part(store, DOCUMENTS.folder("b"), "part-00000.parquet", DOCUMENTS, [])
    counts = {
        "kept_share:up_to_0.05": 2,
        "kept_share:over_0.9": 1500,
        "kept_share:unusual_for_domain": 2,
    }
    commit_table(store, DOCUMENTS, "b", [part], counts=Counter(counts))
    page = Path(html.write(store)).read_text()
    for expected in (
        "Kept words of those that the page shows",
        "<th>up to 5 %</th><td class=n>2</td>",
        "<th>up to 75 %</th><td class=n>0</td>",
        "<th>over 90 %</th><td class=n>1,500</td><td class=w><i style='width:100.0%'></i>",
        "2 documents keep less than a third of what is usual",
    ):
        assert expected in page, expected


def test_a_batch_shows_its_languages_lengths_dropped_pages_and_settings(
    fates: grown_corpus.Fates,
) -> None:
    page = Path(html.write(fates.store)).read_text()
    first = page[page.index("<h2>Batch 2024-01") : page.index("<h2>Batch 2024-02")]
    rows = read_table(fates.store, "documents", "2024-01").to_pylist()
    assert f"en <b>{sum(row['language'] == 'en' for row in rows):,}</b>" in first
    number = sum(100 <= row["num_words"] < 200 for row in rows)
    assert f"<th>100 to 199</th><td class=n>{number:,}</td>" in first

    [dropped, *_] = read_table(fates.store, "documents_dropped", "2024-01").to_pylist()
    assert dropped["url"] in first
    assert charts.escaped('"min_score": ') in first, "settings"

    # The bars of all batches have one scale: the widest is the submissions read.
    widths = {
        float(width)
        for width in re.findall(r"submissions read</th>.*?width:([\d.]+)%", page, re.DOTALL)
    }
    assert max(widths) == 100
    assert len(widths) > 1


def test_the_report_has_pictures_kept_pages_and_a_style_for_print(
    fates_copy: grown_corpus.Fates,
) -> None:
    for number, name in enumerate(("first", "second")):
        add_run(fates_copy, name, 4.0 + number)
    shown = Path(html.write(fates_copy.store)).read_text("utf-8")
    for label in ("rows after each stage", "documents of links by domain", "validation loss"):
        [picture] = re.findall(rf"<svg [^>]*aria-label='{label}.*?</svg>", shown, re.S)
        assert "<rect" in picture or picture.count("<polyline") == 2
    kept = shown.partition("Kept, for example")[2]
    assert kept.partition("<details")[0].count("<pre>") == 3
    assert "@media print" in shown
    assert "prefers-color-scheme:dark" in shown


def test_labels_of_the_last_step_are_whole() -> None:
    """A label of six digits in the middle of the last place lost its end."""
    points = [(0, 2.0), (59_392, 1.0)]
    for drawn in (charts.curve({"training": points}), charts.draw_seeds([("arm", [points])])):
        labels = re.findall(r"<text x=([0-9.]+) y=[0-9]+ class=x>([^<]+)<", drawn)
        assert labels[-1][1] == "59,392"
        assert float(labels[-1][0]) + 6 * 3.5 <= charts.WIDTH


def test_an_ablation_stands_beside_the_runs(tmp_path: Path) -> None:
    """With strangers' names escaped; a folder without a result, or with another file, is refused."""
    against = {"verdict": "not enough seeds to tell", "mean": 0.5}
    curves = [[[10, 2.0], [20, 1.0]], [[10, 2.2], [20, 1.1]]]
    arms = [
        {"name": "plain", "mean": 1.5, "against_first": None, "curves": curves},
        {"name": "<script>", "mean": 2.0, "against_first": against, "curves": curves},
    ]
    (tmp_path / "result.json").write_text(json.dumps({"arms": arms}))
    page = Path(html.write(with_a_batch(tmp_path), read_ablations([str(tmp_path)]))).read_text()
    shown = page[page.index("<h2>Ablation") :]
    assert shown.count("<polygon") == 2
    assert "<td>&lt;script&gt;</td><td>not enough seeds to tell</td>" in shown
    assert "<td class=n>2.0000</td><td class=n>+0.5000</td>" in shown
    assert "<script" not in page

    for content in ("", "[]", '{"arms": [{}]}', '{"arms": 3}', "[" * 100_000):
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(InputError, match="--ablation .*: no result of `webtext ablate --to"):
            read_ablations([str(tmp_path)])
