"""Loops that are compiled beforehand: all of them, and nothing breaks where they cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numba
import pytest

from corpus import compiled
from webtext import precompile

WORK = """
import importlib, json, pkgutil, sys, tempfile
import clean, dedup
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from numba.core.dispatcher import Dispatcher
from clean.learned.extraction import extractor
from corpus.compiled_registry import EXAMPLES, FUNCTIONS
from dedup import words
from dedup.contamination import overlap
from dedup.near_duplicates import greedy, minhash

for package in (clean, dedup):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
for example in EXAMPLES:
    example()
parts = {name for loop in FUNCTIONS.values() for name in loop.py_func.__code__.co_names}
without_example = [name for name, loop in FUNCTIONS.items()
    if not loop.signatures and name.rpartition(".")[2] not in parts]
text = extractor()("<h1>Rivers</h1><p>" + "Some rivers run north, others do not. " * 9 + "<ul><li><a href=/>Home</a></ul>")
with tempfile.TemporaryFile() as file:
    pq.write_table(pa.table({"text": [text, "", "Two. &amp; \\u00e9t\\u00e9"] * 3}), file)
    column = pq.read_table(file)["text"]
for texts in (column.combine_chunks(), pa.array([text])[:1], pa.array([], pa.large_string())):
    minhash.sign(texts, 5, minhash.permutations(8, 1))
found = words.word_hashes(column)
sets = words.shingle_sets(found, 5)
words.jaccard(sets.row(0), sets.row(2))
keys = np.unique(sets.values)
for index in (keys, np.frombuffer(keys.tobytes(), np.uint64)):
    overlap.find(found, overlap.build_index(index, np.full(index.size, 5, np.int16)))
none, pages = np.zeros(0, np.int64), np.arange(3)
edges = greedy.Edges(none, none, np.zeros(0), np.zeros(0, bool))
greedy.open_pages(3, 1, edges, greedy.LargeBuckets(np.zeros(3, np.int64), pages, np.zeros(3, bool)))
everywhere = {id(each) for module in list(sys.modules.values()) for each in vars(module).values()
    if isinstance(each, Dispatcher) and each.py_func.__module__.partition(".")[0] in ("clean", "dedup", "corpus")}
print(json.dumps({
    "loops": {
        name: [sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values())]
        for name, loop in FUNCTIONS.items() if loop.signatures
    },
    "unregistered": len(everywhere - {id(loop) for loop in FUNCTIONS.values()}),
    "without_example": without_example,
}))
"""


def test_afterwards_a_fresh_process_compiles_nothing() -> None:
    command = [sys.executable, "-m", "webtext.precompile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("are compiled") == len(precompile.STAGES)
    found = subprocess.run(
        [sys.executable, "-c", WORK], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert answer["unregistered"] == 0, "each compiled function is in the registry"
    assert answer["without_example"] == [], "an example calls each, or another compiled function"
    loops = answer["loops"]
    assert {name: counts for name, counts in loops.items() if counts[1]} == {}
    assert {name for name, counts in loops.items() if counts[0]} >= {
        "clean.learned.blocks.scan",
        "clean.learned.features._describe",
        "clean.learned.context._context",
        "clean.learned.trees._scores",
        "dedup.kernels.hash_words",
        "dedup.kernels.hash_ngrams",
        "dedup.kernels.hash_contents",
        "dedup.kernels.distinct",
        "dedup.kernels.minima",
        "dedup.kernels.count_shared",
        "dedup.kernels.find_grams",
        "dedup.kernels.walk",
    }


def test_where_no_place_takes_machine_code_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = numba.njit

    def read_only(*function: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*function, **options)

    monkeypatch.setattr(compiled.numba, "njit", read_only)
    monkeypatch.setattr(compiled, "private_folder", lambda: None)
    monkeypatch.setattr(precompile, "STAGES", ("no_stage",))
    assert precompile.main([]) == 0
    assert "Set NUMBA_CACHE_DIR" in capsys.readouterr().out


def test_a_stage_that_fails_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precompile, "STAGES", ("no_stage", "dedup"))
    assert precompile.main([]) == 1
    printed = capsys.readouterr()
    assert "loops of no_stage are not compiled (InputError: 'no_stage' has no" in printed.err
    assert "loops of dedup are compiled" in printed.out
