"""Token files of Megatron-LM, datatrove, LitData and numpy.

megatron   train.bin, train.idx: documents ended by end-of-text, for its `IndexedDataset`
datatrove  train/00000_tokens.ds with .index and .metadata: document ends as uint64
litdata    train/index.json, train/chunk-0-0.bin ...: for `TokensLoader`
numpy      train.npy: one array, for `np.load(mmap_mode="r")`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from corpus.storage.store import Store
from shards.reader import TokenSplit
from shards.tokenizer.encode import Tokenizer

CHUNK_TOKENS = 1 << 22
MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
# Codes of `megatron.core.datasets.indexed_dataset.DType`: it has no uint32, ids fit into int32.
MEGATRON_DTYPES = {2: 8, 4: 4}
# Places of uint16 and int32 in litdata's `_TORCH_DTYPES_MAPPING` (0.2.76).
LITDATA_DTYPES = {2: 20, 4: 15}
LITDATA_CHUNK_TOKENS = 1 << 25


def to_numpy(split: TokenSplit, tokenizer: Tokenizer, target: Store) -> Iterator[str]:
    """Write one array; yields its path."""
    path = f"{split.name}.npy"
    header = {"descr": split.dtype.str, "fortran_order": False, "shape": (split.num_tokens,)}
    with target.open_output(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        _write_tokens(stream, split)
    yield path


def to_megatron(split: TokenSplit, tokenizer: Tokenizer, target: Store) -> Iterator[str]:
    """Write the tokens and the index of documents; yields both paths.

    An index has a sequence per document: magic, version, type, counts, lengths, byte offsets, and
    the number of each document's first sequence.
    """
    ends = split.document_ends()
    lengths = np.diff(ends, prepend=0)
    width = split.dtype.itemsize
    with target.open_output(f"{split.name}.bin") as stream:
        _write_tokens(stream, split)
    yield f"{split.name}.bin"

    with target.open_output(f"{split.name}.idx") as stream:
        stream.write(MEGATRON_MAGIC + np.array([1], "<u8").tobytes())
        stream.write(bytes([MEGATRON_DTYPES[width]]))
        stream.write(np.array([len(lengths), len(lengths) + 1], "<u8").tobytes())
        stream.write(lengths.astype("<i4").tobytes())
        stream.write(((ends - lengths) * width).astype("<i8").tobytes())
        stream.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
    yield f"{split.name}.idx"


def to_datatrove(split: TokenSplit, tokenizer: Tokenizer, target: Store) -> Iterator[str]:
    """Write the tokens, their document ends, and the metadata; yields the paths."""
    path = f"{split.name}/00000_tokens.ds"
    with target.open_output(path) as stream:
        _write_tokens(stream, split)
    yield path

    target.write_bytes(f"{path}.index", split.document_ends().astype("<u8").tobytes())
    yield f"{path}.index"

    described = f"webtext-{tokenizer.fingerprint}|{split.dtype.itemsize}"
    count = f"{split.num_tokens}\n{split.num_tokens / 1e9:.2f} billion tokens"
    target.write_bytes(f"{path}.metadata", f"{described}\n{count}".encode())
    yield f"{path}.metadata"


def to_litdata(
    split: TokenSplit,
    tokenizer: Tokenizer,
    target: Store,
    chunk_tokens: int = LITDATA_CHUNK_TOKENS,
) -> Iterator[str]:
    """Write chunks of one item each, and their index; yields the paths.

    A chunk: uint32 number of items, uint32 offsets (one more), the tokens. Blocks of any length are
    read from it, a rest of a chunk shorter than a block is left out.
    """
    kind = np.dtype("<i4") if split.dtype.itemsize == 4 else split.dtype
    chunks: list[dict[str, Any]] = []
    for start in range(0, split.num_tokens, chunk_tokens):
        tokens = split.slice(start, min(start + chunk_tokens, split.num_tokens)).astype(kind)
        first = 4 * 3
        header = np.array([1, first, first + tokens.nbytes], "<u4")
        name = f"chunk-0-{len(chunks)}.bin"
        with target.open_output(f"{split.name}/{name}") as stream:
            stream.write(header.tobytes() + tokens.tobytes())
        chunks.append(
            {
                "chunk_bytes": first + tokens.nbytes,
                "chunk_size": 1,
                "dim": len(tokens),
                "filename": name,
            }
        )
        yield f"{split.name}/{name}"

    config = {
        "chunk_bytes": None,
        "chunk_size": chunk_tokens,
        "compression": None,
        "data_format": [f"no_header_tensor:{LITDATA_DTYPES[split.dtype.itemsize]}"],
        "data_spec": json.dumps([1, {"type": None, "context": None, "children_spec": []}]),
        "encryption": None,
        "item_loader": "TokensLoader",
    }
    target.write_json(f"{split.name}/index.json", {"chunks": chunks, "config": config})
    yield f"{split.name}/index.json"


def _write_tokens(stream: Any, split: TokenSplit) -> None:
    for start in range(0, split.num_tokens, CHUNK_TOKENS):
        chunk = split.slice(start, min(start + CHUNK_TOKENS, split.num_tokens))
        stream.write(chunk.astype(split.dtype, copy=False).tobytes())
