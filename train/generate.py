"""Sample text: `python -m train.generate`.

Temperature, top-k (40, as the samples of the paper's figures) and top-p (Holtzman et al. 2020), with cached keys and
values, until <|endoftext|> or the asked length. Past the context the oldest half is forgotten and the rest read again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from corpus import cli
from corpus.errors import InputError
from corpus.layout import open_corpus
from train.config import RuntimeConfig
from train.distributed import World, join_world
from train.load import LoadedModel, load_model
from train.model import GPT2, KeyValueCache


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. temperature 0 takes the most probable; top_k 0 and top_p 1 restrict nothing."""

    temperature: float = 1.0
    top_k: int = 40
    top_p: float = 1.0


def sample(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One token id per row. Shapes: logits (B, V) float; result (B,) int64, on the CPU."""
    logits = logits.float().cpu()
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        smallest = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if sampling.top_p < 1:
        probs, order = torch.softmax(logits, dim=-1).sort(dim=-1, descending=True, stable=True)
        outside = probs.cumsum(dim=-1) - probs >= sampling.top_p  # the most probable is always inside
        logits = logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)[:, 0]


@torch.no_grad()  # not inference mode: see train.validation
def generate(
    model: GPT2,
    prompt: Sequence[int],
    *,
    num_samples: int,
    num_tokens: int,
    sampling: Sampling,
    seed: int,
    stop: int | None,
    world: World,
) -> list[list[int]]:
    """Continuations of `prompt`, at most `num_tokens` long each, without the prompt and without `stop`.

    Raises: ValueError for an empty prompt (begin with <|endoftext|>).
    """
    if not prompt:
        raise ValueError("an empty prompt: begin with <|endoftext|>")
    generator = torch.Generator().manual_seed(seed)
    was_training = model.training
    model.eval()
    text = torch.tensor([list(prompt)] * num_samples, device=world.device)  # (B, T)
    done = torch.zeros(num_samples, dtype=torch.bool)
    with world.autocast():
        for token in _continue(model, text, sampling, generator, num_tokens, world):
            done |= token == stop if stop is not None else done
            if bool(done.all()):
                break
            text = torch.cat([text, token[:, None].to(world.device)], dim=1)
    model.train(was_training)
    return [_until(row, stop) for row in text[:, len(prompt) :].tolist()]


def _continue(
    model: GPT2, text: Tensor, sampling: Sampling, generator: torch.Generator, num_tokens: int, world: World
) -> Iterator[Tensor]:
    """The next token of every row, `num_tokens` times."""
    context = model.shape.block_size
    new = text[:, -context:]
    cache = KeyValueCache(model.shape, len(text), world.device, world.dtype)
    for _ in range(num_tokens):
        if cache.length + new.shape[1] > context:
            kept = torch.cat([cache.tokens, new], dim=1)
            cache = KeyValueCache(model.shape, len(text), world.device, world.dtype)
            new = kept[:, -max(1, context // 2) :]
        token = sample(model.next_logits(new, cache), sampling, generator)
        yield token
        new = token[:, None].to(world.device)


def _until(tokens: list[int], stop: int | None) -> list[int]:
    return tokens[: tokens.index(stop)] if stop in tokens else tokens


def generate_texts(
    loaded: LoadedModel,
    prompt: str,
    world: World,
    *,
    num_samples: int,
    num_tokens: int,
    sampling: Sampling,
    seed: int,
) -> list[str]:
    """Continuations of a text; an empty one begins a document."""
    tokens = [loaded.end_of_text, *loaded.tokenizer.encode(prompt)]
    continuations = generate(
        loaded.model,
        tokens,
        num_samples=num_samples,
        num_tokens=num_tokens,
        sampling=sampling,
        seed=seed,
        stop=loaded.end_of_text,
        world=world,
    )
    return [loaded.tokenizer.decode(continuation) for continuation in continuations]


def main(argv: Sequence[str] | None = None) -> int:
    """The door: prints prompt and continuation."""
    return cli.door(_main, argv, stage="train.generate")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    sampling = _sampling(args)
    prompt = _prompt(args)
    world = join_world(RuntimeConfig(device=args.device))
    loaded = load_model(open_corpus(args.corpus), args.run, args.checkpoint, world)
    texts = generate_texts(
        loaded,
        prompt,
        world,
        num_samples=args.num_samples,
        num_tokens=args.num_tokens,
        sampling=sampling,
        seed=args.seed,
    )
    for number, text in enumerate(texts, start=1):
        if len(texts) > 1:
            print(f"===== {number} =====")
        print(prompt + text)
    if args.json:
        print(json.dumps({"run": args.run, "step": loaded.step, "prompt": prompt, "texts": texts}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("train.generate", "Sample text from a checkpoint.", batch=False)
    parser.add_argument("--run", required=True, metavar="R", help="the training run")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="text to continue (default: the beginning of a document)")
    source.add_argument(
        "--prompt-file", metavar="FILE", help="read the prompt from a UTF-8 file, - for stdin"
    )
    parser.add_argument("--num-samples", type=int, default=1, metavar="N", help="continuations (default: 1)")
    parser.add_argument(
        "--num-tokens", type=int, default=256, metavar="N", help="longest continuation (default: 256)"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="0: most probable token (default: 1)")
    parser.add_argument(
        "--top-k", type=int, default=40, help="most probable tokens drawn from; 0: all (default: 40)"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="share of probability drawn from (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    return parser


def _sampling(args: argparse.Namespace) -> Sampling:
    for option, value, allowed in (
        ("--temperature", args.temperature, args.temperature >= 0),
        ("--top-k", args.top_k, args.top_k >= 0),
        ("--top-p", args.top_p, 0 < args.top_p <= 1),
        ("--num-samples", args.num_samples, args.num_samples >= 1),
        ("--num-tokens", args.num_tokens, args.num_tokens >= 1),
    ):
        if not allowed:
            raise InputError(f"train.generate: {option} {value} is out of range; see --help")
    return Sampling(args.temperature, args.top_k, args.top_p)


def _prompt(args: argparse.Namespace) -> str:
    if args.prompt_file is None:
        return args.prompt or ""
    if args.prompt_file == "-":
        return sys.stdin.read()
    try:
        return Path(args.prompt_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--prompt-file {args.prompt_file}: {error}; name a UTF-8 text file") from error


if __name__ == "__main__":
    raise SystemExit(main())
