"""The loops of this package: compiled together, and again when any file of the package is newer."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba.extending import register_jitable

from corpus.compiled import compiler

F = TypeVar("F", bound=Callable[..., Any])

# For the loops that Python calls.
compiled = compiler(nogil=True)


def inner(function: F) -> F:
    """For what only compiled loops call: it becomes part of their machine code, and is kept with
    it.

    Nothing is made for a call from Python, where it stays the plain function that it is written as.
    That, and one version for a number and for a number known beforehand, takes a fifth off the time
    to compile.
    """
    part: F = register_jitable(no_cfunc_wrapper=True)(function)
    return part


@cache
def forget_stale(function: Any) -> Path | None:
    """Remove kept machine code that is older than a source of this package; gives the folder it is
    kept in, if any.

    numba itself looks only at the file that a function is in, and would go on with what it once
    compiled of another: numbers of tags and columns lie in files of their own. Once in a process is
    enough.
    """
    folder = Path(function.stats.cache_path or "")
    if not folder.is_absolute():
        return None

    newest = max(source.stat().st_mtime for source in Path(__file__).parent.rglob("*.py"))
    for index in folder.glob("*.nbi"):
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            if index.stat().st_mtime < newest:
                index.unlink()

    return folder


@contextlib.contextmanager
def first_run(function: Any) -> Iterator[None]:
    """Around the first run of loops that end in `function`: one process compiles, those beside it
    wait and read.
    """
    folder = forget_stale(function)
    if folder is None:
        yield
        return

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "learned.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
