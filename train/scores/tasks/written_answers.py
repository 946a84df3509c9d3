"""Short written answers in LLM Foundry's files: TriviaQA, and GSM8K with its reasoning.

Lines of JSON: `context`, `answer`, and `aliases` or `chain_of_thought`. The answer is written
greedily behind other entries of the file with theirs. As in LLM Foundry's exact match
(`InContextLearningGenerationExactMatchAccuracy`), it is cut at the first of the task's stops,
reasoning before the last delimiter is left out, and it is right if it begins with one of the
references, all of them as `words_of` reads them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from train.checkpoints.load import LoadedModel
from train.machine.distributed import World
from train.scores.core_tasks import WRITTEN, WrittenTask
from train.scores.tasks.few_shot import examples_of, read_rows
from train.scores.tasks.generation import GREEDY, write
from train.scores.tasks.task import Figures, Options, Row, ScoreTask, mean

# Marks that stand for a space when answers are compared, beside ASCII's.
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))


@dataclass(frozen=True, slots=True)
class WrittenQuestion:
    """A question, the answer as an example shows it, and all that count as right."""

    context: str
    shown: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenEntry:
    """The prompt of a question behind its examples, and the right answers."""

    prompt: str
    references: tuple[str, ...]


def read(
    task: WrittenTask, data: bytes, loaded: LoadedModel | None, options: Options
) -> list[WrittenEntry]:
    """Entries behind their examples. Raises: ValueError for a line of another format."""
    questions = read_rows(data, partial(_question, task))
    entries = []
    for place, question in enumerate(questions):
        others = [questions[each] for each in examples_of(place, range(len(questions)), task.shots)]
        shown = "".join(
            f"{task.prelude}{each.context}{task.delimiter}{each.shown}{task.between}"
            for each in others
        )
        # A space at the end would be a token of its own.
        asked = f"{task.prelude}{question.context}{task.delimiter}".rstrip()
        entries.append(WrittenEntry(shown + asked, question.references))
    return entries


def _question(task: WrittenTask, row: Mapping[str, Any]) -> WrittenQuestion:
    context, answer = row["context"].strip(), row["answer"].strip()
    if not answer:
        raise ValueError("answer is empty")
    shown = answer
    if task.reasoning:
        shown = f"{row['chain_of_thought'].strip()}{task.reasoning}{answer}"
    return WrittenQuestion(context, shown, tuple(dict.fromkeys([answer, *row.get("aliases", ())])))


def outcomes(
    task: WrittenTask,
    loaded: LoadedModel,
    entries: Sequence[WrittenEntry],
    world: World,
    options: Options,
) -> list[Row]:
    """The answers as written, and if each is right."""
    num_tokens = min(task.tokens, loaded.model.shape.block_size // 2)
    prompts = [entry.prompt for entry in entries]
    texts = write(
        loaded, prompts, num_tokens, GREEDY, options, world, enough=partial(is_over, task)
    )
    answers = [answer_of(task, text) for text in texts]
    return [
        {"answer": answer, "right": is_right(answer, entry.references)}
        for answer, entry in zip(answers, entries, strict=True)
    ]


def is_over(task: WrittenTask, text: str) -> bool:
    """True if no continuation can change the answer in the text."""
    return any(stop in text.lstrip() for stop in task.stops)


def answer_of(task: WrittenTask, text: str) -> str:
    """The answer in a written text: before the first stop, and behind the reasoning."""
    before = re.split("|".join(map(re.escape, task.stops)), text.lstrip())[0]
    return before.split(task.reasoning)[-1].strip() if task.reasoning else before.strip()


def is_right(answer: str, references: Sequence[str]) -> bool:
    """True if the answer begins with a reference."""
    bare = (words_of(each) for each in references)
    return words_of(answer).startswith(tuple(each for each in bare if each))


def words_of(text: str) -> str:
    """Lower case, without articles, and one space in place of punctuation and white space.

    `generation.normalized` leaves punctuation out instead. An answer of nothing but an article or a
    mark stays: empty, it would be in every text.
    """
    plain = text.lower()
    bare = plain.translate(PUNCTUATION)
    kept = (re.sub(r"\b(a|an|the)\b", " ", bare).split(), bare.split(), plain.split())
    return " ".join(next((words for words in kept if words), []))


def figures(rows: Sequence[Row]) -> Figures:
    """The accuracy."""
    return {"entries": len(rows), "accuracy": mean(rows, "right")}


WRITTEN_ANSWERS = tuple(
    ScoreTask(name, partial(read, task), partial(outcomes, task), figures, chunk=64)
    for name, task in WRITTEN.items()
)
