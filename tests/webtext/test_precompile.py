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
import json, sys, tempfile
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from clean.learned.extraction import extractor
from dedup import words
from dedup.contamination import overlap
from dedup.near_duplicates import greedy, minhash

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
loops = {
    f"{name}.{key}": [sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values())]
    for name, module in list(sys.modules.items())
    if name.partition(".")[0] in ("clean", "dedup")
    for key, loop in vars(module).items()
    if hasattr(loop, "stats") and loop.signatures
}
print(json.dumps(loops))
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
    loops = json.loads(found.stdout)
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
