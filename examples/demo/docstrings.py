"""Docstrings of installed packages, read from their source without importing anything.

Only files with enough text in triple quotes are parsed: about a third of the 235 MB of source in a
full environment, which takes seconds. Strings passed to `add_docstr` and `add_newdoc` count as
well: numpy and torch document their compiled functions in this way.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIN_SOURCE_BYTES = 2_000
# Least share of a file between triple quotes for it to be worth parsing.
MIN_DOC_FRAC = 0.35
MIN_DOCSTRING_CHARS = 80
# Least share of letters and spaces in a docstring: below it are tables and code, not prose.
MIN_LETTER_FRAC = 0.62
# Tests, copies of other packages, and folders of tables.
SKIPPED_FOLDERS = frozenset(
    {
        *("tests", "test", "testing", "__pycache__", "site-packages", "dist-packages"),
        *("_vendor", "vendored", "_vendored_packages", "thirdparty_files"),
        *("idlelib", "lib2to3", "encodings"),
    }
)
DOCUMENTING_CALLS = frozenset({"add_docstr", "add_newdoc", "_add_docstr"})

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_PLACEHOLDER_LINE = re.compile(r"^[ \t]*\{\w+\}[ \t]*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Item:
    """The documentation of one module, class or function."""

    module: str
    name: str
    """Name below the module; empty for the module itself."""
    signature: str
    text: str


def package_folders(package: str) -> list[Path]:
    """The folders with the source of `package`; "stdlib" is Python's own library.

    Empty if it is not installed.
    """
    if package == "stdlib":
        return [Path(sysconfig.get_path("stdlib"))]

    spec = importlib.util.find_spec(package)
    if spec is None:
        return []

    return [Path(folder) for folder in spec.submodule_search_locations or ()]


def source_files(folder: Path) -> Iterator[Path]:
    """Python files below `folder` without tests and vendored copies, in sorted order."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            if name.endswith(".py"):
                yield Path(parent, name)


def items_of_package(package: str) -> Iterator[list[Item]]:
    """The documented items of each file of `package`, in order of files and of lines."""
    for folder in package_folders(package):
        for path in source_files(folder):
            source = path.read_bytes()
            if is_documented(source):
                parts = path.relative_to(folder).with_suffix("").parts
                prefix = () if package == "stdlib" else (package,)
                names = [name for name in (*prefix, *parts) if name != "__init__"]
                yield list(items_of_source(source, ".".join(names) or package))


def is_documented(source: bytes) -> bool:
    """True if enough of `source` is in triple quotes."""
    if len(source) < MIN_SOURCE_BYTES:
        return False
    quoted = sum(len(piece) for piece in source.split(b'"""')[1::2])
    return quoted >= MIN_DOC_FRAC * len(source)


def items_of_source(source: bytes, module: str) -> Iterator[Item]:
    """Documented items of one file; none when it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's source
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return

    public = ".".join(name for name in module.split(".") if not name.startswith("_")) or module
    for name, signature, text in _documented(tree):
        if is_prose(text):
            yield Item(public, name, signature, text)


def is_prose(text: str) -> bool:
    """True if `text` is long enough and made of words, not a table or a listing."""
    if len(text) < MIN_DOCSTRING_CHARS:
        return False
    letters = sum(map(str.isalpha, text)) + text.count(" ") - text.count("  ")
    return letters >= MIN_LETTER_FRAC * len(text)


def _documented(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Yield (name, signature, docstring) of the module, its classes, methods and functions."""
    yield "", "", ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, "", ast.get_docstring(node) or ""
            for child in node.body:
                if isinstance(child, FunctionNode):
                    yield (
                        f"{node.name}.{child.name}",
                        _arguments(child),
                        ast.get_docstring(child) or "",
                    )
        elif isinstance(node, FunctionNode):
            yield node.name, _arguments(node), ast.get_docstring(node) or ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _documenting_call(node.value)


def _documenting_call(call: ast.Call) -> Iterator[tuple[str, str, str]]:
    """The item documented by `add_docstr(torch.abs, "...")` or `add_newdoc("numpy", ...)`."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name not in DOCUMENTING_CALLS or len(call.args) < 2:
        return

    target = call.args[0] if len(call.args) == 2 else call.args[1]
    label = (
        target.value if isinstance(target, ast.Constant) else ast.unparse(target).partition(".")[2]
    )
    text = _constant(call.args[-1])
    if isinstance(label, str) and text is not None:
        yield label, "", inspect.cleandoc(text)


def _constant(node: ast.expr) -> str | None:
    """The string of a literal, of `"...".format(...)`, or of (name, string).

    Placeholder lines of a format are left out.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        return _constant(node.elts[1])

    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
    ):
        template = _constant(node.func.value)
        if template is not None:
            return _PLACEHOLDER_LINE.sub("", template).replace("{{", "{").replace("}}", "}")

    return None


def _arguments(node: FunctionNode) -> str:
    names = [
        argument.arg
        for argument in (*node.args.posonlyargs, *node.args.args)
        if argument.arg != "self"
    ]
    if node.args.vararg is not None:
        names.append(f"*{node.args.vararg.arg}")
    names += [f"{argument.arg}=..." for argument in node.args.kwonlyargs]
    if node.args.kwarg is not None:
        names.append(f"**{node.args.kwarg.arg}")

    return f"({', '.join(names)})"
