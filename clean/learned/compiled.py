"""The one way in which this package compiles a loop."""

from __future__ import annotations

from collections.abc import Callable
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


def forget_stale(function: Any) -> None:
    """Remove the kept machine code of this package that is older than one of its sources; call before the first run.

    numba itself looks only at the file that a function is in, and would go on with what it once compiled of another.
    """
    folder = function.stats.cache_path
    if folder is None or not Path(folder).is_dir():
        return
    newest = max(source.stat().st_mtime for source in Path(__file__).parent.glob("*.py"))
    for index in Path(folder).glob("*.nbi"):
        if index.stat().st_mtime < newest:
            index.unlink(missing_ok=True)
