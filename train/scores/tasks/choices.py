"""Tasks with given choices: Winograd schemas, Children's Book Test, HellaSwag.

The most probable choice wins.

- WSC273 (Levesque et al. 2012), lines of JSON with `context_options`, `continuation`, `gold`:
  `full` scores the whole sentence with each candidate, `partial` only the words after it (Trinh &
  Le 2018).
- CBT (Hill et al. 2016), 20 sentences and a 21st with a blank: as in GPT-2's paper the choice *and
  the rest of the sentence* are scored; `choice` scores the choice alone.
- HellaSwag (Zellers et al. 2019): `accuracy` by the sum of an ending's log-probabilities,
  `accuracy_per_char` by this sum over its characters (lm-evaluation-harness: acc and acc_norm).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpus.evaluation_sets import childrens_book
from corpus.json_values import json_value
from train.checkpoints.load import LoadedModel
from train.machine.distributed import World
from train.scores.logprobs import Scored, ScoringRequest, score
from train.scores.tasks.task import Figures, Options, Row, ScoreTask, lines, mean


@dataclass(frozen=True)
class Choice:
    """Texts to choose from: `contexts[i] + endings[i]`, or one context for all, and the place of the right one."""

    contexts: tuple[str, ...]
    endings: tuple[str, ...]
    gold: int


def _score(
    loaded: LoadedModel,
    entries: Sequence[Choice],
    world: World,
    options: Options,
    *,
    whole: bool = False,
) -> list[list[tuple[Scored, int]]]:
    """Per entry and choice its scores and the number of tokens of the ending.

    `whole`: the context is scored as well.
    """
    requests: list[ScoringRequest] = []
    counts: list[int] = []
    for entry in entries:
        for place, ending in enumerate(entry.endings):
            context = entry.contexts[place % len(entry.contexts)]
            after = tuple(loaded.tokenizer.encode(ending))
            counts.append(len(after))
            if whole:
                text = (*loaded.tokenizer.encode(context), *after)
                requests.append(ScoringRequest((loaded.end_of_text,), text))
            else:
                requests.append(ScoringRequest(options.prompt(loaded, context), after))

    scored = iter(zip(score(loaded.model, requests, world), counts, strict=True))
    return [[next(scored) for _ in entry.endings] for entry in entries]


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def read_winograd(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """Schemas, a line of JSON each."""
    return [
        Choice(
            tuple(line["context_options"]),
            (f" {line['continuation']}",) * len(line["context_options"]),
            int(line["gold"]),
        )
        for line in map(json.loads, lines(data))
    ]


def winograd(
    loaded: LoadedModel, entries: Sequence[Choice], world: World, options: Options
) -> list[Row]:
    """Both ways of scoring, from one pass."""
    rows = []
    for entry, scores in zip(
        entries, _score(loaded, entries, world, options, whole=True), strict=True
    ):
        full = [each.log_prob for each, _ in scores]
        partial = [sum(each.log_probs[-count:]) for each, count in scores]
        rows.append(
            {
                "gold": entry.gold,
                "full_log_probs": full,
                "partial_log_probs": partial,
                "full": _best(full) == entry.gold,
                "partial": _best(partial) == entry.gold,
            }
        )

    return rows


def winograd_figures(rows: Sequence[Row]) -> Figures:
    """Two accuracies."""
    return {
        "entries": len(rows),
        **{f"{name}_accuracy": mean(rows, name) for name in ("full", "partial")},
    }


BLANK = "XXXXX"


def read_cbt(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """Questions of 21 numbered lines, the last with the blank, the answer and its ten choices behind tabs.

    An entry is the choice among endings, and how many characters of each ending are the choice
    itself. With `options.detokenize` the text is as a book prints it.
    """
    entries: list[tuple[Choice, tuple[int, ...]]] = []
    story: list[str] = []
    for line in lines(data):
        number, _, text = line.partition(" ")
        if number == "1":
            story = []
        if "\t" not in text:
            story.append(childrens_book.join(text) if options.detokenize else text.strip())
            continue

        query, answer, *_, candidates = text.split("\t")
        before, blank, after = query.partition(BLANK)
        choices = candidates.strip().split("|")
        if not blank or answer not in choices:
            raise ValueError(
                f"{query!r}: expected {BLANK} and the answer {answer!r} among {choices}"
            )

        entries.append(_cbt_entry(" ".join(story), before, after, choices, answer, options))

    return entries


def _cbt_entry(
    story: str, before: str, after: str, choices: Sequence[str], answer: str, options: Options
) -> tuple[Choice, tuple[int, ...]]:
    """One question: the context, an ending for each choice, and the length of the choice in it."""
    endings, lengths = [], []
    words = childrens_book.tokens_of(before)
    head = before.rstrip()
    for choice in choices:
        own, rest = f" {choice}", after
        if options.detokenize:
            tokens = childrens_book.tokens_of(choice)
            printed = childrens_book.printed([*words, *tokens, *childrens_book.tokens_of(after)])
            head, end = "".join(printed[: len(words)]), len(words) + len(tokens)
            own, rest = "".join(printed[len(words) : end]), "".join(printed[end:])
            # A choice that begins the sentence is a new word behind the story.
            own = own if words else f" {own}"
        endings.append((own + rest).rstrip())
        lengths.append(len(own))

    context = f"{story} {head}".rstrip()
    return Choice((context,), tuple(endings), choices.index(answer)), tuple(lengths)


def cbt(loaded: LoadedModel, entries: Sequence[Any], world: World, options: Options) -> list[Row]:
    """The choice with the rest of the sentence, and the choice alone."""
    rows = []
    scored = _score(loaded, [entry for entry, _ in entries], world, options)
    for (entry, lengths), scores in zip(entries, scored, strict=True):
        rest = [each.log_prob for each, _ in scores]
        alone = [
            sum(each.log_probs[: len(loaded.tokenizer.encode(ending[:length]))])
            for (each, _), ending, length in zip(scores, entry.endings, lengths, strict=True)
        ]
        rows.append(
            {
                "gold": entry.gold,
                "log_probs": rest,
                "sentence": _best(rest) == entry.gold,
                "choice": _best(alone) == entry.gold,
            }
        )

    return rows


def cbt_figures(rows: Sequence[Row]) -> Figures:
    """Two accuracies; the paper's is the first."""
    return {
        "entries": len(rows),
        **{f"{name}_accuracy": mean(rows, name) for name in ("sentence", "choice")},
    }


def read_hellaswag(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """Contexts with four endings, a line of JSON each, cleaned as lm-evaluation-harness does."""
    entries = []
    for line in lines(data):
        fields = json_value(line)
        context = _clean(
            f"{fields['activity_label']}: {fields['ctx_a']} {fields['ctx_b'].capitalize()}"
        )
        entries.append(
            Choice(
                (context,), tuple(f" {_clean(e)}" for e in fields["endings"]), int(fields["label"])
            )
        )

    return entries


def _clean(text: str) -> str:
    """Without WikiHow's markers."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def hellaswag(
    loaded: LoadedModel, entries: Sequence[Choice], world: World, options: Options
) -> list[Row]:
    """By sum, and by sum over characters."""
    rows = []
    for entry, scores in zip(entries, _score(loaded, entries, world, options), strict=True):
        sums = [each.log_prob for each, _ in scores]
        per_char = [
            each.log_prob / len(ending[1:])
            for (each, _), ending in zip(scores, entry.endings, strict=True)
        ]
        rows.append(
            {
                "gold": entry.gold,
                "log_probs": sums,
                "sum": _best(sums) == entry.gold,
                "per_char": _best(per_char) == entry.gold,
            }
        )

    return rows


def hellaswag_figures(rows: Sequence[Row]) -> Figures:
    """Two accuracies."""
    return {
        "entries": len(rows),
        "accuracy": mean(rows, "sum"),
        "accuracy_per_char": mean(rows, "per_char"),
    }


WINOGRAD = ScoreTask("wsc273", read_winograd, winograd, winograd_figures)
CBT_CN = ScoreTask("cbt_cn", read_cbt, cbt, cbt_figures, chunk=64, revision=2)
CBT_NE = ScoreTask("cbt_ne", read_cbt, cbt, cbt_figures, chunk=64, revision=2)
HELLASWAG = ScoreTask("hellaswag", read_hellaswag, hellaswag, hellaswag_figures, revision=2)
