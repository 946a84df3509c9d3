"""A file of held-out texts that stands in for the validation split of a run.

Runs over different data are comparable only on the same texts. The file has JSON lines with a field
`text`, plain or packed (.gz, .bz2, .zst), or is Parquet with a column of this name. Each run encodes it with its own tokenizer, so bits per byte compare between tokenizers too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import zstandard
from xxhash import xxh3_128_hexdigest

from corpus.errors import InputError, SchemaError
from corpus.evaluation_sets.files import MAX_UNPACKED_BYTES, read_bytes
from corpus.json_values import json_value
from corpus.tables.parquet import PartFile
from shards.tokenizer.encode import Tokenizer


def read_texts(path: str, *, option: str = "--held-out") -> list[str]:
    """The texts of the file. Raises: InputError for a missing, empty or malformed file."""
    texts = _parquet_texts(path, option) if path.endswith(".parquet") else _json_texts(path, option)
    if not any(texts):
        raise InputError(f"{option} {path}: no text in it; name a file with at least one")
    return texts


def _json_texts(path: str, option: str) -> list[str]:
    try:
        lines = read_bytes(Path(path)).splitlines()
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise InputError(f"{option} {path}: {error}; name an existing file") from error

    texts = []
    for number, line in enumerate(lines, 1):
        try:
            text = json_value(line)["text"]
            text.encode()  # lone surrogates are no text, and cannot be encoded
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{option} {path}: line {number} is not a JSON object with a field `text` "
                f"({type(error).__name__}); write one such object a line"
            ) from error
        texts.append(text)
    return texts


def _parquet_texts(path: str, option: str) -> list[str]:
    """The column `text`; a null is no text."""
    try:
        with open(path, "rb") as stream:
            texts: list[str] = []
            num_bytes = 0
            for table in PartFile(stream, f"{option} {path}").tables(["text"]):
                column = table["text"].cast(pa.large_string())
                num_bytes += column.nbytes
                if num_bytes > MAX_UNPACKED_BYTES:
                    raise InputError(f"{option} {path}: more than {MAX_UNPACKED_BYTES:,} bytes")
                texts += (text or "" for text in column.to_pylist())
            return texts
    except (OSError, pa.ArrowException, SchemaError, UnicodeDecodeError) as error:
        raise InputError(
            f"{option} {path}: expected Parquet with a column `text` ({type(error).__name__}: "
            f"{error})"
        ) from error


def digest_of(path: str, option: str = "--held-out") -> str:
    """Digest of the file's bytes: a run continues with the texts that it began with."""
    return xxh3_128_hexdigest(_read(path, option))


def held_out_blocks(
    path: str, tokenizer: Tokenizer, block_size: int
) -> tuple[Callable[[], Iterable[np.ndarray]], int]:
    """Blocks that predict every token of the texts once, and the UTF-8 bytes of the texts.

    A text is followed by the end of text, as a document in the token files.
    """
    texts = read_texts(path)
    tokens, _ = tokenizer.encode_array(pa.array(texts, pa.large_string()), end_of_text=True)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(tokens) - 1, block_size):
            yield tokens[start : start + block_size + 1].astype(np.int64)

    return blocks, sum(len(text.encode()) for text in texts)


def _read(path: str, option: str = "--held-out") -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}; name an existing file") from error
