"""The report: a run's scores beside the paper's, what dedup removed, what the test sets met."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.parquet import write_part
from corpus.tables.schemas import DOCUMENTS, LINKS
from webtext.reports import html


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
