"""The training loop against the bare step: same model, batches and optimizer, without the rest.

The rest is reading batches, agreeing on stops, judging the loss, and writing metrics and curves.
`ours/bare` is the share of the bare step's speed; the goal is that a step takes at most 1.02 times
the bare one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.measure import Contestant, Turn, Work, alternate, arguments, show


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--preset", default="mini", help="the model (default: mini)")
    parser.add_argument("--batch", type=int, default=4, help="sequences a step (default: 4)")
    parser.add_argument("--steps", type=int, default=4, help="steps a round (default: 4)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = {
            "folder": folder,
            "preset": args.preset,
            "batch": args.batch,
            "steps": args.steps,
        }
        # In turns within one process and on one thread: what else a machine does falls on both.
        torch.set_num_threads(1)
        work, close = loop(source)
        result = alternate(
            "train_loop",
            [Contestant("ours", lambda _: work), Contestant("bare", lambda _: bare(source))],
            None,
            description=f"{args.preset}, {args.batch} sequences a step, {args.steps} steps",
            unit="tokens/s",
            rounds=args.rounds,
        )
        close()
    show(result, as_json=args.json)


def loop(source: dict[str, Any]) -> tuple[Work, Callable[[], None]]:
    """Steps of the training loop, and the end of its files."""
    from train.machine.stop_signal import StopSignal

    trainer = _trainer(source, "loop")
    trainer.folder.open_metrics(trainer._stands, _boards(trainer))
    meter = trainer._meter()
    stop = StopSignal()
    trainer._train_step(stop, meter)

    def work() -> Turn:
        for _ in range(source["steps"]):
            trainer._train_step(stop, meter)
        return Turn(_tokens(source, trainer), {})

    return work, trainer.folder.close_metrics


def bare(source: dict[str, Any]) -> Work:
    from train.data import device_batch

    trainer = _trainer(source, "bare")
    rows = trainer.job.stream.next_batch(source["batch"])
    scale = 1 / rows[:, 1:].size
    (optimizer,) = trainer.optimizers

    def step() -> None:
        tokens, targets = device_batch(rows, trainer.world.device)
        (trainer.model(tokens, targets) * scale).backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()

    def work() -> Turn:
        for _ in range(source["steps"]):
            step()
        return Turn(_tokens(source, trainer), {})

    return work


def _trainer(source: dict[str, Any], run: str) -> Any:
    """A trainer of synthetic text, with one pass a step."""
    from corpus.storage.store import open_store
    from tools.gpu_check import VOCAB, SyntheticStream
    from train.config import ModelConfig, RuntimeConfig, TrainConfig
    from train.loop import Job, Trainer
    from train.machine.distributed import join_world

    config = TrainConfig(
        model=ModelConfig(preset=source["preset"]),
        runtime=RuntimeConfig(
            device="cpu", num_threads=1, micro_batch_size=source["batch"], log_interval=1
        ),
        batch_size=source["batch"],
        max_steps=1_000_000,
        num_samples=0,
    )
    shape = config.model.shape(VOCAB)
    stream: Any = SyntheticStream(shape.block_size)
    job = Job(
        store=open_store(str(Path(source["folder"]) / run)),
        run=run,
        config=config,
        shape=shape,
        end_of_text=VOCAB - 1,
        stream=stream,
        val_blocks=stream.validation,
        val_bytes=0,
        record={"identity": {}},
    )
    return Trainer(job, join_world(config.runtime, {}))


def _boards(trainer: Any) -> Any:
    from train.monitoring.curves import open_boards

    return open_boards(trainer.folder, trainer.job.config.runtime)


def _tokens(source: dict[str, Any], trainer: Any) -> int:
    return int(source["steps"] * source["batch"] * trainer.job.shape.block_size)


if __name__ == "__main__":
    main()
