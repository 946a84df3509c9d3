"""From a corpus and settings to a finished run: claim the folder, open the data, train, commit.

What a run is (its identity) is written to config.json before the first step and compared by every
later start: the same settings go on where the run stopped, others are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpus.errors import InputError
from corpus.snapshots.retirement import require_usable
from corpus.snapshots.snapshot import SPLITS, Snapshot, read_snapshot
from corpus.snapshots.snapshot_remarks import warn_of_remarks
from corpus.storage.lease import hold
from corpus.storage.store import Store, open_corpus
from shards.reader import (
    MOST_FETCHED,
    BlockStream,
    MixtureStream,
    PackedStream,
    TokenCache,
    TokenSplit,
    WeightedSplit,
    least_window,
    most_fetched,
    open_mixture,
    open_split,
    sequential_blocks,
    weigh,
)
from shards.tokenizer.encode import load_tokenizer
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.load import TextEncoder
from train.checkpoints.run_folder import RunFolder
from train.config import TrainConfig
from train.gpt2.model import GPT2
from train.gpt2.sampling import Sampling, generate
from train.held_out import digest_of, held_out_blocks
from train.loop import Job, Trainer
from train.machine.distributed import World, join_world, leave_world
from train.parent import find_parent, load_hf_weights

log = logging.getLogger(__name__)

# Held-out blocks that a sweep's run is judged on: a share of those that it trains on, since an
# evaluation should cost little beside the training, and at least so many.
SAMPLED_SHARE = 8
SMALLEST_SAMPLE = 256

# How samples of a run are drawn: as the paper's.
SAMPLING = Sampling(temperature=1.0, top_k=40)


@dataclass(frozen=True)
class RunRequest:
    """The request of a command. Plain values, so that it can be sent to any worker."""

    corpus: str
    snapshot: str
    run: str
    config: TrainConfig
    rebuild: bool = False
    held_out_frac: float = 0.0
    """Share of the first epoch's blocks that is not trained on and stands in for the validation split; 0: the split itself."""
    allow_withdrawn: bool = False
    """Train on a snapshot though a take-down withdrew it."""
    extend: bool = False
    """Take more steps in a run that may be finished."""
    held_out: str = ""
    """A file of texts in place of the validation split, the same for runs to compare; see
    `train.held_out`."""


@dataclass(frozen=True)
class RunResult:
    """The end of a run."""

    summary: dict[str, Any]
    up_to_date: bool


def train(
    request: RunRequest,
    *,
    locked: bool = False,
    after_checkpoint: Callable[[dict[str, Any]], None] | None = None,
    wanted_stop: Callable[[], int] | None = None,
) -> RunResult:
    """Begin, continue or confirm a run; the same in every process of a world. `locked`: the caller holds the lock.

    Raises: InputError for other settings, snapshot or tokenizer than the run's; BusyError when it
    is being trained; Interrupted after a checkpoint; DivergedError for a batch that must not be
    learnt.
    """
    world = join_world(request.config.runtime)
    store = open_corpus(request.corpus)
    try:
        with contextlib.ExitStack() as stack:
            if not locked:
                world.main_does(lambda: _enter(stack, run_lock(request)))
            summary = world.main_does(lambda: claim(request))
            if summary is not None:
                return RunResult(summary, up_to_date=True)
            if request.config.runtime.verify_tokens and store.is_local:
                world.main_does(lambda: verify_tokens(store, request.snapshot))
            job = open_job(store, request)
            if after_checkpoint is not None:
                job = dataclasses.replace(job, after_checkpoint=after_checkpoint)
            if wanted_stop is not None:
                job = dataclasses.replace(job, wanted_stop=wanted_stop)
            trainer = Trainer(job, world)
            if not trainer.resume():
                _begin(trainer, store, request)
            done = trainer.run()
            world.main_does(lambda: RunFolder(store, request.run).write("summary.json", done))
            return RunResult(done, up_to_date=False)
    finally:
        leave_world(world)


def _begin(trainer: Trainer, store: Store, request: RunRequest) -> None:
    """Give a new run the weights of its parent, or all of its state, if it has one."""
    snapshot = read_snapshot(store, request.snapshot)
    parent = trainer.world.main_does(lambda: find_parent(store, request.config, snapshot))
    if parent is None:
        return

    if parent.checkpoint is None or parent.checkpoints is None:
        assert parent.folder is not None
        load_hf_weights(trainer.model, parent.folder)
    else:
        whole = request.config.init_state == "all"
        before = parent.checkpoint.record["identity"].get("snapshot_digest")
        trainer.begin_with(
            parent.checkpoints, parent.checkpoint, whole=whole,
            same_data=before == snapshot.digest,
        )  # fmt: skip
    log.info("beginning with %s", request.config.init_from)


@contextlib.contextmanager
def one_world(config: TrainConfig) -> Iterator[None]:
    """One process group for all runs of the block: torchrun's store would give a second one the addresses of the first."""
    world = join_world(config.runtime)
    try:
        yield
    finally:
        leave_world(world)


def _enter(stack: contextlib.ExitStack, lock: contextlib.AbstractContextManager[object]) -> None:
    """Take the lock for the time of `stack`; nothing of it is sent to other ranks."""
    stack.enter_context(lock)


def verify_tokens(store: Store, snapshot: str) -> None:
    """Raise SchemaError naming file and row group where bytes are not the snapshot's.

    Files are mapped in place and would be trained on as they are; what comes from an object store
    is compared on its way.
    """
    for split in SPLITS:
        open_split(store.root, snapshot, split).verify()


def run_lock(request: RunRequest) -> contextlib.AbstractContextManager[object]:
    """The lock that keeps a second training of this run away. Raises: BusyError on entering."""
    store = open_corpus(request.corpus)
    return hold(store, f"{RunFolder(store, request.run).path}/lock.json", what="train.run")


def claim(request: RunRequest) -> dict[str, Any] | None:
    """Make the run's folder this request's; the summary of a run that is done, None when there is something to do.

    Raises: InputError when the run was begun otherwise, naming what differs, or when the snapshot
    was withdrawn.
    """
    store = open_corpus(request.corpus)
    require_usable(store, request.snapshot, allow_withdrawn=request.allow_withdrawn)
    warn_of_remarks(store, request.snapshot)
    folder = RunFolder(store, request.run)
    identity = run_identity(store, read_snapshot(store, request.snapshot), request)
    described = {"snapshot": request.snapshot, "config": request.config.model_dump()}
    if request.extend:
        folder.extend(identity, described)
    folder.claim(identity, described, rebuild=request.rebuild)
    return folder.read("summary.json")


def run_identity(store: Store, snapshot: Snapshot, request: RunRequest) -> dict[str, Any]:
    """The identity of a run: tokens, tokenizer, shape, the deciding settings, and its parent."""
    config = request.config
    identity = {
        "snapshot_digest": snapshot.digest,
        "tokenizer_fingerprint": snapshot.tokenizer_fingerprint,
        "end_of_text": snapshot.end_of_text,
        "shape": dataclasses.asdict(config.model.shape(snapshot.vocab_size)),
        "settings": config.decisive(),
        "held_out_frac": request.held_out_frac,
    }
    if request.held_out:
        # Runs of earlier versions have no such file.
        identity["held_out"] = digest_of(request.held_out)
    if config.init_from:
        identity["parent"] = _parent_identity(store, snapshot, request)

    return identity


def _parent_identity(store: Store, snapshot: Snapshot, request: RunRequest) -> dict[str, Any]:
    """The parent's description: as in the run's checkpoints if there are any, else found now.

    A run that has begun goes on though its parent was trained further, or is gone.
    """
    known = RunFolder(store, request.run).read("config.json")
    if known is not None and not request.rebuild and Checkpoints(store, request.run).all():
        parent: dict[str, Any] = known["identity"].get("parent", {})
        return parent

    found = find_parent(store, request.config, snapshot)
    assert found is not None
    return found.described


def open_job(store: Store, request: RunRequest) -> Job:
    """Streams over the snapshot, and what a checkpoint says of them.

    Raises: InputError when a split is too small or the corpus's tokenizer is another than the
    snapshot's.
    """
    config = request.config
    snapshot = read_snapshot(store, request.snapshot)
    tokenizer = load_tokenizer(store)
    if tokenizer.fingerprint != snapshot.tokenizer_fingerprint:
        raise InputError(
            f"snapshot {request.snapshot}: tokenizer {snapshot.tokenizer_fingerprint}, the corpus has "
            f"{tokenizer.fingerprint}; "
            "make a snapshot of batches encoded with the present one"
        )

    shape = config.model.shape(snapshot.vocab_size)
    cache = token_cache_of(store, config)
    stream = train_stream(store, request.snapshot, config, shape.block_size, cache)
    if request.held_out:
        val_blocks, val_bytes = held_out_blocks(request.held_out, tokenizer, shape.block_size)
    elif request.held_out_frac:
        val_blocks, val_bytes = _held_out(stream, config, request.held_out_frac)
    else:
        num_bytes = snapshot.splits["val"].num_bytes
        val_blocks, val_bytes = _validation_split(
            store, request.snapshot, shape.block_size, num_bytes, cache
        )
    passes = _passes(stream, config)
    sources = _sources(stream, config)

    return Job(
        store=store,
        run=request.run,
        config=config,
        shape=shape,
        end_of_text=snapshot.end_of_text,
        stream=stream,
        val_blocks=val_blocks,
        val_bytes=val_bytes,
        record={
            # As claimed, so that the parent is not looked for again.
            "identity": RunFolder(store, request.run).read_identity()
            or run_identity(store, snapshot, request),
            "snapshot": request.snapshot,
            "passes": passes,
            **({"sources": sources} if sources else {}),
            **_weights(stream, config),
        },
        sampler=_sampler(config, tokenizer, snapshot.end_of_text),
    )


Blocks = Callable[[], Iterable[np.ndarray]]


def token_cache_of(store: Store, config: TrainConfig) -> TokenCache | None:
    """The cache for tokens of an object store; None for a local corpus, which is mapped."""
    if store.is_local:
        return None
    return TokenCache(config.runtime.token_cache or None, config.runtime.token_cache_bytes)


def train_stream(
    store: Store, snapshot: str, config: TrainConfig, block_size: int, cache: TokenCache | None
) -> BlockStream | PackedStream | MixtureStream:
    """The samples of a run in their order, at the first one. Raises: InputError."""
    sources, packing = config.data.sources, config.data.packing
    if sources and config.data.sample_by:
        raise InputError(
            "train.data.sample_by weighs the documents of a whole split; leave train.data.sources "
            "out, or give its sources weights instead"
        )
    split = open_split(store.root, snapshot, "train", cache=cache)
    window = _window(split, config)
    if sources:
        return open_mixture(
            store.root,
            snapshot,
            "train",
            sources,
            block_size=block_size,
            seed=config.seed,
            window=window,
            packing=packing,
            cache=cache,
        )
    tokens = _weighted(split, config.data.sample_by)
    if packing == "documents":
        packed = PackedStream(tokens, block_size=block_size, seed=config.seed, window=window)
        log.info(
            "whole documents in %d rows, %.2f %% of them empty",
            packed.num_blocks,
            100 * packed.waste,
        )
        return packed

    return BlockStream(tokens, block_size=block_size, seed=config.seed, window=window)


def _weighted(split: TokenSplit, column: str) -> TokenSplit | WeightedSplit:
    """The split, with its documents weighed by a column if one is named. Logs the weights."""
    if not column:
        return split
    weighted = weigh(split, column)
    log.info(
        "documents weighed by %s: an epoch has %s tokens, %.2f times the split",
        column,
        f"{weighted.num_tokens:,}",
        weighted.num_tokens / split.num_tokens,
    )
    return weighted


def _window(split: TokenSplit, config: TrainConfig) -> int:
    """The window that was set, else one for which the cache of an object store suffices.

    Logs a choice.
    """
    suggested = split.suggested_window
    if config.data.window is None:
        if suggested:
            log.info(
                "the train split is larger than its cache: samples come from %d row groups at a time (train.data.window = %d)",
                suggested,
                suggested,
            )
            _warn_of_small_window(split, suggested)
        return suggested

    if suggested and (config.data.window == 0 or config.data.window > suggested):
        log.warning(
            "train.data.window = %d: the cache holds less, so most samples will fetch a row group again; set it to %d or less, or raise train.runtime.token_cache_bytes",
            config.data.window,
            suggested,
        )
    if suggested and config.data.window:
        _warn_of_small_window(split, config.data.window)

    return config.data.window


def _warn_of_small_window(split: TokenSplit, window: int) -> None:
    """Warn if an epoch may fetch much more than the split, with the cache that would do."""
    fetched = most_fetched(window)
    if fetched > MOST_FETCHED:
        log.warning(
            "train.data.window = %d: an epoch fetches up to %.2f times the split's bytes; at most %.1f times with train.runtime.token_cache_bytes = %d or more",
            *(window, fetched, MOST_FETCHED, split.cache_bytes_for(least_window())),
        )


def _passes(
    stream: BlockStream | PackedStream | MixtureStream, config: TrainConfig
) -> dict[str, float]:
    """Log and return the passes over each source that the run makes.

    Raises InputError above `max_passes`.
    """
    num_samples = config.steps(stream.num_blocks) * config.resolved_batch_size
    if isinstance(stream, MixtureStream):
        passes = dict(zip(_source_names(config), stream.passes(num_samples), strict=True))
    else:
        passes = {"the train split": num_samples / stream.num_blocks}

    for name, count in passes.items():
        log.info("%.2f passes over %s", count, name)
    limit = config.data.max_passes
    if limit is not None and (above := {n: c for n, c in passes.items() if c > limit * (1 + 1e-9)}):
        shown = ", ".join(f"{count:.2f} over {name}" for name, count in above.items())
        raise InputError(
            f"train.data.max_passes = {limit:g}: this run makes {shown} passes; "
            "train for fewer steps, give the source less weight, or raise the limit"
        )

    return {name: round(count, 4) for name, count in passes.items()}


def _source_names(config: TrainConfig) -> list[str]:
    return [
        f"source {number} ({source.describe()})"
        for number, source in enumerate(config.data.sources, 1)
    ]


def _sources(
    stream: BlockStream | PackedStream | MixtureStream, config: TrainConfig
) -> dict[str, dict[str, float]]:
    """Log and return each source's share of the samples beside its share of the tokens.

    Empty for a run without a mixture.
    """
    if not isinstance(stream, MixtureStream):
        return {}

    tokens = stream.source_tokens()
    found = {}
    for name, share, count in zip(_source_names(config), stream.shares(), tokens, strict=True):
        of_tokens = count / sum(tokens)
        log.info(
            "%s: %.1f %% of the samples, %.1f %% of the tokens (%s)",
            *(name, 100 * share, 100 * of_tokens, f"{count:,}"),
        )
        found[name] = {
            "samples_share": round(share, 6),
            "tokens": count,
            "tokens_share": round(of_tokens, 6),
        }

    return found


def _weights(
    stream: BlockStream | PackedStream | MixtureStream, config: TrainConfig
) -> dict[str, Any]:
    """The record of documents weighed by a column; empty for a run without."""
    if isinstance(stream, MixtureStream) or not isinstance(stream.split, WeightedSplit):
        return {}
    column, tokens = config.data.sample_by, stream.split.round_tokens
    return {"sample_by": {"column": column, "tokens_by_copy": tokens}}


def _validation_split(
    store: Store, snapshot: str, block_size: int, num_bytes: int, cache: TokenCache | None
) -> tuple[Blocks, int]:
    val = open_split(store.root, snapshot, "val", cache=cache)
    if val.num_tokens < 2:
        raise InputError(
            f"snapshot {snapshot}: the val split holds {val.num_tokens} tokens, so nothing can be "
            "validated; hold out a larger share: run `webtext shards` again with --rebuild --set "
            "shards.writer.val_frac=0.05 and another --snapshot name, or use a larger corpus"
        )

    return lambda: sequential_blocks(val, block_size), num_bytes


def _held_out(
    stream: BlockStream | PackedStream | MixtureStream, config: TrainConfig, frac: float
) -> tuple[Blocks, int]:
    """The last blocks in the order of the first epoch; a run must end before them.

    Raises: InputError when the run would reach them, and for a mixture, which has no last blocks.
    """
    if isinstance(stream, MixtureStream):
        raise InputError(
            "train.data.sources: a sweep holds out blocks of one split; leave the mixture out of it"
        )
    if isinstance(stream.split, WeightedSplit):
        raise InputError(
            "train.data.sample_by: documents that come twice would be on both sides of a sweep's "
            "held-out blocks; leave it out for the sweep"
        )
    if isinstance(stream, PackedStream):
        raise InputError(
            "train.data.packing = 'documents': a sweep holds out blocks of one split; set it to 'stream' for the sweep"
        )

    first = stream.num_blocks - max(1, round(frac * stream.num_blocks))
    used = config.steps(stream.num_blocks) * config.resolved_batch_size
    if used > first:
        raise InputError(
            f"{used:,} sequences of training and {frac:.0%} held out need more than the {stream.num_blocks:,} blocks of the "
            f"train split; set train.max_steps={max(1, first // config.resolved_batch_size)} or less, or a smaller train.batch_size"
        )

    # The order is random, so that its first blocks are a fair sample of what is held out.
    wanted = max(SMALLEST_SAMPLE, used // SAMPLED_SHARE)
    last = min(stream.num_blocks, first + wanted)
    numbers = np.sort(stream.block_numbers(np.arange(first, last)))

    def blocks() -> Iterator[np.ndarray]:
        for start in (numbers * stream.block_size).tolist():
            yield stream.split.slice(start, start + stream.block_size + 1).astype(np.int64)

    return blocks, 0


def _sampler(
    config: TrainConfig, tokenizer: TextEncoder, end_of_text: int
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
