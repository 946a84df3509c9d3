"""Passages with edits, words that line ends divide, short questions with their answers."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard

from corpus.evaluation_sets.files import TestSet, load_testsets
from dedup import kernels, words
from dedup.contamination import near_match, near_score, test_index
from dedup.contamination.overlap import OverlapConfig
from dedup.contamination.test_index import TestIndex
from dedup.words import word_hashes
from tests.dedup.made import MadeCorpus, Page
from tests.dedup.test_leaks import leaks, prose

New = Callable[[], MadeCorpus]
CONFIG = OverlapConfig()


def index_of(*sets: TestSet, config: OverlapConfig = CONFIG) -> TestIndex:
    tables = test_index.tables(sets, config)
    return TestIndex.of_tables(*tables, config.prefix_words)


def flagged(index: TestIndex, pages: list[str]) -> list[int]:
    found = test_index.search(pa.array(pages, pa.large_string()), index, CONFIG)
    return [place for place, hits in found if hits.removable.size]


def edited(text: str, generator: random.Random, kind: str) -> str:
    """The text with about one word in eight changed."""
    result = []
    for place, word in enumerate(text.split()):
        new = "".join(generator.choices(string.ascii_lowercase, k=6))
        if kind == "random":
            result.append(new if generator.random() < 1 / 8 else word)
        elif place % 8 != 7:
            result.append(word)
        else:
            result += {"replaced": [new], "left out": [], "added": [word, new]}[kind]
    return " ".join(result)


@pytest.mark.parametrize("kind", ["replaced", "left out", "added", "random"])
@pytest.mark.parametrize("size", [20, 45, 100])
def test_a_passage_with_one_word_in_eight_changed_is_found(kind: str, size: int) -> None:
    generator = random.Random(size)
    entries = [prose(generator, size) for _ in range(40)]
    pages = [
        f"{prose(generator, 60)} {edited(entry, generator, kind)} {prose(generator, 60)}"
        for entry in entries
    ]
    index = index_of(TestSet("t", "0", tuple((entry,) for entry in entries)))
    assert len(flagged(index, pages)) >= 0.9 * len(pages)
    assert flagged(index, [prose(generator, 300) for _ in range(30)]) == []


def test_a_quotation_out_of_a_long_passage_is_found_and_its_place_named() -> None:
    generator = random.Random(1)
    entry = prose(generator, 900)
    quoted = edited(" ".join(entry.split()[333:400]), generator, "replaced")
    page = f"{prose(generator, 80)} {quoted} {prose(generator, 80)} {quoted} {prose(generator, 9)}"
    ((_, hits),) = test_index.search(
        pa.array([page], pa.large_string()),
        index_of(TestSet("t", "0", ((entry,),))),
        CONFIG,
    )
    found = {page[a:b] for a, b in zip(hits.starts.tolist(), hits.ends.tolist(), strict=True)}
    assert all(part in quoted and len(part.split()) >= 36 for part in found)
    middle = page.index(quoted) + len(quoted)
    assert {start > middle for start in hits.starts.tolist()} == {False, True}


def test_passages_are_scored_as_without_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(2)
    vocabulary = [f"w{place}" for place in range(30)]
    entries = [" ".join(generator.choices(vocabulary, k=k)) for k in (14, 30, 70, 150, 300)]
    pages = [
        edited(generator.choice(entries), generator, kind) + " " + " ".join(vocabulary)
        for kind in ("replaced", "left out", "added", "random") * 3
    ]
    index = index_of(TestSet("t", "0", tuple((entry,) for entry in entries)))
    hashed = words.word_hashes(pa.array(pages, pa.large_string()))
    for threshold in (0.5, 0.72, 1.0):
        compiled = near_match.find_near(hashed, index.near, threshold)
        with monkeypatch.context() as patched:
            patched.setattr(kernels, "score_clusters", near_score.score_clusters)
            plain = near_match.find_near(hashed, index.near, threshold)
        for column in ("text", "key", "first", "after"):
            assert np.array_equal(getattr(compiled, column), getattr(plain, column))
        assert threshold == 1.0 or compiled.text.size


def test_words_in_common_are_not_a_passage_out_of_order() -> None:
    generator = random.Random(3)
    entry = prose(generator, 40)
    shuffled = entry.split()
    generator.shuffle(shuffled)
    index = index_of(TestSet("t", "0", ((entry,),)))
    assert flagged(index, [" ".join(shuffled), " ".join(reversed(entry.split())), entry]) == [2]


def test_a_frame_of_frequent_words_is_not_a_passage() -> None:
    generator = random.Random(4)
    frame = "it was one of the {} {} that had been made by the {} {} and it is now at the {} {}"
    entries = tuple((frame.format(*prose(generator, 6).split()),) for _ in range(4))
    pages = [frame.format(*prose(generator, 6).split()) for _ in range(4)]
    # Three of four words are equal, which is more than the share: it is weight that counts.
    assert flagged(index_of(TestSet("t", "0", entries)), [*pages, entries[2][0]]) == [4]


@pytest.mark.parametrize("mark", ["-", "\u2010", "\u00ad"])
def test_words_that_line_ends_divide_are_put_together(mark: str) -> None:
    generator = random.Random(5)
    entry = " ".join(f"word{''.join(generator.choices('abcdef', k=4))}" for _ in range(12))
    divided = " ".join(
        f"{each[:3]}{mark}\n{each[3:]}" if place % 3 == 1 else each
        for place, each in enumerate(entry.split())
    )
    page = f"{prose(generator, 90)} {divided} {prose(generator, 90)}"
    ((_, hits),) = test_index.search(
        pa.array([page], pa.large_string()),
        index_of(TestSet("t", "0", ((entry,),))),
        CONFIG,
    )
    assert [page[a:b] for a, b in zip(hits.starts, hits.ends, strict=True)] == [divided]


TRIVIA = (
    ("Who wrote Ulysses?", "James Joyce"),
    ("Who painted Guernica?", "Pablo Picasso"),
    ("Who composed Tosca?", "Giacomo Puccini"),
    ("What is 17 times 23?", "391"),
    ("What is the capital of Mongolia?", "Ulaanbaatar"),
    ("Who discovered penicillin?", "Alexander Fleming"),
)


@pytest.mark.parametrize("form", ["{} {}", "{}\n{}", "Q: {}\nA: {}", "Question: {}\nAnswer: {}"])
def test_short_questions_in_any_form_are_found_in_small_sets(form: str) -> None:
    written = (
        tuple((question, answer) for question, answer in TRIVIA)
        if form == "{} {}"
        else tuple((form.format(*each),) for each in TRIVIA)
    )
    pages = [f"Some words before. {q} It is {a}. Some words after." for q, a in TRIVIA]
    index = index_of(TestSet("t", "0", written))
    assert flagged(index, [*pages, "They asked: who painted Guernica?"]) == [0, 1, 2, 3, 4, 5]


SHORT = (
    ("Who wrote Ulysses?", "James Joyce"),
    ("Which planet has rings?", "Saturn", "Mars", "Venus"),
    ("What is this?", "a dog"),
)


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("Q: Who wrote Ulysses? A: James Joyce", True),
        ("James Joyce is known. Students are asked: who wrote ULYSSES?", True),
        (f"Who wrote Ulysses? {'filler ' * 40} James Joyce", False),
        ("Who wrote Ulysses? Nobody knows.", False),
        ("Which planet has rings? (a) Mars (b) Saturn (c) Pluto", True),
        ("Which planet has rings? Not Mars.", False),
        ("What is this? It is a dog.", False),
    ],
)
def test_a_short_question_counts_with_its_answers_close_by(page: str, found: bool) -> None:
    pages = [f"Some words before. {page} Some words after."]
    assert flagged(index_of(TestSet("t", "0", SHORT)), pages) == [0] * found


def test_question_answer_and_passage_are_scored_apart() -> None:
    generator = random.Random(6)
    question, answer, passage = (prose(generator, size) for size in (20, 14, 50))
    index = index_of(TestSet("t", "0", ((passage, question, answer),)))
    pages = [edited(each, generator, "replaced") for each in (passage, question, answer)]
    assert flagged(index, pages) == [0, 1, 2]


def test_with_share_one_only_exact_grams_count() -> None:
    generator = random.Random(7)
    entry = prose(generator, 40)
    config = OverlapConfig(near_share=1)
    index = index_of(TestSet("t", "0", ((entry,),)), config=config)
    assert flagged(index, [edited(entry, generator, "replaced"), entry]) == [1]


def test_removal_shows_in_the_table(made_corpus: New, tmp_path: Path) -> None:
    """Before: all of the set. After: what common speech and wide pages leave, here nothing."""
    generator = random.Random(8)
    entries = [prose(generator, 40) for _ in range(4)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": e}) + "\n" for e in entries))
    setting = f'dedup.testsets=["{tmp_path / "t.jsonl"}"]'
    pages = [f"{prose(generator, 90)} {e} {prose(generator, 90)}" for e in entries[:2]]
    pages.append(
        f"{prose(generator, 90)} {edited(entries[2], generator, 'replaced')} {prose(generator, 90)}"
    )
    for policy, left in (("span", 0), ("document", 0), ("report", 2)):
        corpus = made_corpus()
        corpus.add("b", [Page(page) for page in pages])
        policy_set = ("--set", f'dedup.overlap.policy="{policy}"')
        assert corpus.dedup("b", "--set", setting, *policy_set) == 0
        report = corpus.store.read_json("reports/overlap-b.json")
        (row,) = report["table"]
        assert (row["found"], row["left"]) == (2 * 33, left * 33)
        assert row["share_left"] == row["share_left_so_far"] == left * 33 / row["ngrams"]
        # The edited entry holds no measured gram: it counts by its passage.
        assert report["entries_left"]["t"] == ([0, 1, 2] if left else [])
        assert all(each["passage"] for each in report["worst_pages"])
        if policy == "span":
            assert [leaks(corpus, "b", " ".join(e.split()[8:15])) for e in entries] == [0] * 4


def test_real_prose_holds_no_edited_passage(shared: Path) -> None:
    """Every find in real prose would be a quotation; these pages have none."""
    sets = load_testsets([str(shared / "evalsets" / "wsc273" / "winograd_wsc.jsonl.gz")])
    data = (shared / "prose" / "dev" / "us_gov_18f.jsonl.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().stream_reader(data).read().splitlines()
    assert flagged(index_of(*sets), [json.loads(line)["text"] for line in lines[:300]]) == []


@pytest.mark.parametrize("place", [20, 30, 40])
def test_a_passage_over_the_end_of_a_page_does_not_go_on_in_the_next(place: int) -> None:
    """Neither page holds enough of it alone, and words of pages follow each other in memory."""
    generator = random.Random(place)
    passage = prose(generator, 60).split()
    index = index_of(TestSet("t", "0", ((" ".join(passage),),)))
    parts = [" ".join(passage[:place]), " ".join(passage[place:])]
    changed = [" ".join(["changed", *part.split()[1:]]) for part in parts]
    pages = [f"{prose(generator, 80)} {changed[0]}", f"{changed[1]} {prose(generator, 80)}"]
    words = word_hashes(pa.array(pages, pa.large_string()))
    found = near_match.find_near(words, index.near, CONFIG.near_share)
    assert found.text.size == 0
    together = word_hashes(pa.array([" ".join(changed)], pa.large_string()))
    assert near_match.find_near(together, index.near, CONFIG.near_share).text.tolist() == [0]


@pytest.mark.parametrize(("between", "found"), [(0, [0]), (2, [0]), (40, [])])
def test_halves_that_lie_apart_are_not_one_passage(between: int, found: list[int]) -> None:
    """Seeds that are shifted by more than a dozen words against each other are counted apart."""
    generator = random.Random(5)
    passage = prose(generator, 60).split()
    index = index_of(TestSet("t", "0", ((" ".join(passage),),)))
    page = [*passage[:30], *prose(generator, between).split(), *passage[30:]]
    words = word_hashes(pa.array([" ".join(page)], pa.large_string()))
    assert near_match.find_near(words, index.near, CONFIG.near_share).text.tolist() == found
