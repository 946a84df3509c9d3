"""Few-shot tasks in LLM Foundry's files, scored as nanochat's `core_eval` scores them.

Lines of JSON: `query`, `choices`, `gold` (choice), `context_options`, `continuation`, `gold`
(schema) or `context`, `continuation` (completion). The prompt and each answer are encoded as one
text. Scored are the tokens after the beginning that all choices share, or the ending that all
beginnings share. The highest mean log-probability wins; a completion is right if each of its tokens
is the most probable one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

from corpus.json_values import json_value
from train.checkpoints.load import LoadedModel
from train.machine.distributed import World
from train.scores.core_tasks import TASKS, FewShotTask
from train.scores.logprobs import ScoringRequest, score
from train.scores.tasks.task import Figures, Options, Row, ScoreTask, lines, mean

T = TypeVar("T")

# nanochat's: an empty line between examples, drawn for entry i with the seed 1234 + i.
BETWEEN_EXAMPLES = "\n\n"
EXAMPLES_SEED = 1234


@dataclass(frozen=True, slots=True)
class Question:
    """One entry: `contexts[i] + delimiter + answers[i]`, or one of both for all, and the right one."""

    contexts: tuple[str, ...]
    answers: tuple[str, ...]
    gold: int

    def texts(self, delimiter: str) -> list[str]:
        """The question with each of its answers."""
        pairs = range(max(len(self.contexts), len(self.answers)))
        return [
            self.contexts[place % len(self.contexts)]
            + delimiter
            + self.answers[place % len(self.answers)]
            for place in pairs
        ]


@dataclass(frozen=True, slots=True)
class Entry:
    """A question behind its examples."""

    examples: tuple[Question, ...]
    question: Question


def read(
    task: FewShotTask, data: bytes, loaded: LoadedModel | None, options: Options
) -> list[Entry]:
    """Entries with their examples. Raises: ValueError for a line of another format."""

    def parsed(row: Mapping[str, Any]) -> tuple[Question, Any]:
        return _question(task, row), row.get("category") if task.by_category else None

    rows = read_rows(data, parsed)
    members: dict[Any, list[int]] = {}
    for place, (_, category) in enumerate(rows):
        members.setdefault(category, []).append(place)
    return [
        Entry(
            tuple(rows[each][0] for each in examples_of(place, members[category], task.shots)),
            question,
        )
        for place, (question, category) in enumerate(rows)
    ]


def read_rows(data: bytes, parse: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Every line of JSON, parsed. Raises: ValueError naming the first line of another format."""
    found = []
    for number, line in enumerate(lines(data), 1):
        try:
            found.append(parse(json_value(line)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"line {number}: {type(error).__name__}: {error}") from error
    return found


def _question(task: FewShotTask, row: Mapping[str, Any]) -> Question:
    if task.kind == "completion":
        # Spaces at a context's end would be a token of their own.
        context, continuation = row["context"].strip(), row["continuation"]
        if not continuation:
            raise ValueError("continuation is empty")
        return Question((context,), (continuation,), 0)

    gold = row["gold"]
    several = row["choices"] if task.kind == "choice" else row["context_options"]
    if not isinstance(gold, int) or not isinstance(several, list) or not 0 <= gold < len(several):
        raise ValueError(f"gold {gold!r} is not the place of an option")
    if task.kind == "choice":
        return Question((row["query"],), tuple(map(str, several)), gold)
    return Question(tuple(map(str, several)), (row["continuation"],), gold)


def examples_of(place: int, members: Sequence[int], shots: int) -> list[int]:
    """Places of other entries for the examples of one."""
    if not shots:
        return []
    others = [other for other in members if other != place]
    return random.Random(EXAMPLES_SEED + place).sample(others, min(shots, len(others)))


def outcomes(
    task: FewShotTask,
    loaded: LoadedModel,
    entries: Sequence[Entry],
    world: World,
    options: Options,
) -> list[Row]:
    """Mean log-probabilities of the answers, and if the right one won."""
    requests = [_requests(task, entry, loaded, options) for entry in entries]
    flat = [each for some in requests for each in some]
    scored = iter(score(loaded.model, flat, world))

    rows = []
    for entry, some in zip(entries, requests, strict=True):
        found = [next(scored) for _ in some]
        means = [each.log_prob / len(each.log_probs) for each in found]
        # The first of equals, as nanochat takes it.
        best = max(range(len(means)), key=means.__getitem__)
        gold = entry.question.gold
        right = all(found[0].greedy) if task.kind == "completion" else best == gold
        rows.append({"gold": gold, "mean_log_probs": means, "right": right})
    return rows


def _requests(
    task: FewShotTask, entry: Entry, loaded: LoadedModel, options: Options
) -> list[ScoringRequest]:
    """Requests for the answers, or for one ending behind several beginnings."""
    shown = "".join(
        each.texts(task.delimiter)[each.gold] + BETWEEN_EXAMPLES for each in entry.examples
    )
    texts = [shown + text for text in entry.question.texts(task.delimiter)]
    tokens = [options.prompt(loaded, text) for text in texts]
    if task.kind == "completion":
        asked = shown + entry.question.contexts[0] + task.delimiter
        prompt = options.prompt(loaded, asked.rstrip())
        starts = [_shared([prompt, tokens[0]])]
    elif task.kind == "choice":
        starts = [_shared(tokens)] * len(tokens)
    else:
        ending = _shared([each[::-1] for each in tokens])
        starts = [len(each) - ending for each in tokens]

    return [
        # At least one token of both, even where a choice is the beginning of another.
        ScoringRequest(each[:cut], each[cut:])
        for each, start in zip(tokens, starts, strict=True)
        for cut in (max(1, min(start, len(each) - 1)),)
    ]


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """The length of the beginning that all sequences share."""
    together = zip(*sequences, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, together))


def figures(task: FewShotTask, rows: Sequence[Row]) -> Figures:
    """The accuracy. Centred accuracies are made of it where they are shown."""
    return {"entries": len(rows), "accuracy": mean(rows, "right")}


FEW_SHOT = tuple(
    ScoreTask(name, partial(read, task), partial(outcomes, task), partial(figures, task), chunk=64)
    for name, task in TASKS.items()
)
