"""Checks a machine with GPUs: `python -m tools.gpu_check` (`make gpu-check`).

Trains the 124M model for 50 steps of synthetic text with the loop of `train.run`, with evaluations of
another shape and samples between them: on one device, on all devices with DDP and with FSDP2, and on
one with compilation. Prints speed, share of the device's peak and memory of each, and the difference
between losses of many ranks and of one. `tools.gpu_checks` has what is checked beside the losses.

Exits with 1 if a difference exceeds `--tolerance` or a check its limit. `--output FILE` keeps the
result. On a CPU (`--device cpu --preset tiny`) the same check runs through gloo.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corpus.errors import FatalError, InputError
from corpus.run import command as cli
from corpus.storage.store import open_store
from tools.gpu_checks import LIMITS, measure, mfu_floor, sampler, within
from train.config import PRESETS, ModelConfig, OptimizerConfig, RuntimeConfig, TrainConfig
from train.data import Stream
from train.loop import Job, Trainer
from train.machine.distributed import World, join_world, leave_world

VOCAB = 50257
BLOCKS = 1 << 14
VAL_BLOCKS = 8


class SyntheticStream:
    """Synthetic blocks in which most words follow from the previous one.

    There is something to learn, and it is the same on every machine.
    """

    def __init__(self, block_size: int) -> None:
        self.num_blocks = BLOCKS
        self.block_size = block_size
        self.index = 0

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """This rank's share of the next samples: (global_batch / world_size, block_size + 1)."""
        share = global_batch // world_size
        first = self.index + rank * share
        self.index += global_batch
        return np.stack([self._block(number) for number in range(first, first + share)])

    def _block(self, number: int) -> np.ndarray:
        generator = np.random.default_rng((number, 1))
        steps = generator.choice([1, 17, 4001], p=[0.8, 0.15, 0.05], size=self.block_size + 1)
        result: np.ndarray = (np.cumsum(steps) + generator.integers(VOCAB)) % VOCAB
        return result.astype(np.int64)

    def validation(self) -> Iterator[np.ndarray]:
        """Validation blocks, disjoint from every batch; the last is shorter, as that of a real split."""
        for number in range(VAL_BLOCKS):
            yield self._block(BLOCKS + number)
        yield self._block(BLOCKS + VAL_BLOCKS)[: self.block_size // 2]

    def state_dict(self) -> dict[str, int | str]:
        """The position."""
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        self.index = int(state["index"])

    def documents(self, index: int) -> Sequence[Any]:
        """Always empty: the text is synthetic."""
        return ()


@dataclass(frozen=True)
class Case:
    """One way to train."""

    name: str
    ranks: int
    runtime: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """Results of a case: mean losses step by step, and medians of speed after the first steps."""

    losses: list[float]
    tokens_per_s: float
    mfu: float
    memory_gb: float
    """Most memory of one rank: allocated on its GPU, or resident where there is none."""
    checks: dict[str, float]
    """What was measured beside the losses, by the names of `tools.gpu_checks.LIMITS`."""


def cases(ranks: int) -> list[Case]:
    """One rank first: the others are compared with it."""
    several = [Case("ddp", ranks, {"parallel": "ddp"}), Case("fsdp", ranks, {"parallel": "fsdp"})]
    return [
        Case("one", 1, {}),
        *(several if ranks > 1 else []),
        Case("one compiled", 1, {"compile": True}),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return cli.run_command(_main, argv, stage="tools.gpu_check")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    if args.worker is not None:
        _train(args)
        return 0

    gpus = torch.cuda.device_count()
    if args.device == "cuda" and not gpus:
        raise InputError(
            "no CUDA device here; "
            "--device cpu --preset tiny --ranks 2 runs the same check on the CPU"
        )

    ranks = args.ranks or max(1, gpus)
    if args.batch_size < ranks:
        raise InputError(
            f"--batch-size {args.batch_size}: less than the {ranks} ranks; give {ranks} or more"
        )

    print(
        f"torch {torch.__version__}, {_machine(args.device)}, "
        f"{ranks} ranks, {args.steps} steps of {args.preset}"
    )
    results = {
        case.name: _run(case, args)
        for case in cases(ranks)
        if args.compile or case.name != "one compiled"
    }
    worst = 0.0

    for name, result in results.items():
        apart = max(abs(a - b) for a, b in zip(result.losses, results["one"].losses, strict=True))
        worst = max(worst, apart)
        print(
            f"{name:14} {result.tokens_per_s:12,.0f} tokens/s  MFU {result.mfu:6.1%}  "
            f"{result.memory_gb:6.2f} GB a rank  "
            f"loss {result.losses[0]:.4f} -> {result.losses[-1]:.4f}  from one rank at most {apart:.2e}"
        )

    failed = [
        f"{name}: {check} {value:.4g}"
        for name, result in results.items()
        for check, value in result.checks.items()
        if not within(check, value)
    ]
    for name, result in results.items():
        for check, value in result.checks.items():
            print(f"{name:14} {check}: {value:.4g} ({LIMITS[check].meaning})")
    low = _below_floor(results, args)
    if args.output:
        Path(args.output).write_text(json.dumps(_report(results, args), indent=1) + "\n")
    for line in [*failed, *low]:
        print(f"FAILED {line}")

    verdict = "ok" if worst <= args.tolerance else "TOO FAR APART"
    print(
        f"losses of all cases within {worst:.2e} nats of one rank (allowed {args.tolerance:g}): {verdict}"
    )
    if args.json:
        print(json.dumps({name: vars(result) for name, result in results.items()}))

    return 0 if worst <= args.tolerance and not failed and not low else 1


def _below_floor(results: dict[str, Result], args: argparse.Namespace) -> list[str]:
    """Cases on a GPU whose share of the peak is below the floor."""
    if args.device == "cpu":
        return []
    floor = mfu_floor(torch.cuda.get_device_name(0)) if args.mfu_floor is None else args.mfu_floor
    return [
        f"{name}: MFU {result.mfu:.1%}, at least {floor:.0%} was expected"
        for name, result in results.items()
        if result.mfu < floor
    ]


def _report(results: dict[str, Result], args: argparse.Namespace) -> dict[str, Any]:
    """The result as a file for docs/gpu: the machine, its checks and their outcome."""
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "machine": _machine(args.device),
        "preset": args.preset,
        "steps": args.steps,
        "batch_size": args.batch_size,
        "cases": {name: vars(result) for name, result in results.items()},
    }


def _parser() -> argparse.ArgumentParser:
    parser = cli.bare_parser("tools.gpu_check", __doc__ or "")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default="gpt2", help="the model (default: gpt2, 124M)"
    )
    parser.add_argument(
        "--steps", type=cli.positive, default=50, help="optimizer steps of each way (default: 50)"
    )
    parser.add_argument("--ranks", type=cli.positive, help="processes (default: one per GPU)")
    parser.add_argument(
        "--batch-size",
        type=cli.positive,
        default=64,
        help="sequences a step, all ranks (default: 64)",
    )
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="leave torch.compile out"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.02,
        help="how far losses may be apart, nats (default: 0.02)",
    )
    parser.add_argument(
        "--mfu-floor",
        type=float,
        help="smallest share of the peak (default: by the GPU's name)",
    )
    parser.add_argument("--output", metavar="FILE", help="keep the result as JSON")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)

    return parser


def _machine(device: str) -> str:
    if device == "cpu":
        return f"{os.cpu_count()} cores"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _run(case: Case, args: argparse.Namespace) -> Result:
    """Train in separate processes. Raises FatalError if they fail; their messages are above."""
    with tempfile.TemporaryDirectory(prefix="webtext-gpu-check-") as folder:
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(case.ranks),
        ]
        settings = [
            f"--{name}={getattr(args, name.replace('-', '_'))}"
            for name in ("device", "preset", "steps", "batch-size")
        ]
        command = [sys.executable, *launcher, "-m", "tools.gpu_check", *settings]
        done = subprocess.run(
            [*command, "--worker", json.dumps(case.runtime), "--folder", folder],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            check=False,
        )
        if done.returncode:
            raise FatalError(
                f"{case.name}: the training processes ended with exit code {done.returncode}"
            )

        lines = (Path(folder) / "runs/check/metrics.jsonl").read_text().splitlines()
        memory = [json.loads(path.read_text()) for path in Path(folder).glob("memory-*.json")]
        found = Path(folder) / "checks.json"
        checks = json.loads(found.read_text()) if found.exists() else {}

    steps = [line for line in map(json.loads, lines) if "loss" in line]
    settled = steps[len(steps) // 5 :]  # the first steps fill caches, and compile
    return Result(
        losses=[line["loss"] for line in steps],
        tokens_per_s=statistics.median(line["tokens_per_s"] for line in settled),
        mfu=statistics.median(line["mfu"] for line in settled),
        memory_gb=max(memory),
        checks=checks,
    )


def _train(args: argparse.Namespace) -> None:
    """One rank's part of a case."""
    config = TrainConfig(
        model=ModelConfig(preset=args.preset),
        optimizer=OptimizerConfig(warmup_frac=0.2),
        runtime=RuntimeConfig(
            device=args.device, log_interval=1, tensorboard=False, **json.loads(args.worker)
        ),
        batch_size=args.batch_size,
        max_steps=args.steps,
        eval_interval=max(1, args.steps // 2),
        num_samples=1,
    )
    world = join_world(config.runtime)
    if not world.is_main:
        logging.getLogger("train").setLevel(logging.WARNING)
    shape = config.model.shape(VOCAB)
    stream: Stream = SyntheticStream(shape.block_size)
    job = Job(
        store=open_store(args.folder),
        run="check",
        config=config,
        shape=shape,
        end_of_text=VOCAB - 1,
        stream=stream,
        val_blocks=SyntheticStream(shape.block_size).validation,
        val_bytes=0,
        record={"identity": {}},
        sampler=sampler,
    )

    try:
        trainer = Trainer(job, world)
        trainer.run()
        (Path(args.folder) / f"memory-{world.rank}.json").write_text(json.dumps(_memory_gb(world)))
        if world.size == 1:
            checks = measure(trainer, _memory_gb(world))
            (Path(args.folder) / "checks.json").write_text(json.dumps(checks))
    finally:
        leave_world(world)


def _memory_gb(world: World) -> float:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    raise SystemExit(main())
