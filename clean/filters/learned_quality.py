"""The learned quality of a document: a model fitted by `webtext fit-quality`, and its use.

A model is one file: a line of JSON, then weights as little-endian float32. It holds numbers only,
so reading it runs nothing. Its digest is an input of `documents`. With `clean.quality.model` every
document has its quality in the column `quality`; documents below `clean.quality.model_threshold`
are dropped.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from xxhash import xxh3_128_hexdigest

from clean import detail
from clean.filters.hashed_words import features, margins
from clean.filters.quality import QualityConfig
from corpus.errors import InputError
from corpus.storage.store import Store, is_name
from corpus.tables.manifest import Input

FORMAT = "webtext-quality-1"
FOLDER = "models"
SUFFIX = ".quality"
MIN_BITS, MAX_BITS = 8, 24
# Longest first line of a model file.
MAX_HEAD_BYTES = 1 << 16
# Far above the last bit of a sum, which differs between machines.
DECIMALS = 4


class QualityModel(NamedTuple):
    """Weights by bucket, and the line from a score to a probability."""

    weights: np.ndarray  # (2^n,) float32
    bias: float
    slope: float
    offset: float

    def quality(self, texts: list[str]) -> list[float]:
        """The probability of each text to be a good one, 0 to 1."""
        found = features(texts, len(self.weights))
        scores = margins(*found, self.weights, self.bias)
        return [probability(self.slope * score + self.offset) for score in scores.tolist()]

    def to_bytes(self, about: dict[str, Any]) -> bytes:
        """The file. The same model and remarks give the same bytes."""
        head = {
            "format": FORMAT,
            "buckets": len(self.weights),
            "bias": self.bias,
            "slope": self.slope,
            "offset": self.offset,
            "about": about,
        }
        line = json.dumps(head, sort_keys=True).encode() + b"\n"
        return line + self.weights.astype("<f4").tobytes()


def probability(score: float) -> float:
    """The logistic function, rounded."""
    # exp of more than 700 is beyond floats.
    return round(1 / (1 + math.exp(-max(-700.0, min(700.0, score)))), DECIMALS)


def parse(data: bytes, place: str) -> QualityModel:
    """Read a model. Raises: InputError for anything else."""
    line = data[: MAX_HEAD_BYTES + 1].partition(b"\n")[0]
    try:
        head = json.loads(line)
        buckets = head["buckets"]
        numbers = [float(head[name]) for name in ("bias", "slope", "offset")]
        known = head["format"] == FORMAT and isinstance(buckets, int)
        if not known or not 1 << MIN_BITS <= buckets <= 1 << MAX_BITS or buckets & (buckets - 1):
            raise ValueError(f"format {head['format']!r} with {buckets!r} buckets")
        weights = np.frombuffer(data[len(line) + 1 :], "<f4")
        if len(weights) != buckets:
            raise ValueError(f"{len(weights)} weights for {buckets} buckets")
        if not (np.isfinite(weights).all() and all(map(math.isfinite, numbers))):
            raise ValueError("a number that is not finite")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"clean.quality.model: {place} is not a model of quality ({error}); make one with "
            "`webtext fit-quality`"
        ) from error
    return QualityModel(weights.astype(np.float32), *numbers)


def model_path(name: str) -> str:
    """The path in the corpus of a model by its name."""
    return f"{FOLDER}/{name}{SUFFIX}"


def read_model(store: Store, given: str) -> tuple[bytes, str]:
    """Bytes and place of a model: one of the corpus by its name, else a file.

    Raises: InputError if there is none.
    """
    if is_name(given) and store.exists(model_path(given)):
        return store.read_bytes(model_path(given)), f"{store.root}/{model_path(given)}"

    limit = MAX_HEAD_BYTES + 4 * (1 << MAX_BITS)
    try:
        path = Path(given)
        if path.stat().st_size > limit:
            raise InputError(f"clean.quality.model: {given} has more than {limit:,} bytes")
        return path.read_bytes(), given
    except OSError as error:
        raise InputError(
            f"clean.quality.model = {given!r}: no such model in {store.root}/{FOLDER} and no such "
            f"file ({error.strerror}); make one with `webtext fit-quality --corpus {store.root} "
            f"--name {given if is_name(given) else 'NAME'}`"
        ) from error


def quality_input(config: QualityConfig, store: Store) -> list[Input]:
    """The model as an input of `documents`, since another one makes other documents."""
    if not config.model:
        return []
    data, _ = read_model(store, config.model)
    return [Input(table="model", batch="quality", fingerprint=xxh3_128_hexdigest(data))]


class Scorer(NamedTuple):
    """A model with its threshold."""

    model: QualityModel
    threshold: float

    def judge(self, text: str) -> tuple[float, str | None]:
        """The quality of a text, and the detail of its drop if it is below the threshold."""
        (quality,) = self.model.quality([text])
        if quality >= self.threshold:
            return quality, None
        return quality, detail.below(quality, self.threshold, "quality", "quality.model_threshold")


def load_scorer(config: QualityConfig, store: Store) -> Scorer | None:
    """The scorer of the settings; None without a model."""
    if not config.model:
        return None
    return Scorer(_parsed(*read_model(store, config.model)), config.model_threshold)


@lru_cache(maxsize=1)
def _parsed(data: bytes, place: str) -> QualityModel:
    return parse(data, place)
