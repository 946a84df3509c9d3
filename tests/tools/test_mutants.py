"""The faults that are put into modules: each is one change, and all of them parse."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import numba
import pytest

from corpus import compiled_registry
from tools import mutant_server, mutants
from tools.equivalent_mutants import EQUIVALENT
from tools.mutated_modules import TESTS

SOURCE = """
LIMIT = 5
def f(a, b):
    if a < b and not a == LIMIT:
        return min(a, b) + 1
    return a is None or b in (2, 3.5, True)
"""


def test_each_fault_is_one_change_that_parses() -> None:
    found = list(mutants.mutants_of("x.py", SOURCE))
    assert [(each.line, each.before, each.after) for each in found if each.line == 4] == [
        (4, "a < b and (not a == LIMIT)", "a < b or not a == LIMIT"),
        (4, "a < b", "a <= b"),
        (4, "a == LIMIT", "a != LIMIT"),
    ]
    plain = ast.unparse(ast.parse(SOURCE))
    for each in found:
        ast.parse(each.source)
        assert each.before != each.after
        assert (
            sum(a != b for a, b in zip(plain.split("\n"), each.source.split("\n"), strict=True))
            == 1
        )
    assert {each.before for each in found} >= {
        "5",
        "min(a, b)",
        "min(a, b) + 1",
        "a is None",
        "2",
        "3.5",
        "True",
    }


def test_the_table_names_files() -> None:
    for module, tests in TESTS.items():
        assert (mutants.ROOT / module).is_file()
        assert all((mutants.ROOT / test.partition("::")[0]).is_file() for test in tests)


def test_switches_and_examples_get_no_fault() -> None:
    source = """
@dataclass(frozen=True, order=True)
class Row:
    size: int = 3

@example
def _compile() -> None:
    loop(5)

def f(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]
"""
    found = [(each.before, each.after) for each in mutants.mutants_of("x.py", source)]
    assert sorted(found) == [("3", "4"), ("True", "False"), ("x + y", "x - y")]


def test_kinds_of_faults() -> None:
    kinds = {(each.before, each.after): each.kind for each in mutants.mutants_of("x.py", SOURCE)}
    assert kinds["5", "6"] == "limits"
    assert kinds["a < b", "a <= b"] == "borders"
    assert kinds["a == LIMIT", "a != LIMIT"] == "others"
    assert kinds["1", "0"] == "others"
    section = "class Settings:\n    most: int = 1 << 20\n"
    assert {each.kind for each in mutants.mutants_of("x.py", section)} == {"limits"}


def test_a_sample_of_some_kinds_is_seeded_and_has_no_others() -> None:
    drawn = mutants.sample(["shards/split.py"], 3, 4, ["limits", "borders"])
    assert {each.kind for each in drawn} <= {"limits", "borders"}
    assert 0 < len(drawn) <= 4
    assert drawn == mutants.sample(["shards/split.py"], 3, 4, ["limits", "borders"])


def test_equivalent_faults_are_faults_of_the_table_with_a_reason() -> None:
    """One that names nothing any more would excuse a fault to come."""
    found = {
        (each.module, each.text, each.before, each.after)
        for module in {key[0] for key in EQUIVALENT}
        for each in mutants.mutants_of(module, (mutants.ROOT / module).read_text("utf-8"))
    }
    assert EQUIVALENT.keys() <= found
    assert all(len(reason) > 20 for reason in EQUIVALENT.values())


@pytest.mark.parametrize(
    ("affected", "is_compiled_again"),
    [
        ({"clean.learned.tokens", "clean.learned.blocks"}, True),
        ({"clean.learned"}, False),
        (set(), False),
    ],
)
def test_loops_with_a_changed_part_are_compiled_again(
    monkeypatch: pytest.MonkeyPatch, affected: set[str], is_compiled_again: bool
) -> None:
    """Machine code from before the fault would run without it."""
    monkeypatch.setattr(compiled_registry, "FUNCTIONS", {"clean.learned.blocks.scan": None})
    monkeypatch.setattr(numba.config, "CACHE_DIR", "before")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "before")
    mutant_server.compile_again(affected, "after")
    expected = "after" if is_compiled_again else "before"
    assert (numba.config.CACHE_DIR, os.environ["NUMBA_CACHE_DIR"]) == (expected, expected)


@pytest.mark.soak
def test_a_checkout_notices_faults_and_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the answer, one without end, and one that nothing tests."""
    root = tmp_path / "project"
    (root / "tests").mkdir(parents=True)
    source = "def most(n: int) -> int:\n    while n < 5:\n        n = n + 1\n    return n\n\n\nUNUSED = 2\n"
    (root / "m.py").write_text(source)
    (root / "tests/test_m.py").write_text("import m\ndef test_m(): assert m.most(0) == 5\n")
    (root / "tests/test_wait.py").write_text("import time\ndef test_m(): time.sleep(3600)\n")
    monkeypatch.setattr(mutants, "ROOT", root)
    monkeypatch.setattr(mutants, "TESTS", {"m.py": ["tests/test_m.py"]})
    monkeypatch.setattr(mutants, "HELD_FOR_ALL", ["tests/test_m.py"])
    monkeypatch.setattr(mutants, "CPU_S", 3)
    checkout = mutants.Checkout(tmp_path / "copy")
    try:
        assert checkout.run_tests(["tests/test_m.py"], 30) is None
        waited = checkout.run_tests(["tests/test_wait.py"], 1)
        found = {each.before: checkout.notices(each) for each in mutants.mutants_of("m.py", source)}
    finally:
        checkout.close()
    assert waited is not None, "a test that waits without end is ended by the clock"
    assert found == {"n < 5": True, "5": True, "n + 1": True, "1": True, "2": False}
    assert (tmp_path / "copy/m.py").read_text() == source
