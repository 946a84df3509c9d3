"""Puts small faults into pure modules, one at a time, and counts how many the tests notice.

    python -m tools.mutants [--seed 1] [--number 5] [--minutes 10] [--jobs 2] [MODULE ...]

Each fault changes one comparison, number, operator, condition or min/max in a copy of the checkout, in which the tests
of that module then run. A fault that no test notices is printed. Faults are taken in a seeded order,
one of each module in turn, until the time is over. `make mutants`; not part of the suite.
"""

from __future__ import annotations

import argparse
import ast
import copy
import itertools
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

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 240
COPIED = ("*.pyc", ".git", ".venv*", ".mypy_cache", ".ruff_cache", ".hypothesis", "site", "docs")

TESTS = {
    "clean/filters/c4.py": ("tests/clean/test_borders.py", "tests/clean/test_quality.py"),
    "clean/filters/gopher.py": ("tests/clean/test_borders.py", "tests/clean/test_quality.py"),
    "corpus/printable.py": ("tests/corpus/test_printable.py",),
    "corpus/storage/local.py": ("tests/corpus/test_storage.py", "tests/corpus/test_layout.py"),
    "corpus/storage/store.py": ("tests/corpus/test_storage.py", "tests/corpus/test_layout.py"),
    "corpus/tables/parquet.py": (
        "tests/corpus/test_parquet_limits.py",
        "tests/corpus/test_tables.py",
    ),
    "crawl/fetch/pace/politeness.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/test_dispatch.py",
    ),
    "crawl/fetch/permission/robots.py": (
        "tests/crawl/test_borders.py",
        "tests/crawl/fetch/permission/test_robots.py",
    ),
    "dedup/near_duplicates/minhash.py": (
        "tests/dedup/near_duplicates/test_minhash.py",
        "tests/dedup/test_guarantees.py",
    ),
    "dedup/contamination/overlap.py": (
        "tests/dedup/test_borders.py",
        "tests/dedup/contamination/test_overlap.py",
    ),
    "shards/split.py": ("tests/shards/test_goldens.py",),
    "shards/stream/order.py": ("tests/shards/test_goldens.py", "tests/shards/test_order.py"),
    "train/gpt2/model.py": ("tests/train/test_goldens.py", "tests/train/gpt2/test_model.py"),
    "train/optimizer.py": ("tests/train/test_goldens.py", "tests/train/test_optimizer.py"),
    "train/checkpoints/tensor_files.py": ("tests/train/checkpoints/test_checkpoint.py",),
}
"""Modules without a clock or a network, and the tests that hold each of them. A default of a setting is held by
`tests/test_paper_defaults.py`, which runs for all."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitXor: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One fault: a module's text with it, and where it is."""

    module: str
    line: int
    before: str
    after: str
    source: str


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """All faults of a module, in the order of its syntax tree."""
    places = [node for node in ast.walk(ast.parse(source)) if _changed(node) is not None]
    for number in range(len(places)):
        tree = ast.parse(source)
        node = [each for each in ast.walk(tree) if _changed(each) is not None][number]
        before = ast.unparse(node)
        changed = _changed(node)
        assert changed is not None
        for field, value in ast.iter_fields(changed):
            setattr(node, field, value)
        yield Mutant(module, node.lineno, before, ast.unparse(node), ast.unparse(tree))


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
        changed.value = not changed.value if changed.value in (True, False) else changed.value + 1
    elif isinstance(changed, ast.Call) and isinstance(changed.func, ast.Name):
        other = {"min": "max", "max": "min", "any": "all", "all": "any"}.get(changed.func.id)
        if other is None:
            return None
        changed.func = ast.Name(other, ast.Load(), lineno=changed.lineno, col_offset=0)
    else:
        return None

    return changed


def is_noticed(mutant: Mutant, checkout: Path) -> bool:
    """Run the module's tests with the fault in a checkout of its own, which is as before afterwards."""
    path = checkout / mutant.module
    before = path.read_text("utf-8")
    path.write_text(mutant.source, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    tests = [*TESTS[mutant.module], "tests/test_paper_defaults.py"]
    # The checkout comes first on the path, before the one that this program runs from.
    environment = {"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin", "HYPOTHESIS_PROFILE": ""}

    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=checkout,
            env=environment,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(before, "utf-8")

    return done.returncode != 0


def sample(modules: Sequence[str], seed: int, number: int) -> list[Mutant]:
    """`number` faults of each module, one of each in turn, so that any beginning is a fair sample."""
    rng = random.Random(seed)
    drawn = []
    for module in modules:
        found = list(mutants_of(module, (ROOT / module).read_text("utf-8")))
        drawn.append(rng.sample(found, min(number, len(found))))

    return [each for turn in itertools.zip_longest(*drawn) for each in turn if each is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "tools.mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("modules", nargs="*", help="modules to change; default: all of the table")
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

    chosen = sample(args.modules or list(TESTS), args.seed, args.number)
    end = time.monotonic() + 60 * args.minutes

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        checkouts = [Path(folder) / str(number) for number in range(args.jobs)]
        for checkout in checkouts:
            shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*COPIED), symlinks=True)

        def share(number: int) -> list[bool]:
            found = []
            for mutant in chosen[number :: args.jobs]:
                if time.monotonic() >= end:
                    break
                found.append(is_noticed(mutant, checkouts[number]))
                if not found[-1]:
                    place = f"{mutant.module}:{mutant.line}"
                    print(f"not noticed: {place}: {mutant.before}  ->  {mutant.after}", flush=True)
            return found

        results = [each for part in pool.map(share, range(args.jobs)) for each in part]

    killed = sum(results)
    share_killed = killed / max(1, len(results))
    print(
        f"{killed} of {len(results)} faults noticed ({share_killed:.0%}), seed {args.seed}; "
        f"{len(chosen) - len(results)} of the sample were left for lack of time"
    )

    return 0


if __name__ == "__main__":
    raise SystemExit(main())
