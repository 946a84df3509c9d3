"""Paragraphs that several kept pages have: kept once, cut out of the others, over all batches."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import passage_spans, words
from dedup.passage_spans import GAP, RUN_WORDS, paragraphs, passages
from shards.write_step import uncut_pieces
from tests.dedup.made import MadeCorpus, Page, place_of
from tests.dedup.test_leaks import prose

New = Callable[[], MadeCorpus]
LEAST = 8
ON = ("--set", f"dedup.passages.min_words={LEAST}")


def spelled(text: str) -> tuple[str, ...]:
    return tuple(word for word, _, _ in words.split_words(text))


def spans(text: str, anywhere: bool) -> dict[tuple[int, int], object]:
    """Ranges that may be cut, each with what equals it on another page."""
    found: dict[tuple[int, int], object] = {
        place: spelled(text[slice(*place)]) for place in paragraphs(text, LEAST)
    }
    if anywhere:
        keys, ranges = passages(text, LEAST)
        for key, place in zip(keys.tolist(), ranges, strict=True):
            found[(*place, key)] = key  # type: ignore[index]
    return found


def naive_cuts(
    batches: Sequence[Sequence[Page]], anywhere: bool = False
) -> dict[str, list[tuple[int, int]]]:
    """The rule, page by page in the order of survivors; no page is a near-duplicate."""
    seen: set[object] = set()
    cuts = {}
    for pages in batches:
        for page in sorted(pages, key=place_of):
            places = spans(page.text, anywhere)
            lost = [place[:2] for place, what in places.items() if what in seen]
            seen |= set(places.values())
            merged: list[tuple[int, int]] = []
            for start, end in sorted(lost):
                if merged and start <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(merged[-1][1], end))
                else:
                    merged.append((start, end))
            cuts[page.id] = merged
    return cuts


def made_pages(generator: random.Random) -> list[Page]:
    """Pages of own text with shared paragraphs, lists of lines, other case and spacing."""
    shared = [prose(generator, generator.randrange(8, 20)) for _ in range(4)]
    shared.append("\n".join(prose(generator, generator.choice([3, 9])) for _ in range(3)))
    pages = []
    for _ in range(generator.randrange(2, 12)):
        parts = [prose(generator, 60)]
        for each in generator.choices(shared, k=generator.randrange(4)):
            parts.append(
                generator.choice([each, each.upper(), each.replace(" ", "  "), "  " + each])
            )
        generator.shuffle(parts)
        pages.append(
            Page(generator.choice(["\n\n", "\n \n", "\n"]).join(parts), generator.randrange(3, 6))
        )
    return pages


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_cuts_equal_the_naive_rule_over_batches_and_parts(seed: int, anywhere: bool) -> None:
    generator = random.Random(seed)
    pages = made_pages(generator)
    edge = generator.randrange(len(pages) + 1)
    batches = [pages[:edge], pages[edge:]]
    expected = naive_cuts(batches, anywhere)
    options = (*ON, "--set", f"dedup.passages.anywhere={str(anywhere).lower()}")
    with tempfile.TemporaryDirectory() as folder:
        corpus = MadeCorpus(Path(folder))
        for place, batch in enumerate(batches):
            corpus.add(f"b{place}", batch, generator.choice([1, 3]))
            assert corpus.dedup(f"b{place}", *options) == 0
            for name, verdict in corpus.verdicts(f"b{place}").items():
                assert verdict["kept"]
                assert [tuple(cut.values()) for cut in verdict["cuts"]] == expected[name]


def test_a_paragraph_stays_on_the_first_page_and_is_in_the_report(made_corpus: New) -> None:
    generator = random.Random(1)
    licence = prose(generator, 30)
    pages = [
        Page(f"{prose(generator, 60)}\n\n{licence}\n\n{prose(generator, 60)}", score)
        for score in (9, 5, 4)
    ]
    corpus = made_corpus()
    corpus.add("b", pages)
    assert corpus.dedup("b", *ON) == 0
    left = {
        page.score: "".join(
            uncut_pieces(
                page.text,
                [tuple(cut.values()) for cut in corpus.verdicts("b")[page.id]["cuts"]],
            )
        )
        for page in pages
    }
    assert {score: licence in text for score, text in left.items()} == {9: True, 5: False, 4: False}
    (row,) = corpus.store.read_json("reports/dedup-b.json")["repeated_passages"]
    assert (row["removed"], row["text"]) == (2, licence)


def test_text_that_overlap_removes_is_on_no_page(made_corpus: New, tmp_path: Path) -> None:
    """A page that loses the paragraph as a leak does not keep it for the others."""
    generator = random.Random(2)
    leak, shared = prose(generator, 20), prose(generator, 20)
    (tmp_path / "set.jsonl").write_text(json.dumps({"text": leak}))
    around = [prose(generator, 80) for _ in range(6)]
    pages = [
        Page(f"{around[at]}\n\n{text}\n\n{around[at + 1]}", 9 - at)
        for at, text in ((0, f"{leak} {shared}"), (2, shared), (4, shared))
    ]
    corpus = made_corpus()
    corpus.add("b", pages)
    sets = ("--set", f'dedup.testsets=["{tmp_path / "set.jsonl"}"]')
    assert corpus.dedup("b", *ON, *sets) == 0
    found = [
        [page.text[cut["start"] : cut["end"]] for cut in corpus.verdicts("b")[page.id]["cuts"]]
        for page in pages
    ]
    assert leak in found[0][0]
    assert found[1:] == [[], [shared]]


def test_batches_must_agree(made_corpus: New, capsys: pytest.CaptureFixture[str]) -> None:
    generator = random.Random(3)
    corpus = made_corpus()
    for batch in ("b0", "b1"):
        corpus.add(batch, [Page(prose(generator, 50))])
    assert corpus.dedup("b0") == 0
    assert corpus.dedup("b1", *ON) == 2
    assert "dedup.passages.min_words is 8 and batch 'b0' was made with 0" in capsys.readouterr().err


def test_batches_must_agree_on_passages_within_paragraphs(
    made_corpus: New, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = made_corpus()
    for batch in ("b0", "b1"):
        corpus.add(batch, [Page(prose(random.Random(3), 50))])
    assert corpus.dedup("b0", *ON) == 0
    assert corpus.dedup("b1", *ON, "--set", "dedup.passages.anywhere=true") == 2
    assert "dedup.passages.anywhere is True and batch 'b0' was made with False" in (
        capsys.readouterr().err
    )


def test_paragraphs_are_blocks_and_long_lines() -> None:
    text = "one two\n\na b c d\ne f\n \n  \n g h i \n\n\n東京都\n"
    assert [text[slice(*place)] for place in paragraphs(text, 3)] == [
        "a b c d\ne f",
        "a b c d",
        "g h i",
        "東京都",
    ]
    assert paragraphs("", 3) == paragraphs("\n\n \n", 1) == []


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(12, 60))
def test_a_long_shared_passage_is_found_wherever_it_begins(seed: int, least: int) -> None:
    """`least` + GAP + RUN_WORDS words have a passage; all but some words at its ends are in it."""
    generator = random.Random(seed)
    shared = prose(generator, least + GAP + RUN_WORDS + generator.randrange(80))
    texts = [
        f"{prose(generator, generator.randrange(1, 40))} {shared}{sign} {prose(generator, 9)}"
        for sign in ("", ".")
    ]
    found = [dict(zip(*passages(text, least), strict=True)) for text in texts]
    common = found[0].keys() & found[1].keys()
    assert common
    for text, ranges in zip(texts, found, strict=True):
        covered = {at for key in common for at in range(*ranges[key])}
        lost = sum(len(spelled(text[a:b])) for a, b in [(min(covered), max(covered) + 1)])
        assert len(covered) == max(covered) + 1 - min(covered)
        assert lost >= len(shared.split()) - 2 * (GAP + RUN_WORDS)


def test_a_passage_reaches_to_the_end_of_a_sentence_that_is_near() -> None:
    generator = random.Random(5)
    shared = ". ".join(prose(generator, 9).capitalize() for _ in range(6)) + "."
    text = f"{prose(generator, 40).capitalize()}. {shared} {prose(generator, 40).capitalize()}."
    starts = {text[start:].split()[0] for _, (start, _) in zip(*passages(text, 12), strict=True)}
    begins = [word for word in starts if word[0].isupper()]
    assert len(begins) > 2
    for start, end in passages(text, 12)[1]:
        assert start == 0 or text[start - 1].isspace()
        assert end == len(text) or not (text[end - 1].isalnum() and text[end].isalnum())
    assert passages("too short to have one", 12)[1] == passages("", 12)[1] == []


def test_a_passage_within_paragraphs_stays_on_one_page(made_corpus: New) -> None:
    generator = random.Random(4)
    notice = prose(generator, 60)
    pages = [
        Page(f"{prose(generator, 70)} {notice} {prose(generator, 70)}", score)
        for score in (9, 5, 4)
    ]
    corpus = made_corpus()
    settings = ("--set", "dedup.passages.min_words=30", "--set", "dedup.passages.anywhere=true")
    for batch, here in (("one", pages[:2]), ("two", pages[2:])):
        corpus.add(batch, here)
        assert corpus.dedup(batch, *settings) == 0
    verdicts = corpus.verdicts("one") | corpus.verdicts("two")
    assert all(verdicts[page.id]["kept"] for page in pages)
    assert verdicts[pages[0].id]["cuts"] == []
    for page in pages[1:]:
        ((start, end),) = (tuple(cut.values()) for cut in verdicts[page.id]["cuts"])
        assert page.text[start:end] in notice
        assert end - start > 0.7 * len(notice)
    (row,) = corpus.store.read_json("reports/dedup-two.json")["repeated_passages"]
    assert row["removed"] == 1


@pytest.mark.parametrize("size", [0, 1, 3, 4, 10, 11, 12, 31])
def test_words_that_begin_a_passage(size: int) -> None:
    """The run of least hash of every GAP in a row, if `least` words follow from there."""
    text = " ".join(f"word{n}" for n in range(size))
    hashes = words.word_hashes(pa.array([text], pa.large_string()))
    runs = words.ngram_hashes(hashes, RUN_WORDS).values.tolist()
    windows = [range(at, at + GAP) for at in range(len(runs) - GAP + 1)]
    begun = sorted({min(window, key=runs.__getitem__) for window in windows})
    assert passage_spans.chosen_words(hashes).tolist() == begun
    assert bool(begun) == (size >= GAP + RUN_WORDS - 1)
    for least in range(1, size + 2):
        keys, ranges = passages(text, least)
        assert len(keys) == len(ranges) == sum(place + least <= size for place in begun)


@pytest.mark.parametrize(("between", "reaches"), [(0, True), (59, True), (60, True), (61, False)])
def test_a_passage_reaches_to_a_sentence_of_sixty_characters(between: int, reaches: bool) -> None:
    """The same number of characters stands before it in its first sentence, and after it in its last."""
    text = f"One. {'b' * between}passage{'c' * (between - 1)}{'.' if between else ''} Two."
    start, end = 5 + between, 12 + between
    found = passage_spans._widened(text, np.array([start]), np.array([end]))
    if not between:
        assert found == [(start, len(text))]
    else:
        assert found == [(5, end + between) if reaches else (start, end)]
