"""The report shows a run's scores beside the paper's."""

from __future__ import annotations

from pathlib import Path

from corpus import report
from corpus.commit import commit_table
from corpus.layout import open_corpus
from corpus.schemas import LINKS
from corpus.tables import write_part


def test_the_scores_of_a_run_stand_in_a_table(tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path / "c"), create=True)
    commit_table(store, LINKS, "b", [write_part(store, LINKS.folder("b"), "part-00000.parquet", LINKS, [])])
    store.write_json("runs/r/config.json", {})
    store.write_json("runs/r/scores.json", {"sets": {"lambada": {"entries": 3}}})
    store.write_bytes(
        "runs/r/scores.md",
        b"| set | figure | 117M | overlap |\n| --- | --- | ---: | ---: |\n| lambada | <b> | 45.99 |  |\n",
    )
    page = Path(report.write(store)).read_text()
    assert "<tr><th>set</th><th>figure</th><th>117M</th><th>overlap</th></tr>" in page
    assert "<tr><td>lambada</td><td>&lt;b&gt;</td><td class=n>45.99</td><td class=n></td></tr>" in page
    assert "sets lambada entries" in page
