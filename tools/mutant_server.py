"""Runs tests of a checkout again and again, each time in a fork of a process with its modules loaded.

Loading libraries and modules takes longer than most tests do. A fork forgets the changed module and
all modules that import it, so these are loaded from the changed file; the others are those of the
parent. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest

CLOCK_FACTOR = 5
"""A fault may wait without end: the clock ends a run after so many times its processor time."""

# Test modules are loaded with rewritten assertions, and a reactor does not survive a fork.
_NOT_LOADED = ("tests", "conftest", "__main__", "_pytest", "twisted.internet.")


def serve(root: Path) -> None:
    """Answer requests until the input ends: processor time, memory, changed module and tests."""
    for line in sys.stdin:
        cpu_s, memory_bytes, changed, *tests = json.loads(line)
        code, output, names = run_in_fork(root, cpu_s, memory_bytes, changed, tests)
        # A run without a fault tells which modules the tests need.
        if changed is None and code == 0:
            load(names)
            # Forks neither read the imports again nor look for garbage among what is loaded.
            _importers(root)
            gc.collect()
            gc.freeze()
        print(json.dumps([code, output]), flush=True)


def run_in_fork(
    root: Path, cpu_s: int, memory_bytes: int, changed: str | None, tests: Sequence[str]
) -> tuple[int, str, list[str]]:
    """Run tests in a fork. Returns its status, the end of its output and the modules it had loaded.

    A fault may loop without end or lift a limit on memory. The limits are those of the process and
    not of the clock: tests on a busy machine take long, and that would count as a fault noticed.
    """
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        tempfile.TemporaryFile("w+") as names,
        tempfile.TemporaryDirectory() as machine_code,
    ):
        if os.fork() == 0:
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            signal.alarm(CLOCK_FACTOR * cpu_s)
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            code = 70
            try:
                if changed is not None:
                    compile_again(forget(root, changed), machine_code)
                options = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
                warning = "ignore::pytest.PytestAssertRewriteWarning"
                code = int(pytest.main([*options, "-W", warning, *tests]))
                if changed is None:
                    json.dump(list(sys.modules), names)
                    names.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)

        _, status = os.wait()
        output.seek(0)
        names.seek(0)
        return status, output.read()[-2000:], json.loads(names.read() or "[]")


def load(names: Iterable[str]) -> None:
    """Import modules that tests have loaded, so that later forks have them."""
    for name in names:
        if name not in sys.modules and not name.startswith(_NOT_LOADED):
            # Some only load in the order that their package chose.
            with contextlib.suppress(Exception), contextlib.redirect_stdout(sys.stderr):
                importlib.import_module(name)


def forget(root: Path, changed: str) -> set[str]:
    """Unload the module of a file and all loaded modules that import it, however indirectly.

    Returns their names.
    """
    importers = _importers(root)
    affected = {changed.removesuffix(".py").removesuffix("/__init__").replace("/", ".")}
    ahead = list(affected)
    while ahead:
        name = ahead.pop()
        # A package is loaded anew with its modules, which are attributes of it.
        below = {each for each in importers if each.startswith(name + ".")}
        found = (importers.get(name, set()) | below) - affected
        affected |= found
        ahead += found

    for name in affected & sys.modules.keys():
        del sys.modules[name]
        parent, _, last = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(last, None)

    return affected


def compile_again(affected: set[str], folder: str) -> None:
    """Let this process keep machine code in an empty folder, if loops are among what is affected.

    Functions and constants of the changed module are part of that code, so code from before would
    run without the fault.
    """
    registry = sys.modules.get("corpus.compiled_registry")
    if registry is None:
        return

    if any(name.rpartition(".")[0] in affected for name in registry.FUNCTIONS):
        os.environ["NUMBA_CACHE_DIR"] = folder
        sys.modules["numba"].config.CACHE_DIR = folder  # type: ignore[attr-defined]


def _importers(root: Path) -> dict[str, set[str]]:
    """For each loaded module below the root, the loaded modules that import it."""
    files = {
        name: Path(file)
        for name, module in sys.modules.items()
        if (file := getattr(module, "__file__", None)) and Path(file).is_relative_to(root)
    }
    importers: dict[str, set[str]] = {name: set() for name in files}
    for name, file in files.items():
        for each in _imports(file) & files.keys():
            importers[each].add(name)

    return importers


@cache
def _imports(file: Path) -> frozenset[str]:
    """Modules that a file imports, at its top or later, and names that may be modules."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}

    return frozenset(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the checkout that is named."""
    parser = argparse.ArgumentParser(prog="tools.mutant_server", description=__doc__)
    parser.add_argument("root", type=Path, help="the checkout")
    serve(parser.parse_args(argv).root.resolve())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
