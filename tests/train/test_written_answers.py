"""TriviaQA and GSM8K in LLM Foundry's files: prompts, the answer in a text, and the right ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.evaluation_sets.files import read_bytes
from corpus.evaluation_sets.official import find_set
from tests.train.test_few_shot import Bytes
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import join_world
from train.scores.core_tasks import WRITTEN, table
from train.scores.tasks import written_answers
from train.scores.tasks.task import Options
from train.scores.tasks.written_answers import answer_of, figures, is_over, is_right, outcomes, read

TRIVIA, GSM8K = WRITTEN["triviaqa"], WRITTEN["gsm8k"]
WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
OPTIONS = Options()


def encoded(rows: Sequence[Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def trivia(count: int) -> list[dict[str, Any]]:
    return [
        {"context": f"Question: Q{n}?\nAnswer:", "answer": f"A{n}", "aliases": [f"A{n}", f"B{n}"]}
        for n in range(count)
    ]


def sums(count: int) -> list[dict[str, Any]]:
    return [
        {"context": f"Sum {n}?", "chain_of_thought": f"It is <<{n}>>.", "answer": str(n)}
        for n in range(count)
    ]


def test_prompts() -> None:
    """Other entries with their answers, and no space at the end."""
    for place, entry in enumerate(read(TRIVIA, encoded(trivia(4)), None, OPTIONS)):
        *examples, asked = entry.prompt.split("Question: ")[1:]
        assert asked == f"Q{place}?\nAnswer:"
        assert sorted(examples) == [f"Q{n}?\nAnswer: A{n}\n" for n in range(4) if n != place]
        assert entry.references == (f"A{place}", f"B{place}")

    entry = read(GSM8K, encoded(sums(2)), None, OPTIONS)[0]
    assert entry.prompt == (
        "Q: Sum 1?\nA: Let's think step by step. It is <<1>>. #### 1\n"
        "Q: Sum 0?\nA: Let's think step by step."
    )
    assert entry.references == ("0",)


@pytest.mark.parametrize(
    ("task", "text", "answer", "over"),
    [
        (TRIVIA, " Onion", "Onion", False),
        (TRIVIA, " Onion\n", "Onion", True),
        (TRIVIA, "\nOnion\nQuestion: x", "Onion", True),
        (TRIVIA, "", "", False),
        (GSM8K, " 2 + 2 = 4. #### 4\nQ: More?", "4", True),
        (GSM8K, " 2 + 2\nis 4. #### 4", "4", False),
        (GSM8K, " 2 + 2 is 4.\n\nSo #### 4", "2 + 2 is 4.", True),
        (GSM8K, " #### 3 #### 5\n\n", "5", True),
    ],
)
def test_the_answer_in_a_text(task: Any, text: str, answer: str, over: bool) -> None:
    assert answer_of(task, text) == answer
    assert is_over(task, text) == over


@pytest.mark.parametrize(
    ("answer", "references", "right"),
    [
        ("the Onion.", ["onion"], True),
        ("Onion skins are", ["Garlic", "onion"], True),  # LLM Foundry's: a beginning is enough
        ("An onion", ["Onions"], False),
        ("St Paul’s_Cathedral", ["St. Paul's Cathedral"], True),
        ("42", ["4"], True),
        ("4", ["42"], False),
        ("-4", ["4"], True),
        ("", ["onion"], False),
        # References that nothing is left of would be in every answer.
        ("anything", ["?!"], False),
        ("?!", ["?!"], True),
        ("_", ["_"], True),
        ("onion", ["A"], False),
        ("A", ["A"], True),
    ],
)
def test_right_answers(answer: str, references: list[str], right: bool) -> None:
    assert is_right(answer, references) == right


@pytest.mark.parametrize(
    "row", [{}, [1], {"context": "q", "answer": " "}, {"context": 1, "answer": "a"}]
)
def test_other_formats_are_refused_with_the_line(row: Any) -> None:
    for task, rows in ((TRIVIA, trivia(1)), (GSM8K, sums(1))):
        with pytest.raises(ValueError, match="line 2: "):
            read(task, encoded([*rows, row]), None, OPTIONS)


def test_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model writes is judged in the order of the entries; a real one runs through as well."""
    torch.manual_seed(0)
    loaded = LoadedModel(GPT2(Shape(1, 2, 16, 64, 257)).eval(), Bytes(), 256, {}, {}, 1)
    for task, rows in ((TRIVIA, trivia(5)), (GSM8K, sums(5))):
        entries = read(task, encoded(rows), loaded, OPTIONS)
        assert len(outcomes(task, loaded, entries, WORLD, OPTIONS)) == 5

    entries = read(TRIVIA, encoded(trivia(5)), loaded, OPTIONS)
    said = [" A0\nQ", " b1", " A1", "", "\nA4"]
    monkeypatch.setattr(written_answers, "write", lambda *args, **kwargs: said)
    found = outcomes(TRIVIA, loaded, entries, WORLD, OPTIONS)
    assert [row["right"] for row in found] == [True, True, False, False, True]
    assert figures(found) == {"entries": 5, "accuracy": 0.6}
    shown = table({"sets": {"triviaqa": figures(found)}, "about": {}})
    assert "| triviaqa | 3 | 0 |  |  |  |  | 60.00 | +0.6000 |" in shown


def test_official_files_are_read(shared: Path) -> None:
    for task, count in ((TRIVIA, 3000), (GSM8K, 1319)):
        path = find_set(task.name, shared / "evalsets")
        assert path is not None
        entries = read(task, read_bytes(path), None, OPTIONS)
        assert len(entries) == count
        assert all(is_right(each.references[0], each.references) for each in entries)
