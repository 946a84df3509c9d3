"""The fit of a quality model: folds, calibration, and its worth on unseen texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from xxhash import xxh3_64_intdigest

from clean.filters import hashed_words
from clean.filters.hashed_words import Features, features
from clean.filters.learned_quality import QualityModel
from corpus.errors import InputError
from webtext.quality.labels import Labelled

NUM_FOLDS = 5
EPOCHS = 3
# Fewer of one class cannot be told from chance.
LEAST_OF_CLASS = 50
FOLD_SEED = 5
CALIBRATION_BINS = 10
NEWTON_STEPS = 30


class Fitted(NamedTuple):
    """The model, and its measurements on folds left out of its fit."""

    model: QualityModel
    num_good: int
    num_bad: int
    auc: float
    auc_error: float
    """Standard error of the AUC (Hanley and McNeil 1982)."""
    brier: float
    calibration: list[tuple[float, float, int]]
    """Mean quality, share of good ones and number, by tenths of the quality."""

    @property
    def tells_something(self) -> bool:
        """True if the AUC is above chance by two standard errors."""
        return self.auc - 2 * self.auc_error > 0.5


def fit(examples: Sequence[Labelled], num_buckets: int, seed: int) -> Fitted:
    """Fit on all examples, and measure on folds by group. Raises: InputError for too few."""
    labels = np.array([each.good for each in examples], np.float64)
    num_good = int(labels.sum())
    num_bad = len(labels) - num_good
    if min(num_good, num_bad) < LEAST_OF_CLASS:
        raise InputError(
            f"fit-quality: {num_good} good and {num_bad} bad texts; expected at least "
            f"{LEAST_OF_CLASS} of both; name more batches, or texts with --labelled"
        )

    rows = features([each.text for each in examples], num_buckets)
    folds = np.array(
        [xxh3_64_intdigest(each.group.encode(), FOLD_SEED) % NUM_FOLDS for each in examples]
    )
    unseen = np.zeros(len(labels))
    for fold in range(NUM_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        weights, bias = _fit_rows(rows, labels, inside, num_buckets, seed)
        found = hashed_words.margins(*rows, weights, bias)
        unseen[outside] = found[outside]

    slope, offset = calibrated(unseen, labels)
    weights, bias = _fit_rows(rows, labels, np.arange(len(labels)), num_buckets, seed)
    model = QualityModel(weights.astype(np.float32), float(bias), slope, offset)
    quality = 1 / (1 + np.exp(-np.clip(slope * unseen + offset, -700, 700)))
    value = auc(unseen, labels)
    return Fitted(
        model,
        num_good,
        num_bad,
        value,
        auc_error(value, num_good, num_bad),
        float(np.mean((quality - labels) ** 2)),
        calibration(quality, labels),
    )


def _fit_rows(
    rows: Features, labels: np.ndarray, chosen: np.ndarray, num_buckets: int, seed: int
) -> tuple[np.ndarray, float]:
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(chosen) for _ in range(EPOCHS)])
    found: tuple[np.ndarray, float] = hashed_words.fit(*rows, labels, order, num_buckets)
    return found


def calibrated(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic function of scores, by Newton's method (Platt 1999).

    A slope below 0 would turn the model around, so it is 0 then: the model says nothing.
    """
    slope, offset = 1.0, 0.0
    # Platt's targets are off 0 and 1, which keeps a perfect separation finite.
    good = labels.sum()
    bad = len(labels) - good
    targets = np.where(labels > 0, (good + 1) / (good + 2), 1 / (bad + 2))
    for _ in range(NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(slope * scores + offset, -30, 30)))
        error = likely - targets
        spread = likely * (1 - likely) + 1e-9
        matrix = np.array(
            [
                [np.sum(spread * scores * scores) + 1e-6, np.sum(spread * scores)],
                [np.sum(spread * scores), np.sum(spread) + 1e-6],
            ]
        )
        step = np.linalg.solve(matrix, [np.sum(error * scores), np.sum(error)])
        slope, offset = slope - float(step[0]), offset - float(step[1])

    if slope <= 0:
        return 0.0, round(math.log((good + 1) / (bad + 1)), 6)
    return round(slope, 6), round(offset, 6)


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability of a good text scoring above a bad one; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    good = int(labels.sum())
    bad = len(labels) - good
    return float((ranks[labels > 0].sum() - good * (good + 1) / 2) / (good * bad))


def auc_error(value: float, good: int, bad: int) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982, equation 1)."""
    one, two = value / (2 - value), 2 * value * value / (1 + value)
    total = value * (1 - value) + (good - 1) * (one - value**2) + (bad - 1) * (two - value**2)
    return math.sqrt(max(0.0, total) / (good * bad))


def calibration(quality: np.ndarray, labels: np.ndarray) -> list[tuple[float, float, int]]:
    """Mean quality, share of good ones and number of texts, by tenths of the quality."""
    bins = np.minimum((quality * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        (float(quality[here].mean()), float(labels[here].mean()), int(here.sum()))
        for here in (bins == number for number in range(CALIBRATION_BINS))
        if here.any()
    ]
