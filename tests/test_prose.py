"""The language rules as tests: first words of docstrings, and paragraphs in long functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train")
FOLDERS += ("bench", "examples", "tools")
OPENINGS = frozenset(
    [
        "what",
        "which",
        "whether",
        "where",
        "how",
        "why",
        "who",
        "whose",
        "when",
        "whatever",
        "wherever",
        "whoever",
    ]
)
LONG = 25
"""Lines from which a function needs a blank line or a comment."""
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def nodes(folder: str) -> Iterator[tuple[Path, Documented]]:
    """Every module, class and function below a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, Documented):
                yield path, node


def is_wall(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True if a long function has neither a blank line nor a comment below its docstring."""
    first = node.body[0]
    start = first.end_lineno if ast.get_docstring(node) is not None else node.lineno
    assert start is not None
    rows = [row.strip() for row in path.read_text("utf-8").splitlines()[start : node.end_lineno]]
    return len(rows) >= LONG and not any(not row or row.startswith("#") for row in rows)


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_verb_or_a_noun(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} {words[:60]}"
        for path, node in nodes(folder)
        if (words := ast.get_docstring(node) or "")
        and words.split()[0].strip("`:,.").lower() in OPENINGS
    ]
    assert found == [], "begin with a verb (an effect) or a noun (a value)"


@pytest.mark.parametrize("folder", FOLDERS)
def test_long_functions_have_paragraphs(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, node in nodes(folder)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_wall(path, node)
    ]
    assert found == [], f"{LONG} lines and more need a blank line where the thought changes"
