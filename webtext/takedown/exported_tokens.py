"""The tokens in the files of an export, by its format. `shards.export` describes the formats."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.json_values import json_value
from shards.export import LLMC_FORMATS, LLMC_HEADER
from shards.export_formats import LITDATA_DTYPES, MEGATRON_DTYPES, MEGATRON_MAGIC

# Files without tokens or texts of a page: they are searched for addresses and ids as they are.
PLAIN = frozenset({".json", ".md", ".idx", ".index", ".metadata", ".pkl", ""})
LLMC_HEADER_BYTES = 4 * LLMC_HEADER


def is_plain(path: Path) -> bool:
    """True for a file of an export that hides no page behind a compression or ids of tokens."""
    return path.suffix in PLAIN


def exported_tokens(form: str, path: Path, data: bytes) -> np.ndarray | None:
    """The ids of a file in their order; None if it is not a token file of this format."""
    read = _READERS.get((form, path.suffix))
    try:
        return read(path, data) if read is not None else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def table_tokens(data: bytes) -> np.ndarray | None:
    """The ids of a Parquet file whose only column are tokens, as `webtext publish` writes them."""
    file = pq.ParquetFile(io.BytesIO(data))
    if file.schema_arrow.names != ["input_ids"]:
        return None
    lists = file.read()["input_ids"].combine_chunks()
    return pa.array(lists.flatten()).to_numpy(zero_copy_only=False)


def _nanogpt(path: Path, data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<u2")


def _llmc(path: Path, data: bytes) -> np.ndarray:
    magic = int(np.frombuffer(data, "<i4", 1)[0])
    width = next(width for width, (known, _) in LLMC_FORMATS.items() if known == magic)
    return np.frombuffer(data, f"<u{width}", offset=LLMC_HEADER_BYTES)


def _numpy(path: Path, data: bytes) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def _megatron(path: Path, data: bytes) -> np.ndarray:
    index = path.with_suffix(".idx").read_bytes()
    code = index[len(MEGATRON_MAGIC) + 8]
    width = next(width for width, known in MEGATRON_DTYPES.items() if known == code)
    return np.frombuffer(data, f"<u{width}")


def _datatrove(path: Path, data: bytes) -> np.ndarray:
    described = path.with_name(f"{path.name}.metadata").read_text("utf-8")
    return np.frombuffer(data, f"<u{int(described.splitlines()[0].rpartition('|')[2])}")


def _litdata(path: Path, data: bytes) -> np.ndarray:
    described = json_value(path.with_name("index.json").read_bytes())["config"]["data_format"][0]
    code = int(described.rpartition(":")[2])
    width = next(width for width, known in LITDATA_DTYPES.items() if known == code)
    return _items(data, f"<u{width}")


def _mds(path: Path, data: bytes) -> np.ndarray:
    described = json_value(path.with_name("index.json").read_bytes())["shards"][0]
    return _items(data, np.dtype(described["column_encodings"][0].split(":")[1]).newbyteorder("<"))


def _items(data: bytes, kind: str | np.dtype) -> np.ndarray:
    """The items of a file: their number and offsets, all uint32, are before them."""
    count = int(np.frombuffer(data, "<u4", 1)[0])
    offsets = np.frombuffer(data, "<u4", count + 1, offset=4)
    return np.frombuffer(data[int(offsets[0]) : int(offsets[-1])], kind)


_READERS: dict[tuple[str, str], Callable[[Path, bytes], np.ndarray]] = {
    ("nanogpt", ".bin"): _nanogpt,
    ("llmc", ".bin"): _llmc,
    ("numpy", ".npy"): _numpy,
    ("megatron", ".bin"): _megatron,
    ("datatrove", ".ds"): _datatrove,
    ("litdata", ".bin"): _litdata,
    ("mds", ".mds"): _mds,
}
