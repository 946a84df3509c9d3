"""Few-shot tasks in the format of LLM Foundry: names of the sets and their files.

The files are those of mosaicml/llm-foundry, scripts/eval/local_data, and of DCLM's and nanochat's
evaluation bundles. Two sets may share a file and differ in the number of examples.
"""

from __future__ import annotations

SOURCE = "github.com/mosaicml/llm-foundry, scripts/eval/local_data"
FORMAT = (
    "a JSON object a line with query, choices, gold; context_options, continuation, gold; "
    "context, continuation; or context, answer and aliases or chain_of_thought"
)
LICENCE = "each its own: see the makers of the original set"
_FILES = {
    "core_hellaswag_zeroshot": "hellaswag",
    "core_jeopardy": "jeopardy_all",
    "core_bigbench_qa_wikidata": "bigbench_qa_wikidata",
    "core_arc_easy": "arc_easy",
    "core_arc_challenge": "arc_challenge",
    "core_copa": "copa",
    "core_commonsense_qa": "commonsense_qa",
    "core_piqa": "piqa",
    "core_openbook_qa": "openbook_qa",
    "core_lambada_openai": "lambada_openai",
    "core_hellaswag": "hellaswag",
    "core_winograd": "winograd_wsc",
    "core_winogrande": "winogrande",
    "core_bigbench_dyck_languages": "bigbench_dyck_languages",
    "core_agi_eval_lsat_ar": "agi_eval_lsat_ar",
    "core_bigbench_cs_algorithms": "bigbench_cs_algorithms",
    "core_bigbench_operators": "bigbench_operators",
    "core_bigbench_repeat_copy_logic": "bigbench_repeat_copy_logic",
    "core_squad": "squad",
    "core_coqa": "coqa",
    "core_boolq": "boolq",
    "core_bigbench_language_identification": "bigbench_language_identification",
    "siqa": "siqa",
    "mmlu_zeroshot": "mmlu",
    "mmlu_fewshot": "mmlu",
    "triviaqa": "triviaqa_sm_sub",
    "gsm8k": "gsm8k",
}
FILES = {name: f"{file}.jsonl" for name, file in _FILES.items()}
