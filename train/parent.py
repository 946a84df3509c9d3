"""The model that a run begins with: `train.init_from`.

A parent is a checkpoint of another run of the corpus (`RUN` or `RUN:CHECKPOINT`), or the folder of a
Hugging Face GPT-2. The run's identity names it with the fingerprint of its weights, so that a later
start can tell it from another one, and needs it no more once there is a checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from corpus.errors import InputError
from corpus.snapshots.snapshot import Snapshot, read_snapshot
from corpus.storage.store import Store
from corpus.tables.manifest import fingerprint
from shards.reader import Source
from train.checkpoints.checkpoint import Checkpoint, Checkpoints
from train.checkpoints.load import run_settings
from train.checkpoints.run_folder import RunFolder
from train.config import TrainConfig
from train.gpt2.hf_files import files_of_model
from train.gpt2.huggingface import check_tokenizer, read_hf, read_hf_shape
from train.gpt2.pretrained import file_digest
from train.gpt2.shape import Shape

log = logging.getLogger(__name__)

# Share of the samples that come from batches that the parent has seen. Ibrahim et al. 2024,
# "Simple and Scalable Strategies to Continually Pre-train Large Language Models": 5 % keeps what was
# learnt where old and new text are as alike as two years of the web.
REPLAY_FRAC = 0.05


@dataclass(frozen=True)
class Parent:
    """A run's parent, checked against what the run trains on."""

    described: dict[str, Any]
    """For the run's identity: the source, step and fingerprint of the weights."""
    folder: Path | None
    """Of a Hugging Face model."""
    checkpoints: Checkpoints | None
    checkpoint: Checkpoint | None


def find_parent(store: Store, config: TrainConfig, snapshot: Snapshot) -> Parent | None:
    """The parent that the settings name; None if they name none.

    Raises: InputError if it is not there, damaged, of another shape or of another tokenizer.
    """
    if not config.init_from:
        return None

    shape = config.model.shape(snapshot.vocab_size)
    folder = _hf_folder(config.init_from)
    if folder is not None:
        return _hf_parent(store, folder, shape, config)

    run, which = _run_and_checkpoint(config.init_from)
    identity = _identity(store, run)
    if identity["tokenizer_fingerprint"] != snapshot.tokenizer_fingerprint:
        raise InputError(
            f"train.init_from = {config.init_from!r}: tokenizer {identity['tokenizer_fingerprint']}, the "
            f"snapshot has {snapshot.tokenizer_fingerprint}; name a run of the same tokenizer"
        )
    _check_shape(config.init_from, identity["shape"], shape)

    checkpoints = Checkpoints(store, run)
    checkpoint = checkpoints.find(which)
    if (damage := checkpoints.damage(checkpoint)) is not None:
        raise InputError(f"{damage}; name another checkpoint, as in train.init_from = '{run}:STEP'")
    described = {
        "run": run,
        "step": checkpoint.step,
        "weights": fingerprint([each["digest"] for each in checkpoint.record["files"]]),
    }
    return Parent(described, None, checkpoints, checkpoint)


def load_hf_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model of one process or a share of it with the weights of a Hugging Face folder."""
    wte = model.get_parameter("wte.weight")
    theirs = read_hf(folder, vocab_size=wte.shape[0]).state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(_like(theirs[name], tensor))


def _like(tensor: Tensor, ours: Tensor) -> Tensor:
    """A whole tensor as the share that this rank has of it. Every rank has read the same file."""
    if not isinstance(ours, DTensor):
        return tensor
    share: Tensor = distribute_tensor(
        tensor.to(ours.device), ours.device_mesh, ours.placements, src_data_rank=None
    )
    return share


def continued_config(config: TrainConfig, store: Store, run: str, snapshot: str) -> TrainConfig:
    """The settings of `--continue-from RUN`: those of the parent, on the next snapshot.

    The shape, recipe and peak learning rate are the parent's, and the schedule warms up again. A
    share of REPLAY_FRAC of the samples comes from the parent's batches, the rest from new ones.
    What `config` sets itself stays.
    """
    name, _ = _run_and_checkpoint(run)
    described = RunFolder(store, name).read("config.json") or {}
    before = TrainConfig.model_validate(described["config"]) if "config" in described else config
    model = _merged(before.model, config.model)
    optimizer = _merged(before.optimizer, config.optimizer)
    if "learning_rate" not in config.optimizer.model_fields_set:
        optimizer = optimizer.model_copy(update={"learning_rate": before.resolved_learning_rate})

    data = config.data
    if not data.sources and described.get("snapshot"):
        data = data.model_copy(update={"sources": _replay(store, described["snapshot"], snapshot)})
    batch_size = config.batch_size or before.batch_size
    return config.model_copy(
        update={
            "init_from": config.init_from or run, "model": model, "optimizer": optimizer,
            "data": data, "batch_size": batch_size,
        }
    )  # fmt: skip


def inherited_shape(config: TrainConfig, store: Store) -> TrainConfig:
    """The settings with the parent's sizes, unless they say any size themselves."""
    sizes = {"preset", "n_layer", "n_head", "n_embd", "block_size"}
    if not config.init_from or sizes & config.model.model_fields_set:
        return config

    folder = _hf_folder(config.init_from)
    if folder is not None:
        shape = asdict(read_hf_shape(folder))
    else:
        shape = _identity(store, _run_and_checkpoint(config.init_from)[0])["shape"]
    model = config.model.model_copy(update={name: shape[name] for name in sizes - {"preset"}})
    return config.model_copy(update={"model": model})


def _merged(before: Any, now: Any) -> Any:
    """The earlier section with what the present one sets itself."""
    return before.model_copy(update={name: getattr(now, name) for name in now.model_fields_set})


def _replay(store: Store, before: str, snapshot: str) -> list[Source]:
    """The mixture of new and old batches; empty if all are new, or none is."""
    old = {each.batch for each in read_snapshot(store, before).batches}
    names = [each.batch for each in read_snapshot(store, snapshot).batches]
    kept, added = ([name for name in names if (name in old) == is_old] for is_old in (True, False))
    if not kept or not added:
        return []

    log.info(
        "%.0f %% of the samples come from %s, the others from %s",
        100 * REPLAY_FRAC, ", ".join(kept), ", ".join(added),
    )  # fmt: skip
    return [
        Source(weight=1 - REPLAY_FRAC, batches=added),
        Source(weight=REPLAY_FRAC, batches=kept),
    ]


def _run_and_checkpoint(text: str) -> tuple[str, str]:
    run, _, which = text.partition(":")
    return run, which or "last"


def _hf_folder(text: str) -> Path | None:
    folder = Path(text)
    return folder if (folder / "config.json").is_file() else None


def _identity(store: Store, run: str) -> dict[str, Any]:
    folder = RunFolder(store, run)
    described = folder.read("config.json")
    if described is None:
        runs = ", ".join(store.folders("runs")) or "none"
        raise InputError(
            f"train.init_from = {run!r}: no such run in {store.root}, and no folder with the config.json of a "
            f"Hugging Face GPT-2; runs there: {runs}"
        )
    return run_settings(described, f"{store.root}/{folder.path}/config.json")[0]


def _hf_parent(store: Store, folder: Path, shape: Shape, config: TrainConfig) -> Parent:
    if config.init_state == "all":
        raise InputError(
            f"train.init_from = {config.init_from!r}: a Hugging Face folder has weights only; "
            "set train.init_state='weights'"
        )
    theirs = read_hf(folder, vocab_size=shape.vocab_size).shape
    _check_shape(config.init_from, asdict(theirs), shape)
    check_tokenizer(folder, store.read_bytes("tokenizer/tokenizer.json"))
    digests = [file_digest(path) for path in files_of_model(folder)]
    return Parent(
        {"folder": str(folder), "step": 0, "weights": fingerprint(digests)}, folder, None, None
    )


def _check_shape(source: str, theirs: Mapping[str, int], shape: Shape) -> None:
    ours = asdict(shape)
    different = [name for name in ours if ours[name] != theirs[name]]
    if different:
        listed = "; ".join(f"{name}: {theirs[name]} there, {ours[name]} here" for name in different)
        raise InputError(
            f"train.init_from = {source!r}: {listed}; leave train.model unset to take the parent's sizes"
        )
