"""The adapter to lm-evaluation-harness: its questions by naive rules, and parity with its own class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from corpus.errors import InputError
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import join_world
from train.scores.harness import pair, rolling, score_tasks, table, written

WORLD = join_world(RuntimeConfig(device="cpu", num_threads=1), {})
END, SIZE = 256, 32


class Bytes:
    """A token per byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(each for each in ids if each != END).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(GPT2(Shape(1, 2, 16, SIZE, 257)).eval(), Bytes(), END, {}, {}, 1)


def test_spaces_at_a_contexts_end_belong_to_the_continuation(loaded: LoadedModel) -> None:
    for context, continuation, before, after in (
        ("a b", " c", "a b", " c"),
        ("a b ", "c", "a b", " c"),
        ("a\n", "c", "a", "\nc"),
    ):
        found = pair(loaded, context, continuation)
        assert bytes(found.context).decode() == before
        assert bytes(found.continuation).decode() == after
    for context in ("", "  "):
        assert pair(loaded, context, "c").context == (END,)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 70])
def test_a_rolling_text_is_predicted_once(loaded: LoadedModel, length: int) -> None:
    """In windows end to end; the last one sees as much before it as fits."""
    text = "".join(chr(97 + number % 26) for number in range(length))
    tokens = [END, *text.encode()]
    expected = 0.0
    for start in range(0, length, SIZE):
        stop = min(start + SIZE, length)
        window = tokens[max(0, stop - SIZE) : stop + 1]
        with torch.no_grad():
            hidden = loaded.model.hidden(torch.tensor([window[:-1]]))
            log_probs = (hidden @ loaded.model.wte.weight.T).log_softmax(-1)[0]
        targets = torch.tensor(window[1:])
        own = log_probs.gather(1, targets[:, None])[-(stop - start) :]
        expected += own.sum().item()
    assert rolling(loaded, text, WORLD) == pytest.approx(expected, abs=1e-3)


def test_written_text_ends_before_the_tasks_ends(loaded: LoadedModel) -> None:
    whole = written(loaded, [("abc", {"max_gen_toks": 12})], WORLD)[0]
    assert whole
    end = whole[len(whole) // 2]
    asked = [("abc", {"until": [end], "max_gen_toks": 12}), ("abc", {"max_gen_toks": 12})]
    assert written(loaded, asked, WORLD) == [whole.partition(end)[0], whole]
    with pytest.raises(InputError, match="sampled"):
        written(loaded, [("abc", {"temperature": 0.7})], WORLD)


def test_figures_are_shown_with_their_task() -> None:
    shown = table({"sets": {"harness:piqa": {"acc": 0.5}, "lambada": {}}})
    assert shown.splitlines()[2:] == ["| piqa | acc | 0.5000 |"]
    assert table({"sets": {}}) == ""


CHOICE_TASK = """
task: made_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/made.jsonl"}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
ROLLING_TASK = """
task: made_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/made.jsonl"}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list: [{{metric: bits_per_byte}}]
"""


def test_figures_equal_those_of_the_harness_own_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights, exported: the same accuracies and bits per byte."""
    pytest.importorskip(
        "lm_eval", reason="lm_eval is not installed: pip install 'webtext[harness]'"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from bench.train.scores import SMALL, _write_model
    from train.gpt2.pretrained import load_pretrained

    small = {**SMALL, "n_layer": 1, "n_embd": 32, "n_positions": 64}
    (tmp_path / "lambada.jsonl").write_text('{"text": "a b c d e"}\n')
    (tmp_path / "wikitext2.jsonl").write_text('{"page": "' + "words of a page " * 40 + '"}\n')
    monkeypatch.setattr("bench.train.scores.EPOCHS", 1)
    _write_model(tmp_path / "small", small, tmp_path)
    rows = [
        {
            "question": f"The number {n} is " + "as old as the hills and " * (n % 4 * 8),
            "choices": [" odd and nothing else", " even", f" {n}"],
            "gold": n % 3,
        }
        for n in range(24)
    ]
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for number, text in enumerate((CHOICE_TASK, ROLLING_TASK)):
        (tasks / f"{number}.yaml").write_text(text.format(folder=tmp_path))

    names = ["made_choice", "made_rolling"]
    theirs = lm_eval.simple_evaluate(
        HFLM(pretrained=str(tmp_path / "small"), device="cpu", dtype="float32"),
        tasks=names,
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
        verbosity="ERROR",
    )["results"]
    loaded = load_pretrained(str(tmp_path / "small"), WORLD)
    ours = score_tasks(loaded, names, WORLD, folder=str(tasks))
    assert set(ours) == set(names)
    for name, figures in ours.items():
        assert figures
        for figure, value in figures.items():
            assert value == pytest.approx(theirs[name][f"{figure},none"], abs=1e-4), figure
