"""Processes of tests: one that fails says why, in every test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import child

TESTS = Path(__file__).parents[1]


def test_a_program_that_fails_shows_its_code_and_its_outputs() -> None:
    program = "import sys; print('so far'); sys.exit('the reason')"
    with pytest.raises(AssertionError, match=r"(?s)exit code 1.*so far.*the reason"):
        child.run_program(program)


def test_a_signal_is_named_with_the_place_where_it_came() -> None:
    """Out of memory, or a fault in compiled code."""
    program = "import os, signal\ndef place(): os.kill(os.getpid(), signal.SIGABRT)\nplace()"
    with pytest.raises(AssertionError, match=r"(?s)signal SIGABRT.*in place"):
        child.run_program(program)


def _silent(tree: ast.Module) -> Iterator[int]:
    """Lines where a process's failure is raised or asserted without what it wrote."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {each.arg: each.value for each in node.keywords}
            hidden = {"capture_output", "stderr"} & given.keys()
            checked = given.get("check")
            if hidden and isinstance(checked, ast.Constant) and checked.value is True:
                yield node.lineno

        if isinstance(node, ast.Assert) and node.msg is None and isinstance(node.test, ast.Compare):
            right = node.test.comparators[0]
            succeeded = (
                isinstance(node.test.ops[0], ast.Eq)
                and isinstance(right, ast.Constant)
                and right.value == 0
            )
            left = node.test.left
            if succeeded and isinstance(left, ast.Attribute) and left.attr == "returncode":
                yield node.lineno


def test_no_test_hides_the_reason_of_a_process_that_failed() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in _silent(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []
