"""Bits per byte on texts of the user's, by domain: JSON lines or Parquet with a column `text`.

Models of some million parameters answer no question better than chance, but they differ in bits per
byte. Texts are read end to end, each followed by the end of text, as in `train.held_out`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpus.errors import InputError
from corpus.storage.store import is_name
from train.checkpoints.load import LoadedModel
from train.config import RuntimeConfig
from train.held_out import digest_of, read_texts
from train.machine.distributed import World, micro_batch_size
from train.validation import split_loss

# Of a set's name in scores.json, where official sets have theirs.
PREFIX = "texts:"


@dataclass(frozen=True)
class TextSet:
    """Held-out texts of one domain."""

    name: str
    path: str

    @property
    def digest(self) -> str:
        """Digest of the file's bytes."""
        return digest_of(self.path, "--texts")


def text_sets(given: Sequence[str]) -> list[TextSet]:
    """Sets of `--texts [NAME=]FILE`; without a name it is the file's. Raises: InputError."""
    found = []
    for each in given:
        name, equals, path = each.partition("=")
        if not equals:
            name, path = Path(each).name.partition(".")[0], each
        if not is_name(name):
            raise InputError(
                f"--texts {each}: expected NAME=FILE with a name of letters and digits"
            )
        found.append(TextSet(name, path))

    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise InputError(f"--texts: {', '.join(names)}: two of one name; name them with NAME=FILE")
    return found


def score_texts(loaded: LoadedModel, texts: TextSet, world: World) -> dict[str, float | int]:
    """Figures of one set. Raises: InputError for a file without texts."""
    rows = read_texts(texts.path, option="--texts")
    tokens = np.array(
        [token for text in rows for token in (*loaded.tokenizer.encode(text), loaded.end_of_text)],
        np.int64,
    )
    size = loaded.model.shape.block_size

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(tokens) - 1, size):
            yield tokens[start : start + size + 1]

    loss = split_loss(
        loaded.model,
        blocks(),
        sum(len(text.encode()) for text in rows),
        batch=micro_batch_size(RuntimeConfig(), world.device, size),
        world=world,
    )
    return {
        "texts": len(rows),
        "tokens": loss.num_tokens,
        "bytes": loss.num_bytes,
        "nats_per_token": loss.nats_per_token,
        "bits_per_byte": loss.bits_per_byte,
    }


def table(scores: Mapping[str, Any]) -> str:
    """Bits per byte by set as a Markdown table; empty without such a set."""
    found = {
        name.removeprefix(PREFIX): figures
        for name, figures in scores["sets"].items()
        if name.startswith(PREFIX)
    }
    if not found:
        return ""

    rows = ["| texts | number | bytes | bits per byte |", "| --- | ---: | ---: | ---: |"]
    rows += [
        f"| {name} | {each['texts']:,} | {each['bytes']:,} | {each['bits_per_byte']:.4f} |"
        for name, each in found.items()
    ]
    mean = math.fsum(each["bits_per_byte"] for each in found.values()) / len(found)
    return "\n".join([*rows, f"| mean of {len(found)} | | | {mean:.4f} |"])
