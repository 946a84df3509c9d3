"""Leaks that pass for prompts, tokenized sets, markup: the page with natural text is still found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from corpus.evaluation_sets.files import TestSet
from corpus.evaluation_sets.natural_text import natural_pieces
from corpus.tables.parquet import read_table
from dedup import sentences, words
from dedup.contamination import common_speech, overlap
from dedup.contamination.overlap import OverlapConfig
from tests.dedup.made import MadeCorpus, Page

New = Callable[[], MadeCorpus]
VOCABULARY = [f"word{index}" for index in range(8000)]


def removes(testset: TestSet, pages: list[str]) -> list[int]:
    """The pages that hold a removable gram."""
    config = OverlapConfig()
    grams = overlap.ngrams_of([testset], config)
    index = overlap.build_index(grams.ngram, grams.n, grams.prefix, config.prefix_words)
    hits = overlap.find(words.word_hashes(pa.array(pages, pa.large_string())), index)
    return np.unique(hits.text[grams.removes[hits.key]]).tolist()


def prose(generator: random.Random, size: int) -> str:
    return " ".join(generator.choices(VOCABULARY, k=size))


@pytest.mark.parametrize("size", [35, 120])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("num_passages", [1, 5])
def test_a_passage_that_questions_share_is_not_a_prompt(
    size: int, joined: bool, num_passages: int
) -> None:
    if joined and size < overlap.PROMPT_WORDS:
        pytest.skip("a short text before every question of one field cannot be told from a prompt")
    generator = random.Random(1)
    passages = [prose(generator, size) for _ in range(num_passages)]
    entries = []
    for passage in passages:
        for _ in range(8):
            question = prose(generator, 12)
            entries.append((f"{passage} {question}",) if joined else (passage, question))
    pages = [f"{prose(generator, 80)} {passage} {prose(generator, 80)}" for passage in passages]
    assert removes(TestSet("t", "0", tuple(entries)), pages) == list(range(num_passages))


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_prompt_before_many_questions_is_left_out(share: float) -> None:
    generator = random.Random(2)
    prompt = prose(generator, 20)
    entries = tuple(
        (f"{prompt} {prose(generator, 30)}" if at < 60 * share else prose(generator, 40),)
        for at in range(60)
    )
    assert removes(TestSet("t", "0", entries), [prompt, entries[3][0]]) == [1]


def test_an_instruction_in_a_field_of_its_own_is_left_out() -> None:
    generator = random.Random(3)
    instruction = prose(generator, 15)
    entries = tuple((instruction, prose(generator, 20)) for _ in range(20))
    assert removes(TestSet("t", "0", entries), [instruction, entries[3][1]]) == [1]


NATURAL = [
    (
        "the company did n't say <unk> how many of its workers were hurt when N of them left",
        "The company didn't say exactly how many of its workers were hurt when 17 of them left.",
    ),
    (
        "We do n't know why the U.S. has n't signed the treaty that it ca n't now avoid signing",
        "We don't know why the U.S. hasn't signed the treaty that it can't now avoid signing",
    ),
    (
        "What is <b>the</b> value&nbsp;of the <i>second</i> term &amp; the third term in this row?",
        "What is the value of the second term & the third term in this row?",
    ),
    (
        r"Let \frac{a+b}{2} be the mean of \alpha and \beta, \textbf{find} the sum of all terms",
        "Let (a+b)/2 be the mean of α and β, find the sum of all terms",
    ),
    (
        "The <b>co</b>llector of H<sub>2</sub>O&amp;amp;gas samples <!-- not seen --> went up to the high lake",
        "The collector of H2O & gas samples went up to the high lake",
    ),
    (
        "The [old mill](https://example.org/old-mill) of [[Ghent (city)|Ghent]] was burnt down by its last owner",
        "The old mill of Ghent was burnt down by its last owner",
    ),
    (
        r"Let \Delta be $x^{2} + y_1$ in \begin{align*} \mathbb{R}^n \end{align*} and take \sin of \varphi for Erd\H{o}s",
        "Let Δ be x2 + y1 in Rn and take sin of φ for Erdős",
    ),
    (
        "The in@@ habit@@ ants of the val@@ ley sold their sheep ##skins to a mer@@ chant from the coast",
        "The inhabitants of the valley sold their sheepskins to a merchant from the coast",
    ),
    (
        "The inhabi-\ntants of the valley sold their sheep-\nskins to a mer-\nchant from the coast",
        "The inhabitants of the valley sold their sheepskins to a merchant from the coast",
    ),
]


@pytest.mark.parametrize(("entry", "page"), NATURAL)
def test_the_natural_form_of_an_entry_is_found(entry: str, page: str) -> None:
    # <unk> elsewhere in the set says that N and <unk> are gaps.
    testset = TestSet("t", "0", ((entry,), ("<unk> said mr. <unk>",)))
    assert removes(testset, ["something else", page]) == [1]
    assert removes(testset, [entry]) == [0]


def test_plain_text_has_no_other_form() -> None:
    assert natural_pieces("It's a plain text, 3 < 4 & more.", tokenized=False, has_gaps=False) == []
    assert natural_pieces("plan N is best", tokenized=False, has_gaps=False) == []


def leaks(corpus: MadeCorpus, batch: str, leaked: str) -> int:
    """Kept pages of a batch that still hold the words of `leaked`."""
    texts = {}
    for row in read_table(corpus.store, "documents", batch).to_pylist():
        texts[row["doc_id"]] = row["text"]
    left = 0
    for doc_id, verdict in corpus.verdicts(batch).items():
        text = list(texts[doc_id])
        for cut in reversed(verdict["cuts"]):
            del text[cut["start"] : cut["end"]]
        left += bool(verdict["kept"]) and leaked in "".join(text)
    return left


@pytest.mark.parametrize("size", [10, 36])
@pytest.mark.parametrize("batches", [1, 6])
def test_mirrors_do_not_make_a_leak_common_speech(
    made_corpus: New, tmp_path: Path, size: int, batches: int
) -> None:
    """Thirty mirrors of one page, at once or over the months."""
    generator = random.Random(4)
    entry = prose(generator, size)
    (tmp_path / "leaked.jsonl").write_text(json.dumps({"text": entry}))
    body = prose(generator, 300)
    corpus = made_corpus()
    for batch in range(batches):
        pages = [
            Page(f"{prose(generator, 5)} {body} {entry} {body[::-1]}", score)
            for score in range(3, 3 + 30 // batches)
        ]
        corpus.add(f"b{batch}", pages)
        setting = f'dedup.testsets=["{tmp_path / "leaked.jsonl"}"]'
        assert corpus.dedup(f"b{batch}", "--set", setting) == 0
        assert leaks(corpus, f"b{batch}", entry) == 0


def test_a_whole_entry_is_never_common_speech(made_corpus: New, tmp_path: Path) -> None:
    """Fifteen different pages quote it; a phrase out of it on as many pages is left alone."""
    generator = random.Random(5)
    whole, part = prose(generator, 40), prose(generator, 40)
    entries = "".join(json.dumps({"text": each}) + chr(10) for each in (whole, part))
    (tmp_path / "set.jsonl").write_text(entries)
    phrase = " ".join(part.split()[:16])
    short, long = prose(generator, 9), prose(generator, 200)
    quotation = " ".join(long.split()[80:150])
    with (tmp_path / "set.jsonl").open("a") as lines:
        lines.write("".join(json.dumps({"text": each}) + chr(10) for each in (short, long)))
    pages = [
        Page(f"{prose(generator, 90)} {each} {prose(generator, 90)}")
        for each in [whole] * 15 + [phrase] * 15 + [short] * 15 + [quotation] * 15
    ]
    corpus = made_corpus()
    corpus.add("b", pages)
    assert corpus.dedup("b", "--set", f'dedup.testsets=["{tmp_path / "set.jsonl"}"]') == 0
    assert leaks(corpus, "b", whole) == 0
    assert leaks(corpus, "b", phrase) == 15
    assert leaks(corpus, "b", short) == 0
    assert leaks(corpus, "b", quotation) == 0
    report = corpus.store.read_json("reports/overlap-b.json")
    assert [(row["testset"], row["entry"]) for row in report["exempted"]] == [("set", 1)]
    assert report["exempted"][0]["text"] == phrase


def test_the_limit_of_common_speech_grows_with_the_corpus() -> None:
    assert common_speech.limit(OverlapConfig(), 8_000) == 10
    assert common_speech.limit(OverlapConfig(), 8_000_000) == 800
    assert common_speech.limit(OverlapConfig(common_pages=0), 8_000_000) == float("inf")


def test_cuts_end_at_words(made_corpus: New, tmp_path: Path) -> None:
    generator = random.Random(6)
    entry = prose(generator, 20)
    (tmp_path / "set.jsonl").write_text(json.dumps({"text": entry}))
    pages = [Page(f"{prose(generator, 150)} {entry} {prose(generator, 150)}") for _ in range(9)]
    corpus = made_corpus()
    corpus.add("b", pages)
    assert corpus.dedup("b", "--set", f'dedup.testsets=["{tmp_path / "set.jsonl"}"]') == 0
    for page in pages:
        ((start, end),) = (tuple(cut.values()) for cut in corpus.verdicts("b")[page.id]["cuts"])
        left = [*page.text[:start].split(), *page.text[end:].split()]
        assert set(left) <= set(page.text.split())


def test_pieces_around_a_cut_are_whole_sentences(made_corpus: New, tmp_path: Path) -> None:
    """Also where the end of a sentence is closed by a quotation mark, or is that of a paragraph."""
    generator = random.Random(9)
    entry = prose(generator, 20)
    (tmp_path / "set.jsonl").write_text(json.dumps({"text": entry}))

    def told(count: int) -> str:
        ends = generator.choices([". ", '." ', "? ", "\n\n"], k=count)
        return "".join(prose(generator, 6).capitalize() + end for end in ends)

    pages = [Page(f"{told(30)}{entry}. {told(30)}") for _ in range(9)]
    corpus = made_corpus()
    corpus.add("b", pages)
    assert corpus.dedup("b", "--set", f'dedup.testsets=["{tmp_path / "set.jsonl"}"]') == 0
    for page in pages:
        ((start, end),) = (tuple(cut.values()) for cut in corpus.verdicts("b")[page.id]["cuts"])
        before, after = page.text[:start], page.text[end:]
        assert before.endswith(("\n", ".", '"', "?"))
        assert after.lstrip()[0].isupper()
        assert entry not in before + after
        assert end - start <= len(entry) + 2 * (200 + 40 + sentences.NEAR_CHARS)


@pytest.mark.parametrize(
    ("text", "at", "begin", "end"),
    [
        ("One two. Three four. Five", 12, 8, 20),
        ("One two. Three four. Five", 8, 8, 8),
        ("One two 3.14 four five", 14, 0, 22),
        ("x" * 80 + " y " + "z" * 80, 81, 81, 81),
        ("x" * 70 + ". " + "z" * 70, 100, 71, 142),
        ("", 0, 0, 0),
    ],
)
def test_the_sentence_around_a_place(text: str, at: int, begin: int, end: int) -> None:
    assert sentences.begin_before(text, at) == begin
    assert sentences.end_after(text, at) == end


def test_an_older_overlap_table_is_refused_with_the_command(
    made_corpus: New, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.jsonl").write_text(json.dumps({"text": prose(random.Random(7), 20)}))
    setting = f'dedup.testsets=["{tmp_path / "set.jsonl"}"]'
    corpus = made_corpus()
    for batch in ("b0", "b1"):
        corpus.add(batch, [Page(prose(random.Random(8), 50))])
    assert corpus.dedup("b0", "--set", setting) == 0
    path = "overlap/b0/_manifest.json"
    corpus.store.write_json(path, {**corpus.store.read_json(path), "schema_version": 1})
    assert corpus.dedup("b1", "--set", setting) == 2
    assert f"webtext dedup --corpus {corpus.root} --batch b0 --rebuild" in capsys.readouterr().err
