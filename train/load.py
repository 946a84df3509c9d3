"""Open a trained model again: weights of a checkpoint and the corpus's tokenizer, checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.manifest import fingerprint
from shards.tokenizer.encode import load_tokenizer
from train.checkpoint import Checkpoints, load_weights
from train.distributed import World
from train.model import GPT2
from train.run_folder import RunFolder
from train.shape import Shape


class Encoder(Protocol):
    """What training needs of `shards.tokenizer.Tokenizer`."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a literal <|endoftext|> in it never becomes the special id."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, with what is needed to use it."""

    model: GPT2
    tokenizer: Encoder
    end_of_text: int
    identity: dict[str, Any]
    """What the run was: see `train.job.run_identity`."""
    described: dict[str, Any]
    step: int
    weights: str = ""
    """A fingerprint that no model has whose weights, shape or tokenizer are others."""


def load_model(store: Store, run: str, which: str, world: World) -> LoadedModel:
    """The model of a run at checkpoint `which` (last, best or a step), in evaluation mode.

    Raises: InputError for a run or checkpoint that is not there, or a tokenizer that is not the run's.
    """
    folder = RunFolder(store, run)
    config = folder.read("config.json")
    if config is None:
        runs = ", ".join(store.folders("runs")) or "none"
        raise InputError(
            f"{store.root}: no run {run!r}; there: {runs}; train one with python -m train.run"
        )
    identity = config["identity"]
    tokenizer = load_tokenizer(store)
    if tokenizer.fingerprint != identity["tokenizer_fingerprint"]:
        raise InputError(
            f"{store.root}/tokenizer: fingerprint {tokenizer.fingerprint}, run {run} was trained with "
            f"{identity['tokenizer_fingerprint']}; use the corpus it was trained on"
        )
    checkpoints = Checkpoints(store, run)
    checkpoint = checkpoints.find(which)
    model = GPT2(
        Shape(**identity["shape"]),
        document_end=identity["end_of_text"]
        if identity["settings"]["model"]["document_mask"]
        else None,
    )
    damage = checkpoints.damage(checkpoint)
    if damage is not None:
        raise InputError(f"{damage}; choose another --checkpoint")
    with checkpoints.local_copy(checkpoint) as files:
        load_weights(model, files)
    return LoadedModel(
        model=model.to(world.device).eval(),
        tokenizer=tokenizer,
        end_of_text=identity["end_of_text"],
        identity=identity,
        described=config,
        step=checkpoint.step,
        weights=fingerprint(
            [each["digest"] for each in checkpoint.record["files"] if each["file"] != ".metadata"]
        ),
    )
