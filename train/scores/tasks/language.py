"""Language-modelling sets: the probability of a text, per unit of its original file.

A perplexity needs its unit: GPT-2's paper divides the log-probability of a set by its *canonical*
units, the words, characters or bytes of the file as published, with end of line as a word. A
tokenizer's own tokens are another unit and give other numbers. All of them are reported: per token,
per word, per byte.

A document is read in windows. Disjoint ones (the default, as in lm-evaluation-harness) score every
token once: the first window begins with <|endoftext|>, each later one with the last token before
it, and the last window looks back as far as fits. With a stride of s every window scores s tokens
after as much context as fits: slower, with a lower perplexity.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from corpus.evaluation_sets.detokenize import ONE_BILLION_WORDS, PTB, WIKITEXT, Detokenizer
from train.checkpoints.load import LoadedModel
from train.machine.distributed import World
from train.scores.logprobs import ScoringRequest, score
from train.scores.tasks.task import Figures, Options, Row, ScoreTask, exp

LN_2 = 0.6931471805599453
# The test split of enwik8 and text8: their last five million bytes (Mikolov et al. 2012).
LAST_BYTES = 5_000_000


@dataclass(frozen=True)
class ScoredText:
    """A text to score, with its units in the published file."""

    text: str
    num_words: int
    num_chars: int
    num_bytes: int
    num_exceptions: int = 0
    """Lines that the detokenizer does not bring back."""


@dataclass(frozen=True)
class Window:
    """Tokens of a document scored together. The first window carries the document's units."""

    place: int
    request: ScoringRequest
    document: ScoredText | None


def windows(
    tokens: Sequence[int], start: int, block_size: int, stride: int = 0
) -> Iterator[ScoringRequest]:
    """Every token scored once, in order; `start` stands before the first. `stride` 0 is block_size.

    Raises: ValueError for a stride beyond 0..block_size.
    """
    if not 0 <= stride <= block_size:
        raise ValueError(f"a stride of {stride} tokens; the model reads {block_size}")

    stride = stride or block_size
    text = (start, *tokens)
    done = 1

    while done < len(text):
        end = min(len(text), done + (stride if done > 1 else block_size))
        full = end - done == block_size
        first = done - 1 if full else max(0, end - 1 - block_size)
        yield ScoringRequest(text[first:done], text[done:end])
        done = end


def entries_of(documents: Sequence[ScoredText], loaded: LoadedModel, options: Options) -> list[Any]:
    """The windows of all documents."""
    found = []
    for place, document in enumerate(documents):
        tokens = loaded.tokenizer.encode(document.text)
        requests = windows(
            tokens, loaded.end_of_text, loaded.model.shape.block_size, options.stride
        )
        for number, request in enumerate(requests):
            found.append(Window(place, request, document if number == 0 else None))

    return found


def first_documents(entries: list[Any], limit: int) -> list[Any]:
    """The windows of the first documents: a document cut off would be scored by the words of all of it."""
    return [entry for entry in entries if entry.place < limit]


def outcomes(
    loaded: LoadedModel, entries: Sequence[Window], world: World, options: Options
) -> list[Row]:
    """Per window its log-probability, and the units it carries."""
    scores = score(loaded.model, [entry.request for entry in entries], world)
    nothing = ScoredText("", 0, 0, 0)
    return [
        {
            "document": entry.place,
            "log_prob": each.log_prob,
            "num_tokens": len(each.log_probs),
            "num_words": (entry.document or nothing).num_words,
            "num_chars": (entry.document or nothing).num_chars,
            "num_bytes": (entry.document or nothing).num_bytes,
            "num_exceptions": (entry.document or nothing).num_exceptions,
        }
        for entry, each in zip(entries, scores, strict=True)
    ]


def figures(rows: Sequence[Row]) -> Figures:
    """Perplexity per token and word, bits per character and byte, with their unit counts."""
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    nats = -total["log_prob"]
    result: Figures = {
        "documents": len({row["document"] for row in rows}),
        "nats": nats,
        **{
            name.removeprefix("num_"): total[name]
            for name in ("num_tokens", "num_words", "num_chars", "num_bytes")
        },
        "perplexity_per_token": exp(nats / total["num_tokens"]),
        "perplexity_per_word": exp(nats / max(1, total["num_words"])),
        "bits_per_char": nats / LN_2 / max(1, total["num_chars"]),
        "bits_per_byte": nats / LN_2 / max(1, total["num_bytes"]),
    }

    return result | {"detokenizer_exceptions": total["num_exceptions"]}


def words_with_ends(text: str) -> int:
    """Words between white space, and one end of line per line, as these sets are counted."""
    return len(text.split()) + text.count("\n")


def tokenized(text: str, detokenizer: Detokenizer, options: Options) -> ScoredText:
    """A document of a tokenized set: the units are those of the tokenized text."""
    written, exceptions = text, 0
    if options.detokenize:
        lines = text.split("\n")
        written = "\n".join(detokenizer.join(line) for line in lines)
        exceptions = detokenizer.num_exceptions(lines)
    return ScoredText(written, words_with_ends(text), len(text), len(text.encode()), exceptions)


ARTICLE = re.compile(r"^ = [^=\n]+ = $", re.MULTILINE)


def articles(text: str) -> list[str]:
    """The articles of a WikiText file: each begins with its title, ` = Title = `, between empty lines."""
    starts = [
        m.start()
        for m in ARTICLE.finditer(text)
        if text[: m.start()].rstrip(" ").endswith("\n \n") or m.start() < 4
    ]
    if not starts:
        return [text]

    bounds = [0, *starts[1:], len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


def whole(text: str) -> list[str]:
    """One document."""
    return [text]


def lines_of(text: str) -> list[str]:
    """A document per line, with its end."""
    return [f"{line}\n" for line in text.split("\n") if line.strip()]


def read_tokenized(
    data: bytes,
    loaded: LoadedModel,
    options: Options,
    *,
    detokenizer: Detokenizer,
    documents: Callable[[str], list[str]],
) -> list[Any]:
    """Windows of a tokenized set."""
    parts = [tokenized(part, detokenizer, options) for part in documents(data.decode("utf-8"))]
    return entries_of(parts, loaded, options)


def read_bytes(data: bytes, loaded: LoadedModel, options: Options) -> list[Any]:
    """Windows of the last LAST_BYTES of a file with one text (a smaller file is read whole)."""
    last = data[-LAST_BYTES:]
    text = last.decode("utf-8", "ignore")  # the cut may lie within a character
    return entries_of(
        [ScoredText(text, words_with_ends(text), len(text), len(last))], loaded, options
    )


WINDOWS_PER_PART = 64
SENTENCES_PER_PART = 1024


def _task(name: str, read: Callable[..., list[Any]], chunk: int = WINDOWS_PER_PART) -> ScoreTask:
    return ScoreTask(
        name, read, outcomes, figures, document="document", first=first_documents, chunk=chunk
    )


def _tokenized_task(
    name: str,
    detokenizer: Detokenizer,
    documents: Callable[[str], list[str]],
    chunk: int = WINDOWS_PER_PART,
) -> ScoreTask:
    read = partial(read_tokenized, detokenizer=detokenizer, documents=documents)
    return _task(name, read, chunk)


WIKITEXT2 = _tokenized_task("wikitext2", WIKITEXT, articles)
WIKITEXT103 = _tokenized_task("wikitext103", WIKITEXT, articles)
PENN = _tokenized_task("ptb", PTB, whole)
BILLION = _tokenized_task("1bw", ONE_BILLION_WORDS, lines_of, SENTENCES_PER_PART)
ENWIK8 = _task("enwik8", read_bytes)
TEXT8 = _task("text8", read_bytes)
