"""The tasks of CORE and its relatives: published examples, and the accuracy of guessing.

CORE (Li et al. 2024, DataComp-LM, section 3.5) is the mean of 22 centred accuracies: 0 is guessing,
1 is perfect. Checked on 2026-11-30 in public repositories: the 22 names in mlfoundations/dclm,
eval/additional_aggregation.json (`low_variance_datasets`); examples and delimiters in
eval/mmlu_and_lowvar.yaml; examples and guessing rates in eval/eval_meta_data_v1.csv. nanochat's
published logs are centred with the same rates. A later table of rates in DCLM (v2) was not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["choice", "schema", "completion"]

SPACE = " "
ANSWER = "\nAnswer: "


@dataclass(frozen=True, slots=True)
class FewShotTask:
    """A task in the format of LLM Foundry's files."""

    name: str
    """As in `corpus.evaluation_sets.official`."""
    kind: Kind
    shots: int
    guessing: float
    """Published accuracy of guessing, of 1."""
    delimiter: str = SPACE
    """Between a question and its answer."""
    by_category: bool = False
    """True if examples are of the entry's own category."""
    in_core: bool = True


_TASKS = (
    FewShotTask("core_hellaswag_zeroshot", "choice", 0, 0.25),
    FewShotTask("core_jeopardy", "completion", 10, 0.0, ANSWER),
    FewShotTask("core_bigbench_qa_wikidata", "completion", 10, 0.0),
    FewShotTask("core_arc_easy", "choice", 10, 0.25, ANSWER),
    FewShotTask("core_arc_challenge", "choice", 10, 0.25, ANSWER),
    FewShotTask("core_copa", "choice", 0, 0.5),
    FewShotTask("core_commonsense_qa", "choice", 10, 0.2),
    FewShotTask("core_piqa", "choice", 10, 0.5, ANSWER),
    FewShotTask("core_openbook_qa", "choice", 0, 0.25),
    FewShotTask("core_lambada_openai", "completion", 0, 0.0),
    FewShotTask("core_hellaswag", "choice", 10, 0.25),
    FewShotTask("core_winograd", "schema", 0, 0.5),
    FewShotTask("core_winogrande", "schema", 0, 0.5),
    FewShotTask("core_bigbench_dyck_languages", "completion", 10, 0.0),
    FewShotTask("core_agi_eval_lsat_ar", "choice", 3, 0.2),
    FewShotTask("core_bigbench_cs_algorithms", "completion", 10, 0.0),
    FewShotTask("core_bigbench_operators", "completion", 10, 0.0),
    FewShotTask("core_bigbench_repeat_copy_logic", "completion", 10, 0.0),
    FewShotTask("core_squad", "completion", 10, 0.0),
    FewShotTask("core_coqa", "completion", 0, 0.0),
    FewShotTask("core_boolq", "choice", 10, 0.62, ANSWER),
    FewShotTask(
        "core_bigbench_language_identification",
        "choice",
        10,
        0.091,
    ),
    # Beside CORE, with the rates and examples of the same table.
    FewShotTask("siqa", "choice", 10, 0.333, in_core=False),
    FewShotTask("mmlu_zeroshot", "choice", 0, 0.25, ANSWER, True, in_core=False),
    FewShotTask("mmlu_fewshot", "choice", 5, 0.25, ANSWER, True, in_core=False),
)


@dataclass(frozen=True, slots=True)
class WrittenTask:
    """A task in the format of LLM Foundry's files with a short written answer."""

    name: str
    shots: int
    stops: tuple[str, ...]
    """An answer ends before the first of these."""
    tokens: int
    """The longest answer, in tokens."""
    prelude: str = ""
    """Before a question."""
    delimiter: str = SPACE
    between: str = "\n"
    reasoning: str = ""
    """Between reasoning and answer; empty for an answer alone."""
    guessing: float = 0.0


# As DCLM runs them (eval/cot_fix_plus_gpq_triviaqa.yaml); no answer of TriviaQA has two lines.
_WRITTEN = (
    WrittenTask("triviaqa", 3, ("\n",), 32),
    WrittenTask(
        "gsm8k",
        3,
        ("\n\n", "Q:"),
        256,
        prelude="Q: ",
        delimiter="\nA: Let's think step by step. ",
        reasoning=" #### ",
    ),
)
WRITTEN: Mapping[str, WrittenTask] = {task.name: task for task in _WRITTEN}
TASKS: Mapping[str, FewShotTask] = {task.name: task for task in _TASKS}
CORE: Mapping[str, FewShotTask] = {task.name: task for task in _TASKS if task.in_core}

# GPT-2's accuracies (124M, 355M, 774M, 1558M) by DCLM's harness, and its CORE: karpathy/nanochat,
# dev/estimate_gpt3_core.ipynb, which prints three digits.
GPT2_ACCURACIES: Mapping[str, tuple[float, float, float, float]] = {
    "core_hellaswag_zeroshot": (0.309, 0.390, 0.440, 0.502),
    "core_lambada_openai": (0.323, 0.426, 0.488, 0.523),
    "core_hellaswag": (0.308, 0.395, 0.444, 0.512),
    "core_piqa": (0.623, 0.670, 0.698, 0.725),
    "core_arc_easy": (0.412, 0.480, 0.535, 0.595),
    "core_arc_challenge": (0.222, 0.262, 0.264, 0.299),
}
GPT2_CORE = (0.1139, 0.1849, 0.2146, 0.2565)


def centred(accuracy: float, guessing: float) -> float:
    """Accuracy above guessing, as a share of what is possible above it; below 0 if worse."""
    return (accuracy - guessing) / (1 - guessing)


def core(accuracies: Mapping[str, float]) -> float | None:
    """CORE of accuracies by task; None unless all 22 tasks are there."""
    if set(CORE) - set(accuracies):
        return None
    return sum(centred(accuracies[name], task.guessing) for name, task in CORE.items()) / len(CORE)


def table(scores: Mapping[str, Any]) -> str:
    """Few-shot tasks and CORE beside GPT-2's as a Markdown table; empty without such a task."""
    sets: Mapping[str, Any] = scores["sets"]
    tasks: Mapping[str, FewShotTask | WrittenTask] = {**TASKS, **WRITTEN}
    found = {name: float(sets[name]["accuracy"]) for name in tasks if name in sets}
    if not found:
        return ""

    head = [
        "task",
        "examples",
        "guessing",
        "124M",
        "355M",
        "774M",
        "1558M",
        "this model",
        "centred",
    ]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for name, accuracy in found.items():
        task = tasks[name]
        about = scores["about"].get(name, {})
        mark = f" (first {about['limit']:,})" if "limit" in about else ""
        gpt2 = GPT2_ACCURACIES.get(name, (None,) * 4)
        rows.append(
            [
                name + mark,
                str(task.shots),
                f"{100 * task.guessing:.4g}",
                *("" if each is None else f"{100 * each:.1f}" for each in gpt2),
                f"{100 * accuracy:.2f}",
                f"{centred(accuracy, task.guessing):+.4f}",
            ]
        )

    rows.append(["CORE", "", "", *(f"{each:.4f}" for each in GPT2_CORE), "", _core_cell(found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _core_cell(found: Mapping[str, float]) -> str:
    value = core(found)
    if value is not None:
        return f"{value:.4f}"
    return f"not measured: {len(set(found) & set(CORE))} of {len(CORE)} tasks"
