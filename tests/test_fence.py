"""Architecture as tests: who may import whom, importing has no effect, heavy libraries have one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("corpus", "crawl", "clean", "dedup", "shards", "train")
READERS = {"clean": {"crawl.warc"}, "train": {"shards.reader", "shards.tokenizer"}}
"""What a stage may take of another: the reader of the format it consumes."""
HOMES = {
    "ray": {"corpus/executor.py", "train/ray_launcher.py"},
    "torch": {"train"},
    "scrapy": {"crawl"},
    "aiohttp": {"crawl"},
    "trafilatura": {"clean/extract.py"},
    "lightgbm": {"clean/fit.py"},
}
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names imported anywhere in the file, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_modules() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_stages_import_the_spine_and_nothing_of_each_other(path: Path) -> None:
    here = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        package = name.partition(".")[0]
        if package not in PACKAGES or package in (here, "corpus"):
            continue
        allowed = READERS.get(here, set())
        assert any(name == reader or name.startswith(reader + ".") for reader in allowed), (
            f"{path} imports {name}; allowed: {sorted(allowed)}"
        )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_have_one_home(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    for name in imports(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or relative in homes or relative.partition("/")[0] in homes, (
            f"{relative} imports {name}; its home is {sorted(homes)}"
        )


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
