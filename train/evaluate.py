"""Scores of a checkpoint: `python -m train.evaluate`.

The whole validation split in nats per token and bits per byte, and zero-shot sets from local files. Every figure is
named by what it counts, since published GPT-2 numbers differ by exactly that:

- LAMBADA (Paperno et al. 2016; a line of JSON with `text` per passage): `word_greedy`, every token of the last word is
  the most probable one; `word_stopword`, the same with words of the stop list left out of the first choice, the paper's
  "stop-word filter"; `last_token`, the last token alone given all before it (what the paper's 45.99 % for 124M agrees
  with); `word_perplexity`, exp of the mean of -log P(last word).
- WSC273 (Levesque et al. 2012; a line of JSON with `context_options`, `continuation`, `gold`): the candidate under which
  the text is more probable wins; `full` scores the whole sentence, `partial` only the words after the candidate (Trinh
  & Le 2018).
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from corpus import cli
from corpus.errors import InputError
from corpus.layout import Store, open_corpus
from corpus.snapshot import read_snapshot
from shards.reader import open_split, sequential_blocks
from train.config import RuntimeConfig
from train.distributed import World, join_world
from train.load import LoadedModel, load_model
from train.model import GPT2
from train.record import RunFolder
from train.validation import split_loss

STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers herself him
    himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only or
    other our ours ourselves out over own same she should so some such than that the their theirs them themselves then
    there these they this those through to too under until up very was we were what when where which while who whom why
    will with would you your yours yourself yourselves""".split()  # noqa: SIM905 - words read best as words
)
"""Function words that the last word of a LAMBADA passage, a content word, is not."""


@dataclass(frozen=True)
class Choice:
    """One Winograd schema: a text per candidate, how both go on, and which candidate is right."""

    context_options: tuple[str, ...]
    continuation: str
    gold: int


@torch.inference_mode()
def token_log_probs(model: GPT2, tokens: Sequence[int], count: int, world: World) -> torch.Tensor:
    """Log-probabilities over all words at each of the last `count` tokens. Shape (count, V) float32, on the device.

    Only the last block_size tokens of the context are read. Raises: ValueError when `count` leaves no context.
    """
    context = model.shape.block_size
    if not 0 < count < len(tokens) or count > context:
        raise ValueError(f"{count} tokens to score of {len(tokens)} with a context of {context}")
    visible = torch.tensor([list(tokens[:-1])[-context:]], device=world.device)
    with world.autocast():
        hidden = model.hidden(visible)[0, -count:]
        logits = F.linear(hidden, model.wte.weight)
    return torch.log_softmax(logits.float(), dim=-1)


def lambada(loaded: LoadedModel, passages: Sequence[str], world: World) -> dict[str, float | int]:
    """The three accuracies and the perplexity of the last word over all passages.

    Raises: InputError without passages.
    """
    if not passages:
        raise InputError("LAMBADA: no passages; the file holds one JSON object with a text per line")
    banned = torch.tensor(_stop_word_tokens(loaded), dtype=torch.int64, device=world.device)
    hits = {"word_greedy": 0, "word_stopword": 0, "last_token": 0}
    nats = 0.0
    for passage in passages:
        context, _, word = passage.rstrip().rpartition(" ")
        answer = loaded.tokenizer.encode(f" {word}")
        tokens = [loaded.end_of_text, *loaded.tokenizer.encode(context), *answer]
        log_probs = token_log_probs(loaded.model, tokens, len(answer), world)
        target = torch.tensor(answer, device=world.device)
        nats -= float(log_probs.gather(1, target[:, None]).sum())
        right = log_probs.argmax(dim=-1) == target
        hits["word_greedy"] += bool(right.all())
        hits["last_token"] += bool(right[-1])
        filtered = log_probs[0].index_fill(0, banned, -math.inf).argmax() == target[0]
        hits["word_stopword"] += bool(filtered) and bool(right[1:].all())
    count = len(passages)
    return {
        "passages": count,
        **{f"{name}_accuracy": hit / count for name, hit in hits.items()},
        "word_perplexity": _exp(nats / count),
    }


def winograd(loaded: LoadedModel, schemas: Sequence[Choice], world: World) -> dict[str, float | int]:
    """Share of schemas decided rightly by the probability of the whole text, and of its part after the candidate.

    Raises: InputError without schemas.
    """
    if not schemas:
        raise InputError("WSC: no schemas; the file holds context_options, continuation and gold per line")
    hits = {"full": 0, "partial": 0}
    for schema in schemas:
        scores = [
            _text_scores(loaded, option, schema.continuation, world) for option in schema.context_options
        ]
        for place, name in enumerate(("full", "partial")):
            column = [score[place] for score in scores]
            hits[name] += column.index(max(column)) == schema.gold
    return {"schemas": len(schemas), **{f"{name}_accuracy": hit / len(schemas) for name, hit in hits.items()}}


def _text_scores(loaded: LoadedModel, context: str, continuation: str, world: World) -> tuple[float, float]:
    """log P of the whole text, and of its continuation given its beginning."""
    rest = loaded.tokenizer.encode(f" {continuation}")
    tokens = [loaded.end_of_text, *loaded.tokenizer.encode(context), *rest]
    count = min(len(tokens) - 1, loaded.model.shape.block_size)
    log_probs = token_log_probs(loaded.model, tokens, count, world)
    target = torch.tensor(tokens[-count:], device=world.device)
    each = log_probs.gather(1, target[:, None])[:, 0]
    return float(each.sum()), float(each[-len(rest) :].sum())


def _stop_word_tokens(loaded: LoadedModel) -> list[int]:
    """Ids of tokens that are one whole stop word, as it stands inside a sentence."""
    found = []
    for word in sorted(STOP_WORDS):
        tokens = loaded.tokenizer.encode(f" {word}")
        if len(tokens) == 1:
            found += tokens
    return found


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


def validation(loaded: LoadedModel, store: Store, snapshot_name: str, world: World) -> dict[str, float | int]:
    """Loss over the snapshot's whole validation split.

    Raises: InputError when the snapshot was encoded by another tokenizer.
    """
    snapshot = read_snapshot(store, snapshot_name)
    expected = loaded.identity["tokenizer_fingerprint"]
    if snapshot.tokenizer_fingerprint != expected:
        raise InputError(
            f"snapshot {snapshot_name}: tokenizer {snapshot.tokenizer_fingerprint}, the run has {expected}; name another --snapshot"
        )
    loss = split_loss(
        loaded.model,
        sequential_blocks(open_split(store.root, snapshot_name, "val"), loaded.model.shape.block_size),
        snapshot.splits["val"].num_bytes,
        batch=RuntimeConfig().micro_batch_size,
        world=world,
    )
    return {
        "tokens": loss.num_tokens,
        "bytes": loss.num_bytes,
        "nats_per_token": loss.nats_per_token,
        "perplexity_per_token": _exp(loss.nats_per_token),
        "bits_per_byte": loss.bits_per_byte,
    }


def read_lines(path: str, option: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file with one per line, plain or gzip.

    Raises: InputError for a file that is missing or something else, naming file and line.
    """
    opener = gzip.open if path.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise InputError(f"{option} {path}: line {number} is no JSON object")
                yield value
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{option} {path}: {error}; name a file with one JSON object per line") from error


def read_lambada(path: str) -> list[str]:
    """Passages of a LAMBADA file. Raises: InputError for a line without text."""
    passages = [line.get("text") for line in read_lines(path, "--lambada")]
    if not all(isinstance(text, str) and " " in text.strip() for text in passages):
        raise InputError(f"--lambada {path}: a line has no `text` of at least two words")
    return [str(text) for text in passages]


def read_winograd(path: str) -> list[Choice]:
    """Schemas of a WSC file. Raises: InputError for a line without the three fields."""
    try:
        return [
            Choice(tuple(line["context_options"]), str(line["continuation"]), int(line["gold"]))
            for line in read_lines(path, "--wsc")
        ]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"--wsc {path}: {error!r}; each line has context_options, continuation and gold"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """The door: scores into the run's scores.json."""
    return cli.door(_main, argv, stage="train.evaluate")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    passages = read_lambada(args.lambada) if args.lambada else None
    schemas = read_winograd(args.wsc) if args.wsc else None
    store = open_corpus(args.corpus)
    world = join_world(RuntimeConfig(device=args.device))
    loaded = load_model(store, args.run, args.checkpoint, world)
    scores: dict[str, Any] = {"run": args.run, "step": loaded.step, "sets": {}}
    snapshot = args.snapshot or loaded.described["snapshot"]
    if snapshot is not None:
        scores["sets"]["validation"] = {"snapshot": snapshot, **validation(loaded, store, snapshot, world)}
    if passages is not None:
        scores["sets"]["lambada"] = lambada(loaded, passages, world)
    if schemas is not None:
        scores["sets"]["wsc273"] = winograd(loaded, schemas, world)
    RunFolder(store, args.run).write("scores.json", scores)
    for name, figures in scores["sets"].items():
        for figure, value in figures.items():
            print(
                f"{name:<12} {figure:<24} {value:,.4f}"
                if isinstance(value, float)
                else f"{name:<12} {figure:<24} {value}"
            )
    if args.json:
        print(json.dumps(scores, sort_keys=True))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("train.evaluate", "Score a checkpoint.", batch=False)
    parser.add_argument("--run", required=True, metavar="R", help="the training run")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    parser.add_argument("--snapshot", metavar="NAME", help="whose validation split (default: the run's)")
    parser.add_argument("--lambada", metavar="FILE", help="LAMBADA: JSON lines with text, plain or .gz")
    parser.add_argument(
        "--wsc",
        metavar="FILE",
        help="WSC273: JSON lines with context_options, continuation, gold, plain or .gz",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
