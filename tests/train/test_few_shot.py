"""Few-shot prompts and scores beside a naive copy of nanochat's rules, and centred accuracies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.evaluation_sets import llm_foundry
from corpus.evaluation_sets.files import read_bytes
from corpus.evaluation_sets.official import find_set
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import join_world
from train.scores.core_tasks import CORE, GPT2_ACCURACIES, TASKS, WRITTEN, centred, core, table
from train.scores.tasks.few_shot import FEW_SHOT, figures, outcomes, read
from train.scores.tasks.task import Options

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
OPTIONS = Options()
END = 256


class Bytes:
    """A token per byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(GPT2(Shape(1, 2, 16, 512, 257)).eval(), Bytes(), END, {}, {}, 1)


def made(kind: str, count: int = 9) -> list[dict[str, Any]]:
    rows: dict[str, Any] = {
        "choice": lambda n: {"query": f"Q{n}", "choices": [f"a{n}", f"ab{n}"], "gold": n % 2},
        "schema": lambda n: {
            "context_options": [f"He{n}", f"She {n}"],
            "continuation": "won.",
            "gold": n % 2,
        },
        "completion": lambda n: {"context": f"C{n} ", "continuation": f"e{n}", "category": n % 2},
    }
    return [rows[kind](number) for number in range(count)]


def encoded(rows: Sequence[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize("name", ["core_arc_easy", "core_winogrande", "core_jeopardy"])
def test_outcomes_equal_the_naive_rule(loaded: LoadedModel, name: str) -> None:
    """Whole prompts as one text, the shared beginning or ending left out, mean loss of the rest."""
    task = dataclasses.replace(TASKS[name], shots=2)
    rows = made(task.kind)
    entries = read(task, encoded(rows), loaded, OPTIONS)
    found = outcomes(task, loaded, entries, WORLD, OPTIONS)
    for entry, row, outcome in zip(entries, rows, found, strict=True):
        shown = "".join(
            example.contexts[example.gold % len(example.contexts)]
            + task.delimiter
            + example.answers[example.gold % len(example.answers)]
            + "\n\n"
            for example in entry.examples
        )
        if task.kind == "choice":
            bodies = [f"{row['query']}{task.delimiter}{each}" for each in row["choices"]]
            # The answers share an `a`, which is not scored.
            lengths = [len(each) - 1 for each in row["choices"]]
        elif task.kind == "schema":
            bodies = [f"{each} {row['continuation']}" for each in row["context_options"]]
            # Both endings are the number, a space and `won.`.
            lengths = [len(str(row["context_options"][0])) - 2 + len(" won.")] * 2
        else:
            bodies = [f"{row['context'].strip()}{task.delimiter}{row['continuation']}"]
            lengths = [len(f" {row['continuation']}")]

        expected = [naive(loaded, shown + body, n) for body, n in zip(bodies, lengths, strict=True)]
        assert outcome["mean_log_probs"] == pytest.approx([mean for mean, _ in expected], abs=1e-5)
        if task.kind == "completion":
            assert outcome["right"] == expected[0][1]
        else:
            best = max(range(len(expected)), key=lambda place: expected[place][0])
            assert outcome["right"] == (best == row["gold"])
    assert figures(task, found)["entries"] == len(rows)


def naive(loaded: LoadedModel, text: str, length: int) -> tuple[float, bool]:
    """Mean log-probability of the last `length` tokens, and if each is the most probable one."""
    tokens = [END, *text.encode()]
    with torch.no_grad():
        hidden = loaded.model.hidden(torch.tensor([tokens[:-1]]))
        log_probs = (hidden @ loaded.model.wte.weight.T).log_softmax(-1)[0, -length:]
    targets = torch.tensor(tokens[-length:])
    mean = log_probs.gather(1, targets[:, None]).mean().item()
    return mean, bool((log_probs.argmax(-1) == targets).all())


@pytest.mark.parametrize("kind", ["choice", "schema", "completion"])
def test_examples_are_other_entries(loaded: LoadedModel, kind: str) -> None:
    task = next(each for each in TASKS.values() if each.kind == kind)
    task = dataclasses.replace(task, shots=3)
    entries = read(task, encoded(made(kind)), loaded, OPTIONS)
    questions = [entry.question for entry in entries]
    for entry in entries:
        assert len(set(entry.examples)) == 3
        assert entry.question not in entry.examples
        assert set(entry.examples) <= set(questions)


def test_examples_of_a_category(loaded: LoadedModel) -> None:
    """MMLU's are of the entry's own subject, and all others of it where there are few."""
    task = dataclasses.replace(TASKS["mmlu_fewshot"], kind="completion", shots=5)
    rows = made("completion")
    for row, entry in zip(rows, read(task, encoded(rows), loaded, OPTIONS), strict=True):
        numbers = [int(example.contexts[0][1:]) for example in entry.examples]
        assert {number % 2 for number in numbers} == {row["category"]}
        assert len(numbers) == min(5, 4 - row["category"])


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"query": "q", "choices": ["a"], "gold": 1},
        {"query": "q", "choices": "ab", "gold": 0},
        {"query": "q", "choices": ["a"], "gold": "0"},
        [1],
    ],
)
def test_other_formats_are_refused_with_the_line(loaded: LoadedModel, row: Any) -> None:
    lines = [{"query": "q", "choices": ["a"], "gold": 0}, row]
    with pytest.raises(ValueError, match="line 2: "):
        read(TASKS["core_piqa"], encoded(lines), loaded, OPTIONS)


def test_guessing_is_zero_and_perfect_is_one() -> None:
    assert core({name: task.guessing for name, task in CORE.items()}) == pytest.approx(0)
    assert core(dict.fromkeys(CORE, 1.0)) == pytest.approx(1)
    assert centred(0.4, 0.25) == pytest.approx(0.2)
    assert len(CORE) == 22
    assert set(TASKS) == {task.name for task in FEW_SHOT}
    assert {*TASKS, *WRITTEN} == set(llm_foundry.FILES)
    assert set(GPT2_ACCURACIES) < set(CORE)


def test_core_needs_all_its_tasks() -> None:
    """A mean of some tasks would be taken for the score."""
    accuracies = dict.fromkeys(CORE, 0.7)
    del accuracies["core_squad"]
    assert core(accuracies) is None
    shown = table({"sets": {n: {"accuracy": a} for n, a in accuracies.items()}, "about": {}})
    assert shown.splitlines()[-1].endswith("| not measured: 21 of 22 tasks |")
    assert "| core_piqa | 10 | 50 | 62.3 | 67.0 | 69.8 | 72.5 | 70.00 | +0.4000 |" in shown
    assert table({"sets": {"lambada": {}}, "about": {}}) == ""


# Entries of the files at hand, as eval_meta_data_v1.csv and the sets' papers count them.
COUNTS = {
    "core_arc_challenge": 1172,
    "core_arc_easy": 2376,
    "core_boolq": 3270,
    "core_commonsense_qa": 1221,
    "core_copa": 100,
    "core_jeopardy": 2117,
    "core_openbook_qa": 500,
    "core_piqa": 1838,
    "core_winogrande": 1267,
    "core_winograd": 273,
    "siqa": 1954,
}


def test_official_files_are_read(shared: Path) -> None:
    for name, count in COUNTS.items():
        path = find_set(name, shared / "evalsets")
        assert path is not None, name
        entries = read(TASKS[name], read_bytes(path), None, OPTIONS)
        assert len(entries) == count, name
        assert {len(entry.examples) for entry in entries} == {TASKS[name].shots}, name
