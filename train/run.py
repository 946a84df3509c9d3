"""The door: `python -m train.run --corpus C --snapshot NAME --run R`.

More processes: `torchrun --nproc-per-node N -m train.run --corpus C --snapshot NAME --name R` on
one machine (torchrun reads `--run` as its own `--run-path`, hence the second name), or
`--ray-workers N` on a Ray cluster.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from corpus.errors import InputError
from corpus.run import command
from corpus.storage.store import check_name, open_corpus
from train.config import TrainConfig
from train.sweep import HELD_OUT_FRAC, learning_rates, sweep

if TYPE_CHECKING:
    from train.job import RunRequest, RunResult


def main(argv: Sequence[str] | None = None) -> int:
    """Train a run to its end, or report it as up to date."""
    return command.run_command(_main, argv, stage="train.run")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.parser(
        "train.run", "Train a GPT-2 on a snapshot.", TrainConfig, "train", batch=False, tasks=False
    )
    parser.add_argument(
        "--snapshot", required=True, metavar="NAME", help="which batches' tokens to train on"
    )
    parser.add_argument(
        "--run",
        "--name",
        required=True,
        metavar="R",
        help="the run's name: runs/R/ in the corpus (under torchrun --name: it takes --run for its own)",
    )
    parser.add_argument(
        "--ray-workers",
        metavar="N|MIN:MAX",
        help="train with Ray Train on N processes, or as many of MIN to MAX as there are",
    )
    parser.add_argument(
        "--sweep",
        metavar="RATE,RATE,...",
        help=f"find the learning rate: train R-lr-RATE with each and compare perplexities on {HELD_OUT_FRAC:.0%}% held out",
    )
    parser.add_argument(
        "--continue-from",
        metavar="RUN[:CHECKPOINT]",
        help="continued pre-training: the parent's weights, sizes and recipe on this snapshot, warmed up again, with some of the parent's batches mixed in",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="take more steps in a run, also a finished one: with a larger train.max_steps or train.epochs",
    )
    parser.add_argument(
        "--allow-withdrawn",
        action="store_true",
        help="train on a snapshot though a take-down withdrew it",
    )
    parser.add_argument(
        "--held-out",
        default="",
        metavar="FILE.jsonl",
        help="texts (JSON lines with a field `text`) to validate on, instead of the validation split",
    )
    args = parser.parse_args(argv)
    check_name("--run", args.run)
    if args.snapshot:
        check_name("--snapshot", args.snapshot)
    if args.held_out and args.sweep is not None:
        raise InputError("--sweep holds out tokens of its own; leave --held-out out")
    config = command.config(TrainConfig, "train", args)
    # torch takes seconds to load: what can be refused without it is refused before
    from train.job import RunRequest
    from train.parent import continued_config, inherited_shape

    if args.continue_from is not None:
        store = open_corpus(args.corpus)
        config = continued_config(config, store, args.continue_from, args.snapshot)
    if config.init_from:
        config = inherited_shape(config, open_corpus(args.corpus))

    request = RunRequest(
        args.corpus,
        args.snapshot,
        args.run,
        config,
        args.rebuild,
        allow_withdrawn=args.allow_withdrawn,
        extend=args.extend,
        held_out=args.held_out,
    )
    if int(os.environ.get("RANK", "0")):
        logging.getLogger("train").setLevel(logging.WARNING)  # rank 0 speaks for all
    launch = _launcher(args)
    if args.sweep is not None:
        return _sweep(args, request, launch)

    with command.interruptible():
        outcome = launch(request)
    if not int(os.environ.get("RANK", "0")):
        _print(args, outcome)

    return 0


def _launcher(args: argparse.Namespace) -> Callable[[RunRequest], RunResult]:
    """The launcher of a run: this process (perhaps one of torchrun's) or Ray's workers."""
    if args.ray_workers is None:
        from train.job import train

        return train

    from train.machine.ray_launcher import num_workers, require_ray_train, train_on_ray

    workers = num_workers(args.ray_workers)
    require_ray_train()
    return lambda request: train_on_ray(request, workers)


def _sweep(
    args: argparse.Namespace, request: RunRequest, launch: Callable[[RunRequest], RunResult]
) -> int:
    rates = learning_rates(args.sweep)
    from train.job import one_world

    with (
        command.interruptible(),
        one_world(request.config) if args.ray_workers is None else nullcontext(),
    ):
        found = sweep(request, rates, launch)

    if int(os.environ.get("RANK", "0")):
        return 0

    for each in found["rates"]:
        best = "  <- best" if each["learning_rate"] == found["best"] else ""
        reached = "diverged" if each["diverged"] else f"perplexity {each['perplexity']:.2f}"
        print(f"train: learning rate {each['learning_rate']:g}: {reached}{best}")

    print(
        f"train: --set train.optimizer.learning_rate={found['best']:g} (sequences trained on and held out are apart)"
    )

    if args.json:
        print(
            json.dumps(
                {"stage": "train", "corpus": args.corpus, "run": args.run, **found}, sort_keys=True
            )
        )

    return 0


def _print(args: argparse.Namespace, outcome: RunResult) -> None:
    summary = outcome.summary
    state = "up to date" if outcome.up_to_date else "done"
    loss = "not measured, run webtext evaluate"
    if summary["val_loss"] is not None:
        loss = f"{summary['val_loss']:.4f} nats/token, {summary['val_bits_per_byte']:.4f} bits/byte"
    print(
        f"train: {args.run} {state}: {summary['parameters']:,} parameters, {summary['steps']:,} steps, "
        f"{summary['tokens']:,} tokens, validation loss {loss}"
    )
    for what, count in summary.get("failures", {}).items():
        print(f"train: {args.run}: {what} failed {count} times; see the log and metrics.jsonl")

    if args.json:
        record = {
            "stage": "train",
            "corpus": args.corpus,
            "run": args.run,
            "up_to_date": outcome.up_to_date,
        }
        print(json.dumps({**record, "counts": summary}, sort_keys=True))


if __name__ == "__main__":
    raise SystemExit(main())
