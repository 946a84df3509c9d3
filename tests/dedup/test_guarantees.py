"""What is promised of verdicts, against a naive quadratic rule over random corpora, random batches, kills and a million pages."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.run import runner
from corpus.run.executors.serial import SerialExecutor
from corpus.tables.parquet import part_paths
from dedup import index, words
from dedup.near_duplicates import greedy, lsh, minhash
from dedup.near_duplicates.lsh import LshConfig, Members
from dedup.words import Ragged
from examples.demo import edits
from examples.demo.markup import plain_text
from tests.dedup import made
from tests.dedup.made import MadeCorpus, Page
from tests.dedup.test_run import CONFIG, SMALL, pages_of_families, run_batches
from tests.support import child
from webtext.takedown.batch import remove_from_batch

New = Callable[[], MadeCorpus]
TABLES = ("signatures", "verdicts", "bands")


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[Page]], list[int], int]:
    """(batches, parts of each, size of a bucket from which not all pairs are compared at once)."""
    generator = random.Random(draw(st.integers(0, 2**32)))
    pages = pages_of_families(generator.getrandbits(32), generator.randrange(1, 30))
    cuts = sorted(generator.choices(range(len(pages) + 1), k=generator.randrange(3)))
    edges = [0, *cuts, len(pages)]
    batches = [pages[start:end] for start, end in itertools.pairwise(edges)]
    return batches, [generator.choice([1, 2, 3]) for _ in batches], generator.choice([2, 3, 24])


def check_against_the_naive_rule(corpus: tuple[list[list[Page]], list[int], int]) -> None:
    batches, num_parts, full_bucket = corpus
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lsh, "FULL_BUCKET", full_bucket)
        patch.setattr(lsh, "LEADERS", 1)
        patch.setattr(greedy, "CHUNK_PAGES", full_bucket)
        found = run_batches(MadeCorpus(Path(folder)), batches, num_parts)
    assert found == made.naive_fates(batches, 0.5, 2, CONFIG)


@settings(max_examples=4)
@given(corpora())
def test_verdicts_equal_the_naive_rule(corpus: tuple[list[list[Page]], list[int], int]) -> None:
    check_against_the_naive_rule(corpus)


@settings(max_examples=3)
@given(corpora())
def test_containment_equals_the_naive_rule(
    corpus: tuple[list[list[Page]], list[int], int],
) -> None:
    """At a high threshold, so that pages of like size count by what they contain."""
    batches, num_parts, full_bucket = corpus
    more = ("--set", "dedup.threshold=0.9", "--set", "dedup.containment=0.6")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lsh, "FULL_BUCKET", full_bucket)
        patch.setattr(lsh, "LEADERS", 1)
        found = run_batches(MadeCorpus(Path(folder)), batches, num_parts, *more)
    assert found == made.naive_fates(batches, 0.9, 2, CONFIG, 0.6)


@pytest.mark.soak
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(corpora())
def test_verdicts_of_thousands_of_corpora_equal_the_naive_rule(
    corpus: tuple[list[list[Page]], list[int], int],
) -> None:
    check_against_the_naive_rule(corpus)


def test_batches_one_by_one_are_what_all_at_once_are(made_corpus: New) -> None:
    """Where scores fall from batch to batch, the order of survivors is the same in both ways."""
    generator = random.Random(1)
    pages = pages_of_families(1, 60)
    edges = sorted(generator.sample(range(1, 60), 3))
    batches = [
        [Page(page.text, 1000 - place, page.doc_id) for page in pages[start:end]]
        for place, (start, end) in enumerate(zip([0, *edges], [*edges, 60], strict=True))
    ]
    one_by_one = run_batches(made_corpus(), batches, [1, 2, 3, 1])
    together = run_batches(made_corpus(), [[page for batch in batches for page in batch]], [2])
    assert {name: fate for (_, name), fate in one_by_one.items()} == {
        name: fate for (_, name), fate in together.items()
    }
    assert sum(fate[0] for fate in together.values()) < 40


class Stop(BaseException):
    """What a kill looks like from inside the process."""


def test_a_run_stopped_anywhere_ends_in_the_same_bytes(
    made_corpus: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = pages_of_families(11, 40)

    def bytes_of(corpus: MadeCorpus) -> list[bytes]:
        return [
            corpus.store.read_bytes(path)
            for table in TABLES
            for path in part_paths(corpus.store, table, "b")
        ]

    whole = made_corpus()
    whole.add("b", pages, 2)
    assert whole.dedup("b", *SMALL) == 0
    real = SerialExecutor.wait
    stopped = made_corpus()
    stopped.add("b", pages, 2)
    runs = 0
    while True:
        left = 4

        def wait(self: SerialExecutor, *arguments: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stop
            return real(self, *arguments)

        monkeypatch.setattr(SerialExecutor, "wait", wait)
        runs += 1
        try:
            assert stopped.dedup("b", *SMALL) == 0
        except Stop:
            continue
        break
    assert runs > 3
    assert bytes_of(stopped) == bytes_of(whole)
    assert stopped.store.folders("work/b") == []


def test_a_page_taken_down_between_a_kill_and_the_next_run_does_not_stop_it(
    made_corpus: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lsh, "FULL_BUCKET", 2)
    monkeypatch.setattr(lsh, "LEADERS", 1)
    corpus = made_corpus()
    pages = [
        Page(f"a b c d e f g h i {end}", 9, f"{place:032x}") for place, end in enumerate("jklmn")
    ]
    corpus.add("one", pages[:1])
    assert corpus.dedup("one", *SMALL) == 0
    corpus.add("two", [*pages[1:], Page("quite another page")])
    real = runner._run_step

    def until(run: runner.Run, planned: Any, **options: Any) -> None:
        if planned.step.name == "dedup/shingles":
            raise Stop
        real(run, planned, **options)

    monkeypatch.setattr(runner, "_run_step", until)
    with pytest.raises(Stop):
        corpus.dedup("two", *SMALL)
    monkeypatch.setattr(runner, "_run_step", real)
    for batch in ("one", "two"):
        remove_from_batch(corpus.store, batch, frozenset([pages[0].id, pages[2].id]))
    assert corpus.dedup("two", *SMALL) == 0
    fates = corpus.fates("two")
    assert pages[2].id not in fates
    assert len(fates) == 4


@pytest.mark.soak
def test_a_killed_process_leaves_what_the_next_one_finishes(made_corpus: New) -> None:
    pages = pages_of_families(12, 3000)
    corpora = []
    for delay_s in (None, 0.9, 1.3, 1.7, 2.1, 2.6, 3.2, 4.0):
        corpus = made_corpus()
        corpus.add("b", pages, 7)
        command = [
            sys.executable,
            "-m",
            "dedup.run",
            "--corpus",
            str(corpus.root),
            "--batch",
            "b",
            *SMALL,
            "--workers",
            "2",
        ]
        if delay_s is not None:
            process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
            time.sleep(delay_s)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        child.run(command)
        corpora.append(
            [
                corpus.store.read_bytes(path)
                for table in TABLES
                for path in part_paths(corpus.store, table, "b")
            ]
        )
    assert all(each == corpora[0] for each in corpora)


@pytest.mark.soak
def test_a_million_unrelated_pages_all_stay() -> None:
    """Pages of 300 words of a Zipf vocabulary: phrases recur, pages do not. Whatever the bands bring together is compared."""
    num_pages, num_words, step = 1_000_000, 300, 20_000
    config = LshConfig()
    perms = minhash.permutations(config.num_perm, 1)
    keys = np.empty((num_pages, config.num_bands), np.uint64)

    def page_words(first: int) -> Ragged:
        drawn = np.random.default_rng(first).zipf(1.3, step * num_words) % 200_000
        return Ragged(
            words.mix(drawn.astype(np.uint64)), np.arange(0, step * num_words + 1, num_words)
        )

    for first in range(0, num_pages, step):
        shingles = minhash.distinct(words.ngram_hashes(page_words(first), 5))
        keys[first : first + step] = lsh.band_keys(minhash.signatures(shingles, perms), config)
    part = index.part_of_keys(keys.ravel(), 16)
    met = []
    for number in range(16):
        rows = np.flatnonzero(part == number)
        pages = rows // config.num_bands
        names = pages.astype(">u8").view("S8").astype("S16")
        zero = np.zeros(rows.size, np.int32)
        found = lsh.candidates(Members(keys.ravel()[rows], zero, zero, names, names), 0)
        assert found.copies.size == found.large.size == 0
        met.append(pages[found.pairs])
    pairs = np.unique(np.concatenate(met), axis=0)
    sets: dict[int, np.ndarray] = {}
    for first in np.unique(pairs // step * step).tolist():
        grams = words.shingle_sets(page_words(first), 5)
        sets.update(
            {
                page: grams.row(page - first)
                for page in np.unique(pairs)
                if first <= page < first + step
            }
        )
    assert len(pairs) < 50  # at J about .02, 14 bands of 8 meet with probability 4e-13 per pair
    assert all(words.jaccard(sets[a], sets[b]) < 0.75 for a, b in pairs.tolist())


def test_near_copies_of_real_pages_are_found_and_nothing_else_goes(
    made_corpus: New, shared: Path
) -> None:
    """Chapters of the same books in several editions: what is removed is exactly near, and nearly all that is near meets."""
    folder = shared / "prose" / "neardup"
    data = (
        zstandard.ZstdDecompressor().stream_reader((folder / "docs.jsonl.zst").read_bytes()).read()
    )
    texts = {row["id"]: row["text"] for row in map(json.loads, data.splitlines()[:200])}
    corpus = made_corpus()
    pages = {name: Page(text, 3) for name, text in texts.items()}
    corpus.add("b", list(pages.values()), 2)
    assert corpus.dedup("b") == 0
    kept = {name: corpus.fates("b")[page.id][0] for name, page in pages.items()}
    near = [
        (left, right)
        for left, right, value in (
            line.split("\t") for line in (folder / "pairs.tsv").read_text("utf-8").splitlines()
        )
        if float(value) >= 0.8 and left in texts and right in texts
    ]
    assert len(near) > 100
    assert np.mean([not (kept[left] and kept[right]) for left, right in near]) >= 0.99
    sets = made.shingle_sets(list(pages.values()), 5)
    for name, row in corpus.verdicts("b").items():
        if not row["kept"]:
            assert words.jaccard(sets[name], sets[row["duplicate_of"]]) >= 0.75


def test_near_copies_of_documentation_pages_are_what_the_naive_rule_says(
    made_corpus: New, shared: Path
) -> None:
    """Real pages of one site, full of what its pages share, and a copy of each with a run of words replaced."""
    chance = random.Random(0)
    data = zstandard.ZstdDecompressor().stream_reader(
        (shared / "loopweb" / "developers-reference.tar.zst").read_bytes()
    )
    with tarfile.open(fileobj=data, mode="r|") as archive:
        bodies = [
            file.read().decode("utf-8", "replace")
            for member in archive
            if member.name.endswith(".html") and (file := archive.extractfile(member)) is not None
        ]
    copies = [
        copy
        for body in bodies
        if (copy := edits.near_copy(body, ["other", "words"], chance)) is not None
    ]
    assert len(copies) > 10
    pages = [Page(plain_text(body), 3) for body in (*bodies, *copies)]
    corpus = made_corpus()
    corpus.add("b", pages, 2)
    assert corpus.dedup("b") == 0
    found = corpus.fates("b")
    expected = made.naive_fates([pages], 0.75, 5, LshConfig())
    assert {(0, name): fate for name, fate in found.items()} == expected
    assert sum(fate[1] == "near_duplicate" for fate in found.values()) >= 0.92 * len(copies)
