"""Overlap equals a brute-force count, and what is planted is found."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.evaluation_sets.files import TestSet, load_testsets
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from dedup import run, words
from dedup.contamination import overlap, overlap_steps
from dedup.contamination.overlap import OverlapConfig
from dedup.words import Ragged
from tests.dedup import oracle
from tests.dedup.made import MadeCorpus, Page

New = Callable[[], MadeCorpus]
Find = Callable[[Ragged, overlap.NgramIndex], overlap.Hits]
spelled = st.lists(st.sampled_from("abc"), max_size=14).map(" ".join)
VOCABULARY = [f"word{index}" for index in range(8000)]


def grams(text: str, n: int) -> list[tuple[str, ...]]:
    """GPT-2's rule for plain text: lower-cased alphanumeric words."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return [tuple(found[at : at + n]) for at in range(len(found) - n + 1)]


def index_of(
    ngrams: overlap.TestNgrams,
    config: OverlapConfig = OverlapConfig(),  # noqa: B008 (frozen)
) -> overlap.NgramIndex:
    return overlap.build_index(ngrams.ngram, ngrams.n, ngrams.prefix, config.prefix_words)


@pytest.mark.parametrize("find", [overlap.find, oracle.find])
@settings(max_examples=30)
@given(st.lists(spelled, min_size=1, max_size=6), st.lists(spelled, max_size=5))
def test_marks_and_hits_equal_brute_force(find: Find, entries: list[str], pages: list[str]) -> None:
    config = OverlapConfig(n=4, measure_n=(2, 3), min_passage_words=2, boilerplate_frac=1.0)
    testset = TestSet("t", "0", tuple((entry,) for entry in entries))
    ngrams = overlap.ngrams_of([testset], config)
    index = index_of(ngrams, config)
    hits = find(words.word_hashes(pa.array(pages, pa.string())), index)
    seen = np.isin(np.arange(len(ngrams)), hits.key)
    for n in (2, 3):
        wanted = {gram for entry in entries for gram in grams(entry, n)}
        found = wanted & {gram for page in pages for gram in grams(page, n)}
        assert int(seen[ngrams.n == n].sum()) >= len(found)
        hashes = words.ngram_hashes(
            words.word_hashes(pa.array([" ".join(gram) for gram in sorted(wanted)], pa.string())), n
        )
        at = np.searchsorted(ngrams.ngram, hashes.values)
        assert np.array_equal(ngrams.ngram[at], hashes.values)
        assert int(seen[at].sum()) == len(found)
    for text, page in enumerate(pages):
        for which in np.flatnonzero(hits.text == text):
            n, at = int(ngrams.n[hits.key[which]]), int(hits.word[which])
            gram = grams(page, n)[at]
            assert any(gram in grams(entry, n) for entry in entries)


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60),
    st.lists(st.integers(0, 2**64 - 1), max_size=20),
)
def test_index_finds_what_it_holds_and_nothing_else(keys: list[int], others: list[int]) -> None:
    texts = pa.array([f"word{value}" for value in (*keys[:30], *others)], pa.string())
    rows = words.word_hashes(texts)
    grams_there = words.ngram_hashes(rows, 1).values[: len(keys[:30])]
    index = overlap.build_index(
        np.unique(grams_there), np.ones(np.unique(grams_there).size, np.int16)
    )
    for find in (overlap.find, oracle.find):
        found = find(rows, index)
        there = np.isin(words.ngram_hashes(rows, 1).values, grams_there)
        assert found.text.tolist() == np.flatnonzero(there).tolist()


def test_index_takes_at_most_forty_bytes_a_gram() -> None:
    keys = np.unique(np.random.default_rng(1).integers(0, 2**64, 70_000, np.uint64))
    for size in (1000, 33_000, 65_537, keys.size):
        index = overlap.build_index(
            keys[:size], np.repeat([8, 13], [size // 2, size - size // 2]).astype(np.int16)
        )
        assert index.nbytes <= 40 * size


def test_hits_past_the_buffer_are_those_of_the_oracle() -> None:
    generator = random.Random(2)
    texts = pa.array(
        [" ".join(generator.choices("abcd", k=generator.randrange(3000))) for _ in range(60)]
    )
    testset = TestSet("t", "0", ((" ".join(generator.choices("abcd", k=400)),),))
    config = OverlapConfig(n=5, measure_n=(3,))
    index = index_of(overlap.ngrams_of([testset], config), config)
    hashed = words.word_hashes(texts)
    compiled, plain = (find(hashed, index) for find in (overlap.find, oracle.find))
    assert compiled.key.size > 1 << 16
    for column in ("text", "word", "key"):
        assert np.array_equal(getattr(compiled, column), getattr(plain, column))


def test_prompts_are_left_out() -> None:
    generator = random.Random(3)
    questions = [" ".join(generator.choices(VOCABULARY, k=9)) for _ in range(20)]
    testset = TestSet(
        "t", "0", tuple((f"Question: {question}?\nAnswer:",) for question in questions)
    )
    ngrams = overlap.ngrams_of([testset], OverlapConfig())
    page = words.word_hashes(
        pa.array([f"He asked: {questions[4]} and left.", "Question: what is the Answer: none"])
    )
    hits = overlap.find(page, index_of(ngrams))
    assert hits.text[ngrams.removes[hits.key]].tolist() == [0]


def test_grams_of_many_entries_are_left_out() -> None:
    generator = random.Random(4)
    common = " ".join(generator.choices(VOCABULARY, k=15))
    entries = [
        " ".join(generator.choices(VOCABULARY, k=30)) + " " + common + f" tail{i} x y z"
        for i in range(40)
    ]
    testset = TestSet("t", "0", tuple((entry,) for entry in entries))
    ngrams = overlap.ngrams_of([testset], OverlapConfig())
    hits = overlap.find(
        words.word_hashes(pa.array([f"before {common} after", entries[0]])), index_of(ngrams)
    )
    assert set(hits.text[ngrams.removes[hits.key]].tolist()) == {1}
    assert 0 in hits.text[ngrams.n[hits.key] == 8]  # measured all the same


def test_an_entry_of_short_passages_only_is_one_passage() -> None:
    """A question too short to count, with its answer, counts; a short choice beside a long question does not."""
    short = ("Who wrote the novel Ulysses?", "James Joyce")
    long = (
        "Which of the seven dwarfs in the film is the last to fall asleep?",
        "the old bearded one",
    )
    testset = TestSet("t", "0", (short, long))
    ngrams = overlap.ngrams_of([testset], OverlapConfig())
    page = words.word_hashes(
        pa.array(
            [
                "so: who wrote the novel ULYSSES — James Joyce!",
                "Who wrote the novel Ulysses?",
                "the old bearded one",
            ]
        )
    )
    hits = overlap.find(page, index_of(ngrams))
    assert hits.text[ngrams.removes[hits.key]].tolist() == [0]


spans = st.lists(
    st.tuples(st.integers(0, 900), st.integers(1, 99)).map(lambda at: (at[0], at[0] + at[1])),
    max_size=6,
)


@settings(max_examples=50)
@given(spans, st.integers(0, 50), st.integers(0, 200), st.integers(1, 6))
def test_span_policy_equals_a_plain_reading(
    matches: list[tuple[int, int]], window: int, least: int, most: int
) -> None:
    config = OverlapConfig(window_chars=window, min_piece_chars=least, max_pieces=most)
    judgement = overlap.judge(matches, 1000, config)
    gone = {
        at
        for start, end in matches
        for at in range(max(0, start - window), min(1000, end + window))
    }
    pieces, piece = [], []
    for at in range(1001):
        if at < 1000 and at not in gone:
            piece.append(at)
        elif piece:
            pieces.append(piece)
            piece = []
    left = [each for each in pieces if len(each) >= least]
    assert judgement.dropped == bool(matches and (len(pieces) > most or not left))
    if not judgement.dropped:
        kept = {at for each in left for at in each} if matches else set(range(1000))
        assert {at for start, end in judgement.cuts for at in range(start, end)} == set(
            range(1000)
        ) - kept
        assert all(a[1] < b[0] for a, b in zip(judgement.cuts, judgement.cuts[1:], strict=False))


def test_other_policies() -> None:
    assert overlap.judge([(0, 5)], 1000, OverlapConfig(policy="report")) == overlap.Judgement(
        False, []
    )
    assert overlap.judge([(0, 5)], 1000, OverlapConfig(policy="document")) == overlap.Judgement(
        True, []
    )


def write_sets(folder: Path, seed: int = 0) -> tuple[str, list[str], list[str]]:
    generator = random.Random(seed)
    long = [
        " ".join(generator.choices(VOCABULARY, k=generator.randrange(30, 60))) for _ in range(60)
    ]
    short = [
        " ".join(generator.choices(VOCABULARY, k=generator.randrange(7, 13))) for _ in range(40)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "stories.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in long))
    (folder / "questions.jsonl").write_text(
        "\n".join(json.dumps({"question": f"Question: {text}", "answer": "yes"}) for text in short)
    )
    return f'dedup.testsets=["{folder}"]', long, short


def test_planted_contamination_is_found_and_nothing_else(made_corpus: New, tmp_path: Path) -> None:
    setting, long, short = write_sets(tmp_path / "sets")
    generator = random.Random(7)

    def prose(k: int) -> str:
        return " ".join(generator.choices(VOCABULARY, k=k))

    planted = []
    for text in long:
        spelling = text.split()
        part = " ".join(spelling[5:25])
        noisy = ",\n".join(word.upper() for word in spelling)
        planted += [
            text,
            f"{prose(200)} {part} {prose(200)}",
            f"{prose(90)} “{noisy}”! {prose(90)}",
        ]
        planted.append(
            f"{prose(60)} <p>{text.replace(' ', ' <b>', 1)}</b></p> {prose(60)}".replace(
                "<b>", "** "
            )
        )
    planted += [f"{prose(150)}: {text}. {prose(150)}" for text in short]
    clean = [prose(300) for _ in range(300)]
    corpus = made_corpus()
    corpus.add("b", [Page(text) for text in planted + clean], 3)
    assert corpus.dedup("b", "--set", setting) == 0
    verdicts = corpus.verdicts("b")
    leaks = {gram for text in long for gram in grams(text, 13)}
    for text in planted:
        row = verdicts[Page(text).id]
        assert row["reason"] == "test_overlap" or row["cuts"]
        left = list(text)
        for cut in reversed(row["cuts"]):
            del left[cut["start"] : cut["end"]]
        assert row["reason"] or not leaks & set(grams("".join(left), 13))
    assert all(
        verdicts[Page(text).id]["testsets"] == [] and verdicts[Page(text).id]["kept"]
        for text in clean
    )


def test_batches_merge_to_the_same_table(made_corpus: New, tmp_path: Path) -> None:
    setting, long, _ = write_sets(tmp_path / "sets")
    generator = random.Random(8)
    pages = [
        Page(
            " ".join([*generator.choices(VOCABULARY, k=50), *generator.choice(long).split()[3:20]])
        )
        for _ in range(60)
    ]
    whole, halves = made_corpus(), made_corpus()
    whole.add("all", pages, 3)
    assert whole.dedup("all", "--set", setting) == 0
    halves.add("one", pages[:25], 1)
    halves.add("two", pages[25:], 2)
    for batch in ("one", "two"):
        assert halves.dedup(batch, "--set", setting) == 0
    expected = read_table(whole.store, "overlap", "all")
    merged = overlap_steps.merge(
        [read_table(halves.store, "overlap", batch) for batch in ("one", "two")]
    )
    assert merged.equals(expected.select(merged.column_names).combine_chunks())
    counts = read_manifest(whole.store, "overlap", "all").counts
    for n in (8, 13):
        wanted = {gram for text in long for gram in grams(text, n)}
        found = wanted & {gram for page in pages for gram in grams(page.text, n)}
        assert counts[f"stories {n}-grams"] == len(wanted)
        assert counts[f"stories {n}-grams found"] == len(found) > 0


def test_common_speech_is_not_removed(made_corpus: New, tmp_path: Path) -> None:
    setting, long, _ = write_sets(tmp_path / "sets")
    generator = random.Random(9)
    part = " ".join(long[0].split()[:16])
    common = [Page(" ".join([*generator.choices(VOCABULARY, k=60), part])) for _ in range(8)]
    corpus = made_corpus()
    corpus.add("one", common[:4])
    corpus.add("two", common[4:])
    for batch, limit in (("one", 6), ("two", 6)):
        assert (
            corpus.dedup(batch, "--set", setting, "--set", f"dedup.overlap.common_pages={limit}")
            == 0
        )
    assert all(row["testsets"] == ["stories"] for row in corpus.verdicts("one").values())
    assert all(row["testsets"] == [] for row in corpus.verdicts("two").values())


def test_a_new_test_set_makes_new_verdicts_and_no_new_signatures(
    made_corpus: New,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting, long, _ = write_sets(tmp_path / "sets")
    corpus = made_corpus()
    corpus.add("b", [Page(long[0]), Page("quite another page of some words")])
    assert corpus.dedup("b") == 0
    signed = corpus.store.read_bytes("signatures/b/_manifest.json")
    assert corpus.dedup("b", "--set", setting) == 2
    assert "test set stories was added" in capsys.readouterr().err
    corpus.add("later", [Page("a page of another batch")], 1)
    assert corpus.dedup("later") == 0
    held = {"old": ["a", "b"], "older": ["a"]}
    monkeypatch.setattr(run, "snapshots", lambda store: sorted(held))
    monkeypatch.setattr(
        run,
        "read_snapshot",
        lambda store, name: SimpleNamespace(
            batches=[SimpleNamespace(batch=each) for each in held[name]]
        ),
    )
    capsys.readouterr()
    assert corpus.dedup("b", "--set", setting, "--rebuild") == 0
    said = capsys.readouterr().err
    assert "snapshot old holds batch b as it was before" in said
    assert "snapshot older" not in said
    assert "batch later met batch b as it was before" in said
    assert corpus.dedup("later", "--set", setting) == 2
    assert "table bands of batch b changed since" in capsys.readouterr().err
    assert corpus.store.read_bytes("signatures/b/_manifest.json") == signed
    assert corpus.verdicts("b")[Page(long[0]).id]["reason"] == "test_overlap"
    inputs = {
        each.batch: each.fingerprint
        for each in read_manifest(corpus.store, "verdicts", "b").inputs
        if each.table == "testset"
    }
    assert inputs.keys() == {"stories", "questions"}


def test_a_broken_set_is_refused_before_any_work(
    made_corpus: New, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jsonl").write_text("{broken")
    corpus = made_corpus()
    corpus.add("b", [Page("some words")], 1)
    assert corpus.dedup("b", "--set", f'dedup.testsets=["{tmp_path}"]') == 2
    assert "broken.jsonl: cannot be read (line 1" in capsys.readouterr().err
    assert not corpus.store.exists("signatures/b")


def test_pages_that_overlap_drops_are_no_survivors(made_corpus: New, tmp_path: Path) -> None:
    setting, long, _ = write_sets(tmp_path / "sets")
    body = " ".join(random.Random(1).choices(VOCABULARY, k=300))
    leaked, clean = Page(f"{body} {long[0]}", 9), Page(body, 3)
    corpus = made_corpus()
    corpus.add("b", [leaked, clean])
    assert corpus.dedup("b", "--set", setting, "--set", "dedup.overlap.policy=document") == 0
    assert corpus.verdicts("b")[leaked.id]["reason"] == "test_overlap"
    assert corpus.verdicts("b")[clean.id]["kept"]


def test_real_sets_leave_real_prose_alone(shared: Path) -> None:
    sets = load_testsets(
        [str(shared / "evalsets" / "lambada_openai"), str(shared / "evalsets" / "wsc273")]
    )
    sets = [replace(each, entries=each.entries[:1500]) for each in sets]
    ngrams = overlap.ngrams_of(sets, OverlapConfig())
    data = (
        zstandard.ZstdDecompressor()
        .stream_reader((shared / "prose/dev/us_gov_18f.jsonl.zst").read_bytes())
        .read()
    )
    texts = pa.array([json.loads(line)["text"] for line in data.splitlines()], pa.large_string())
    hits = overlap.find(words.word_hashes(texts), index_of(ngrams))
    assert np.unique(hits.text[ngrams.removes[hits.key]]).size == 0


@pytest.mark.soak
@pytest.mark.parametrize(
    "source", ["openstax", "standardebooks", "us_gov_digitalgov", "us_speeches"]
)
def test_natural_overlap_is_what_others_counted(shared: Path, source: str) -> None:
    """Shares of 8-grams as in overlap8.tsv, which counts repeats and cuts words a little differently; removal touches next to nothing."""
    evalsets = shared / "evalsets"
    lines = [
        line.split("\t") for line in (evalsets / "overlap8.tsv").read_text("utf-8").splitlines()
    ]
    counted = dict(
        zip(lines[0], next(line for line in lines if line[0] == f"dev/{source}"), strict=True)
    )
    files = {
        "lambada_openai": "lambada_openai", "hellaswag_val": "hellaswag", "wsc273": "wsc273/winograd_wsc.jsonl.gz",
        **{name: f"{name}.gz" for name in counted if name.endswith((".txt", ".tokens"))},
    }  # fmt: skip
    sets = {name: load_testsets([str(evalsets / file)]) for name, file in files.items()}
    ngrams = overlap.ngrams_of([each for found in sets.values() for each in found], OverlapConfig())
    data = (shared / "prose" / "dev" / f"{source}.jsonl.zst").read_bytes()
    rows = zstandard.ZstdDecompressor().stream_reader(data).read().splitlines()
    texts = pa.array([json.loads(line)["text"] for line in rows], pa.large_string())
    seen, index, removed = np.zeros(len(ngrams), bool), index_of(ngrams), 0
    for first, after in words.slices(texts):
        hits = overlap.find(words.word_hashes(texts.slice(first, after - first)), index)
        seen[hits.key] = True
        removed += np.unique(hits.text[ngrams.removes[hits.key]]).size
    gram = np.repeat(np.arange(len(ngrams)), ngrams.testsets.lengths())
    assert len(sets) == len(counted) - 1
    for place, name in enumerate(sets):
        mine = gram[ngrams.testsets.values == place]
        share = 100 * seen[mine[ngrams.n[mine] == 8]].mean()
        assert share == pytest.approx(float(counted[name].rstrip("%")), rel=0.5, abs=0.002), name
    assert removed <= 1


def test_stripping_keeps_rows_apart() -> None:
    rows = Ragged(
        np.array([1, 5, 9, 1, 6, 9, 1, 7, 9, 1, 8, 9, 1, 4, 9], np.uint64), np.arange(0, 16, 3)
    )
    assert overlap.without_prompts(rows, np.zeros(5, int)).values.tolist() == [5, 6, 7, 8, 4]
    assert overlap.without_prompts(rows, np.arange(5)).values.size == 15
