"""Sample text: `webtext generate`.

A prompt from the command line, a file or stdin is continued by `train.gpt2.sampling` with the
weights of a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from corpus.errors import InputError
from corpus.printable import printable
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
    prompts = _prompts(args)
    store = open_corpus(args.corpus)
    # torch takes seconds to load: what can be refused without it is refused before
    from train.checkpoints.load import load_model
    from train.gpt2.sampling import Sampling, continue_prompts
    from train.machine.distributed import join_world

    world = join_world(RuntimeConfig(device=args.device, dtype=args.dtype))
    loaded = load_model(store, args.run, args.checkpoint, world)
    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.min_p)
    found = []

    for place, prompt in enumerate(prompts):
        if place:
            print()
        printers = [Printer(args.stop, loaded.tokenizer.decode) for _ in range(args.num_samples)]
        # A single text is printed while it is written; several are written together.
        alone = args.num_samples == 1
        if alone:
            print(prompt, end="", flush=True)
            printers[0].is_shown = True
        tokens = [loaded.end_of_text, *loaded.tokenizer.encode(prompt)]
        rows = continue_prompts(
            loaded.model,
            [tokens] * args.num_samples,
            num_tokens=args.num_tokens,
            sampling=sampling,
            seeds=[(args.seed, number) for number in range(args.num_samples)],
            stop=loaded.end_of_text,
            world=world,
            enough=printers[0].take if alone else Printer(args.stop, loaded.tokenizer.decode).take,
        )
        for number, (printer, row) in enumerate(zip(printers, rows, strict=True), start=1):
            printer.take(row)
            print(printer.finish() if alone else f"===== {number} =====\n{prompt}{printer.text}")
            found.append({"prompt": prompt, "text": printer.text})

    if args.json:
        record: dict[str, Any] = {"run": args.run, "step": loaded.step}
        if len(prompts) == 1:
            record |= {"prompt": prompts[0], "texts": [each["text"] for each in found]}
        else:
            record["continuations"] = found
        print(json.dumps(record))
    return 0


class Printer:
    """Prints a text while its tokens come, up to the first of the stop texts.

    What may still change is held back: an unfinished character, and the beginning of a stop text.
    """

    def __init__(self, stops: Sequence[str], decode: Callable[[list[int]], str]) -> None:
        self.text = ""
        self.is_shown = False
        self._stops = stops
        self._decode = decode
        self._printed = 0

    def take(self, tokens: list[int]) -> bool:
        """Print what is certain of the tokens so far; True if a stop text is there."""
        text = self._decode(tokens)
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        self.text = text[: min(ends)] if ends else text
        if not ends:
            self._print(len(text) - self._uncertain(text))
        return bool(ends)

    def finish(self) -> str:
        """The rest of the text, which is not printed yet."""
        return self.text[self._printed :]

    def _print(self, end: int) -> None:
        if self.is_shown and end > self._printed:
            print(self.text[self._printed : end], end="", flush=True)
            self._printed = end

    def _uncertain(self, text: str) -> int:
        """The number of characters at the end that later tokens may change, or that may begin a stop."""
        broken = len(text) - len(text.rstrip("\ufffd"))
        begun = [
            length
            for stop in self._stops
            for length in range(1, len(stop))
            if text.endswith(stop[:length])
        ]
        return max([broken, *begun])


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("train.generate", "Sample text from a checkpoint.", batch=False)
    parser.add_argument("--run", required=True, metavar="R", help="the training run")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step (default: last)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="text to continue (default: the beginning of a document)")
    source.add_argument(
        "--prompt-file", metavar="FILE", help="read the prompt from a UTF-8 file, - for stdin"
    )
    source.add_argument(
        "--prompts", metavar="FILE", help="continue each line of a UTF-8 file, - for stdin"
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before this text; may be repeated",
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
        "--min-p",
        type=float,
        default=0.0,
        help="least probability drawn from, as a share of the most probable token's (default: 0)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same text (default: 0)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="type of the matrix products (default: bfloat16 on GPUs that have it)",
    )

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
        ("--min-p", args.min_p, 0 <= args.min_p <= 1, "0 to 1"),
        ("--num-samples", args.num_samples, args.num_samples >= 1, "1 or more"),
        ("--num-tokens", args.num_tokens, args.num_tokens >= 1, "1 or more"),
        ("--seed", args.seed, args.seed >= 0, "0 or more"),
    ):
        if not allowed:
            raise InputError(
                f"train.generate: {option} {value} is out of range: expected {expected}"
            )


def _prompts(args: argparse.Namespace) -> list[str]:
    """The prompts to continue. Raises: InputError for a file that is no text, or has no lines."""
    if "" in args.stop:
        raise InputError("train.generate: --stop '': expected a text")
    # Bytes of the command line that are not UTF-8 come as lone surrogates, which no token has.
    for option, text in [
        ("--prompt", args.prompt or ""),
        *(("--stop", each) for each in args.stop),
    ]:
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"train.generate: {option} {printable(text)}: expected UTF-8 text")

    if args.prompts is not None:
        lines = _text("--prompts", args.prompts).splitlines()
        if not lines:
            raise InputError(f"--prompts {args.prompts}: no lines; write one prompt a line")
        return lines
    if args.prompt_file is not None:
        return [_text("--prompt-file", args.prompt_file)]
    return [args.prompt or ""]


def _text(option: str, name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} {name}: {error}; name a UTF-8 text file") from error


if __name__ == "__main__":
    raise SystemExit(main())
