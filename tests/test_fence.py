"""Architecture as tests: who may import whom, importing has no effect, heavy libraries have one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("crawl", "clean", "dedup", "shards", "train")
PACKAGES = ("webtext", "corpus", *STAGES)
OUTSIDE = ("bench", "examples", "tools", "tests")
"""Folders outside the wheel, which nothing in it may import; `webtext demo` alone starts an example."""
READERS = {"clean": {"crawl.warc"}, "train": {"shards.reader", "shards.tokenizer"}}
"""What a stage may take of another: the reader of the format it consumes."""
HOMES = {
    "ray": {"corpus/run/executors/ray.py", "train/machine/ray_launcher.py"},
    "torch": {"train"},
    "numba": {"corpus/compiled.py", "clean/learned/compiled.py", "dedup/kernels.py"},
    "scrapy": {"crawl/fetch"},
    "aiohttp": {"crawl/fetch"},
    "trafilatura": {"clean/extract.py"},
    "starlette": {"webtext/look"},
    "uvicorn": {"webtext/look"},
    "jinja2": {"webtext/look"},
    "lightgbm": {"tools/fit_extractor.py"},
}
BY_NAME = {"clean/sandbox.py"}
"""The sandbox imports, in its own process, the function that its parent named: always one of `clean`."""
MOST_FILES = 20
"""A folder with more Python files holds subjects that have no folder of their own yet."""
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Nodes of a file by which a module is imported, or may be."""
    return tuple(
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.alias)
        or (isinstance(node, ast.Name) and node.id == "__import__")
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    )


def imports(path: Path) -> Iterator[str]:
    """Dotted names imported anywhere in the file, `from a import b` as `a.b`."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_modules() -> None:
    assert len(MODULES) > 30


def test_no_folder_has_more_than_twenty_files() -> None:
    """`tests` is counted as well: a test lies where its subject does."""
    counts = Counter(
        path.parent for package in (*PACKAGES, *OUTSIDE) for path in (ROOT / package).rglob("*.py")
    )
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder, count in counts.items()
        if count > MOST_FILES
    }
    assert not crowded, f"more than {MOST_FILES} Python files in one folder: {crowded}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_only_point_down(path: Path) -> None:
    """`webtext` -> stages -> `corpus`; sideways only to the reader of the format that a stage consumes."""
    here = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        package = name.partition(".")[0]
        if package in OUTSIDE:
            assert (here, name) == ("webtext", "examples.demo.__main__.main"), (
                f"{path} imports {name}"
            )
        if package not in PACKAGES or package in (here, "corpus") or here == "webtext":
            continue
        allowed = READERS.get(here, set())
        assert any(name == reader or name.startswith(reader + ".") for reader in allowed), (
            f"{path} imports {name}; allowed: {sorted(allowed)}"
        )


def test_no_module_imports_itself_through_others() -> None:
    """Imports inside functions and for types count as well."""
    names = {dotted(path): path for path in MODULES}
    imported = {
        name: {target for each in imports(path) for target in (each, each.rpartition(".")[0])}
        for name, path in names.items()
    }
    left = {name: (found & names.keys()) - {name} for name, found in imported.items()}

    # Modules whose imports are all gone leave, until the rest is on circles or leads to one.
    while leaving := {name for name, found in left.items() if not found}:
        left = {name: found - leaving for name, found in left.items() if name not in leaving}
    assert not left, {name: sorted(found) for name, found in left.items()}


def dotted(path: Path) -> str:
    """The module's name; a package's file stands for the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_imported_by_a_string(path: Path) -> None:
    """`importlib.import_module` and `__import__` would pass the rule above unseen."""
    relative = str(path.relative_to(ROOT))
    for node in nodes(path):
        found = isinstance(node, ast.Name | ast.Attribute)
        found |= isinstance(node, ast.alias) and node.name == "import_module"
        assert not found or relative in BY_NAME, f"{relative}:{node.lineno} imports by a string"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_have_one_home(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    for name in imports(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or any(
            relative == home or relative.startswith(home + "/") for home in homes
        ), f"{relative} imports {name}; its home is {sorted(homes)}"


def test_importing_has_no_effect() -> None:
    """Every module imports in one process with an unreadable argv, no log handler, no file written, no Ray."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in MODULES
        if path.name not in ("__init__.py", "__main__.py")
    ]
    program = f"""
import importlib, logging, os, sys
sys.argv = ["x", "--no-such-flag"]
written = []
sys.addaudithook(lambda event, args: written.append(args[0]) if event == "open" and isinstance(args[0], str)
    and isinstance(args[1], str) and set(args[1]) & set("wax+") and "__pycache__" not in args[0] and not args[0].startswith("/dev/") else None)
for name in {names!r}:
    importlib.import_module(name)
    assert not logging.getLogger().handlers, name
assert "ray" not in sys.modules
ours = [path for path in written if not path.endswith((".nbi", ".nbc"))]
assert not ours, ours
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
