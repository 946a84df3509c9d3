"""The linear model: log-odds of a page to be a soft failure, from the numbers of `features`.

Fitted by `python -m tools.fit_soft_failures`. Logistic regression, since a reader can check each
weight, and since a score is one product.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

import numpy as np
from xxhash import xxh3_128_hexdigest

from clean.soft_failures.features import NAMES
from clean.soft_failures.lexicon import PHRASES_FILE
from corpus.errors import InputError

MODEL_FILE: Final = "model.json"


class LinearJudge(NamedTuple):
    """Weights by feature, and the constant."""

    weights: np.ndarray  # (features,) float64
    bias: float

    def score(self, features: np.ndarray) -> float:
        """Log-odds, rounded far above the last bit, which differs between machines."""
        return round(float(features @ self.weights) + self.bias, 6)


@cache
def model() -> LinearJudge:
    """The model of the package.

    Raises: InputError if its features are not those of this code.
    """
    found = json.loads(_read(MODEL_FILE))
    if tuple(found["weights"]) != NAMES:
        raise InputError(
            "the model of soft failures was fitted with other features; "
            "fit it again with `python -m tools.fit_soft_failures`"
        )
    return LinearJudge(np.array(list(found["weights"].values()), np.float64), float(found["bias"]))


@cache
def judge_digest() -> str:
    """xxh3-128 of model and phrases. Documents depend on them, so they are an input of a batch."""
    return xxh3_128_hexdigest(_read(MODEL_FILE) + _read(PHRASES_FILE))


def _read(name: str) -> bytes:
    return resources.files("clean.soft_failures").joinpath(name).read_bytes()
