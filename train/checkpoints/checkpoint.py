"""Save and resume training: a checkpoint is either complete or invisible.

    runs/<run>/checkpoints/step-00001000/
        rank-00000.safetensors ..., tensors.json    weights and optimizer state (`train.checkpoints.tensor_files`)
        checkpoint.json                             everything else, with the files' digests; the commit

On a local disk the folder is made under a temporary name and renamed. An object store cannot
rename: files are made in a local scratch folder and uploaded, checkpoint.json last. Readers see a
checkpoint only through its checkpoint.json.

Tensors are stored by name, so any number of ranks can load what any other number saved. Random
generators are not saved: weights, sample order, dropout and samples are functions of (seed,
position), and both are in checkpoint.json.

No file here can run code, since a checkpoint may come from a stranger: docs/security.md, "Files
from strangers".
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor
from xxhash import xxh3_128

from corpus.errors import FatalError, InputError, SchemaError, WebtextError
from corpus.storage.interface import TEMPORARY
from corpus.storage.lease import confirm
from corpus.storage.store import Store
from train.checkpoints.disk import advice
from train.checkpoints.record import FORMAT, RECORD, problem, sealed
from train.checkpoints.tensor_files import (
    DTYPES,
    INDEX,
    TensorReader,
    TensorWriter,
    check_shapes,
    read_index,
)
from train.gpt2.shape import Shape
from train.machine.distributed import World

log = logging.getLogger(__name__)

# States that AdamW and Muon keep for a parameter: one number each, or a tensor of the parameter's
# shape.
STATES = {"AdamW": ("step", "exp_avg", "exp_avg_sq"), "Muon": ("momentum_buffer",)}


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: its folder in the store and the contents of checkpoint.json."""

    path: str
    record: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.record["step"])


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.folder = f"runs/{run}/checkpoints"

    def all(self) -> list[Checkpoint]:
        """Committed checkpoints with a sound record, by step. Others are skipped with a warning.

        Raises: SchemaError if no record is sound though some exist, with the reason.
        """
        found = []
        damaged = []
        for path in self._committed_paths():
            try:
                record: Any = self.store.read_object(f"{path}/{RECORD}")
                reason = problem(record)
            except FileNotFoundError:
                continue  # A training that runs has dropped it in this moment.
            except InputError as error:
                record, reason = None, str(error)
            if reason is None:
                found.append(Checkpoint(path, record))
            else:
                damaged.append(f"{self.store.root}/{path}: {reason}")

        if damaged and not found:
            raise SchemaError(f"{'; '.join(damaged)}; {self._no_whole_one()}")

        for reason in damaged:
            log.warning("%s; skipped", reason)
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def _committed_paths(self) -> list[str]:
        paths = [
            f"{self.folder}/{name}"
            for name in self.store.folders(self.folder)
            if name.startswith("step-")
        ]
        return [path for path in sorted(paths) if self.store.exists(f"{path}/{RECORD}")]

    def _no_whole_one(self) -> str:
        return (
            "no checkpoint of this run is whole: restore one, or give up its training and begin at "
            "step 0 with --rebuild"
        )

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint whose files are complete; None if there is no checkpoint.

        Damaged ones are skipped with a warning. Raises: SchemaError if all are damaged, since a
        start at step 0 would overwrite what could still be restored.
        """
        damaged = []
        for checkpoint in reversed(self.all()):
            damage = self.damage(checkpoint)
            if damage is None:
                return checkpoint
            damaged.append(damage)
            log.warning("%s; falling back to the previous checkpoint", damage)

        if damaged:
            raise SchemaError(f"{'; '.join(damaged)}; {self._no_whole_one()}")
        return None

    def find(self, which: str) -> Checkpoint:
        """`last`, `best` (lowest validation loss) or a step number.

        Raises: InputError if there is none, with the steps that exist.
        """
        found = self.all()
        chosen = None
        if which == "last":
            chosen = found[-1] if found else None
        elif which == "best":
            chosen = best(found)
        elif which.isdecimal():
            chosen = next(
                (checkpoint for checkpoint in found if checkpoint.step == int(which)), None
            )

        if chosen is None:
            steps = ", ".join(str(checkpoint.step) for checkpoint in found) or "none"
            raise InputError(
                f"{self.store.root}/{self.folder}: no checkpoint {which!r} (last, best or a step); steps there: {steps}"
            )

        return chosen

    def delete_remains(self) -> None:
        """Delete the temporary folders of saves that were killed. Only the holder of the run's lock may."""
        folder = self.store.local_path(self.folder)
        for stale in folder.glob(f"{TEMPORARY}*") if folder is not None else ():
            shutil.rmtree(stale, ignore_errors=True)

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        record: Mapping[str, Any],
        world: World,
        *,
        keep_last: int,
    ) -> Checkpoint:
        """Commit a checkpoint of all ranks' tensors, then drop old ones beyond `keep_last` and the best.

        Raises: FatalError when it cannot be written; earlier checkpoints are untouched.
        """
        path = f"{self.folder}/step-{step:08}"
        with _scratch(self.store, path, world) as scratch:
            return self._finish(
                lambda: _write_tensors(tensors, scratch, world),
                path,
                scratch,
                step,
                record,
                world,
                keep_last,
            )

    def amend(self, checkpoint: Checkpoint, values: Mapping[str, Any]) -> Checkpoint:
        """Add values to the record of a committed checkpoint whose tensors do not change."""
        confirm(self.store)
        changed = amended(checkpoint, values)
        self.store.write_json(f"{changed.path}/{RECORD}", changed.record)
        return changed

    def begin(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        record: Mapping[str, Any],
        world: World,
        *,
        keep_last: int,
    ) -> PendingSave:
        """Start a `save` of a copy made now: tensors may change while a thread writes.

        One at a time.
        """
        path = f"{self.folder}/step-{step:08}"
        background = world.in_background()
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(_scratch(self.store, path, world))
            written = _write_copies(tensors, scratch, background)
            resources = stack.pop_all()

        def finish() -> Checkpoint:
            with resources:
                return self._finish(
                    written.result, path, scratch, step, record, background, keep_last
                )

        executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        return PendingSave(self, step, executor, executor.submit(finish), world.is_main)

    def _finish(
        self,
        write: Callable[[], object],
        path: str,
        scratch: Path,
        step: int,
        record: Mapping[str, Any],
        world: World,
        keep_last: int,
    ) -> Checkpoint:
        try:
            _run_collective(write)
            mine = [
                _file_record(file)
                for file in sorted(scratch.iterdir())
                if _is_mine(file.name, world)
            ]
            if not self.store.is_local:
                for file in mine:
                    self._upload(scratch / file["file"], f"{path}/{file['file']}")

            files = [file for part in world.gather(mine) for file in part]
            document = sealed(
                {
                    **record,
                    "format": FORMAT,
                    "step": step,
                    "world_size": world.size,
                    "files": files,
                }
            )
            if world.is_main:
                self._commit(scratch, path, document)
        except OSError as error:
            raise self._cannot_write(path, error, scratch, world) from error

        world.barrier()
        if world.is_main:
            self._prune(step, keep_last)

        return Checkpoint(path, document)

    def _cannot_write(self, path: str, error: OSError, scratch: Path, world: World) -> FatalError:
        """The error of a save that failed. The unfinished files are deleted, they fill the disk."""
        num_bytes = sum(file.stat().st_size for file in scratch.iterdir() if file.is_file())
        if world.is_main:
            shutil.rmtree(scratch, ignore_errors=True)

        with contextlib.suppress(WebtextError):
            earlier = self.all()
            if earlier:
                num_bytes = sum(file["bytes"] for file in earlier[-1].record["files"])
        steps = [int(each.rpartition("-")[2]) for each in self._committed_paths()]
        local = self.store.local_path(self.folder)
        return FatalError(
            f"cannot write {self.store.root}/{path}: {error}; {advice(error, local, num_bytes, steps)}"
        )

    def damage(self, checkpoint: Checkpoint) -> str | None:
        """A description of the first damaged file of a checkpoint, or None.

        Reads every file once.
        """
        for file in checkpoint.record["files"]:
            path = f"{checkpoint.path}/{file['file']}"
            digest = xxh3_128()
            try:
                with self.store.open_input(path) as stream:
                    while piece := stream.read(1 << 22):
                        digest.update(piece)
            except FileNotFoundError:
                return f"{self.store.root}/{path}: missing"
            if digest.hexdigest() != file["digest"]:
                return f"{self.store.root}/{path}: digest {digest.hexdigest()}, expected {file['digest']}"

        return None

    @contextlib.contextmanager
    def local_copy(self, checkpoint: Checkpoint) -> Iterator[Path]:
        """Give a local folder with the checkpoint's files; a copy is deleted after the block."""
        local = self.store.local_path(checkpoint.path)
        if local is not None:
            yield local
            return

        with tempfile.TemporaryDirectory(prefix="webtext-checkpoint-") as folder:
            for file in checkpoint.record["files"]:
                with (
                    self.store.open_input(f"{checkpoint.path}/{file['file']}") as source,
                    (Path(folder) / file["file"]).open("wb") as target,
                ):
                    shutil.copyfileobj(source, target, 1 << 22)
            yield Path(folder)

    def _commit(self, scratch: Path, path: str, document: Mapping[str, Any]) -> None:
        confirm(self.store)
        final = self.store.local_path(path)
        if final is None:
            self.store.write_json(f"{path}/{RECORD}", document)
            return

        inside = f"{path.rpartition('/')[0]}/{scratch.name}"
        self.store.write_json(f"{inside}/{RECORD}", document)
        if final.exists():
            shutil.rmtree(final)
        scratch.rename(final)

    def _upload(self, file: Path, path: str) -> None:
        with file.open("rb") as source, self.store.open_output(path) as target:
            shutil.copyfileobj(source, target, 1 << 22)

    def _prune(self, step: int, keep_last: int) -> None:
        """Delete checkpoints that are not kept, and folders that a killed run left without a record.

        Checkpoints of later steps are damaged, or the run would have continued from them: they do
        not count.
        """
        found = [checkpoint for checkpoint in self.all() if checkpoint.step <= step]
        kept = {checkpoint.path for checkpoint in found[-keep_last:]}
        lowest = best(found)
        if lowest is not None:
            kept.add(lowest.path)

        # Records first: a kill in between leaves folders that no reader sees.
        for checkpoint in found:
            if checkpoint.path not in kept:
                self.store.delete(f"{checkpoint.path}/{RECORD}")

        for name in self.store.folders(self.folder):
            path = f"{self.folder}/{name}"
            if name.startswith("step-") and not self.store.exists(f"{path}/{RECORD}"):
                self.store.delete_dir(path)


class PendingSave:
    """A checkpoint that a thread is writing."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        step: int,
        executor: ThreadPoolExecutor,
        written: Future[Checkpoint],
        is_main: bool,
    ) -> None:
        self.step = step
        self._checkpoints = checkpoints
        self._executor = executor
        self._written = written
        self._is_main = is_main

    def amend(self, values: Mapping[str, Any]) -> None:
        """Add values to the record once it is committed, without waiting for that."""
        written = self._written

        def change() -> Checkpoint:
            checkpoint = written.result()
            return (
                self._checkpoints.amend(checkpoint, values)
                if self._is_main
                else amended(checkpoint, values)
            )

        self._written = self._executor.submit(change)

    def failed(self) -> bool:
        """True once the writer has failed; `wait` raises its error."""
        return self._written.done() and self._written.exception() is not None

    def wait(self) -> Checkpoint:
        """The committed checkpoint. Raises: as `Checkpoints.save`."""
        try:
            return self._written.result()
        finally:
            self._executor.shutdown(wait=False)


@contextlib.contextmanager
def _scratch(store: Store, path: str, world: World) -> Iterator[Path]:
    """Give the folder to write to: beside the final one if that is local and shared, else one of this rank's own."""
    final = store.local_path(path)
    if final is None:
        with tempfile.TemporaryDirectory(prefix="webtext-checkpoint-") as folder:
            yield Path(folder)
        return

    scratch = final.with_name(f"{TEMPORARY}{final.name}")

    def make() -> None:
        for stale in scratch.parent.glob(f"{TEMPORARY}*"):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
        except OSError as error:
            raise FatalError(
                f"cannot write {scratch}: {error.strerror}; free space or fix access, then run again"
            ) from error

    # Others would wait for a main rank that fails here, until `rank_timeout_s` ends them.
    world.main_does(make)
    yield scratch


def amended(checkpoint: Checkpoint, values: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint with more values in its record."""
    return Checkpoint(checkpoint.path, sealed({**checkpoint.record, **values}))


def best(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The evaluated checkpoint with the lowest validation loss; the latest one of equals."""
    evaluated = [
        (loss, checkpoint)
        for checkpoint in checkpoints
        # NaN is neither below nor above another loss, so it would stay where it comes first.
        if isinstance(loss := checkpoint.record.get("val_loss"), int | float) and loss == loss
    ]
    lowest = min(evaluated, key=lambda found: (found[0], -found[1].step), default=None)
    return lowest[1] if lowest else None


def state_tensors(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name: `model.<parameter>` and `optimizer.<parameter>.<state>`."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value

    return tensors


def check_model_shape(shape: Shape, folder: Path) -> None:
    """Compare the sizes in a run's settings with the tensors in `folder`, before a model takes memory for them.

    Raises: SchemaError if they differ, with both values.
    """
    index = read_index(folder)
    layers = {name.split(".")[2] for name in index.tensors if name.startswith("model.h.")}
    if len(layers) != shape.n_layer:
        raise SchemaError(
            f"{folder}: {len(layers)} layers stored, the run's settings have {shape.n_layer}"
        )

    expected = {
        "model.wte.weight": [shape.vocab_size, shape.n_embd],
        "model.wpe.weight": [shape.block_size, shape.n_embd],
    }

    for name, wanted in expected.items():
        stored = index.tensors.get(name)
        if stored is None or stored.shape != wanted:
            found = stored.shape if stored else "missing"
            raise SchemaError(
                f"{folder}: tensor {name!r} is {found}, the run's settings have {wanted}"
            )


def load_weights(model: nn.Module, folder: Path, *, collective: World | None = None) -> None:
    """Fill `model` from the files in `folder`.

    Raises: SchemaError if they are not the tensors of this model.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    _read_tensors(tensors, folder, collective)


def load_optimizers(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    folder: Path,
    *,
    collective: World | None = None,
) -> None:
    """Fill the optimizers' state from the files in `folder`. Parameters without a stored state start empty.

    Raises: SchemaError if a stored state has another shape than its parameter; InputError if
    another optimizer stored it.
    """
    index = read_index(folder)
    known = {state for states in STATES.values() for state in states}
    owners = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    tensors: dict[str, Tensor] = {}
    incomplete: list[str] = []

    for name, parameter in model.named_parameters():
        kind = type(owners[parameter]).__name__
        states = STATES.get(kind, ())
        found = {state for state in known if f"optimizer.{name}.{state}" in index.tensors}
        if found - set(states):
            raise InputError(
                f"{folder}: {name} has the states {', '.join(sorted(found))}, not those of {kind}: "
                "set train.optimizer.name to the parent's, or train.init_state='weights'"
            )
        if found and len(found) < len(states):
            incomplete.append(name)

        for state in states:
            key = f"optimizer.{name}.{state}"
            stored = index.tensors.get(key)
            if stored is None:
                continue

            # The index decides only between these two shapes, so that it cannot ask for memory.
            shape = () if stored.shape == [] else parameter.shape
            like = parameter.detach() if shape else torch.empty((), device=parameter.device)
            tensors[key] = torch.zeros_like(like, dtype=DTYPES[stored.dtype][0])
            owners[parameter].state[parameter][state] = tensors[key]

    if tensors:
        _read_tensors(tensors, folder, collective)
    if incomplete:
        raise SchemaError(f"{folder}: some states of {incomplete[0]} are missing; restore the file")


def own_share(tensors: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """The tensors written by this rank. Every rank chooses the same shares, of about equal size.

    Only whole tensors are shared out, which every rank has: without that each would copy the whole
    state to its host's memory, to write one part of it.
    """
    mine = {}
    taken = [0] * world.size
    for name in sorted(tensors, key=lambda name: (-tensors[name].nbytes, name)):
        if isinstance(tensors[name], DTensor):
            mine[name] = tensors[name]
            continue

        rank = taken.index(min(taken))
        taken[rank] += tensors[name].nbytes
        if rank == world.rank:
            mine[name] = tensors[name]

    return mine


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path, world: World) -> None:
    _accept_no_group()
    dcp.save(
        own_share(tensors, world), storage_writer=TensorWriter(folder), no_dist=world.size == 1
    )


def _write_copies(tensors: Mapping[str, Tensor], folder: Path, world: World) -> Future[Any]:
    """Copy the tensors before returning; a thread writes the copies."""
    _accept_no_group()
    written: Future[Any] = dcp.async_save(
        own_share(tensors, world),
        storage_writer=TensorWriter(folder),
        process_group=world.group,
        no_dist=world.size == 1,
    )
    return written


def _read_tensors(tensors: dict[str, Any], folder: Path, collective: World | None) -> None:
    _accept_no_group()
    index = read_index(folder)
    check_shapes(tensors, index, folder)
    alone = collective is None or collective.size == 1
    reader = TensorReader(folder, index)
    _run_collective(lambda: dcp.load(tensors, storage_reader=reader, no_dist=alone))


def _run_collective(action: Callable[[], object]) -> None:
    """Run a save or load of torch, which hides a rank's error in an exception of its own.

    Raises: that rank's error, if it is one of ours or of the operating system.
    """
    try:
        action()
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            if isinstance(cause, OSError | WebtextError):
                raise cause from error
        raise


def _accept_no_group() -> None:
    """Silence torch's warning about a missing process group, which it gives in spite of no_dist (2.13).

    The filter stays set, because torch warns from its threads as well.
    """
    warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)


def _is_mine(name: str, world: World) -> bool:
    """True for a rank's own tensor file, and on the main rank for the index."""
    return name == f"rank-{world.rank:05}.safetensors" or (world.is_main and name == INDEX)


def _file_record(path: Path) -> dict[str, Any]:
    digest = xxh3_128()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    return {"file": path.name, "bytes": path.stat().st_size, "digest": digest.hexdigest()}
