"""Tensor files of a checkpoint: one safetensors file per rank, and a JSON index of their pieces.

    rank-00000.safetensors ...    pieces of tensors, each under `<tensor>@<offset>,<offset>...`
    tensors.json                  name, type, shape and pieces of every tensor

`torch.distributed.checkpoint` decides which rank saves and loads what; its own storage would pickle
the index, and unpickling a file from a stranger runs what the stranger wrote. Nothing here is code:
names, types and sizes of the index are checked against a closed list and against the tensors that
they are to fill, before memory is taken.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    WriteItem,
)
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from corpus.errors import SchemaError

INDEX = "tensors.json"
FILE = re.compile(r"rank-[0-9]{5}\.safetensors\Z")

# An index of GPT-2 XL saved by 1,024 ranks has 150 MB.
MAX_INDEX_BYTES = 256 << 20

# Types that weights and optimizer states may have: torch's type and safetensors' name.
DTYPES = {
    "float64": (torch.float64, "F64"),
    "float32": (torch.float32, "F32"),
    "float16": (torch.float16, "F16"),
    "bfloat16": (torch.bfloat16, "BF16"),
    "int64": (torch.int64, "I64"),
    "int32": (torch.int32, "I32"),
}

NAMES = {dtype: name for name, (dtype, _) in DTYPES.items()}


class Piece(BaseModel):
    """A box of one tensor's elements, and the file that holds it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: str = Field(pattern=r"^rank-[0-9]{5}\.safetensors$")
    offsets: list[NonNegativeInt]
    shape: list[NonNegativeInt]


class StoredTensor(BaseModel):
    """Type and shape of a tensor, and the pieces that make it up."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: str
    shape: list[NonNegativeInt]
    pieces: list[Piece]


class Index(BaseModel):
    """The parsed `tensors.json`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tensors: dict[str, StoredTensor]


class _Place(NamedTuple):
    file: str
    key: str


class _StoredPiece(NamedTuple):
    file: str
    key: str
    dtype: str  # as safetensors calls it
    shape: list[int]


def read_index(folder: Path) -> Index:
    """The index of the tensor files in `folder`.

    Raises: SchemaError if it is missing, too large, or describes tensors that this version cannot
    have written.
    """
    path = folder / INDEX
    try:
        size = path.stat().st_size
        if size > MAX_INDEX_BYTES:
            raise SchemaError(f"{path}: {size:,} bytes, the limit is {MAX_INDEX_BYTES:,}")
        index = Index.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SchemaError(f"{path}: not an index of tensors ({_first_line(error)})") from error

    for name, tensor in index.tensors.items():
        if (problem := _problem(tensor)) is not None:
            raise SchemaError(f"{path}: tensor {name!r}: {problem}")

    _check_file_sizes(index, folder)
    return index


def check_shapes(tensors: Mapping[str, Tensor], index: Index, folder: Path) -> None:
    """Compare the index with the tensors that it is to fill.

    Raises: SchemaError if a tensor is missing or has another shape, with both shapes.
    """
    for name, tensor in tensors.items():
        stored = index.tensors.get(name)
        if stored is None:
            raise SchemaError(f"{folder / INDEX}: no tensor {name!r}, which the model needs")
        if stored.shape != list(tensor.shape):
            raise SchemaError(
                f"{folder / INDEX}: tensor {name!r} has shape {stored.shape}, the model needs {list(tensor.shape)}"
            )


class TensorWriter(StorageWriter, BlockingAsyncStager):
    """Writes a rank's pieces to its safetensors file, and on the main rank the index."""

    def __init__(self, folder: Path) -> None:
        BlockingAsyncStager.__init__(self)
        self._folder = folder

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing to forget: a writer serves one checkpoint."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to set up: the main rank has made the folder."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        for rank, plan in enumerate(plans):
            object.__setattr__(plan, "storage_data", f"rank-{rank:05}.safetensors")
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        done: Future[list[WriteResult]] = Future()
        if plan.items:
            _write_file(self._folder / plan.storage_data, plan.items, planner)
        done.set_result(
            [
                WriteResult(
                    item.index, _num_bytes(item), _Place(plan.storage_data, _key(item.index))
                )
                for item in plan.items
            ]
        )

        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        places = {result.index: result.storage_data for each in results for result in each}
        index = Index(
            tensors={
                name: StoredTensor(
                    dtype=NAMES[tensor.properties.dtype],
                    shape=list(tensor.size),
                    pieces=[
                        Piece(
                            file=places[MetadataIndex(name, chunk.offsets)].file,
                            offsets=list(chunk.offsets),
                            shape=list(chunk.sizes),
                        )
                        for chunk in tensor.chunks
                    ],
                )
                for name, tensor in sorted(metadata.state_dict_metadata.items())
            }
        )

        with (self._folder / INDEX).open("wb") as stream:
            stream.write(index.model_dump_json().encode())
            stream.flush()
            os.fsync(stream.fileno())

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


class TensorReader(StorageReader):
    """Reads pieces of tensors, each from the file that the index names."""

    def __init__(self, folder: Path, index: Index) -> None:
        self._folder = folder
        self._index = index

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing to forget: a reader serves one checkpoint."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        tensors: dict[str, Any] = {}
        places: dict[MetadataIndex, _StoredPiece] = {}
        for name, stored in self._index.tensors.items():
            chunks = [
                ChunkStorageMetadata(torch.Size(piece.offsets), torch.Size(piece.shape))
                for piece in stored.pieces
            ]
            properties = TensorProperties(dtype=DTYPES[stored.dtype][0])
            tensors[name] = TensorStorageMetadata(properties, torch.Size(stored.shape), chunks)
            for piece in stored.pieces:
                place = MetadataIndex(name, piece.offsets)
                dtype = DTYPES[stored.dtype][1]
                places[place] = _StoredPiece(piece.file, _key(place), dtype, piece.shape)

        return Metadata(tensors, storage_data=places)

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        self._places: dict[MetadataIndex, _StoredPiece] = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        by_file: dict[str, list[tuple[_StoredPiece, ReadItem]]] = {}
        for item in plan.items:
            piece = self._places[item.storage_index]
            by_file.setdefault(piece.file, []).append((piece, item))

        for name, items in by_file.items():
            path = self._folder / name
            try:
                with safe_open(path, framework="pt") as file:
                    for piece, item in items:
                        _read_piece(file, piece, item, planner)
            except SafetensorError as error:
                raise SchemaError(f"{path}: {error}; expected a safetensors file") from error

        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


def _read_piece(file: Any, stored: _StoredPiece, item: ReadItem, planner: LoadPlanner) -> None:
    """Copy the wanted box of one piece into the tensor that the planner gives for it.

    Raises: SchemaError if the file has another type or shape than the index says.
    """
    opened = file.get_slice(stored.key)
    found = (opened.get_dtype(), opened.get_shape())
    if found != (stored.dtype, stored.shape):
        raise SchemaError(
            f"{stored.file}: piece {stored.key!r} is {found[0]} {found[1]}, "
            f"{INDEX} says {stored.dtype} {stored.shape}"
        )

    ranges = [
        slice(offset, offset + length)
        for offset, length in zip(item.storage_offsets, item.lengths, strict=True)
    ]
    # Scalars cannot be sliced in safetensors.
    piece = opened[tuple(ranges)] if ranges else file.get_tensor(stored.key)
    target = planner.resolve_tensor(item).detach()
    if target.shape != piece.shape:
        raise SchemaError(
            f"piece {stored.key!r} has shape {list(piece.shape)}, not {list(target.shape)}"
        )

    target.copy_(piece)
    planner.commit_tensor(item, target)


def _write_file(path: Path, items: Iterable[WriteItem], planner: SavePlanner) -> None:
    """Write a safetensors file one tensor at a time, so that only one is copied to host memory."""
    # Big elements first keeps every tensor aligned, as in the library's own writer.
    ordered = sorted(items, key=lambda item: (-_itemsize(item), _key(item.index)))
    header: dict[str, Any] = {}
    position = 0

    for item in ordered:
        data = item.tensor_data
        end = position + _num_bytes(item)
        header[_key(item.index)] = {
            "dtype": DTYPES[NAMES[data.properties.dtype]][1],
            "shape": list(data.chunk.sizes),
            "data_offsets": [position, end],
        }
        position = end

    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)

    with path.open("wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little"))
        stream.write(encoded)
        for item in ordered:
            tensor = planner.resolve_data(item).detach().cpu().contiguous()
            stream.write(tensor.reshape(-1).view(torch.uint8).numpy())
        stream.flush()
        os.fsync(stream.fileno())


def _check_file_sizes(index: Index, folder: Path) -> None:
    """Bound what the index can ask for by the bytes that are there.

    Raises: SchemaError if a file is missing or smaller than its pieces.
    """
    needed: Counter[str] = Counter()
    for tensor in index.tensors.values():
        for piece in tensor.pieces:
            needed[piece.file] += DTYPES[tensor.dtype][0].itemsize * _product(piece.shape)

    for name, num_bytes in needed.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else 0
        if found < num_bytes:
            raise SchemaError(f"{path}: {found:,} bytes, its tensors need {num_bytes:,}")


def _problem(tensor: StoredTensor) -> str | None:
    """A reason why the index entry of a tensor cannot be ours, or None."""
    if tensor.dtype not in DTYPES:
        return f"type {tensor.dtype!r}; allowed: {', '.join(DTYPES)}"

    for piece in tensor.pieces:
        if not len(piece.offsets) == len(piece.shape) == len(tensor.shape):
            return f"a piece has {len(piece.shape)} dimensions, the tensor {len(tensor.shape)}"
        boxes = zip(piece.offsets, piece.shape, tensor.shape, strict=True)
        if any(offset + length > size for offset, length, size in boxes):
            return f"a piece at {piece.offsets} of {piece.shape} leaves the shape {tensor.shape}"

    found = sum(_product(piece.shape) for piece in tensor.pieces)
    expected = _product(tensor.shape)
    if found != expected:
        return f"pieces hold {found} of {expected} elements"
    return _overlap(tensor)


def _overlap(tensor: StoredTensor) -> str | None:
    """A reason why pieces do not follow one another, or None.

    Every way of sharding here cuts the first dimension. Pieces that overlap would leave a part of
    the tensor as it was before, which nothing else finds.
    """
    row = 0
    for piece in sorted(tensor.pieces, key=lambda piece: (piece.offsets[:1], piece.shape[:1])):
        if not piece.shape or 0 in piece.shape:
            continue
        if piece.offsets[0] != row or piece.shape[1:] != tensor.shape[1:]:
            return f"a piece at {piece.offsets} of {piece.shape}, expected one at row {row}"
        row += piece.shape[0]

    return None


def _key(index: MetadataIndex) -> str:
    return f"{index.fqn}@{','.join(str(offset) for offset in index.offset or ())}"


def _itemsize(item: WriteItem) -> int:
    return int(item.tensor_data.properties.dtype.itemsize)


def _num_bytes(item: WriteItem) -> int:
    return _itemsize(item) * _product(item.tensor_data.chunk.sizes)


def _product(sizes: Iterable[int]) -> int:
    return reduce(mul, sizes, 1)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
