"""Load a trained model: weights of a checkpoint and the corpus's tokenizer, checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from corpus.errors import InputError, SchemaError
from corpus.snapshots.snapshot_remarks import warn_of_trained_on
from corpus.storage.store import Store
from corpus.tables.manifest import fingerprint
from shards.tokenizer.encode import load_tokenizer
from train.checkpoints.checkpoint import Checkpoints, check_model_shape, load_weights
from train.checkpoints.run_folder import RunFolder
from train.gpt2.model import GPT2
from train.gpt2.shape import Shape
from train.machine.distributed import World


class TextEncoder(Protocol):
    """The part of `shards.tokenizer.Tokenizer` used by training."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a literal <|endoftext|> in it never becomes the special id."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, with its tokenizer and origin."""

    model: GPT2
    tokenizer: TextEncoder
    end_of_text: int
    identity: dict[str, Any]
    """The settings that decide the run: see `train.job.run_identity`."""
    described: dict[str, Any]
    step: int
    weights: str = ""
    """Fingerprint of weights, shape and tokenizer."""


def load_model(store: Store, run: str, which: str, world: World) -> LoadedModel:
    """Load a run's model at checkpoint `which` (last, best or a step), in evaluation mode.

    Raises: InputError for a missing run or checkpoint, or another tokenizer than the run's.
    """
    folder = RunFolder(store, run)
    config = folder.read("config.json")
    if config is None:
        runs = ", ".join(store.folders("runs")) or "none"
        raise InputError(
            f"{store.root}: no run {run!r}; there: {runs}; train one with webtext train"
        )

    if world.rank == 0:
        snapshot = config.get("snapshot")
        warn_of_trained_on(store, run, snapshot if isinstance(snapshot, str) else None)
    identity, shape, masked, packed = run_settings(
        config, f"{store.root}/{folder.path}/config.json"
    )

    tokenizer = load_tokenizer(store)
    if tokenizer.fingerprint != identity["tokenizer_fingerprint"]:
        raise InputError(
            f"{store.root}/tokenizer: fingerprint {tokenizer.fingerprint}, run {run} was trained with "
            f"{identity['tokenizer_fingerprint']}; use the corpus it was trained on"
        )

    checkpoints = Checkpoints(store, run)
    checkpoint = checkpoints.find(which)
    damage = checkpoints.damage(checkpoint)
    if damage is not None:
        raise InputError(f"{damage}; choose another --checkpoint")

    with checkpoints.local_copy(checkpoint) as files:
        check_model_shape(shape, files)
        # As in the training: documents that were packed whole never saw one another.
        model = GPT2(
            shape,
            document_end=identity["end_of_text"] if masked or packed else None,
            restart_positions=packed,
        )
        load_weights(model, files)
        check_finite(model, checkpoint.path)

    return LoadedModel(
        model=model.to(world.device).eval(),
        tokenizer=tokenizer,
        end_of_text=identity["end_of_text"],
        identity=identity,
        described=config,
        step=checkpoint.step,
        weights=fingerprint([each["digest"] for each in checkpoint.record["files"]]),
    )


def check_finite(model: GPT2, path: str) -> None:
    """Raises: InputError naming the tensor if a weight is not a finite number: no text comes of it."""
    for name, tensor in model.state_dict().items():
        bad = tensor.numel() - int(tensor.isfinite().sum())
        if bad:
            raise InputError(
                f"{path}: tensor {name} has {bad:,} values that are not finite; "
                "choose another --checkpoint"
            )


def run_settings(config: Any, path: str) -> tuple[dict[str, Any], Shape, bool, bool]:
    """Read (identity, shape, document mask, whole documents packed) of a run's config.json.

    Raises: SchemaError if they are missing or were not written by this code.
    """
    try:
        identity = config["identity"]
        shape = Shape(**identity["shape"])
        sizes = (*asdict(shape).values(), identity["end_of_text"])
        if any(type(size) is not int or not 0 <= size < 1 << 31 for size in sizes):
            raise ValueError(f"sizes {sizes}")
        if not isinstance(identity["tokenizer_fingerprint"], str):
            raise ValueError(f"tokenizer_fingerprint {identity['tokenizer_fingerprint']!r}")
        if shape.n_head < 1 or shape.n_embd % shape.n_head:
            raise ValueError(f"n_embd {shape.n_embd} with n_head {shape.n_head}")
        settings = identity["settings"]
        # Runs that pack none have no such setting.
        packed = settings.get("data", {}).get("packing") == "documents"
        return identity, shape, bool(settings["model"]["document_mask"]), packed
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"{path}: not the settings of a run ({error})") from error
