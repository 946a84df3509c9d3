"""Metrics of a command without Ray: a textfile, an address, and a dashboard that shows all of them."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from corpus.run import metrics
from corpus.run.metrics import METRICS, Metrics, published
from tests.support import toy_stage
from tests.support.ray_head import free_port

ROOT = Path(__file__).parents[3]
# The text format 0.0.4: a name, labels, a number.
LINE = re.compile(
    r'([a-z_]+)(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? (\S+)'
)


def values(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[f"{match[1]}{match[2] or ''}"] = float(match[3])
    return found


def test_every_line_is_one_of_the_format() -> None:
    made = Metrics()
    made.set("webtext_table_rows", 3, table="links", reason='a "quoted\\" \n reason')
    made.set("webtext_crawl_pages_per_second", 0.5)
    assert values(made.render()) == {
        'webtext_table_rows{reason="a \\"quoted\\\\\\" \\n reason",table="links"}': 3.0,
        "webtext_crawl_pages_per_second": 0.5,
    }
    with pytest.raises(KeyError):
        made.set("webtext_unknown", 1)


def test_a_stage_leaves_its_metrics_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CURRENT", Metrics())
    store = toy_stage.make_corpus(str(tmp_path / "c"))
    target = tmp_path / "webtext.prom"
    words = ["--corpus", store.root, "--batch", "b", "--executor", "serial"]
    words += ["--set", f"run.metrics_file={target}"]

    def run(*more: str) -> int:
        return toy_stage.command.run_stage_command(
            "clean", toy_stage.ToyConfig, toy_stage.STEPS, [*words, *more], "a toy stage"
        )

    before = time.time()
    assert run() == 0
    found = values(target.read_text())
    assert found['webtext_step_tasks{state="done",step="toy/split"}'] == 5
    assert found['webtext_step_rows{step="toy/split"}'] == 500
    assert found['webtext_table_rows{batch="b",reason="all",table="rows"}'] > 0
    assert found['webtext_last_exit_ok{batch="b",stage="clean.run"}'] == 1
    assert found['webtext_lease_held{batch="b",stage="clean.run"}'] == 0
    success = found['webtext_last_success_seconds{batch="b",stage="clean.run"}']
    assert before < success <= time.time()
    assert run("--rebuild", "--set", "clean.lose_row=true", "--set", "clean.least=21") == 1
    found = values(target.read_text())
    assert found['webtext_last_exit_ok{batch="b",stage="clean.run"}'] == 0
    assert found['webtext_last_success_seconds{batch="b",stage="clean.run"}'] == success
    assert [path.name for path in tmp_path.iterdir() if "prom" in path.name] == ["webtext.prom"]


def test_an_address_answers_while_the_command_runs(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with published("", port, stage="clean.run", batch="b"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert (answer.status, answer.headers["Content-Type"][-13:]) == (200, "charset=utf-8")
            assert values(answer.read().decode())['webtext_lease_held{batch="b",stage="clean.run"}']
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
        with published("", port, stage="clean.run", batch="c"):
            assert "run.metrics_port" in caplog.text, "a port that is taken stops nothing"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)


def test_a_file_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with published(str(tmp_path / "none" / "x.prom"), 0, stage="clean.run", batch="b"):
        pass
    assert "run.metrics_file" in caplog.text


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    text = (ROOT / "deploy/grafana-dashboard.json").read_text()
    shown = {
        name
        for panel in json.loads(text)["panels"]
        for target in panel["targets"]
        for name in re.findall(r"webtext_\w+", target["expr"])
    }
    assert shown == set(METRICS)
