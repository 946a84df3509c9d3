"""Sample text: `webtext generate`.

A prompt from the command line, a file or stdin is continued by `train.gpt2.sampling` with the
weights of a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import open_corpus
from train.config import RuntimeConfig

# Below it probabilities are 0 and 1 in float32: what temperature 0 gives.
LOWEST_TEMPERATURE = 1e-4


def main(argv: Sequence[str] | None = None) -> int:
    """The door: prints prompt and continuation."""
    return command.run_command(_main, argv, stage="train.generate")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    _check_ranges(args)
    prompt = _prompt(args)
    store = open_corpus(args.corpus)
    # torch takes seconds to load: what can be refused without it is refused before
    from train.checkpoints.load import load_model
    from train.distributed import join_world
    from train.gpt2.sampling import Sampling, generate

    world = join_world(RuntimeConfig(device=args.device))
    loaded = load_model(store, args.run, args.checkpoint, world)
    continuations = generate(
        loaded.model,
        [loaded.end_of_text, *loaded.tokenizer.encode(prompt)],  # an empty prompt begins a document
        num_samples=args.num_samples,
        num_tokens=args.num_tokens,
        sampling=Sampling(args.temperature, args.top_k, args.top_p),
        seed=args.seed,
        stop=loaded.end_of_text,
        world=world,
    )
    texts = [loaded.tokenizer.decode(continuation) for continuation in continuations]

    for number, text in enumerate(texts, start=1):
        if len(texts) > 1:
            print(f"===== {number} =====")
        print(prompt + text)

    if args.json:
        print(json.dumps({"run": args.run, "step": loaded.step, "prompt": prompt, "texts": texts}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("train.generate", "Sample text from a checkpoint.", batch=False)
    parser.add_argument("--run", required=True, metavar="R", help="the training run")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="text to continue (default: the beginning of a document)")
    source.add_argument(
        "--prompt-file", metavar="FILE", help="read the prompt from a UTF-8 file, - for stdin"
    )
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="continuations (default: 1)"
    )
    parser.add_argument(
        "--num-tokens",
        type=int,
        default=256,
        metavar="N",
        help="longest continuation (default: 256)",
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="0: most probable token (default: 1)"
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=40,
        help="most probable tokens drawn from; 0: all (default: 40)",
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="share of probability drawn from (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same text (default: 0)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")

    return parser


def _check_ranges(args: argparse.Namespace) -> None:
    for option, value, allowed, expected in (
        (
            "--temperature",
            args.temperature,
            args.temperature == 0 or LOWEST_TEMPERATURE <= args.temperature < float("inf"),
            f"0 or at least {LOWEST_TEMPERATURE:g}",
        ),
        ("--top-k", args.top_k, args.top_k >= 0, "0 or more"),
        ("--top-p", args.top_p, 0 < args.top_p <= 1, "more than 0, at most 1"),
        ("--num-samples", args.num_samples, args.num_samples >= 1, "1 or more"),
        ("--num-tokens", args.num_tokens, args.num_tokens >= 1, "1 or more"),
        ("--seed", args.seed, args.seed >= 0, "0 or more"),
    ):
        if not allowed:
            raise InputError(
                f"train.generate: {option} {value} is out of range: expected {expected}"
            )


def _prompt(args: argparse.Namespace) -> str:
    if args.prompt_file is None:
        return args.prompt or ""

    try:
        data = (
            sys.stdin.buffer.read()
            if args.prompt_file == "-"
            else Path(args.prompt_file).read_bytes()
        )
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--prompt-file {args.prompt_file}: {error}; name a UTF-8 text file"
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
