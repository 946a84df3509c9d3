"""The one way in which loops are compiled: by numba, with the machine code kept on disk, so that a machine pays once.

numba keeps it in `NUMBA_CACHE_DIR` if that is set, else beside the source, else in the user's cache
folder, and refuses to compile where none of them can be written: an installed package of another
user, a service without a home. There it goes to a folder of this user below the temporary one.
Machine code that somebody else could have put there is not loaded: without a folder that is ours
alone, every process compiles for itself.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


def compiler(**options: Any) -> Callable[[F], F]:
    """The decorator `numba.njit` with these options and a cache wherever there is a place for one.

    Neither fastmath nor threads are ever among them: results are the same bits on any machine.
    """

    def compiled(function: F) -> F:
        try:
            result: F = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "no locator available"
            folder = private_folder()
            result = (
                numba.njit(**options)(function)
                if folder is None
                else _kept_in(folder, function, options)
            )

        return result

    return compiled


def folder() -> str | None:
    """Where the machine code of a loop in this folder is kept; None where no place takes it."""

    def loop() -> int:
        return 0

    place: str | None = compiler()(loop).stats.cache_path  # type: ignore[attr-defined]
    return place


@cache
def private_folder() -> Path | None:
    """A folder below the temporary one that nobody but this user reads or writes; None where none can be had."""
    folder = Path(tempfile.gettempdir()) / f"webtext-machinecode-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"{folder}: {error.strerror or error}"
    else:
        if (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == os.getuid()
            and not found.st_mode & 0o077
        ):
            return folder
        reason = f"{folder} is not this user's alone"

    log.warning(
        "compiled loops are kept nowhere (%s), so each process compiles its own; set NUMBA_CACHE_DIR",
        reason,
    )

    return None


def _kept_in(folder: Path, function: F, options: dict[str, Any]) -> F:
    """numba asks for its folder when a function is decorated, and has it in its configuration."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        result: F = numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before

    return result
