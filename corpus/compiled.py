"""The project's `@njit`: compiles with numba and caches the code on disk for later runs.

numba's cache is `NUMBA_CACHE_DIR` if set, else beside the source, else in the user's cache folder.
If none of them is writable (an installed package of another user, a service without a home), it
refuses to compile; then the cache is a folder of this user below the temporary one. Code writable
by others is not loaded: `NUMBA_CACHE_DIR` of another user, or writable by everybody, is not used,
and without a private folder every process compiles for itself.

numba compares cached code with the file of its function only. Functions and constants of other
files become part of that code, so it would outlive a change of them. Here code is deleted if any
file that its module imports is newer.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import entrypoints

from corpus.compiled_registry import FUNCTIONS

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_IMPORT = re.compile(
    r"^(?:from|import) ([\w.]+)(?: import (?:\(([^)]*)\)|([^\n(]+)))?", re.MULTILINE
)
_COMMENT = re.compile(r"#.*")


def compiler(**options: Any) -> Callable[[F], F]:
    """The decorator `numba.njit` with these options and, if possible, a cache.

    Never with fastmath or threads: results are the same bits on any machine.
    """

    def compiled(function: F) -> F:
        result = _cached(function, options)
        result._compile_for_args = _without_extensions(result._compile_for_args)  # type: ignore[attr-defined]
        FUNCTIONS[f"{function.__module__}.{function.__qualname__}"] = result
        return result

    return compiled


def _without_extensions(compile_for: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_for`, before which numba would import every installed package that extends it.

    Of those, awkward comes with the tokenizer's library and takes .6 s. Our loops know arrays and
    numbers alone. Loops of others in this process find their extensions as ever.
    """
    if not hasattr(entrypoints, "_already_initialized"):  # another version of numba
        return compile_for

    def compile_alone(*args: Any, **kwargs: Any) -> Any:
        before = entrypoints._already_initialized
        entrypoints._already_initialized = True
        try:
            return compile_for(*args, **kwargs)
        finally:
            entrypoints._already_initialized = before

    return compile_alone


def _cached(function: F, options: dict[str, Any]) -> F:
    given = numba.config.CACHE_DIR
    if given and not is_trusted(given):
        return _kept_privately(function, options)

    try:
        result: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "no locator available"
        return _kept_privately(function, options)

    try:
        _delete_stale(result, function)
    except OSError:  # a cache of somebody else, which can be read but not renewed
        return _kept_privately(function, options)

    return result


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


def _delete_stale(result: Any, function: Callable[..., Any]) -> None:
    """Delete cached code of a function that is older than a source of it. Raises: OSError."""
    place = result.stats.cache_path
    if not place:
        return

    newest = newest_source(function.__module__)
    name = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}-*.nbi"
    for index in Path(place).glob(name):
        try:
            if index.stat().st_mtime < newest:
                index.unlink()
        except FileNotFoundError:
            continue  # another process does the same


@cache
def newest_source(module: str) -> float:
    """The last change of a module's file and of all files below its root that it imports, in seconds.

    Imports are read from the text, since constants do not say where they are from.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return 0.0

    own = Path(file)
    depth = module.count(".") + (own.name == "__init__.py")
    root = own.parents[depth]
    found = {own}
    ahead = [own]
    while ahead:
        for package, listed, in_line in _IMPORT.findall(ahead.pop().read_text("utf-8")):
            base = root.joinpath(*package.split("."))
            text = _COMMENT.sub("", listed or in_line)
            # `name as other` begins with the name.
            names = [each.split()[0] for each in text.split(",") if each.strip()]
            modules = [base, *(base / name for name in names)]
            paths = [
                each for path in modules for each in (path.with_suffix(".py"), path / "__init__.py")
            ]
            for path in paths:
                if path not in found and path.is_file():
                    found.add(path)
                    ahead.append(path)

    return max(path.stat().st_mtime for path in found)


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
