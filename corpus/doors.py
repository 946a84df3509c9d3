"""Doors and functions of the stages, looked up when called: the spine imports no stage."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from corpus.errors import InputError

EXTRAS = {"crawl": "crawl", "clean": "clean", "dedup": "dedup", "shards": "shards", "train": "train"}
"""Which extra brings what a stage needs."""


def stage_door(package: str, module: str = "run") -> Callable[[Sequence[str]], int]:
    """A door's `main`. Raises InputError when its stage is not installed."""
    door: Callable[[Sequence[str]], int] = stage_function(f"{package}.{module}", "main")
    return door


def stage_function(module: str, name: str) -> Any:
    """A function of a stage. Raises InputError when the stage is not installed."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        extra = EXTRAS.get(module.partition(".")[0], "all")
        raise InputError(f"{module} cannot be imported ({error}); pip install webtext[{extra}]") from error
