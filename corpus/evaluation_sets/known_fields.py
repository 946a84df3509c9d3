"""Fields of the most used public evaluation sets, as their makers named them (2026-11-30).

A set is recognised by a part of its name: the file `humaneval.jsonl`, the folder `mbpp/`, the hub name
`hf:openai/openai_humaneval`. Its fields are added to the defaults, so an unusual name is not passed over.
A `testsets.toml` beside the file overrides both.
"""

from __future__ import annotations

import re

_FIELDS = {
    "agieval": "passage question options answer",
    "ai2_arc arc arc_easy arc_challenge": "question choices",
    "anli": "premise hypothesis reason",
    "apps": "question solutions",
    "asdiv": "body question formula",
    "bbh bigbenchhard": "input target",
    "belebele": "flores_passage question mc_answer1 mc_answer2 mc_answer3 mc_answer4",
    "blimp": "sentence_good sentence_bad",
    "boolq": "question passage",
    "cb": "premise hypothesis",
    "ceval": "question A B C D explanation",
    "cmmlu": "Question A B C D",
    "cnn_dailymail": "article highlights",
    "cola": "sentence",
    "commonsense_qa commonsenseqa": "question choices",
    "copa": "premise choice1 choice2",
    "coqa": "story questions answers",
    "cosmos_qa cosmosqa": "context question answer0 answer1 answer2 answer3",
    "drop": "passage question answers_spans",
    "ds1000": "prompt reference_code",
    "gpqa": "Question Correct_Answer Incorrect_Answer_1 Incorrect_Answer_2 Incorrect_Answer_3 Explanation",
    "gsm8k": "question answer",
    "headqa": "qtext answers",
    "hellaswag": "ctx endings",
    "hendrycks_math math competition_math": "problem solution",
    "humaneval openai_humaneval": "prompt canonical_solution test",
    "ifeval": "prompt",
    "lambada lambada_openai": "text",
    "livecodebench": "question_content starter_code",
    "logiqa": "context question options query",
    "mathqa math_qa": "Problem Rationale options",
    "mbpp": "text prompt code test_list",
    "medmcqa": "question opa opb opc opd exp",
    "medqa": "question options",
    "mgsm": "question answer",
    "mmlu": "question choices",
    "mmlu_pro": "question options cot_content",
    "mnli": "premise hypothesis",
    "mrpc": "sentence1 sentence2",
    "multirc": "paragraph question answer",
    "musr": "narrative question choices",
    "narrativeqa": "document question answers",
    "nq nq_open natural_questions": "question answer",
    "openbookqa": "question_stem choices fact1",
    "piqa": "goal sol1 sol2",
    "pubmedqa pubmed_qa": "question context long_answer",
    "qnli": "question sentence",
    "qqp": "question1 question2",
    "quac": "context questions answers",
    "quail": "context question answers",
    "race": "article question options",
    "record": "passage query entities",
    "rte": "premise hypothesis sentence1 sentence2",
    "sciq": "question correct_answer distractor1 distractor2 distractor3 support",
    "siqa social_i_qa socialiqa": "context question answerA answerB answerC",
    "squad squad_v2 squad2": "context question answers",
    "sst2 sst": "sentence",
    "storycloze story_cloze": "InputSentence1 InputSentence2 InputSentence3 InputSentence4 "
    "RandomFifthSentenceQuiz1 RandomFifthSentenceQuiz2",
    "strategyqa": "question facts",
    "svamp": "Body Question",
    "swag": "sent1 sent2 ending0 ending1 ending2 ending3",
    "toxigen": "text",
    "triviaqa trivia_qa": "question answer",
    "truthfulqa truthful_qa": "question best_answer correct_answers incorrect_answers mc1_targets mc2_targets",
    "webqs web_questions": "question answers",
    "wic": "sentence1 sentence2",
    "winogrande": "sentence option1 option2",
    "wmt14 wmt16 wmt19": "translation",
    "wsc wsc273": "text context_options continuation",
    "xcopa": "premise choice1 choice2",
    "xnli": "premise hypothesis",
    "xquad": "context question answers",
    "xsum": "document summary",
    "xwinograd": "sentence option1 option2",
}
KNOWN_FIELDS = {
    name: tuple(fields.split()) for names, fields in _FIELDS.items() for name in names.split()
}


def known_fields(name: str) -> tuple[str, ...]:
    """The fields of a public set that `name` (folders, file, config, split) refers to; else none."""
    parts = [re.sub(r"[-. ]", "_", part.lower()) for part in name.split("/")]
    tried = [
        *parts,
        *(re.sub(r"_(test|valid|val|validation|dev|train|all)$", "", p) for p in parts),
    ]
    return next((KNOWN_FIELDS[each] for each in tried if each in KNOWN_FIELDS), ())
