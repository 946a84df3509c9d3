"""The interface of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.checkpoints.load import LoadedModel
    from train.machine.distributed import World

Row = dict[str, Any]
Figures = dict[str, float | int]


@dataclass(frozen=True)
class Options:
    """Options of a scoring run with an effect on its figures."""

    stride: int = 0
    """Tokens that each window scores, the others of it being context.

    0: as many as fit, so windows are disjoint.
    """
    detokenize: bool = True
    """Whether tokenized sets are turned into text as people write it."""
    seed: int = 0
    """Of sampled summaries."""
    begin: bool = True
    """Whether a prompt begins with <|endoftext|>, as every document of the training stream does (lm-evaluation-harness: no)."""

    def prompt(self, loaded: LoadedModel, text: str) -> tuple[int, ...]:
        """The tokens of a prompt; at least one."""
        tokens = tuple(loaded.tokenizer.encode(text))
        return tokens if tokens and not self.begin else (loaded.end_of_text, *tokens)


@dataclass(frozen=True)
class ScoreTask:
    """One task, or one way of scoring a language-modelling set."""

    name: str
    """As in `corpus.evaluation_sets.official`."""
    read: Callable[[bytes, LoadedModel, Options], list[Any]]
    """Entries of the official file. Raises: InputError or ValueError for another format."""
    outcomes: Callable[[LoadedModel, Sequence[Any], World, Options], list[Row]]
    """One row per entry, in their order."""
    figures: Callable[[Sequence[Row]], Figures]
    """Of any outcomes; they are not empty."""
    document: str | None = None
    """Column that says which entry of the file an outcome belongs to; None: its place."""
    first: Callable[[list[Any], int], list[Any]] = lambda entries, limit: entries[:limit]
    """Of all entries those of the first `limit` entries of the file."""
    chunk: int = 256
    """Entries between two saves."""
    revision: int = 1
    """Raised when the same entries get other outcomes than before."""


def lines(data: bytes) -> list[str]:
    """The lines of a UTF-8 file with text.

    Only an end of line ends a line: texts hold other signs on which `splitlines` breaks.
    """
    return [line.removesuffix("\r") for line in data.decode("utf-8").split("\n") if line.strip()]


def mean(rows: Sequence[Row], name: str) -> float:
    """The mean of a column."""
    return sum(row[name] for row in rows) / len(rows)


def exp(nats: float) -> float:
    """e to the power of `nats`, infinite where it is beyond floats."""
    return math.exp(nats) if nats < 700 else math.inf
