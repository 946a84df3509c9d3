"""The history of a corpus: who ran which stage when, and what it took."""

from __future__ import annotations

import getpass
import json

import pytest

from corpus.tables.conservation import REQUESTS
from corpus.tables.manifest import Manifest, read_manifest
from corpus.tables.parquet import read_table
from crawl.fetch.steps import num_requests
from tests.support import grown_corpus
from webtext.inspection import history


def test_every_stage_of_every_batch_is_listed_in_order(
    fates: grown_corpus.Fates, capsys: pytest.CaptureFixture[str]
) -> None:
    assert history.main(["--corpus", fates.root, "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    found = json.loads(out[-1])
    assert {(run["batch"], run["stage"]) for run in found} == {
        (batch, stage)
        for batch in ("2024-01", "2024-02")
        for stage in ("crawl", "clean", "dedup", "shards")
    }
    assert [run["ended"] for run in found] == sorted(run["ended"] for run in found)
    clean = next(run for run in found if (run["batch"], run["stage"]) == ("2024-01", "clean"))
    documents = read_manifest(fates.store, "documents", "2024-01")
    assert clean["rows"]["documents"] == documents.rows
    assert clean["who"].startswith(f"{getpass.getuser()}@")
    assert clean["cpu_s"] > 0
    (step,) = (name for name in clean["cpu_ms_a_row"] if name == "clean/documents")
    read = documents.details["rows_read"]
    used = documents.details["cpu_s"]
    assert clean["cpu_ms_a_row"][step] == pytest.approx(1000 * used / read, abs=0.001)
    assert clean["wall_s"] == pytest.approx(documents.wall_s, abs=0.06), "a step counts once"
    assert out[-2].endswith("CPU hours")
    assert history.main(["--corpus", fates.root, "--batch", "2024-2"]) == 2
    assert "no batch '2024-2'; present: 2024-01, 2024-02" in capsys.readouterr().err
    assert history.main(["--corpus", fates.root, "--batch", "2024-02"]) == 0
    assert "2024-01 " not in capsys.readouterr().out


def test_requests_for_pages_are_counted_and_shown(fates: grown_corpus.Fates) -> None:
    """The column was never filled."""
    pages = read_table(fates.store, "pages", "2024-01")
    hops = sum(len(row["redirects"]) for row in pages.to_pylist())
    assert hops == 2
    assert num_requests(pages) == pages.num_rows + hops, "each was asked once"
    assert num_requests(pages.slice(0, 0)) == 0

    manifest = read_manifest(fates.store, "pages", "2024-01")
    counted = manifest.model_copy(update={"counts": {**manifest.counts, REQUESTS: 12_345}})
    run = history._stage_run("2024-01", "crawl", [counted])
    assert run.requests == 12_345
    head, line, total = history.render([run]).splitlines()
    assert line[: head.index("requests") + len("requests")].endswith(" 12,345")
    assert "12,345 requests for pages" in total
    assert history._stage_run("2024-01", "crawl", [manifest]).requests is None, "an import"


def test_cpu_time_of_a_row_is_the_sum_of_a_stages_steps(fates: grown_corpus.Fates) -> None:
    manifest = read_manifest(fates.store, "pages", "2024-01")

    def told(step: str, cpu_s: float, rows: int) -> Manifest:
        details = {"step": step, "cpu_s": cpu_s, "rows_read": rows}
        return manifest.model_copy(update={"details": details})

    run = history._stage_run(
        "b", "dedup", [told("one", 2.0, 1000), told("one", 2.0, 1000), told("two", 0.5, 100)]
    )
    assert run.cpu_ms_a_row == {"one": 2.0, "two": 5.0}
    head, line, _ = history.render([run]).splitlines()
    assert line[: head.index("ms/row") + len("ms/row")].endswith(" 7.00")
    empty = history._stage_run("b", "dedup", [told("one", 2.0, 0)])
    assert empty.cpu_ms_a_row == {}
