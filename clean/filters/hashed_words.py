"""Words and pairs of words of a text as hashed features, and a linear model over them.

Every word and every pair of neighbours falls into one of 2^n buckets (Weinberger et al. 2009). A
text is the logarithm of its counts, scaled to length 1. Letters are lower-cased, digits are one
sign, punctuation marks and line ends are words. All loops run in one order, so the same texts give
the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from corpus.compiled import compiler
from corpus.compiled_registry import example

# Bytes to read of a text: the cost of a page is bounded, and its start tells most.
MAX_BYTES = 1 << 16
_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_UPPER_A, _UPPER_Z, _LOWER_A, _LOWER_Z = ord("A"), ord("Z"), ord("a"), ord("z")
_ZERO, _NINE, _SPACE, _APOSTROPHE = ord("0"), ord("9"), ord(" "), ord("'")
_CASE = _LOWER_A - _UPPER_A
_ASCII = 128
# AdaGrad's step (Duchi et al. 2011), and its pull to 0.
_STEP, _DECAY = 0.3, 1e-6
_EPS = 1e-8


class Features(NamedTuple):
    """Texts as rows: text i has `buckets[starts[i]:starts[i + 1]]` with these values."""

    buckets: np.ndarray  # (k,) int32
    values: np.ndarray  # (k,) float32
    starts: np.ndarray  # (n + 1,) int64


def features(texts: Sequence[str], num_buckets: int) -> Features:
    """The features of texts. `num_buckets` is a power of two."""
    buckets, values, starts = [], [], [0]
    for text in texts:
        found, counts = _counted(text, num_buckets)
        weights = np.log1p(counts)
        norm = np.sqrt(np.sum(weights * weights)) or 1.0
        buckets.append(found)
        values.append((weights / norm).astype(np.float32))
        starts.append(starts[-1] + len(found))
    if not texts:
        return Features(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(1, np.int64))
    return Features(np.concatenate(buckets), np.concatenate(values), np.array(starts, np.int64))


def _counted(text: str, num_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    data = np.frombuffer(text.encode("utf-8", "replace")[:MAX_BYTES], np.uint8)
    out = np.empty(2 * len(data) + 2, np.int32)
    num = _hash_words(data, np.uint64(num_buckets - 1), out)
    return np.unique(out[:num], return_counts=True)


@compiler()
def _hash_words(data: np.ndarray, mask: np.uint64, out: np.ndarray) -> int:
    """Write the bucket of each word and of each pair; their number."""
    num = 0
    before = np.uint64(0)
    word = _FNV_START
    inside = False
    for place in range(len(data) + 1):
        byte = np.int64(data[place]) if place < len(data) else np.int64(_SPACE)
        if _UPPER_A <= byte <= _UPPER_Z:
            byte += _CASE
        elif _ZERO <= byte <= _NINE:
            byte = np.int64(_ZERO)
        letter = _LOWER_A <= byte <= _LOWER_Z or byte >= _ASCII
        if letter or byte in (_ZERO, _APOSTROPHE):
            word = (word ^ np.uint64(byte)) * _FNV_PRIME
            inside = True
            continue

        # The word ending here, then the sign itself unless it is a space.
        for sign in range(2):
            if sign == 0:
                if not inside:
                    continue
                token = word
                word = _FNV_START
                inside = False
            else:
                if byte == _SPACE:
                    continue
                token = (_FNV_START ^ np.uint64(byte)) * _FNV_PRIME
            mixed = token * _MIX
            out[num] = np.int32((mixed ^ (mixed >> _SHIFT)) & mask)
            num += 1
            if before != np.uint64(0):
                mixed = (before * _FNV_PRIME ^ token) * _MIX
                out[num] = np.int32((mixed ^ (mixed >> _SHIFT)) & mask)
                num += 1
            before = token
    return num


@compiler()
def margins(
    buckets: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    weights: np.ndarray,
    bias: float,
) -> np.ndarray:
    """The linear score of each row. Shape (n,) float64."""
    found = np.empty(len(starts) - 1, np.float64)
    for row in range(len(found)):
        total = bias
        for place in range(starts[row], starts[row + 1]):
            total += np.float64(weights[buckets[place]]) * np.float64(values[place])
        found[row] = total
    return found


@compiler()
def fit(
    buckets: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    labels: np.ndarray,
    order: np.ndarray,
    num_buckets: int,
) -> tuple[np.ndarray, float]:
    """Logistic regression by AdaGrad over rows in the given order; weights and constant."""
    weights = np.zeros(num_buckets, np.float64)
    squares = np.zeros(num_buckets, np.float64)
    bias, bias_squares = 0.0, 0.0
    for index in range(len(order)):
        row = order[index]
        total = bias
        for place in range(starts[row], starts[row + 1]):
            total += weights[buckets[place]] * values[place]
        error = 1.0 / (1.0 + np.exp(-total)) - labels[row]

        bias_squares += error * error
        bias -= _STEP * error / (np.sqrt(bias_squares) + _EPS)
        for place in range(starts[row], starts[row + 1]):
            bucket = buckets[place]
            gradient = error * values[place] + _DECAY * weights[bucket]
            squares[bucket] += gradient * gradient
            weights[bucket] -= _STEP * gradient / (np.sqrt(squares[bucket]) + _EPS)
    return weights, bias


@example
def _fit_and_judge() -> None:
    rows = features(["a b"], 2)
    weights, bias = fit(*rows, np.zeros(1), np.zeros(1, np.int64), 2)
    margins(*rows, weights, bias)
    margins(*rows, weights.astype(np.float32), bias)
