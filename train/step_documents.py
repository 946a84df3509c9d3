"""The documents that a run learnt from at one step, found by its settings and the order of its data."""

from __future__ import annotations

from corpus.errors import InputError
from corpus.storage.store import Store
from train.checkpoints.run_folder import RunFolder
from train.config import TrainConfig
from train.job import token_cache_of, train_stream


def step_documents(store: Store, run: str, step: int) -> list[str]:
    """The doc_ids of the batch of a step, counted from 1, in the order of the batch.

    A step's samples are a function of the settings and the step, so nothing is recorded for this.
    Raises: InputError for an unknown run or a step before the first.
    """
    described = RunFolder(store, run).read("config.json")
    if described is None:
        raise InputError(f"run {run!r} has no config.json; expected one of {store.folders('runs')}")
    if step < 1:
        raise InputError(f"step {step}: expected 1 or more")

    config = TrainConfig.model_validate(described["config"])
    block_size = int(described["identity"]["shape"]["block_size"])
    cache = token_cache_of(store, config)
    stream = train_stream(store, described["snapshot"], config, block_size, cache)
    stream.advance((step - 1) * config.resolved_batch_size)

    found: dict[str, None] = {}
    for _ in range(config.resolved_batch_size):
        # Samples are counted from the start of the epoch, which may end inside the batch.
        found.update(dict.fromkeys(each.doc_id for each in stream.documents(stream.index)))
        stream.advance(1)
    return list(found)
