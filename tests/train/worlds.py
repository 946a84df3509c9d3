"""Several ranks on this machine: processes of a server that has torch loaded already, joined through gloo."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore
from torch.nn.parallel import DistributedDataParallel

from corpus.errors import FatalError, Interrupted
from tests.train.fakes import FakeStream, config, job
from train.config import RuntimeConfig
from train.gpt2 import sampling
from train.gpt2.model import GPT2
from train.gpt2.sampling import Sampling, generate
from train.loop import Trainer
from train.machine.distributed import World, join_world, leave_world

STOPPED = 5
# Below the limit of a test: on a busy machine ranks may start slowly, and a kill would hide it.
PATIENCE_S = 200


def forked(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that runs `target`, begun without a second of imports: its parent has torch loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "train.job", "tests.train.fakes"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def train_in_world(
    root: Path,
    size: int,
    *,
    told_rank: int | None = None,
    prepare: Callable[[Trainer], None] | None = None,
    **changes: Any,
) -> list[int]:
    """Train `config(**changes)` on `size` ranks, from its last checkpoint on; gives their exit codes.

    Rank `told_rank` gets a SIGTERM in its sixth step. `prepare`, a function of a module, is called
    in each rank.
    """
    # As torchrun does: a port that is bound, not one that was free when somebody looked.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = [
        forked(_rank, rank, size, store.port, root, rank == told_rank, prepare, changes)
        for rank in range(size)
    ]
    for process in processes:
        process.join(PATIENCE_S)
    for process in processes:
        process.kill()  # nothing where it ended by itself
    return [process.exitcode for process in processes]


def _sample(model: GPT2, step: int, world: World) -> list[str]:
    settings = {
        "num_samples": 1,
        "num_tokens": 8,
        "sampling": Sampling(),
        "seed": step,
        "stop": None,
    }
    return [str(tokens) for tokens in generate(model, [1], world=world, **settings)]


def _rank(
    rank: int,
    size: int,
    port: int,
    root: Path,
    told: bool,
    prepare: Callable[[Trainer], None] | None,
    changes: dict[str, Any],
) -> None:
    _name_place(rank, size, port)
    world = join_world(RuntimeConfig(device="cpu", num_threads=1, rank_timeout_s=60))
    stream = FakeStream()
    if told:
        stream.on_index = lambda index: os.kill(os.getpid(), 15) if index == 8 * 5 else None
    trainer = Trainer(job(root, config(**changes), stream=stream, sampler=_sample), world)
    trainer.resume()
    if prepare is not None:
        prepare(trainer)
    try:
        trainer.run()
    except Interrupted:
        raise SystemExit(STOPPED) from None
    finally:
        leave_world(world)


def _name_place(rank: int, size: int, port: int) -> None:
    place = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True,
    }  # fmt: skip
    os.environ.update({key: str(value) for key, value in place.items()})


def leave_before_model(rank: int, size: int, ports: list[int]) -> None:
    """Join worlds of the stores at `ports`; leave each before the model goes, as a run's end does."""
    for port in ports:
        _name_place(rank, size, port)
        world = join_world(RuntimeConfig(device="cpu", num_threads=1, rank_timeout_s=60))
        network = DistributedDataParallel(torch.nn.Linear(2, 2))
        world.gather(rank)
        world.in_background().gather(rank)
        leave_world(world)
        del network


def fail_in_evaluation(trainer: Trainer) -> None:
    """Let the model of rank 1 fail in the second batch of the evaluation after step 4."""
    forward = trainer.model.forward
    calls = iter(range(100))

    def fail(*arguments: Any, **named: Any) -> Any:
        if trainer.step == 4 and not trainer.model.training and next(calls) == 1:
            raise RuntimeError("out of memory")
        return forward(*arguments, **named)

    if trainer.world.rank == 1:
        trainer.model.forward = fail  # type: ignore[method-assign]


def draw_differently(trainer: Trainer) -> None:
    """Let every rank draw its own tokens, and keep what it takes for the samples."""
    draw = sampling.sample
    rank = trainer.world.rank
    sampler = trainer.job.sampler
    assert sampler is not None

    def keep(model: GPT2, step: int, world: World) -> list[str]:
        texts = sampler(model, step, world)
        path = Path(trainer.job.store.root) / f"rank-{rank}-step-{step}.txt"
        path.write_text("\n".join(texts))
        return texts

    sampling.sample = lambda *arguments: (draw(*arguments) + rank) % 50
    trainer.job = dataclasses.replace(trainer.job, sampler=keep)


def stall(trainer: Trainer) -> None:
    """Let rank 1 stop in its fourth step, until rank 0 has written the error that it ended with.

    The limit holds from there on: processes that start on a busy machine come together later.
    """
    done = Path(trainer.job.store.root) / "error.txt"
    stream, whole, places = trainer.job.stream, trainer.run, trainer._stragglers
    assert isinstance(stream, FakeStream)

    def stop(index: int) -> None:
        if index == 8 * 3:
            os._exit(0 if _comes_true(done.exists) else 1)

    def limit(index: int) -> None:
        if index == 8 * 3:
            assert _comes_true(lambda: 1 in places._seen and places._seen[1][0].step == 3)
            seconds = trainer.job.config.runtime.rank_timeout_s
            dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))

    def run() -> dict[str, Any]:
        try:
            return whole()
        except FatalError as error:
            done.write_text(str(error))
            raise SystemExit(STOPPED) from None

    if trainer.world.rank == 1:
        stream.on_index = stop
    else:
        stream.on_index = limit
        trainer.run = run  # type: ignore[method-assign]


def _comes_true(true: Callable[[], bool]) -> bool:
    """Wait for it, in vain after a minute."""
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()
