"""Puts small faults into pure modules, one at a time, and counts how many the tests notice.

    python -m tools.mutants [--seed 1] [--number 5] [--minutes 10] [--jobs 2] [--kinds KIND ...]
                            [--modules MODULE ...]

Each fault changes one comparison, number, operator, condition or min/max in a copy of the checkout,
in which the tests of that module then run. A fault that no test notices is printed. Faults are
taken in a seeded order, one of each module in turn, until the time is over. Faults that change no
behaviour are listed in `tools.equivalent_mutants` with the reason and are left out of the sample.
The score is printed by kind: borders (<, <=, >, >=), limits (numbers of constants and defaults),
and others. Loops that a changed module is part of are compiled again for each fault, in 1 to 15 s.
`--kinds borders limits` draws from these alone, which a sample of all kinds has few of.
`make mutants`; not part of the suite.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.equivalent_mutants import EQUIVALENT
from tools.mutated_modules import HELD_FOR_ALL, TESTS

ROOT = Path(__file__).resolve().parents[1]
SERVER = Path(__file__).with_name("mutant_server.py")
CPU_S = 60
MEMORY_BYTES = 16 << 30
COPIED = ("*.pyc", ".git", ".venv*", ".mypy_cache", ".ruff_cache", ".hypothesis", "site")

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitXor: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


KINDS = ("borders", "limits", "others")
SWITCHES = ("strict", "slots", "frozen", "kw_only")


@dataclass(frozen=True)
class Mutant:
    """One fault of a module, and where it is."""

    module: str
    original: str
    """The text of the module without the fault."""
    number: int
    """Its place among the expressions that get a fault."""
    line: int
    before: str
    after: str
    kind: str

    @property
    def source(self) -> str:
        """The module's text with the fault."""
        tree = ast.parse(self.original)
        node = [each for each in ast.walk(tree) if _changed(each) is not None][self.number]
        changed = _changed(node)
        assert changed is not None
        for field, value in ast.iter_fields(changed):
            setattr(node, field, value)
        return ast.unparse(tree)

    @property
    def text(self) -> str:
        """The line that it changes, without the fault and stripped."""
        return self.original.splitlines()[self.line - 1].strip()

    @property
    def equivalent(self) -> bool:
        """True if `EQUIVALENT` has it."""
        return (self.module, self.text, self.before, self.after) in EQUIVALENT


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """All faults of a module, in the order of its syntax tree."""
    tree = ast.parse(source)
    limits, left_out = _limits(tree), _without_behaviour(tree)
    places = [(node, changed) for node in ast.walk(tree) if (changed := _changed(node)) is not None]
    for number, (node, changed) in enumerate(places):
        assert isinstance(node, ast.expr)
        at = (node.lineno, node.col_offset)
        if at in left_out:
            continue
        kind = "limits" if at in limits else "borders" if _is_border(node) else "others"
        before, after = ast.unparse(node), ast.unparse(_set(node, changed))
        yield Mutant(module, source, number, node.lineno, before, after, kind)


def _set(node: ast.expr, changed: ast.expr) -> ast.expr:
    """A copy of the node with the fields of `changed`, which may be of another class."""
    copied = copy.copy(node)
    for field, value in ast.iter_fields(changed):
        setattr(copied, field, value)
    return copied


def _is_border(node: ast.AST) -> bool:
    ordering = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ordering)


def _limits(tree: ast.Module) -> set[tuple[int, int]]:
    """Places of numbers in constants of the module, in defaults of its classes, and operators between them."""
    found = set()
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for statement in itertools.chain.from_iterable(bodies):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            for node in ast.walk(statement.value):
                if isinstance(node, (ast.Constant, ast.BinOp)):
                    found.add((node.lineno, node.col_offset))

    return found


def _without_behaviour(tree: ast.Module) -> set[tuple[int, int]]:
    """Places of expressions whose faults change nothing in a program without other faults.

    Switches by which `zip` and dataclasses refuse what never happens, and functions that only
    compile loops ahead of their use.
    """
    nodes: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in SWITCHES:
            nodes.append(node.value)
        elif isinstance(node, ast.FunctionDef):
            names = {each.id for each in node.decorator_list if isinstance(each, ast.Name)}
            nodes += ast.walk(node) if "example" in names else ()

    return {(node.lineno, node.col_offset) for node in nodes if isinstance(node, ast.expr)}


def _changed(node: ast.AST) -> ast.expr | None:
    """The expression with a fault, or None if it is of no kind that gets one."""
    changed = copy.copy(node)
    if isinstance(changed, ast.Compare) and type(changed.ops[0]) in COMPARISONS:
        changed.ops = [COMPARISONS[type(changed.ops[0])](), *changed.ops[1:]]
    elif isinstance(changed, ast.BinOp) and type(changed.op) in OPERATORS:
        changed.op = OPERATORS[type(changed.op)]()
    elif isinstance(changed, ast.BoolOp):
        changed.op = ast.And() if isinstance(changed.op, ast.Or) else ast.Or()
    elif isinstance(changed, ast.Constant) and type(changed.value) in (int, float, bool):
        if changed.value in (True, False):
            changed.value = type(changed.value)(not changed.value)
        else:
            changed.value += 1
    elif isinstance(changed, ast.Call) and isinstance(changed.func, ast.Name):
        other = {"min": "max", "max": "min", "any": "all", "all": "any"}.get(changed.func.id)
        if other is None:
            return None
        changed.func = ast.Name(other, ast.Load(), lineno=changed.lineno, col_offset=0)
    else:
        return None

    return changed


class Checkout:
    """A copy of the project, and the process of `mutant_server` that runs its tests."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._num_runs = 0
        ignored = shutil.ignore_patterns(*COPIED)
        shutil.copytree(ROOT, root, ignore=ignored, symlinks=True)
        # The checkout comes first on the path, before the one that this program runs from.
        environment = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
        self._server = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(root)],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._server.communicate()

    def notices(self, mutant: Mutant) -> bool:
        """Run the module's tests with the fault. Afterwards the checkout is as before."""
        path = self._root / mutant.module
        before = path.read_text("utf-8")
        self._write(path, mutant.source)
        try:
            # Those for all modules load much, and few faults need them.
            return any(
                self.run_tests(tests, CPU_S, mutant.module) is not None
                for tests in (TESTS[mutant.module], HELD_FOR_ALL)
            )
        finally:
            self._write(path, before)

    def run_tests(self, tests: Sequence[str], cpu_s: int, changed: str | None = None) -> str | None:
        """Run tests. Returns None if all pass, and the end of the output otherwise.

        If no module is changed, all that these tests load stays loaded for later runs.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(
            json.dumps([cpu_s, MEMORY_BYTES, changed, *tests]), file=self._server.stdin, flush=True
        )
        code, output = json.loads(self._server.stdout.readline())
        return None if code == 0 else f"status {code}\n{output}"

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, "utf-8")
        # Bytecode is told apart by size and second, and two faults may share both.
        self._num_runs += 1
        os.utime(path, (self._num_runs, self._num_runs))


def sample(
    modules: Sequence[str], seed: int, number: int, kinds: Sequence[str] = KINDS
) -> list[Mutant]:
    """`number` faults of each module, one of each in turn, so that any beginning is a fair sample."""
    rng = random.Random(seed)
    drawn = []
    for module in modules:
        every = mutants_of(module, (ROOT / module).read_text("utf-8"))
        found = [each for each in every if each.kind in kinds and not each.equivalent]
        drawn.append(rng.sample(found, min(number, len(found))))

    return [each for turn in itertools.zip_longest(*drawn) for each in turn if each is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "tools.mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--modules", nargs="+", default=[], help="modules to change; default: all of the table"
    )
    parser.add_argument(
        "--kinds", nargs="+", default=KINDS, choices=KINDS, help="kinds of faults; default: all"
    )
    parser.add_argument("--seed", type=int, default=1, help="choice of the faults (default: 1)")
    parser.add_argument("--number", type=int, default=5, help="faults a module (default: 5)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="begin no test run after this long (default: 10)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="test runs at a time (default: 2)")
    args = parser.parse_args(argv)
    if unknown := set(args.modules) - TESTS.keys():
        parser.error(f"{sorted(unknown)[0]}: not in the table; known: {', '.join(TESTS)}")

    modules = args.modules or list(TESTS)
    chosen = sample(modules, args.seed, args.number, args.kinds)

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as opened,
        ThreadPoolExecutor(args.jobs) as pool,
    ):
        checkouts = [
            opened.enter_context(contextlib.closing(Checkout(Path(folder) / str(number))))
            for number in range(args.jobs)
        ]

        # Tests that fail without a fault would notice every fault.
        tests = sorted({each for module in modules for each in TESTS[module]} | {*HELD_FOR_ALL})
        if (output := checkouts[0].run_tests(tests, 10 * CPU_S)) is not None:
            print(f"the tests fail without a fault:\n{output}", file=sys.stderr)
            return 1

        end = time.monotonic() + 60 * args.minutes

        def share(number: int) -> list[tuple[str, bool]]:
            found = []
            for mutant in chosen[number :: args.jobs]:
                if time.monotonic() >= end:
                    break
                noticed = checkouts[number].notices(mutant)
                found.append((mutant.kind, noticed))
                if not noticed:
                    place = f"{mutant.kind}: {mutant.module}:{mutant.line}"
                    print(f"not noticed: {place}: {mutant.before}  ->  {mutant.after}", flush=True)
            return found

        results = [each for part in pool.map(share, range(args.jobs)) for each in part]

    kinds = sorted({kind for kind, _ in results})
    print(f"seed {args.seed}: {_score([noticed for _, noticed in results])} faults noticed")
    for kind in kinds:
        print(f"  {kind}: {_score([noticed for each, noticed in results if each == kind])}")
    print(
        f"{len(chosen) - len(results)} of the sample were left for lack of time; "
        f"{len(EQUIVALENT)} equivalent faults are never drawn"
    )

    return 0


def _score(noticed: Sequence[bool]) -> str:
    return f"{sum(noticed)} of {len(noticed)} ({sum(noticed) / max(1, len(noticed)):.0%})"


if __name__ == "__main__":
    raise SystemExit(main())
