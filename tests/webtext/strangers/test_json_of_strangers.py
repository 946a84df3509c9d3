"""JSON files of a corpus that hold something else than an object: one line, not a traceback."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corpus.errors import InputError
from corpus.storage.store import Store, open_corpus
from crawl.captures import groups
from crawl.fetch import progress
from train import evaluate

ROOT = Path(__file__).parents[3]
PACKAGES = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train")
VALUES = ([], [1], "text", 7, None, True)
SCORES = {"weights": "w", "snapshot": "s", "dtype": "float32", "sets": {}, "about": {}}


def _keep_scores(store: Store) -> object:
    subject: Any = SimpleNamespace(store=store, outcomes="runs/r/checkpoints/x", prefix="runs/r/")
    return evaluate._kept(subject, dict(SCORES))


READERS: dict[str, Callable[[Store], object]] = {
    f"{progress._folder('b')}/00000.json": lambda store: progress.read(store, "b", 0.0),
    groups.path_of("b", 0, ".json"): lambda store: list(groups.receipts(store, "b")),
    "runs/r/checkpoints/x/scores.json": _keep_scores,
}


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_another_value_than_an_object_is_named(path: str, value: object, tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path), create=True)
    store.write_json(path, value)
    with pytest.raises(InputError, match=f"{path}: expected a JSON object"):
        READERS[path](store)


@pytest.mark.parametrize("part", ["weights", "snapshot", "sets", "about"])
def test_scores_without_a_part_are_named(part: str, tmp_path: Path) -> None:
    store = open_corpus(str(tmp_path), create=True)
    path = "runs/r/checkpoints/x/scores.json"
    store.write_json(path, {key: value for key, value in SCORES.items() if key != part})
    with pytest.raises(InputError, match=f"{path}: expected the scores of a checkpoint"):
        _keep_scores(store)
    assert not store.exists("runs/r/scores.json")


def test_all_json_of_a_corpus_is_read_as_objects() -> None:
    """`read_json` gives any value. Its callers outside of the storage would have to look at it."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.parent != ROOT / "corpus" / "storage"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "read_json"
    ]
    assert calls == []
