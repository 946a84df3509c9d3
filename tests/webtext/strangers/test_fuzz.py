"""Mutated files of a corpus end in an error of ours, and leave everything beside the corpus alone."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fuzz_targets, grown_corpus

REPOSITORY = Path(__file__).parents[3]
NUM_MUTATIONS = 12


@pytest.fixture(scope="module")
def root(fates: grown_corpus.Fates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the grown corpus with one file of every kind."""
    root = tmp_path_factory.mktemp("fuzz") / "corpus"
    shutil.copytree(fates.root, root)
    fuzz_targets.prepare(root)
    return root


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_mutated_files_are_read_or_refused(
    root: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    fuzzed = fuzz_targets.Fuzzed(name, root)
    before = fuzzed.path.read_bytes()
    rng = random.Random(name)
    for _ in range(NUM_MUTATIONS):
        data = fuzzed.seed
        for _ in range(rng.randint(0, 3)):
            data = fuzzed.mutated(data, rng)
        fuzzed.run(data)
    assert fuzzed.path.read_bytes() == before


def test_a_change_beside_the_corpus_is_a_find(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(store: object, path: Path) -> None:
        (root.parent / "victim" / "precious.txt").write_text("other")

    monkeypatch.setitem(fuzz_targets.TARGETS, "corpus", fuzz_targets.Target("corpus.json", touch))
    fuzzed = fuzz_targets.Fuzzed("corpus", root)
    with pytest.raises(AssertionError, match="beside the corpus"):
        fuzzed.run(b"{}")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_an_hour_of_mutations_guided_by_coverage(root: Path, name: str, tmp_path: Path) -> None:
    """`WEBTEXT_FUZZ_S` seconds a target (an hour by default). A find is an input in the output."""
    pytest.importorskip("atheris", reason="pip install 'webtext[fuzz]'")
    seconds = int(os.environ.get("WEBTEXT_FUZZ_S", "3600"))
    command = [sys.executable, "-m", "tests.support.fuzz", name, str(root)]
    done = subprocess.run(
        [*command, f"-max_total_time={seconds}", f"-artifact_prefix={tmp_path}/", "-timeout=60"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
