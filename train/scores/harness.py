"""Tasks of lm-evaluation-harness on a model of ours, without an export.

`harness_model` returns an `lm_eval.api.model.LM`, which programs may give to
`lm_eval.simple_evaluate`. Its figures equal those of the harness' own class on the exported model:
a context is encoded together with its continuation, spaces at its end belong to the continuation,
an empty one is the end of text, and a long one loses its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from corpus.errors import InputError
from train.checkpoints.load import LoadedModel
from train.gpt2.sampling import Sampling
from train.machine.distributed import World
from train.scores.logprobs import Scored, ScoringRequest, score
from train.scores.tasks.generation import write
from train.scores.tasks.task import Options

# Of a task's name in scores.json, where official sets have theirs.
PREFIX = "harness:"
# The harness' own number where a task names none.
WRITTEN_TOKENS = 256


def harness_model(loaded: LoadedModel, world: World) -> Any:
    """A model for the harness. Raises: InputError if it is not installed."""
    try:
        from lm_eval.api.model import LM
    except ImportError as error:
        raise InputError(
            f"lm-evaluation-harness cannot be loaded ({error}); pip install 'webtext[harness]'"
        ) from error

    class HarnessModel(LM):
        """The three questions of the harness."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """Log-probability of each continuation, and if each of its tokens is the best."""
            pairs = [pair(loaded, *request.args) for request in requests]
            return [(each.log_prob, all(each.greedy)) for each in _scored(loaded, pairs, world)]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """Log-probability of each text, in windows end to end."""
            return [rolling(loaded, request.args[0], world) for request in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """Continuations up to one of the task's ends."""
            return written(loaded, [request.args for request in requests], world)

        @property
        def tokenizer_name(self) -> str:
            """Identifies the tokenizer to the harness' cache."""
            return str(getattr(loaded.tokenizer, "fingerprint", ""))

    return HarnessModel()


def pair(loaded: LoadedModel, context: str, continuation: str) -> ScoringRequest:
    """Context and continuation as tokens, divided as the harness divides them."""
    kept = context.rstrip()
    if not context:
        tokens = tuple(loaded.tokenizer.encode(continuation))
        return ScoringRequest((loaded.end_of_text,), tokens)

    # Only the context's own end is moved, so blank contexts are all continuation.
    whole = tuple(loaded.tokenizer.encode(context + continuation))
    start = len(loaded.tokenizer.encode(kept))
    if not start:
        return ScoringRequest((loaded.end_of_text,), whole)
    return ScoringRequest(whole[:start], whole[start:])


def rolling(loaded: LoadedModel, text: str, world: World) -> float:
    """The log-probability of a text."""
    tokens = tuple(loaded.tokenizer.encode(text))
    size = loaded.model.shape.block_size
    windows = []
    for start in range(0, len(tokens), size):
        before = tokens[start - 1] if start else loaded.end_of_text
        windows.append((start, before, tokens[start : start + size]))

    requests = [
        # The last window looks back as far as fits, as the harness' does.
        ScoringRequest(tokens[max(0, start + len(each) - size - 1) : start] or (before,), each)
        for start, before, each in windows
    ]
    return sum(each.log_prob for each in _scored(loaded, requests, world))


def _scored(loaded: LoadedModel, requests: Sequence[ScoringRequest], world: World) -> list[Scored]:
    """Scores of all requests; one without a token to score is certain."""
    asked = [each for each in requests if each.continuation]
    found = iter(score(loaded.model, asked, world))
    return [next(found) if each.continuation else Scored((), (), True) for each in requests]


def written(
    loaded: LoadedModel, asked: Sequence[tuple[str, Mapping[str, Any]]], world: World
) -> list[str]:
    """Greedy continuations of contexts, those of equal ends together. Raises: InputError."""
    groups: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for place, (_, options) in enumerate(asked):
        if options.get("do_sample") or options.get("temperature"):
            raise InputError("harness: a task wants sampled text, which is not the same twice")
        until = options.get("until") or []
        ends = (until,) if isinstance(until, str) else tuple(until)
        limit = int(options.get("max_gen_toks", WRITTEN_TOKENS))
        groups.setdefault((ends, limit), []).append(place)

    texts = [""] * len(asked)
    for (ends, limit), places in groups.items():
        found = write(
            loaded,
            [asked[place][0] for place in places],
            limit,
            Sampling(temperature=0),
            Options(begin=False),
            world,
            enough=partial(_has_one, ends),
        )
        for place, text in zip(places, found, strict=True):
            texts[place] = _before(text, ends)
    return texts


def _has_one(ends: Sequence[str], text: str) -> bool:
    """True if a text has one of the ends."""
    return any(end in text for end in ends)


def _before(text: str, ends: Sequence[str]) -> str:
    """The text before the first of the ends."""
    for end in filter(None, ends):
        text = text.partition(end)[0]
    return text


def score_tasks(
    loaded: LoadedModel,
    tasks: Sequence[str],
    world: World,
    *,
    folder: str | None = None,
    limit: int = 0,
) -> dict[str, dict[str, float]]:
    """Figures of the harness' tasks by name. `folder` has further tasks.

    Raises: InputError for an unknown task, or data that is not at hand.
    """
    model = harness_model(loaded, world)
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    try:
        found = simple_evaluate(
            model,
            tasks=list(tasks),
            task_manager=TaskManager(include_path=folder),
            limit=limit or None,
            bootstrap_iters=0,
            verbosity="ERROR",
        )
    except (ValueError, KeyError, OSError, ConnectionError) as error:
        raise InputError(f"--harness {','.join(tasks)}: {type(error).__name__}: {error}") from error

    return {
        name: {
            # The harness names a figure and its filter: `acc,none`.
            figure.removesuffix(",none"): value
            for figure, value in figures.items()
            if isinstance(value, float) and "stderr" not in figure
        }
        for name, figures in found["results"].items()
    }


def table(scores: Mapping[str, Any]) -> str:
    """Figures of the harness as a Markdown table; empty without any."""
    rows = [
        f"| {name.removeprefix(PREFIX)} | {figure} | {value:.4f} |"
        for name, figures in scores["sets"].items()
        if name.startswith(PREFIX)
        for figure, value in figures.items()
    ]
    head = ["| harness task | figure | value |", "| --- | --- | ---: |"]
    return "\n".join([*head, *rows]) if rows else ""
