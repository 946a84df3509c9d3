"""Questions before something is deleted for good."""

from __future__ import annotations

import sys

from corpus.errors import InputError


def confirm(what: str, *, yes: bool, command: str) -> None:
    """Ask before something is deleted for good. Raises InputError unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{what}; nothing was done. To do it: {command}")

    print(f"{what}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was done")
