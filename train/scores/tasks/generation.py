"""Tasks with written answers: CoQA, CNN/Daily Mail, WMT-14, Natural Questions.

Prompts are those of the paper.

- CoQA (Reddy et al. 2019): the story, the conversation so far and `A:`; greedy, up to the end of
  the line; F1 over words against the best of the references.
- CNN/Daily Mail: the article and `TL;DR:`; 100 tokens, top-k 2; the first three sentences are the
  summary; ROUGE-1, -2, -L at summary level.
- WMT-14: pairs `english = french`, then `english =`; greedy, first sentence; BLEU by sacrebleu.
- Natural Questions: pairs of question and answer, then the question; greedy, up to the end of the
  line; exact match, also of the most confident 1 % by the mean log-probability of the answer.

The first EXAMPLES entries of a WMT or NQ file are the prompt's examples, and are not scored.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from corpus.errors import InputError
from corpus.json_values import json_value
from train.checkpoints.load import LoadedModel
from train.gpt2.sampling import Sampling, continue_prompts
from train.machine.distributed import World
from train.scores.logprobs import ScoringRequest, batches, score
from train.scores.tasks.task import Figures, Options, Row, ScoreTask, lines, mean

EXAMPLES = 5
GREEDY = Sampling(temperature=0)
SUMMARY_SAMPLING = Sampling(top_k=2)
SUMMARY_TOKENS = 100
SUMMARY_SENTENCES = 3
ANSWER_TOKENS = 32
SENTENCE_TOKENS = 128
CONFIDENT_FRAC = 0.01
# Tokens of the texts written together, prompts and padding included; gpt2 keeps 0.3 and 1.2 GB of
# keys and values for them.
WRITE_TOKENS = {"cpu": 4_096, "cuda": 32_768}


def write(
    loaded: LoadedModel,
    prompts: Sequence[str],
    num_tokens: int,
    sampling: Sampling,
    options: Options,
    world: World,
    *,
    enough: Callable[[str], bool],
    question: str = "",
) -> list[str]:
    """Write continuations of prompts, longest prompts first, several at a time.

    `question` ends every prompt. Of a too long prompt the beginning is left out, or with a question
    the end before it. A text ends after `num_tokens`, with <|endoftext|>, or once it is `enough`.
    Each is drawn with the same seed, in any batch.
    """
    space = max(1, loaded.model.shape.block_size - num_tokens - 1)
    cut = [_cut(loaded, prompt, question, space, options) for prompt in prompts]

    texts = [""] * len(prompts)
    for places in batches(
        [len(tokens) + num_tokens for tokens in cut], WRITE_TOKENS[world.device.type]
    ):
        written = continue_prompts(
            loaded.model,
            [cut[place] for place in places],
            num_tokens=num_tokens,
            sampling=sampling,
            seeds=[(options.seed,)] * len(places),
            stop=loaded.end_of_text,
            enough=lambda tokens: enough(loaded.tokenizer.decode(tokens)),
            world=world,
        )
        for place, tokens in zip(places, written, strict=True):
            texts[place] = loaded.tokenizer.decode(tokens)

    return texts


def _cut(
    loaded: LoadedModel, prompt: str, question: str, space: int, options: Options
) -> tuple[int, ...]:
    """The tokens of a prompt, at most `space` of them behind <|endoftext|>."""
    tokens = options.prompt(loaded, prompt + question)
    begin = int(options.begin)
    if len(tokens) <= begin + space:
        return tokens
    if not question:
        return (*tokens[:begin], *tokens[-space:])

    asked = tuple(loaded.tokenizer.encode(question))[-space:]
    return (*options.prompt(loaded, prompt)[: begin + space - len(asked)], *asked)


def has_line(text: str) -> bool:
    """True if no continuation can change `first_line` of the text."""
    return "\n" in text.lstrip()


SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s)")


def has_sentences(text: str, count: int) -> bool:
    """True if no continuation can change `first_sentences` of the text."""
    return len(SENTENCE_END.findall(text)) >= count


def first_line(text: str) -> str:
    """The first line with text, and all before it."""
    return text.lstrip().split("\n", 1)[0].strip()


def first_sentences(text: str, count: int) -> str:
    """The first sentences: up to a full stop, question or exclamation mark before white space."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return (text[: ends[count - 1]] if len(ends) >= count else text).strip()


def normalized(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space (SQuAD, CoQA and NQ compare answers so)."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def f1(answer: str, reference: str) -> float:
    """Overlap of words, 0..1."""
    ours, theirs = normalized(answer).split(), normalized(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def best_f1(answer: str, references: Sequence[str]) -> float:
    """CoQA's: with several references, the mean over them of the best F1 against all others (people are scored so)."""
    if len(references) == 1:
        return f1(answer, references[0])
    folds = [[r for j, r in enumerate(references) if j != i] for i in range(len(references))]
    return sum(max(f1(answer, r) for r in fold) for fold in folds) / len(folds)


def read_coqa(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """(prompt, references) per turn of every conversation."""
    entries = []
    for story in json_value(data)["data"]:
        others = list(story.get("additional_answers", {}).values())
        said = story["story"].strip()
        for turn, (question, answer) in enumerate(
            zip(story["questions"], story["answers"], strict=True)
        ):
            said += f"\n\nQ: {question['input_text']}\nA:"
            references = [answer["input_text"], *(other[turn]["input_text"] for other in others)]
            entries.append((said, references))
            said += f" {answer['input_text']}"

    return entries


def coqa(loaded: LoadedModel, entries: Sequence[Any], world: World, options: Options) -> list[Row]:
    """The answer and its F1."""
    rows = []
    prompts = [prompt for prompt, _ in entries]
    texts = write(loaded, prompts, ANSWER_TOKENS, GREEDY, options, world, enough=has_line)
    for text, (_, references) in zip(texts, entries, strict=True):
        answer = first_line(text)
        rows.append({"answer": answer, "references": references, "f1": best_f1(answer, references)})

    return rows


def coqa_figures(rows: Sequence[Row]) -> Figures:
    """Mean F1, of 100."""
    return {"entries": len(rows), "f1": 100 * mean(rows, "f1")}


def read_summaries(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """(article, highlights) per line of JSON."""
    return [(line["article"], line["highlights"]) for line in map(json.loads, lines(data))]


def summaries(
    loaded: LoadedModel, entries: Sequence[Any], world: World, options: Options
) -> list[Row]:
    """The summary and its three ROUGE F-measures."""
    scorer = _rouge()
    rows = []
    prompts = [article.strip() for article, _ in entries]
    enough = partial(has_sentences, count=SUMMARY_SENTENCES)
    # News has its summary at the beginning, so that a long article loses its end.
    texts = write(
        loaded, prompts, SUMMARY_TOKENS, SUMMARY_SAMPLING, options, world, enough=enough,
        question="\nTL;DR:",
    )  # fmt: skip

    for text, (_, highlights) in zip(texts, entries, strict=True):
        summary = first_sentences(text, SUMMARY_SENTENCES)
        reference = _sentence_lines(highlights)
        # One sentence is compared with the summary as a whole.
        several = "\n" in reference
        found = scorer.score(
            reference, _sentence_lines(summary) if several else " ".join(summary.split())
        )
        measures = {name.removesuffix("sum"): value.fmeasure for name, value in found.items()}
        rows.append({"summary": summary, **measures})

    return rows


def summary_figures(rows: Sequence[Row]) -> Figures:
    """ROUGE-1, -2, -L at summary level, and their mean, of 100."""
    each = {name: 100 * mean(rows, name) for name in ("rouge1", "rouge2", "rougeL")}
    return {"entries": len(rows), **each, "rouge_mean": sum(each.values()) / 3}


def _sentence_lines(text: str) -> str:
    """One sentence a line: at summary level each is compared with every sentence of the other text."""
    return re.sub(rf"({SENTENCE_END.pattern})\s+", r"\1\n", text.strip())


def _rouge() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise InputError(
            "cnn_dm: ROUGE is counted by rouge-score; pip install 'webtext[scores]'"
        ) from error
    # The ROUGE-L that papers report of CNN/Daily Mail since See et al. 2017 is rougeLsum.
    return RougeScorer(["rouge1", "rouge2", "rougeLsum"], use_stemmer=True)


def read_pairs(data: bytes, loaded: LoadedModel, options: Options, *, reverse: bool) -> list[Any]:
    """(prompt, reference) per pair behind the examples; a line is English, a tab, French."""
    pairs = [tuple(line.split("\t")) for line in lines(data)]
    if any(len(pair) != 2 for pair in pairs) or len(pairs) <= EXAMPLES:
        raise ValueError(f"expected more than {EXAMPLES} lines of English, a tab, French")
    turned = [(b, a) if reverse else (a, b) for a, b in pairs]
    shown = "".join(f"{source} = {target}\n" for source, target in turned[:EXAMPLES])
    return [(f"{shown}{source} =", target) for source, target in turned[EXAMPLES:]]


def translations(
    loaded: LoadedModel, entries: Sequence[Any], world: World, options: Options
) -> list[Row]:
    """The first sentence written."""
    prompts = [prompt for prompt, _ in entries]
    texts = write(
        loaded, prompts, SENTENCE_TOKENS, GREEDY, options, world, enough=_has_sentence_or_line
    )
    return [
        {"translation": first_sentences(first_line(text) + "\n", 1), "reference": reference}
        for text, (_, reference) in zip(texts, entries, strict=True)
    ]


def _has_sentence_or_line(text: str) -> bool:
    return has_line(text) or has_sentences(text, 1)


def translation_figures(rows: Sequence[Row]) -> Figures:
    """Corpus BLEU."""
    try:
        from sacrebleu import corpus_bleu
    except ImportError as error:
        raise InputError(
            "wmt14: BLEU is counted by sacrebleu; pip install 'webtext[scores]'"
        ) from error

    found = corpus_bleu([row["translation"] for row in rows], [[row["reference"] for row in rows]])
    return {"entries": len(rows), "bleu": float(found.score)}


def read_questions(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """(prompt, answers) per question behind the examples.

    Lines of JSON with `question` and `answer`, a list.
    """
    pairs = [
        (f"Q: {line['question']}\nA:", line["answer"]) for line in map(json.loads, lines(data))
    ]
    if len(pairs) <= EXAMPLES:
        raise ValueError(f"expected more than {EXAMPLES} questions")

    shown = "".join(f"{question} {answers[0]}\n\n" for question, answers in pairs[:EXAMPLES])
    return [(shown + question, answers) for question, answers in pairs[EXAMPLES:]]


def questions(
    loaded: LoadedModel, entries: Sequence[Any], world: World, options: Options
) -> list[Row]:
    """The answer, whether it is one of the right ones, and how sure the model was."""
    rows, requests = [], []
    prompts = [prompt for prompt, _ in entries]
    texts = write(loaded, prompts, ANSWER_TOKENS, GREEDY, options, world, enough=has_line)

    for text, (prompt, references) in zip(texts, entries, strict=True):
        answer = first_line(text)
        right = normalized(answer) in {normalized(each) for each in references}
        rows.append({"answer": answer, "references": list(references), "exact_match": right})
        tokens = loaded.tokenizer.encode(f" {answer}") or [loaded.end_of_text]
        requests.append(
            ScoringRequest(options.prompt(loaded, prompt), tuple(tokens[:ANSWER_TOKENS]))
        )

    for row, each in zip(rows, score(loaded.model, requests, world), strict=True):
        row["confidence"] = each.log_prob / len(each.log_probs)
    return rows


def question_figures(rows: Sequence[Row]) -> Figures:
    """Exact match of all, and of the most confident 1 % (at least one), of 100."""
    sure = sorted(rows, key=lambda row: -row["confidence"])[
        : max(1, round(CONFIDENT_FRAC * len(rows)))
    ]
    return {
        "entries": len(rows),
        "exact_match": 100 * mean(rows, "exact_match"),
        "exact_match_confident": 100 * mean(sure, "exact_match"),
    }


def _translation_task(name: str, *, reverse: bool) -> ScoreTask:
    read: Callable[..., list[Any]] = partial(read_pairs, reverse=reverse)
    return ScoreTask(name, read, translations, translation_figures, chunk=64)


COQA = ScoreTask("coqa", read_coqa, coqa, coqa_figures, chunk=64)
CNN_DM = ScoreTask("cnn_dm", read_summaries, summaries, summary_figures, chunk=64, revision=3)
WMT14_EN_FR = _translation_task("wmt14_en_fr", reverse=False)
WMT14_FR_EN = _translation_task("wmt14_fr_en", reverse=True)
NATURAL_QUESTIONS = ScoreTask("nq", read_questions, questions, question_figures, chunk=64)
