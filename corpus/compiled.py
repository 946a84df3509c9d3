"""The project's `@njit`: compiles with numba and caches the code on disk for later runs.

numba's cache is `NUMBA_CACHE_DIR` if set, else beside the source, else in the user's cache folder.
If none of them is writable (an installed package of another user, a service without a home), it
refuses to compile; then the cache is a folder of this user below the temporary one. Code writable
by others is not loaded: `NUMBA_CACHE_DIR` of another user, or writable by everybody, is not used,
and without a private folder every process compiles for itself.
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
    """The decorator `numba.njit` with these options and, if possible, a cache.

    Never with fastmath or threads: results are the same bits on any machine.
    """

    def compiled(function: F) -> F:
        given = numba.config.CACHE_DIR
        if given and not is_trusted(given):
            return _kept_privately(function, options)

        try:
            result: F = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "no locator available"
            return _kept_privately(function, options)

        return result

    return compiled


def folder() -> str | None:
    """The cache folder of a loop in this folder; None if there is none."""

    def loop() -> int:
        return 0

    place: str | None = compiler()(loop).stats.cache_path  # type: ignore[attr-defined]
    return place


@cache
def private_folder() -> Path | None:
    """A folder below the temporary one, private to this user; None if impossible."""
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
        "compiled loops are kept nowhere (%s), so each process compiles its own; set "
        "NUMBA_CACHE_DIR",
        reason,
    )

    return None


@cache
def is_trusted(given: str) -> bool:
    """True for a cache folder that only this user, its group or root can write, or a new one.

    Loading machine code runs it, so a folder of somebody else must not be read.
    """
    try:
        found = Path(given).stat()
    except OSError:
        return True  # numba makes it, or refuses and the private folder is used

    if found.st_uid in (os.getuid(), 0) and not found.st_mode & stat.S_IWOTH:
        return True

    log.warning(
        "NUMBA_CACHE_DIR=%s is not used: its owner is user %d and its mode %o, so others can change the code; "
        "name a folder of your own",
        given,
        found.st_uid,
        stat.S_IMODE(found.st_mode),
    )
    return False


def _kept_privately(function: F, options: dict[str, Any]) -> F:
    """The compiled function with its code in this user's folder, or nowhere."""
    folder = private_folder()
    if folder is None:
        result: F = numba.njit(**options)(function)
        return result
    return _kept_in(folder, function, options)


def _kept_in(folder: Path, function: F, options: dict[str, Any]) -> F:
    """numba asks for its folder when a function is decorated, and has it in its configuration."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        result: F = numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = before

    return result
