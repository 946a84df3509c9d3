"""LAMBADA (Paperno et al. 2016): the last word of a passage, clear only from all of it.

Published figures count different things, so there are three accuracies. `word_greedy`: every token
of the last word is the most probable one (as in lm-evaluation-harness). `word_stopword`: the same
with stop words left out of the first choice, the paper's filter. `last_token`: the last token alone
given all before it (fits the paper's 45.99 % for its smallest model). `word_perplexity` is exp of
the mean of -log P(last word).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corpus.json_values import json_value
from train.checkpoints.load import LoadedModel
from train.machine.distributed import World
from train.scores.logprobs import ScoringRequest, score
from train.scores.tasks.task import Figures, Options, Row, ScoreTask, exp, lines, mean

# Function words that the last word of a passage, a content word, is not.
STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers herself him
    himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only or
    other our ours ourselves out over own same she should so some such than that the their theirs them themselves then
    there these they this those through to too under until up very was we were what when where which while who whom why
    will with would you your yours yourself yourselves""".split()  # noqa: SIM905 - words read best as words
)


def read(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """Passages, `text` of each line. Raises: ValueError for a line without a text of two words."""
    passages = [json_value(line)["text"] for line in lines(data)]
    if not all(" " in text.strip() for text in passages):
        raise ValueError("a passage of less than two words")
    return passages


def outcomes(
    loaded: LoadedModel, passages: Sequence[str], world: World, options: Options
) -> list[Row]:
    """Per passage the word, its log-probability and the three hits."""
    requests, words = [], []
    for passage in passages:
        context, _, word = passage.rstrip().rpartition(" ")
        answer = loaded.tokenizer.encode(f" {word}")
        requests.append(ScoringRequest(options.prompt(loaded, context), tuple(answer)))
        words.append(word)

    scores = score(loaded.model, requests, world, banned=stop_word_tokens(loaded))
    return [
        {
            "word": word,
            "log_prob": each.log_prob,
            "num_tokens": len(each.log_probs),
            "word_greedy": all(each.greedy),
            "word_stopword": each.first_allowed and all(each.greedy[1:]),
            "last_token": each.greedy[-1],
        }
        for word, each in zip(words, scores, strict=True)
    ]


def figures(rows: Sequence[Row]) -> Figures:
    """Three accuracies and the perplexity of the word."""
    return {
        "entries": len(rows),
        **{
            f"{name}_accuracy": mean(rows, name)
            for name in ("word_greedy", "word_stopword", "last_token")
        },
        "word_perplexity": exp(-mean(rows, "log_prob")),
    }


def stop_word_tokens(loaded: LoadedModel) -> list[int]:
    """Ids of tokens equal to one whole stop word inside a sentence."""
    encoded = (loaded.tokenizer.encode(f" {word}") for word in sorted(STOP_WORDS))
    return [tokens[0] for tokens in encoded if len(tokens) == 1]


TASK = ScoreTask("lambada", read, outcomes, figures)
