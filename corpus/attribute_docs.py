"""Docstrings below the attributes of a class, read from its source when they are asked for.

Pydantic reads them as soon as a model is defined: .3 s for the settings of a command, of which only
help and a few errors show them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise


def attribute_docs(model: type) -> Mapping[str, str]:
    """The docstring of each annotated attribute that has one, of base classes as well.

    A class without source, such as one of an interactive session, has none.
    """
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        found |= _docs_of_module(each.__module__).get(each.__qualname__, {})
    return found


@cache
def _docs_of_module(name: str) -> dict[str, dict[str, str]]:
    """By qualified name of a class, the docstrings of its own attributes."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, TypeError):
        return {}
    return {path: dict(_docs(found.body)) for path, found in _classes(tree, "")}


def _classes(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes below a node with their qualified names."""
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from _classes(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(node, f"{prefix}{node.name}.<locals>.")
        elif isinstance(node, ast.stmt):
            yield from _classes(node, prefix)


def _docs(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for attribute, following in pairwise(body):
        if (
            isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            yield attribute.target.id, inspect.cleandoc(following.value.value)
