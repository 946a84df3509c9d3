"""Compiled functions of this package, which are rebuilt if any of its files is newer."""

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

# For functions that Python calls.
compiled = compiler(nogil=True)


def inner(function: F) -> F:
    """Marks a function called by compiled functions alone: it becomes part of their machine code.

    For Python it stays a plain function. Without a version for calls from Python,
    compiling takes a fifth less time.
    """
    part: F = register_jitable(no_cfunc_wrapper=True)(function)
    return part


@cache
def forget_stale(function: Any) -> Path | None:
    """Deletes cached machine code that is older than a source of this package. Returns the cache's
    folder, if any.

    numba checks only the file of the function itself, and would reuse code with old constants of
    another file. Once in a process is enough.
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
    """Holds a lock during the first run of `function`, so that one process compiles and others
    load.
    """
    folder = forget_stale(function)
    if folder is None:
        yield
        return

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "learned.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
