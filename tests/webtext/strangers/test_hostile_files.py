"""A corpus from a stranger: no command touches a file outside of it, and each fault ends in one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import run as dedup_run
from tests.support import grown_corpus, hostile_corpus
from tests.support.hostile_corpus import plant_canary, put, tree, write
from webtext.inspection import diff, explain, history, query, why
from webtext.publish import command as publish
from webtext.reports import html, status
from webtext.rights import command as rights
from webtext.takedown import command as forget
from webtext.upkeep import prune
from webtext.verify import command as verify

UNRELATED = "http://some-unrelated.example/page"


@pytest.fixture
def root(fates_copy: grown_corpus.Fates) -> Path:
    return Path(fates_copy.root)


@pytest.fixture
def outside(root: Path) -> Path:
    return plant_canary(root)


def edit(path: Path, place: tuple[Any, ...], value: Any) -> None:
    """Change one value, and seal the file as our code would."""
    write(path, put(json.loads(path.read_bytes()), place, value))


def commands(root: Path, fates: grown_corpus.Fates) -> dict[str, Callable[[], int]]:
    """Everything that reads a corpus and may delete or rewrite parts of it."""
    corpus = ["--corpus", str(root)]
    return {
        "verify": lambda: verify.main([*corpus, "--sample", "0.2"]),
        "status": lambda: status.main(corpus),
        "explain": lambda: explain.main([*corpus, fates.kept]),
        "explain another": lambda: explain.main([*corpus, UNRELATED]),
        "forget": lambda: forget.main(
            [*corpus, "--url", UNRELATED, "--why", "a test", "--yes", "--in-advance"]
        ),
        "forget a page": lambda: forget.main(
            [*corpus, "--url", fates.kept, "--why", "a test", "--yes"]
        ),
        "prune": lambda: prune.main([*corpus, "--delete", "--keep", "1"]),
        "query": lambda: query.main([*corpus, "select count(*) from verdicts join tokens on true"]),
        "history": lambda: history.main(corpus),
        "diff": lambda: diff.main([*corpus, "2024-01", "2024-02"]),
        "why": lambda: why.main([*corpus, "--batch", "2024-01"]),
        "rights": lambda: rights.main([*corpus, "report"]),
        "report": lambda: html.main(corpus),
        "publish": lambda: publish.main(
            [*corpus, "--snapshot", "2024-02", "--to", f"{root}-out", "--contact", "a@b.test"]
        ),
    }


def ends_in_a_line(call: Callable[[], int]) -> tuple[int, str]:
    """The exit code and the output. An exception that is not ours goes through."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = call()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, output.getvalue()


@pytest.mark.parametrize("key", ["path", "spans_path"])
def test_a_snapshot_cannot_name_files_elsewhere(
    root: Path, outside: Path, fates: grown_corpus.Fates, key: str
) -> None:
    """Any take-down deleted such a file, since a snapshot with a missing spans file counted as half deleted."""
    before = tree(outside)
    head = json.loads((root / "snapshots/2024-02.json").read_text())
    edit(
        root / "snapshots/files" / f"{head['batches'][1]['files']}.json",
        ("splits", "train", 0, key),
        "../victim/precious.txt",
    )
    for name in ("forget", "forget a page", "prune"):
        code, output = ends_in_a_line(commands(root, fates)[name])
        assert code == 2, output
        assert "names the file '../victim/precious.txt'" in output
    assert tree(outside) == before


def test_a_manifest_cannot_say_that_it_is_elsewhere(
    root: Path, outside: Path, fates: grown_corpus.Fates
) -> None:
    """Its `batch` was used as a path, and a take-down wrote a part there."""
    before = tree(outside)
    for batch in ("../../victim", "2024-02"):
        edit(root / "pages/2024-01/_manifest.json", ("batch",), batch)
        code, output = ends_in_a_line(commands(root, fates)["forget a page"])
        assert code == 2, output
        assert f"of batch {batch!r}; it was moved or edited" in output
    assert tree(outside) == before


@pytest.mark.parametrize(
    "name",
    [
        "../../../victim/precious.txt",
        "../2024-02/part-00000.parquet",
        "_manifest.json",
        "x.parquet",
        "part-00000.parquet/",
    ],
)
def test_a_manifest_cannot_name_parts_elsewhere(root: Path, outside: Path, name: str) -> None:
    """A rebuild deletes the parts of the generation before."""
    before = tree(outside)
    others = tree(root / "verdicts/2024-02")
    edit(root / "verdicts/2024-01/_manifest.json", ("parts", 0, "file"), name)
    arguments = grown_corpus.arguments(
        str(root), "2024-01", "--rebuild", "--set", "dedup.minhash.seed=9"
    )
    code, output = ends_in_a_line(lambda: dedup_run.main(arguments))
    assert code == 2, output
    assert f"names the part {name!r}" in output
    assert tree(outside) == before
    assert tree(root / "verdicts/2024-02") == others


def test_links_are_not_followed_by_deletions(
    root: Path, outside: Path, fates: grown_corpus.Fates
) -> None:
    (root / "links/2024-01/sub").symlink_to(outside)
    (root / "links/2024-01/part-00009.parquet").symlink_to(outside / "part-00000.parquet")
    before = tree(outside)
    code, output = ends_in_a_line(commands(root, fates)["prune"])
    assert code == 0, output
    assert "links/2024-01" not in output
    assert tree(outside) == before


@pytest.mark.parametrize(
    ("path", "place", "value", "name"),
    [
        ("tokens/2024-01/_manifest.json", ("parts", 1, "metadata", "row_groups"), 1 << 100, "verify"),
        ("tokens/2024-01/_manifest.json", ("parts", 0, "metadata", "dtype"), {}, "forget a page"),
        ("tokens/2024-02/_manifest.json", ("parts", 3, "metadata", "num_tokens"), "CON", "forget a page"),
        ("signatures/2024-02/_manifest.json", ("created",), "", "status"),
        ("signatures/2024-02/_manifest.json", ("created",), "2024-01-01T00:00:00", "status"),
        ("links/2024-02/_manifest.json", ("config", "links", "preset"), "../victim", "explain another"),
        ("links/2024-02/_manifest.json", ("config", "links"), [[[[]]]], "explain another"),
        ("links/2024-01/_manifest.json", ("details", "rows_read"), "../victim", "forget a page"),
        ("links/2024-01/_manifest.json", ("details", "rows_read"), "../victim", "report"),
        ("verdicts/2024-01/_manifest.json", ("details", "step"), [], "history"),
        ("verdicts/2024-01/_manifest.json", ("details", "cpu_s"), "1", "history"),
        ("reports/overlap-2024-01.json", ("table", 0), [[]], "report"),
        ("reports/overlap-2024-02.json", ("table",), "x", "publish"),
        ("reports/dedup-2024-02.json", ("domains",), "x", "report"),
        ("snapshots/2024-02.json", ("batches", 0, "batch"), "\ud800", "publish"),
        ("tokenizer/source.json", (), 1 << 62, "verify"),
        ("tokenizer/source.json", (), "", "forget a page"),
    ],
)  # fmt: skip
def test_faults_that_once_ended_in_a_traceback(
    root: Path, fates: grown_corpus.Fates, path: str, place: tuple[Any, ...], value: Any, name: str
) -> None:
    edit(root / path, place, value)
    code, output = ends_in_a_line(commands(root, fates)[name])
    assert code in (1, 2), output
    assert "Traceback" not in output


def attack(root: Path, fates: grown_corpus.Fates, seed: int) -> None:
    """Plant some faults, run every command, and look at the canary after each."""
    rng = random.Random(seed)
    outside = plant_canary(root)
    before = tree(outside)
    done = [rng.choice(hostile_corpus.FAULTS)(root, outside, rng) for _ in range(rng.randint(1, 2))]
    calls = commands(root, fates)
    for name in rng.sample([*calls], 8):
        try:
            code, output = ends_in_a_line(calls[name])
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}: {error!r} after {done}") from error
        assert code in (0, 1, 2), (seed, name, done, output)
        assert "Traceback" not in output, (seed, name, done, output)
        assert tree(outside) == before, (seed, name, done)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=8, deadline=None)
def test_no_command_touches_the_canary(fates: grown_corpus.Fates, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(fates.root, f"{folder}/corpus")
        attack(Path(folder) / "corpus", fates, seed)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_no_command_touches_the_canary_in_an_hour(fates: grown_corpus.Fates) -> None:
    """`WEBTEXT_SOAK_S` seconds of faults; `WEBTEXT_SOAK_SEED` begins elsewhere."""
    seed = int(os.environ.get("WEBTEXT_SOAK_SEED", "0"))
    deadline = time.monotonic() + float(os.environ.get("WEBTEXT_SOAK_S", "3600"))
    failures = []
    while time.monotonic() < deadline:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(fates.root, f"{folder}/corpus")
            try:
                attack(Path(folder) / "corpus", fates, seed)
            except AssertionError as error:
                failures.append(str(error)[:600])
        seed += 1
    print(f"{seed} corpora")
    assert not failures, "\n".join(failures)
