"""The one way in which this package compiles a loop."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def first_run(function: Any) -> Iterator[None]:
    """Around the first run of loops that end in `function`: one process compiles, those beside it wait and read.

    Kept machine code older than a source of this package is removed before: numba itself looks only at the file that a
    function is in, and would go on with what it once compiled of another.
    """
    folder = Path(function.stats.cache_path or "")
    if not folder.is_absolute():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "learned.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(source.stat().st_mtime for source in Path(__file__).parent.glob("*.py"))
        for index in folder.glob("*.nbi"):
            if index.stat().st_mtime < newest:
                index.unlink(missing_ok=True)
        yield
