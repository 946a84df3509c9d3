"""Compiled code where numba finds no folder for it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import entrypoints

from corpus import compiled

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A function to compile, in a folder that takes no cache, of a user without a home; read anew at each call."""
    (tmp_path / "package").mkdir()
    source = tmp_path / "package" / "loops.py"
    source.write_text("def add(left, right):\n    return left + right\n")
    (source.parent / "__pycache__").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(source))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(compiled, "private_folder", compiled.private_folder.__wrapped__)

    def load() -> Any:
        spec = importlib.util.spec_from_file_location("loops", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.add

    return load


def test_numba_alone_refuses(loop: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(loop())


def test_it_is_kept_in_a_folder_of_this_user(loop: Callable[[], Any], tmp_path: Path) -> None:
    first = compiled.compiler(nogil=True)(loop())
    assert first(2, 3) == 5
    folder = tmp_path / "temporary" / f"webtext-machinecode-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.rglob("*.nbc"))) == 1
    assert sum(first.stats.cache_misses.values()) == 1
    second = compiled.compiler(nogil=True)(loop())
    assert second(2, 3) == 5
    assert sum(second.stats.cache_hits.values()) == 1, "the next process loads it"
    assert numba.config.CACHE_DIR == "", "other users of numba keep their place"


@pytest.mark.parametrize("trap", ["open to all", "a link", "a file"])
def test_machine_code_that_others_can_change_is_not_used(
    trap: str, loop: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "temporary" / f"webtext-machinecode-{os.getuid()}"
    if trap == "a file":
        folder.touch()
    elif trap == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    add = compiled.compiler()(loop())
    assert add(2, 3) == 5
    assert not list(tmp_path.rglob("*.nbc"))
    assert "set NUMBA_CACHE_DIR" in caplog.text


def test_where_there_is_a_place_it_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "private_folder", lambda: pytest.fail("not asked"))

    def add(left: int, right: int) -> int:
        return left + right

    assert compiled.compiler()(add)(2, 3) == 5
    assert list(tmp_path.rglob("*.nbc"))


def test_code_is_compiled_again_when_an_imported_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba looks at the function's own file alone, and would add with the old constant."""
    package = tmp_path / "package_of_loops"
    (package / "inner").mkdir(parents=True)
    for path in (package / "__init__.py", package / "inner" / "__init__.py"):
        path.touch()
    source = package / "inner" / "numbers.py"
    source.write_text("STEP = 1\n")
    (package / "steps.py").write_text(
        "from package_of_loops.inner import numbers\nSTEP = numbers.STEP\n"
    )
    (package / "loops.py").write_text(
        "from corpus.compiled import compiler\nfrom package_of_loops.steps import STEP\n\n"
        "@compiler()\ndef advance(value):\n    return value + STEP\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))

    def advance() -> Any:
        for name in [name for name in sys.modules if name.startswith("package_of_loops")]:
            del sys.modules[name]
        compiled.newest_source.cache_clear()
        return importlib.import_module("package_of_loops.loops").advance

    assert advance()(1) == 2
    again = advance()
    assert again(1) == 2
    assert sum(again.stats.cache_hits.values()) == 1, "nothing has changed"

    source.write_text("STEP = 10\n")
    # The clock of files may be coarser than this test.
    later = time.time() + 2
    os.utime(source, (later, later))
    assert advance()(1) == 11


@pytest.mark.parametrize(
    "line",
    [
        "from package_of_imports.inner import numbers",
        "from package_of_imports.inner import numbers as figures  # shorter",
        "from package_of_imports.inner import (\n    letters,  # of a word\n    numbers,\n)",
        "import package_of_imports.inner.numbers as figures",
    ],
)
def test_modules_are_found_however_they_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    inner = tmp_path / "package_of_imports" / "inner"
    inner.mkdir(parents=True)
    for path in (inner.parent / "__init__.py", inner / "__init__.py", inner / "letters.py"):
        path.touch()
    (inner / "numbers.py").touch()
    (inner.parent / "loops.py").write_text(f"{line}\n")
    later = time.time() + 1000
    os.utime(inner / "numbers.py", (later, later))
    loops = types.ModuleType("package_of_imports.loops")
    loops.__file__ = str(inner.parent / "loops.py")
    monkeypatch.setitem(sys.modules, loops.__name__, loops)
    found = compiled.newest_source.__wrapped__(loops.__name__)
    assert found == pytest.approx(later, abs=1e-3)


def test_the_features_depend_on_every_file_of_theirs() -> None:
    """Changed containers left machine code with the old ones in the folder of the features."""
    compiled.newest_source.cache_clear()
    name = importlib.import_module("clean.learned.features").__name__
    containers = Path(REPOSITORY, "clean/learned/features/containers.py")
    before = containers.stat()
    later = time.time() + 1000
    os.utime(containers, (later, later))
    try:
        assert compiled.newest_source(name) == pytest.approx(later, abs=1e-3)
        assert compiled.newest_source("dedup.kernels") < later
    finally:
        os.utime(containers, ns=(before.st_atime_ns, before.st_mtime_ns))
        compiled.newest_source.cache_clear()


def test_installed_extensions_of_numba_are_imported_for_loops_of_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class NoEntryPoints:
        def select(self, group: str, name: str) -> list[Any]:
            asked.append(group)
            return []

    monkeypatch.setattr(entrypoints, "_already_initialized", False)
    monkeypatch.setattr(entrypoints.importlib_metadata, "entry_points", NoEntryPoints)

    def add(left: int, right: int) -> int:
        return left + right

    assert compiled.compiler()(add)(1, 2) == 3
    assert not asked
    assert numba.njit(add)(1, 2) == 3
    assert asked == ["numba_extensions"]
