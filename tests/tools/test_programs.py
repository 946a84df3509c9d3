"""Programs beside the packages: benches, tools and examples. Each still loads, explains itself and only that."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "tools", "examples")
OURS = ("webtext", "corpus", "crawl", "clean", "dedup", "shards", "train", "tests", *FOLDERS)
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PROGRAMS = [path for path in FILES if "__main__" in path.read_text("utf-8")]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Modules of ours that a file imports anywhere, late ones as well, each with a name in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((each.name, None) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", each.name) for each in node.names)


def test_there_are_programs_in_every_folder() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in PROGRAMS}
    assert found == set(FOLDERS)
    assert len(PROGRAMS) > 30


@pytest.mark.parametrize("path", PROGRAMS, ids=module_name)
def test_a_program_prints_its_help_and_writes_nothing(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = module_name(path)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = dict(os.environ)

    module = importlib.import_module(name)
    with pytest.raises(SystemExit) as ended:
        module.main()

    assert ended.value.code == 0, "--help is an end like any other"
    assert capsys.readouterr().out.startswith("usage: ")
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == environment


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_what_a_program_imports_from_us_is_there(path: Path) -> None:
    """Type checks leave these folders out, and many imports are late: peers have homes of their own."""
    for module, name in imports(path):
        if module.partition(".")[0] in OURS:
            loaded = importlib.import_module(module)
            if name is not None and not hasattr(loaded, name):
                assert importlib.util.find_spec(f"{module}.{name}") is not None, (module, name)


def test_programs_that_the_documentation_names_are_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    others = [ROOT / "Makefile", *(ROOT / ".github").rglob("*.yml"), *(ROOT / "deploy").rglob("*")]
    found = set()
    for page in [*pages, *(each for each in others if each.is_file())]:
        text = page.read_text("utf-8")
        for name in re.findall(r"(?<![\w/.-])(?:bench|tools|examples)(?:\.[a-z_]\w*)+", text):
            if not name.endswith((".py", ".md", ".toml", ".txt", ".ipynb")):
                found.add(name)
                assert importlib.util.find_spec(name) is not None, f"{page.name} names {name}"
        for name in re.findall(r"(?<![\w/.-])(?:bench|tools|examples)(?:/[\w.-]*\w)+", text):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
    assert len(found) > 20
