"""The demo's Winograd schemas are in the official format, and scored."""

from __future__ import annotations

import json
from pathlib import Path

from examples.demo.__main__ import _commands
from examples.demo.schemas import SCHEMAS, write_schemas


def test_each_schema_is_two_entries_with_either_candidate_right(tmp_path: Path) -> None:
    path = write_schemas(tmp_path / "tasks")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2 * len(SCHEMAS)
    assert [line["gold"] for line in lines] == [0, 1] * len(SCHEMAS)
    for one, other in zip(lines[::2], lines[1::2], strict=True):
        assert one["context_options"] == other["context_options"]
        assert len(set(one["context_options"])) == 2
        assert one["continuation"] != other["continuation"]


def test_training_is_followed_by_scores_and_an_ablation(tmp_path: Path) -> None:
    path, testset = tmp_path / "w.jsonl", tmp_path / "demo.jsonl"
    commands = _commands(tmp_path, tmp_path / "RS.zst", tmp_path / "demo.toml", testset, path, 100)
    assert [command[0] for command in commands[-4:]] == ["train", "evaluate", "ablate", "report"]
    assert commands[-3][-3:] == ["--task", f"wsc273={path}", "--allow-altered"]
    assert f'dedup.testsets=["{testset}"]' in commands[-2]
    assert commands[-1][-2:] == ["--ablation", str(tmp_path / "ablation")]

    short = _commands(tmp_path, path, path, testset, None, 100)
    assert [command[0] for command in short] == ["crawl", "clean", "dedup", "shards", "report"]
    assert "--ablation" not in short[-1]
