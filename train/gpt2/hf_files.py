"""Tensor files of a Hugging Face folder: `model.safetensors`, or shards with their index.

    model.safetensors
    model.safetensors.index.json, model-00001-of-00002.safetensors, ...

The folder may come from a stranger. safetensors checks offsets and sizes; the index may name files
of this folder only. Files that hold pickles are never opened.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from corpus.errors import InputError
from corpus.printable import printable

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-[0-9]{5}-of-[0-9]{5}\.safetensors")
# In the form that the hub's client takes.
PATTERNS = (CONFIG, WEIGHTS, INDEX, "model-?????-of-?????.safetensors", TOKENIZER)

# An index has some 100 bytes for a tensor, and GPT-2 XL has 581 tensors.
MAX_INDEX_BYTES = 16 << 20
LFS_POINTER = b"version https://git-lfs"


def tensor_files(folder: Path) -> list[Path]:
    """The files with the weights, in the order of their names.

    Raises: InputError if there are none, with what is there instead.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [folder / name for name in sorted(set(_weight_map(folder).values()))]

    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickled:
        raise InputError(
            f"no {WEIGHTS}; {pickled[0]} is a pickle, which can run code when it is read: save the "
            "model again with save_pretrained of transformers"
        )
    raise InputError(
        f"no {WEIGHTS} and no {INDEX}; expected a folder with {CONFIG} and {WEIGHTS} of a GPT-2"
    )


def files_of_model(folder: Path) -> list[Path]:
    """All files that decide what a model says: settings, weights and the tokenizer if it is there."""
    files = [folder / CONFIG, *tensor_files(folder), folder / TOKENIZER]
    return [path for path in files if path.is_file()]


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder by name. Raises: InputError for files that are not whole."""
    files = tensor_files(folder)
    tensors: dict[str, Tensor] = {}
    for path in files:
        for name, tensor in _load(path).items():
            if name in tensors:
                raise InputError(f"{path.name}: tensor {printable(name)} is in another file too")
            tensors[name] = tensor

    if len(files) > 1 or files[0].name != WEIGHTS:
        missing = sorted(set(_weight_map(folder)) - set(tensors))
        if missing:
            raise InputError(
                f"{INDEX}: tensor {printable(missing[0], max_chars=100)} is in none of the files"
            )
    return tensors


def _load(path: Path) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        with path.open("rb") as stream:
            pointer = stream.read(len(LFS_POINTER)) == LFS_POINTER
        reason = "a pointer of git-lfs; fetch the file with git lfs pull" if pointer else error
        raise InputError(f"{path.name}: {printable(str(reason), max_chars=200)}") from error
    return loaded


def _weight_map(folder: Path) -> dict[str, str]:
    """File of each tensor. Raises: InputError for an index of other files than this folder's."""
    path = folder / INDEX
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
        raise InputError(f"{INDEX}: {size:,} bytes, the limit is {MAX_INDEX_BYTES:,}")

    try:
        document: Any = json.loads(path.read_text("utf-8"))
        files = dict(document["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{INDEX}: {type(error).__name__}; expected an index of safetensors files"
        ) from error

    if not files:
        raise InputError(f"{INDEX}: names no tensor; expected an index of safetensors files")
    for name, file in files.items():
        if not isinstance(file, str) or not SHARD.fullmatch(file):
            shown = printable(repr(file), max_chars=100)
            raise InputError(
                f"{INDEX}: tensor {printable(name, max_chars=100)} in {shown}; expected a name like "
                "model-00001-of-00002.safetensors"
            )
        if not (folder / file).is_file():
            raise InputError(f"no {file}, which {INDEX} names; fetch the whole folder")
    return files
