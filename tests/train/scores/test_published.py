"""Numbers that others published, and those of the docs, written down again from their pages.

A test that took them from the code would follow an accident.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from train.config import PRESETS, DataConfig
from train.gpt2.sampling import Sampling
from train.machine.peaks import PEAK_TFLOPS, known_peak
from train.scores import core_tasks
from train.scores.paper import PAPER, Published
from train.scores.score_set import TASKS
from train.scores.tasks import generation, language
from train.scores.tasks.task import Options, ScoreTask

# Radford et al. 2019, table 3: one line a model, one column a set, as printed.
COLUMNS = """lambada/word_perplexity lambada/last_token_accuracy cbt_cn/sentence_accuracy
cbt_ne/sentence_accuracy wikitext2/perplexity_per_word ptb/perplexity_per_word enwik8/bits_per_byte
text8/bits_per_char wikitext103/perplexity_per_word 1bw/perplexity_per_word"""
TABLE_3 = """
99.8  59.23 85.7  82.3  39.14 46.54 0.99 1.08 18.3  21.8
35.13 45.99 87.65 83.4  29.41 65.85 1.16 1.17 37.50 75.20
15.60 55.48 92.35 87.1  22.76 47.33 1.01 1.06 26.37 55.72
10.87 60.12 93.45 88.0  19.93 40.31 0.97 1.02 22.05 44.575
8.63  63.24 93.30 89.05 18.34 35.76 0.93 0.98 17.48 42.16
"""
# The same, sections 3.4 to 3.8 and table 4: the state of the art before, then the largest model.
LARGEST = {
    "wsc273/partial_accuracy": (63.7, 70.70),
    "coqa/f1": (None, 55.0),
    "cnn_dm/rouge1": (41.22, 29.34),
    "cnn_dm/rouge2": (18.68, 8.27),
    "cnn_dm/rougeL": (38.34, 26.58),
    "cnn_dm/rouge_mean": (32.75, 21.40),
    "wmt14_en_fr/bleu": (None, 5.0),
    "wmt14_fr_en/bleu": (33.5, 11.5),
    "nq/exact_match": (None, 4.1),
    "nq/exact_match_confident": (None, 63.1),
}


def test_the_numbers_are_those_of_the_paper() -> None:
    lines = [[float(cell) for cell in line.split()] for line in TABLE_3.split("\n") if line]
    before, small, medium, large, xl = lines
    expected = {
        name: Published(before[place], (small[place], medium[place], large[place], xl[place]))
        for place, name in enumerate(COLUMNS.split())
    }
    expected |= {
        name: Published(best, (None, None, None, value)) for name, (best, value) in LARGEST.items()
    }
    assert {"/".join(key): published for key, published in PAPER.items()} == expected


def test_presets_are_those_of_the_docs() -> None:
    docs = Path(__file__).parents[3] / "docs/train.md"
    table = docs.read_text("utf-8").partition("| preset | layers |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[2:]]
    assert {name: [float(number) for number in numbers] for name, *numbers in rows} == {
        name: [
            float(number)
            for number in (
                *(preset.n_layer, preset.n_head, preset.n_embd, preset.block_size),
                *(preset.learning_rate, preset.batch_size),
            )
        ]
        for name, preset in PRESETS.items()
    }


@pytest.mark.parametrize(
    ("task", "num_tokens", "sampling"),
    [
        # Radford et al. 2019, 3.6: 100 tokens with top-k 2.
        (generation.summaries, 100, Sampling(temperature=1, top_k=2)),
        # 3.5, 3.7 and 3.8: greedy. The lengths are those of docs/scores.md.
        (generation.coqa, 32, Sampling(temperature=0)),
        (generation.translations, 128, Sampling(temperature=0)),
        (generation.questions, 32, Sampling(temperature=0)),
    ],
)
def test_texts_are_written_as_the_paper_says(
    monkeypatch: pytest.MonkeyPatch, task: Any, num_tokens: int, sampling: Sampling
) -> None:
    asked = []

    def write(_loaded: Any, _prompts: Any, num: int, drawn: Sampling, *_: Any, **__: Any) -> Any:
        asked.append((num, drawn))
        return []

    monkeypatch.setattr(generation, "write", write)
    monkeypatch.setattr(generation, "score", lambda *_: [])
    monkeypatch.setattr(generation, "_rouge", lambda: None)
    task(SimpleNamespace(model=None), [], None, Options())
    ((num, drawn),) = asked
    assert (num, drawn.temperature) == (num_tokens, sampling.temperature)
    assert not sampling.temperature or drawn == sampling


def test_the_test_split_is_the_last_five_million_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """enwik8 and text8: Mikolov et al. 2012."""
    seen: list[Any] = []
    monkeypatch.setattr(language, "entries_of", lambda texts, *_: seen.extend(texts))
    language.read_bytes(b"a" * 1000 + b"b" * 5_000_000, None, Options())  # type: ignore[arg-type]
    assert [(text.num_bytes, set(text.text)) for text in seen] == [(5_000_000, {"b"})]
    assert seen[0].num_exceptions == 0, "no line of it is written otherwise"


def test_defaults_of_scores_and_samples() -> None:
    """As docs/scores.md and the help of `webtext evaluate` and `webtext generate` say."""
    assert Options() == Options(stride=0, detokenize=True, seed=0, begin=True)
    task = ScoreTask("a", list, list, dict)  # type: ignore[arg-type]
    assert task.revision == 1, "the first revision of a task"
    # A saved outcome of another revision is not used: these stand in what users have saved.
    assert {name: task.revision for name, task in TASKS.items() if task.revision > 1} == {
        "cbt_cn": 2,
        "cbt_ne": 2,
        "hellaswag": 2,
        "cnn_dm": 3,
    }
    assert Sampling() == Sampling(temperature=1, top_k=40, top_p=1, min_p=0)


def test_any_positive_number_of_passes_may_be_the_limit() -> None:
    assert DataConfig(max_passes=0.5).max_passes == 0.5
    with pytest.raises(ValueError, match="greater than 0"):
        DataConfig(max_passes=0)


# Li et al. 2024: examples by eval/mmlu_and_lowvar.yaml, rates by eval/eval_meta_data_v1.csv of
# mlfoundations/dclm. Tasks of 10 examples, of which the others are named.
OTHER_SHOTS = {
    **dict.fromkeys(("core_hellaswag_zeroshot", "core_copa", "core_openbook_qa"), 0),
    **dict.fromkeys(("core_lambada_openai", "core_winograd", "core_winogrande", "core_coqa"), 0),
    "core_agi_eval_lsat_ar": 3,
    "mmlu_zeroshot": 0,
    "mmlu_fewshot": 5,
}
GUESSING = {
    0.25: "core_hellaswag_zeroshot core_arc_easy core_arc_challenge core_openbook_qa "
    "core_hellaswag mmlu_zeroshot mmlu_fewshot",
    0.5: "core_copa core_piqa core_winograd core_winogrande",
    0.2: "core_commonsense_qa core_agi_eval_lsat_ar",
    0.333: "siqa",
    0.62: "core_boolq",
    0.091: "core_bigbench_language_identification",
}


def test_few_shot_tasks_are_those_of_core() -> None:
    tasks = core_tasks.TASKS
    assert {name: task.shots for name, task in tasks.items()} == {
        name: OTHER_SHOTS.get(name, 10) for name in tasks
    }
    rates = {name: rate for rate, names in GUESSING.items() for name in names.split()}
    assert {name: task.guessing for name, task in tasks.items() if task.guessing} == rates
    assert len(core_tasks.CORE) == 22
    assert tasks.keys() - core_tasks.CORE.keys() == {"siqa", "mmlu_zeroshot", "mmlu_fewshot"}
    # An MMLU question has examples of its own subject.
    by_category = {name for name, task in tasks.items() if task.by_category}
    assert by_category == {"mmlu_zeroshot", "mmlu_fewshot"}


def test_written_tasks_are_run_as_dclm_runs_them() -> None:
    """eval/cot_fix_plus_gpq_triviaqa.yaml."""
    assert {name: (task.shots, task.tokens) for name, task in core_tasks.WRITTEN.items()} == {
        "triviaqa": (3, 32),
        "gsm8k": (3, 256),
    }
    assert {task.guessing for task in core_tasks.WRITTEN.values()} == {0}


def test_the_table_of_core_has_gpt2s_figures() -> None:
    """karpathy/nanochat, dev/estimate_gpt3_core.ipynb; its three digits are per cent with one."""
    names = (
        *("core_hellaswag_zeroshot", "core_lambada_openai", "core_hellaswag"),
        *("core_piqa", "core_arc_easy", "core_arc_challenge"),
    )
    scores = {"sets": {name: {"accuracy": 0.5} for name in names}, "about": {}}
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in core_tasks.table(scores).split("\n")
    ]
    assert {name: cells[2:6] for name, *cells in rows[2:]} == {
        "core_hellaswag_zeroshot": ["30.9", "39.0", "44.0", "50.2"],
        "core_lambada_openai": ["32.3", "42.6", "48.8", "52.3"],
        "core_hellaswag": ["30.8", "39.5", "44.4", "51.2"],
        "core_piqa": ["62.3", "67.0", "69.8", "72.5"],
        "core_arc_easy": ["41.2", "48.0", "53.5", "59.5"],
        "core_arc_challenge": ["22.2", "26.2", "26.4", "29.9"],
        "CORE": ["0.1139", "0.1849", "0.2146", "0.2565"],
    }


# Dense bfloat16 tera-operations a second by the makers' data sheets; none: not published.
DATA_SHEETS: dict[str, float | None] = {
    "NVIDIA GB300": 2500, "NVIDIA B300 SXM6 AC": 2500, "NVIDIA GB200": 2500, "NVIDIA B200": 2250, "NVIDIA B100": 1750,
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": 438, "NVIDIA RTX PRO 6000 Blackwell Server Edition": 503.8,
    "NVIDIA GeForce RTX 5090 Laptop GPU": None, "NVIDIA GeForce RTX 5090 D": None, "NVIDIA GeForce RTX 5090": 209.5,
    "NVIDIA GeForce RTX 5080": 112.6, "NVIDIA GeForce RTX 5070 Ti": 87.9, "NVIDIA GeForce RTX 5070": 61.7,
    "NVIDIA H200 NVL": 836, "NVIDIA H200": 989, "NVIDIA GH200 480GB": 989, "NVIDIA H100 NVL": 835, "NVIDIA H100 PCIe": 756,
    "NVIDIA H100 80GB HBM3": 989, "NVIDIA H800 PCIe": 756, "NVIDIA H800": 989, "NVIDIA H20": 148,
    "NVIDIA L40S": 362, "NVIDIA L40": 181, "NVIDIA L20": 119.5, "NVIDIA L4": 121, "NVIDIA RTX 6000 Ada Generation": 364.2,
    "NVIDIA GeForce RTX 4080 Laptop GPU": None, "NVIDIA GeForce RTX 4090 D": None, "NVIDIA GeForce RTX 4090": 165,
    "NVIDIA GeForce RTX 4080 SUPER": 104.4, "NVIDIA GeForce RTX 4080": 97.5,
    "NVIDIA A100-SXM4-80GB": 312, "NVIDIA A800-SXM4-80GB": 312, "NVIDIA A40": 149.7, "NVIDIA A30": 165, "NVIDIA A10G": 70,
    "NVIDIA A10": 125, "NVIDIA RTX A6000": 154.8, "NVIDIA GeForce RTX 3090 Ti": 80, "NVIDIA GeForce RTX 3090": 71,
    "AMD Instinct MI355X": 2516.6, "AMD Instinct MI350X": 2306.9, "AMD Instinct MI325X": 1307.4, "AMD Instinct MI300X": 1307.4,
    "AMD Instinct MI300A": 980.6, "AMD Instinct MI250X / MI250": 383, "AMD Instinct MI250": 362.1, "AMD Instinct MI210": 181,
}  # fmt: skip


def test_peaks_are_those_of_the_data_sheets() -> None:
    found = {name: known_peak(name) for name in DATA_SHEETS}
    assert found == {
        name: None if value is None else value * 1e12 for name, value in DATA_SHEETS.items()
    }
    patterns = {pattern for pattern, _ in PEAK_TFLOPS}
    read = {
        next(each for each, _ in PEAK_TFLOPS if re.search(rf"\b(?:{each})\b", name))
        for name in DATA_SHEETS
    }
    assert read == patterns, "each line of the table has a name here"
