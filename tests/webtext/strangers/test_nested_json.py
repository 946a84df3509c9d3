"""JSON of strangers that nests deeper than Python's stack: one line, as for every other fault."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.errors import InputError
from corpus.evaluation_sets.files import find_testsets, load_testset
from corpus.json_values import json_value
from crawl.captures.cdx_server import parse_lines
from crawl.captures.index import status_of
from crawl.captures.local import _captures
from shards.tokenizer import vocabulary_files
from shards.tokenizer.encode import parse_tokenizer
from train.checkpoints import run_folder
from train.gpt2.huggingface import check_tokenizer
from train.scores.tasks.few_shot import read_rows

ROOT = Path(__file__).parents[3]
PACKAGES = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train")
NESTED = ("[" * 200_000, '{"a":' * 200_000)

OWN = {
    "crawl/fetch/fleet/roster.py",
    "crawl/fetch/shard_state.py",
    "crawl/fetch/steps.py",
    "crawl/fetch/worker.py",
    "crawl/links/maturity.py",
    "crawl/rights/ai_agents.py",
    "clean/soft_failures/model.py",
    "dedup/against/sources.py",
    "shards/pin_tokenizer.py",
    "shards/tokenizer/encode.py",
    "train/machine/stragglers.py",
    "webtext/proof/check_proof.py",
    "webtext/proof/statement.py",
}
"""Modules that parse what our own processes wrote, and a script that opens one proof."""
STRINGS = {"clean/learned/features/stated.py", "clean/page_source/embedded.py"}
"""Modules that parse a single string."""

READERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: [load_testset(each) for each in find_testsets([str(path)])],
    "a.json": lambda path: [load_testset(each) for each in find_testsets([str(path)])],
    "tokenizer.json": lambda path: vocabulary_files.load(str(path)),
    "hf/tokenizer.json": lambda path: check_tokenizer(path.parent, b'{"model": {"vocab": {}}}'),
    "a.cdxj": lambda path: list(_captures(path, beside=False)),
    "corpus": lambda path: parse_tokenizer(path.read_bytes(), "<|endoftext|>"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", NESTED, ids=["arrays", "objects"])
def test_deep_nesting_is_one_line(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        READERS[name](path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", NESTED, ids=["arrays", "objects"])
def test_deep_nesting_is_a_fault_of_the_value(text: str) -> None:
    for read in (json_value, parse_lines, lambda text: read_rows(text.encode(), dict)):
        with pytest.raises(ValueError, match="nested too deeply"):
            read(text)
    assert run_folder._parsed(text.encode()) is None


@pytest.mark.parametrize(
    "answer", ["[1]", '["url"]', '[[{}], ["a"]]', '[["url"], [[]], [], ["k"]]', "{", "[[]", "a {b}"]
)
def test_answers_of_an_index_are_rows_of_fields(answer: str) -> None:
    with pytest.raises(ValueError, match="an array of other values|Expecting|delimiter"):
        parse_lines(answer)


def test_numbers_of_thousands_of_digits_are_no_sizes() -> None:
    assert status_of("9" * 18) == 10**18 - 1
    assert status_of("9" * 19) is None
    assert status_of("9" * 5000) is None


def test_every_reader_of_json_expects_deep_nesting() -> None:
    """`json.loads` outside of these modules is in a `try` that names RecursionError."""
    careless = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name in OWN | STRINGS:
                continue
            tree = ast.parse(path.read_text("utf-8"))
            guarded = {
                id(inner)
                for node in ast.walk(tree)
                if isinstance(node, ast.Try)
                and any("RecursionError" in ast.unparse(each) for each in node.handlers)
                for statement in node.body
                for inner in ast.walk(statement)
            }
            careless += [
                f"{name}:{node.lineno}"
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                and ast.unparse(node.func) == "json.loads"
                and id(node) not in guarded
            ]
    assert careless == []
