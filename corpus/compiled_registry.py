"""The registry of compiled functions, and of calls that compile them beforehand.

Modules add to both when they are imported; `webtext.precompile` runs the calls. numba is not
imported here: a module that calls compiled functions need not load them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E", bound=Callable[[], object])

# Compiled functions by module and name.
FUNCTIONS: dict[str, Any] = {}
EXAMPLES: list[Callable[[], object]] = []


def example(function: E) -> E:
    """Register a call of compiled functions on a tiny input.

    The arguments need the types of a real call: for others a function is compiled again.
    """
    EXAMPLES.append(function)
    return function
