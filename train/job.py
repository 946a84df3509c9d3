"""From a corpus and settings to a finished run: claim the folder, open the data, train, commit.

What a run is (its identity) is written to config.json before the first step and compared by every later start: the
same settings go on where the run stopped, others are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from corpus.errors import InputError
from corpus.layout import Store, open_corpus
from corpus.lock import hold
from corpus.snapshot import Snapshot, read_snapshot
from shards.reader import BlockStream, open_split, sequential_blocks
from shards.tokenizer import load_tokenizer
from train.config import TrainConfig
from train.distributed import World, join_world, leave_world
from train.generate import Sampling, generate
from train.load import Encoder
from train.loop import Job, Trainer
from train.model import GPT2
from train.record import RunFolder

log = logging.getLogger(__name__)

SAMPLING = Sampling(temperature=1.0, top_k=40)
"""How samples of a run are drawn: as the paper's."""


@dataclass(frozen=True)
class Request:
    """What the door was asked. Plain values, so that it travels to any worker."""

    corpus: str
    snapshot: str
    run: str
    config: TrainConfig
    rebuild: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    summary: dict[str, Any]
    up_to_date: bool


def train(
    request: Request,
    *,
    locked: bool = False,
    after_checkpoint: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Begin, continue or confirm a run; the same in every process of a world. `locked`: the caller holds the lock.

    Raises: InputError for other settings, snapshot or tokenizer than the run's; BusyError when it is being trained;
    Interrupted after a checkpoint; FatalError when the loss is not finite.
    """
    world = join_world(request.config.runtime)
    store = open_corpus(request.corpus)
    try:
        with contextlib.ExitStack() as stack:
            if not locked:
                world.main_does(lambda: stack.enter_context(run_lock(request)))
            summary = world.main_does(lambda: claim(request))
            if summary is not None:
                return Outcome(summary, up_to_date=True)
            job = open_job(store, request)
            if after_checkpoint is not None:
                job = dataclasses.replace(job, after_checkpoint=after_checkpoint)
            trainer = Trainer(job, world)
            trainer.resume()
            done = trainer.run()
            world.main_does(lambda: RunFolder(store, request.run).write("summary.json", done))
            return Outcome(done, up_to_date=False)
    finally:
        leave_world(world)


def run_lock(request: Request) -> contextlib.AbstractContextManager[object]:
    """The lock that keeps a second training of this run away. Raises: BusyError on entering."""
    store = open_corpus(request.corpus)
    return hold(store, f"{RunFolder(store, request.run).path}/lock.json", what="train.run")


def claim(request: Request) -> dict[str, Any] | None:
    """Make the run's folder this request's; the summary of a run that is done, None when there is something to do.

    Raises: InputError when the run was begun otherwise, naming what differs.
    """
    store = open_corpus(request.corpus)
    folder = RunFolder(store, request.run)
    identity = run_identity(read_snapshot(store, request.snapshot), request.config)
    described = {"snapshot": request.snapshot, "config": request.config.model_dump()}
    folder.claim(identity, described, rebuild=request.rebuild)
    return folder.read("summary.json")


def run_identity(snapshot: Snapshot, config: TrainConfig) -> dict[str, Any]:
    """What decides a run's result: the tokens, the tokenizer, the shape and the deciding settings."""
    return {
        "snapshot_digest": snapshot.digest,
        "tokenizer_fingerprint": snapshot.tokenizer_fingerprint,
        "end_of_text": snapshot.end_of_text,
        "shape": dataclasses.asdict(config.model.shape(snapshot.vocab_size)),
        "settings": config.decisive(),
    }


def open_job(store: Store, request: Request) -> Job:
    """Streams over the snapshot, and what a checkpoint says of them.

    Raises: InputError when a split is too small or the corpus's tokenizer is another than the snapshot's.
    """
    config = request.config
    snapshot = read_snapshot(store, request.snapshot)
    tokenizer = load_tokenizer(store)
    if tokenizer.fingerprint != snapshot.tokenizer_fingerprint:
        raise InputError(
            f"snapshot {request.snapshot}: tokenizer {snapshot.tokenizer_fingerprint}, the corpus has {tokenizer.fingerprint}; "
            "make a snapshot of batches encoded with the present one"
        )
    shape = config.model.shape(snapshot.vocab_size)
    stream = BlockStream(
        open_split(store.root, request.snapshot, "train"), block_size=shape.block_size, seed=config.seed
    )
    val = open_split(store.root, request.snapshot, "val")
    if val.num_tokens < 2:
        raise InputError(
            f"snapshot {request.snapshot}: the val split holds {val.num_tokens} tokens; use a larger corpus or a larger val share"
        )
    return Job(
        store=store,
        run=request.run,
        config=config,
        shape=shape,
        end_of_text=snapshot.end_of_text,
        stream=stream,
        val_blocks=lambda: sequential_blocks(val, shape.block_size),
        val_bytes=snapshot.splits["val"].num_bytes,
        record={"identity": run_identity(snapshot, config), "snapshot": request.snapshot},
        sampler=_sampler(config, tokenizer, snapshot.end_of_text),
    )


def _sampler(
    config: TrainConfig, tokenizer: Encoder, end_of_text: int
) -> Callable[[GPT2, int, World], list[str]] | None:
    if not config.num_samples:
        return None

    def texts(model: GPT2, step: int, world: World) -> list[str]:
        continuations = generate(
            model,
            [end_of_text],
            num_samples=config.num_samples,
            num_tokens=config.sample_tokens,
            sampling=SAMPLING,
            seed=config.seed,
            stop=end_of_text,
            world=world,
        )
        return [tokenizer.decode(continuation) for continuation in continuations]

    return texts
