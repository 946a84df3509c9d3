"""The one way in which this package compiles a loop."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`numba.njit` with its machine code kept on disk where there is a place for it.

    The place is beside the source, else `NUMBA_CACHE_DIR` or the user's cache folder; where none can be written, every
    process compiles for itself. Neither fastmath nor threads: results are the same bits on any machine.
    """
    try:
        compiled_function: F = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: "no locator available"
        compiled_function = numba.njit(nogil=True)(function)
    return compiled_function


@cache
def forget_stale(function: Any) -> Path | None:
    """Remove kept machine code that is older than a source of this package; gives the folder it is kept in, if any.

    numba itself looks only at the file that a function is in, and would go on with what it once compiled of another:
    numbers of tags and columns lie in files of their own. Once in a process is enough.
    """
    folder = Path(function.stats.cache_path or "")
    if not folder.is_absolute():
        return None
    newest = max(source.stat().st_mtime for source in Path(__file__).parent.glob("*.py"))
    for index in folder.glob("*.nbi"):
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            if index.stat().st_mtime < newest:
                index.unlink()
    return folder


@contextlib.contextmanager
def first_run(function: Any) -> Iterator[None]:
    """Around the first run of loops that end in `function`: one process compiles, those beside it wait and read."""
    folder = forget_stale(function)
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "learned.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
