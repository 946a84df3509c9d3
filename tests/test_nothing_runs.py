"""No file that may come from elsewhere is unpickled, evaluated or imported: the calls that could are listed here."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest

from clean.learned import trees
from corpus.errors import InputError

ROOT = Path(__file__).parents[1]
PACKAGES = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train")
BETWEEN_OUR_PROCESSES = {
    "corpus/run/executors/pool.py",
    "corpus/run/executors/ray.py",
    "train/machine/ray_launcher.py",
}
"""Modules that unpickle what processes of their own send. `shards/export.py` only writes a pickle, which nanoGPT reads."""
UNPICKLING = {"pickle", "_pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
RUNS = {"eval", "exec", "compile", "__import__"}


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_the_calls_that_could_run_a_file() -> None:
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            tree = ast.parse(path.read_text("utf-8"))
            for function, call in calls(tree):
                module, _, method = function.rpartition(".")
                if module in UNPICKLING and method in ("load", "loads", "Unpickler", "open"):
                    found.add(name)
                keywords = {each.arg: ast.unparse(each.value) for each in call.keywords}
                assert function not in RUNS, f"{name}:{call.lineno} runs code"
                assert not function.endswith("torch.load"), f"{name}:{call.lineno} unpickles"
                assert function != "yaml.load", f"{name}:{call.lineno} builds objects"
                assert keywords.get("allow_pickle", "False") == "False", f"{name}:{call.lineno}"
                assert keywords.get("trust_remote_code", "False") == "False", (
                    f"{name}:{call.lineno}"
                )
                if function.startswith("subprocess."):
                    assert keywords.get("shell", "False") == "False", (
                        f"{name}:{call.lineno} asks a shell"
                    )
                if function in ("np.load", "numpy.load"):
                    assert keywords.get("allow_pickle") == "False", f"{name}:{call.lineno}"
    assert found == BETWEEN_OUR_PROCESSES


def test_unpickling_is_called_by_its_module() -> None:
    """Otherwise the list above would miss it."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert node.module not in UNPICKLING, path
                if isinstance(node, ast.Import):
                    aliased = [
                        each for each in node.names if each.name in UNPICKLING and each.asname
                    ]
                    assert not aliased, path


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return Path.touch, (self.trace,)


def test_a_model_of_blocks_runs_nothing(tmp_path: Path) -> None:
    """The learned extractor's `.npz` with an object array in it."""
    trace = tmp_path / "ran"
    content = io.BytesIO()
    np.savez(content, payload=np.array([Payload(trace)], dtype=object))
    loaders = [each for name, each in vars(trees).items() if name.startswith("load")]
    assert loaders, "the loader has another name"
    for loader in loaders:
        with pytest.raises((ValueError, KeyError, InputError, TypeError, AttributeError)):
            loader(content.getvalue())
    assert not trace.exists()
