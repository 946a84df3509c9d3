"""Constants that no setting changes, written down again.

Most of them decide about data: a border of a rule, a salt of stored keys, a size of a window. A
test that derives its expectation from the constant passes with any value. So an accident shows
here, as one in a default shows in `test_safety_limits.py`. A constant that changes on purpose
changes its line of `fixtures/constants.txt` as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS = Path(__file__).parent / "fixtures" / "constants.txt"
PACKAGES = ("clean", "corpus", "crawl", "dedup", "shards", "train")
# Assignments of a module or of a class, on one line.
ASSIGNED = re.compile(r"^(?: {4})?(_?[A-Z][A-Z0-9_]*)(?:: [^=]+)? = (.*\d.*)$", re.M)
FUNCTIONS = {
    "__builtins__": {},
    "np": SimpleNamespace(uint64=int, uint32=int, int64=int),
    "frozenset": lambda values: tuple(sorted(values)),
    "len": len,
    "range": range,
    "tuple": tuple,
}


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (tuple, range)):
        return all(map(_is_plain, value))
    return isinstance(value, (int, float, bytes))


def constants_of(path: Path) -> Iterator[tuple[str, str]]:
    """Names and values of numbers, and of tuples and tables of numbers, without an import."""
    known: dict[str, Any] = {}
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for name, text in ASSIGNED.findall(path.read_text("utf-8")):
        try:
            expression = ast.parse(text.partition("  #")[0], mode="eval")
            value = eval(compile(expression, name, "eval"), dict(FUNCTIONS), known)
        except Exception:  # refers to another module
            continue
        if _is_plain(value):
            known[name] = value
            yield f"{module}.{name}", repr(value)


def test_constants_are_written_down_again() -> None:
    found = {
        name: value
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, value in constants_of(path)
    }
    expected = dict(line.split(" = ", 1) for line in CONSTANTS.read_text("utf-8").splitlines())
    common = found.keys() & expected.keys()
    assert {key: found[key] for key in common} == {key: expected[key] for key in common}
    assert len(common) > 0.9 * len(found), "new constants join the list now and then"
    assert len(common) > 0.9 * len(expected), "those that are gone leave it"
