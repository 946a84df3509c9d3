"""Paragraphs that several kept pages have: kept once, cut out of the others, over all batches."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import words
from dedup.passage_steps import paragraphs
from shards.write_step import uncut_pieces
from tests.dedup.made import MadeCorpus, Page
from tests.dedup.test_leaks import prose

New = Callable[[], MadeCorpus]
LEAST = 8
ON = ("--set", f"dedup.passages.min_words={LEAST}")


def spelled(text: str) -> tuple[str, ...]:
    return tuple(word for word, _, _ in words.split_words(text))


def naive_cuts(batches: Sequence[Sequence[Page]]) -> dict[str, list[tuple[int, int]]]:
    """The rule, page by page in the order of survivors; no page is a near-duplicate."""
    seen: set[tuple[str, ...]] = set()
    cuts = {}
    for pages in batches:
        for page in sorted(pages, key=lambda page: (-page.score, page.id)):
            places = paragraphs(page.text, LEAST)
            lost = [place for place in places if spelled(page.text[slice(*place)]) in seen]
            seen |= {spelled(page.text[slice(*place)]) for place in places}
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


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 2**32))
def test_cuts_equal_the_naive_rule_over_batches_and_parts(seed: int) -> None:
    generator = random.Random(seed)
    pages = made_pages(generator)
    edge = generator.randrange(len(pages) + 1)
    batches = [pages[:edge], pages[edge:]]
    expected = naive_cuts(batches)
    with tempfile.TemporaryDirectory() as folder:
        corpus = MadeCorpus(Path(folder))
        for place, batch in enumerate(batches):
            corpus.add(f"b{place}", batch, generator.choice([1, 3]))
            assert corpus.dedup(f"b{place}", *ON) == 0
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


def test_paragraphs_are_blocks_and_long_lines() -> None:
    text = "one two\n\na b c d\ne f\n \n  \n g h i \n\n\n東京都\n"
    assert [text[slice(*place)] for place in paragraphs(text, 3)] == [
        "a b c d\ne f",
        "a b c d",
        "g h i",
        "東京都",
    ]
    assert paragraphs("", 3) == paragraphs("\n\n \n", 1) == []
