"""Save and resume: a checkpoint is whole or it is not there.

    runs/<run>/checkpoints/step-00001000/
        __0_0.distcp ..., .metadata     weights and optimizer state, by torch.distributed.checkpoint
        checkpoint.json                 everything else, with the files' digests; written last: the commit

Locally the folder is made under a temporary name and renamed. On an object store, which cannot rename, files are made
in a local scratch folder and uploaded, checkpoint.json last. Readers see a checkpoint through checkpoint.json only.
Tensors are stored by name, so any number of ranks can load what any other number saved. Random state is no state: weights,
sample order, dropout and samples are functions of (seed, position), and seed and position are in checkpoint.json.
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
from xxhash import xxh3_128

from corpus.errors import FatalError, InputError, SchemaError
from corpus.storage.lease import confirm
from corpus.storage.store import TEMPORARY, Store
from train.distributed import World

log = logging.getLogger(__name__)

FORMAT = 2
RECORD = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: where it lies and what checkpoint.json says."""

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
        """Committed checkpoints by step. Raises: SchemaError for one of an unknown format."""
        found = []
        for name in self.store.folders(self.folder):
            path = f"{self.folder}/{name}"
            if not name.startswith("step-") or not self.store.exists(f"{path}/{RECORD}"):
                continue
            record = self.store.read_json(f"{path}/{RECORD}")
            if record.get("format") != FORMAT:
                raise SchemaError(
                    f"{self.store.root}/{path}: format {record.get('format')!r}, this version reads {FORMAT}; "
                    "use the version that wrote it, or --rebuild"
                )
            found.append(Checkpoint(path, record))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint whose files are whole; damaged ones are passed over with a warning."""
        for checkpoint in reversed(self.all()):
            damage = self.damage(checkpoint)
            if damage is None:
                return checkpoint
            log.warning("%s; going back to the checkpoint before it", damage)
        return None

    def find(self, which: str) -> Checkpoint:
        """`last`, `best` (lowest validation loss) or a step number.

        Raises: InputError when there is none, naming those that are.
        """
        found = self.all()
        chosen = None
        if which == "last":
            chosen = found[-1] if found else None
        elif which == "best":
            chosen = best(found)
        elif which.isdigit():
            chosen = next(
                (checkpoint for checkpoint in found if checkpoint.step == int(which)), None
            )
        if chosen is None:
            steps = ", ".join(str(checkpoint.step) for checkpoint in found) or "none"
            raise InputError(
                f"{self.store.root}/{self.folder}: no checkpoint {which!r} (last, best or a step); steps there: {steps}"
            )
        return chosen

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
        """Say more of a committed checkpoint whose tensors stay as they are."""
        confirm(self.store)
        record = {**checkpoint.record, **values}
        self.store.write_json(f"{checkpoint.path}/{RECORD}", record)
        return Checkpoint(checkpoint.path, record)

    def begin(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        record: Mapping[str, Any],
        world: World,
        *,
        keep_last: int,
    ) -> PendingSave:
        """As `save`, from a copy made now: the tensors may change while a thread writes. One at a time."""
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
        pending = PendingSave(step, executor.submit(finish))
        executor.shutdown(wait=False)
        return pending

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
            write()
            mine = [
                _file_record(file)
                for file in sorted(scratch.iterdir())
                if _is_mine(file.name, world)
            ]
            if not self.store.is_local:
                for file in mine:
                    self._upload(scratch / file["file"], f"{path}/{file['file']}")
            files = [file for part in world.gather(mine) for file in part]
            document = {
                **record,
                "format": FORMAT,
                "step": step,
                "world_size": world.size,
                "files": files,
            }
            if world.is_main:
                self._commit(scratch, path, document)
        except OSError as error:
            raise FatalError(
                f"cannot write {self.store.root}/{path}: {error}; free space or fix access, then run again"
            ) from error
        world.barrier()
        if world.is_main:
            self._prune(step, keep_last)
        return Checkpoint(path, document)

    def damage(self, checkpoint: Checkpoint) -> str | None:
        """What is wrong with a checkpoint's files, None when nothing is; reads them once."""
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
        """A local folder with the checkpoint's files for the time of the block."""
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
        """Drop what is not kept, and what a kill left without its record.

        Those of later steps are damaged, or the run would have gone on from them: they take nobody's place.
        """
        found = [checkpoint for checkpoint in self.all() if checkpoint.step <= step]
        kept = {checkpoint.path for checkpoint in found[-keep_last:]}
        lowest = best(found)
        if lowest is not None:
            kept.add(lowest.path)
        for checkpoint in found:
            if checkpoint.path not in kept:
                self.store.delete(f"{checkpoint.path}/{RECORD}")
        for name in self.store.folders(self.folder):
            path = f"{self.folder}/{name}"
            if name.startswith("step-") and not self.store.exists(f"{path}/{RECORD}"):
                self.store.delete_dir(path)


@dataclass(frozen=True)
class PendingSave:
    """A checkpoint being written beside the training."""

    step: int
    _future: Future[Checkpoint]

    def failed(self) -> bool:
        """Whether it is known to have failed; `wait` says how."""
        return self._future.done() and self._future.exception() is not None

    def wait(self) -> Checkpoint:
        """The committed checkpoint. Raises: as `Checkpoints.save`."""
        return self._future.result()


@contextlib.contextmanager
def _scratch(store: Store, path: str, world: World) -> Iterator[Path]:
    """Where the files are made: beside their place when that is local and shared, else in a folder of this rank."""
    final = store.local_path(path)
    if final is None:
        with tempfile.TemporaryDirectory(prefix="webtext-checkpoint-") as folder:
            yield Path(folder)
        return
    scratch = final.with_name(f"{TEMPORARY}{final.name}")
    if world.is_main:
        for stale in final.parent.glob(f"{TEMPORARY}*"):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
        except OSError as error:
            raise FatalError(
                f"cannot write {scratch}: {error.strerror}; free space or fix access, then run again"
            ) from error
    world.barrier()
    yield scratch


def best(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The checkpoint with the lowest validation loss among those evaluated; the later of equals."""
    evaluated = [
        checkpoint for checkpoint in checkpoints if checkpoint.record.get("val_loss") is not None
    ]
    return min(evaluated, key=lambda found: (found.record["val_loss"], -found.step), default=None)


def state_tensors(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """Everything that must be stored, by name: `model.<parameter>` and `optimizer.<parameter>.<moment>`."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value
    return tensors


def load_weights(model: nn.Module, folder: Path, *, collective: World | None = None) -> None:
    """Fill `model` from the files in `folder`."""
    _read_tensors(
        {f"model.{name}": tensor for name, tensor in model.state_dict().items()}, folder, collective
    )


def load_optimizers(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    folder: Path,
    *,
    collective: World | None = None,
) -> None:
    """Fill the optimizers' state from the files in `folder`; parameters without a stored state begin anew."""
    stored = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        owner = next(
            each
            for each in optimizers
            if any(parameter is p for g in each.param_groups for p in g["params"])
        )
        prefix = f"optimizer.{name}."
        for key in stored:
            if not key.startswith(prefix):
                continue
            size, dtype = stored[key].size, stored[key].properties.dtype
            like = (
                parameter.detach()
                if size == parameter.shape
                else torch.empty(size, device=parameter.device)
            )
            tensors[key] = torch.zeros_like(like, dtype=dtype)
            owner.state[parameter][key.removeprefix(prefix)] = tensors[key]
    if tensors:
        _read_tensors(tensors, folder, collective)


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path, world: World) -> None:
    _accept_no_group()
    writer = dcp.FileSystemWriter(folder, single_file_per_rank=True)
    dcp.save(dict(tensors), storage_writer=writer, no_dist=world.size == 1)


def _write_copies(tensors: Mapping[str, Tensor], folder: Path, world: World) -> Future[Any]:
    """Copies are made before this returns; they are written by a thread."""
    _accept_no_group()
    writer = dcp.FileSystemWriter(folder, single_file_per_rank=True)
    written: Future[Any] = dcp.async_save(
        dict(tensors), storage_writer=writer, process_group=world.group, no_dist=world.size == 1
    )
    return written


def _read_tensors(tensors: dict[str, Any], folder: Path, collective: World | None) -> None:
    _accept_no_group()
    reader = dcp.FileSystemReader(folder)
    dcp.load(tensors, storage_reader=reader, no_dist=collective is None or collective.size == 1)


def _accept_no_group() -> None:
    """torch warns that there is no process group even when told so by no_dist (2.13); also in its threads, hence for good."""
    warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)


def _is_mine(name: str, world: World) -> bool:
    """Whether this rank wrote the file: `__<rank>_<n>.distcp`, and the metadata for rank 0."""
    return name.startswith(f"__{world.rank}_") or (world.is_main and not name.startswith("__"))


def _file_record(path: Path) -> dict[str, Any]:
    digest = xxh3_128()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    return {"file": path.name, "bytes": path.stat().st_size, "digest": digest.hexdigest()}
