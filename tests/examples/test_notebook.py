"""The notebook goes from a corpus to plots in ten cells, without changing a file of the corpus."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import grown_corpus
from tests.support.hostile_corpus import tree
from tests.support.written_runs import add_run

NOTEBOOK = Path(__file__).parents[2] / "examples" / "corpus.ipynb"


def cells() -> list[str]:
    """The sources of the code cells."""
    found = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in found), "outputs are not kept"
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # type: ignore[attr-defined]


def test_ten_cells_draw_a_corpus(
    fates_copy: grown_corpus.Fates,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, name in enumerate(("first", "second")):
        add_run(fates_copy, name, 4.0 + number)
    root = Path(fates_copy.root)
    before = tree(root)
    monkeypatch.setenv("WEBTEXT_CORPUS", fates_copy.root)

    names: dict[str, Any] = {"__name__": "notebook"}
    values = [run(source, names) for source in cells()]
    assert len(values) == 10
    plots = [value._repr_html_() for value in values if hasattr(value, "_repr_html_")]
    assert len(plots) == 6
    assert all(
        plot.startswith("<svg") and ("<rect" in plot or "<polyline" in plot) for plot in plots
    )
    assert "near_duplicate" in plots[1]
    assert plots[-1].count("<polyline") == 2
    assert len(values[6]) == 5
    assert "http" in capsys.readouterr().out
    assert len(values[8].split()) > 20
    assert tree(root) == before
