"""A keyed permutation of 0..n-1, computed for any index in constant time: the order of a training epoch.

A balanced Feistel network permutes the integers of an even number of bits; indices landing at n or
above follow their cycle until they fall below n (fewer than four steps on average). No list of
indices is ever held, so starting anywhere in an epoch of any length costs the same.

Sources: Luby and Rackoff 1988; Black and Rogaway 2002, "Ciphers with arbitrary finite domains"
(cycle walking).
"""

from __future__ import annotations

import numpy as np

# Luby and Rackoff need four; small domains mix visibly better with six
# (tests/shards/test_order.py).
ROUNDS = 6

_MULTIPLY = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Permutation:
    """A permutation of 0..n-1 chosen by `key`."""

    def __init__(self, n: int, *key: int) -> None:
        self.n = n
        self._half_bits = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half_bits)) - 1)
        self._round_keys = _round_keys(key)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Permute indices.

        Shapes: (k,) integers in 0..n-1 to (k,) int64 in the same range.
        """
        values = self._feistel(np.asarray(indices).astype(np.uint64))
        outside = np.flatnonzero(values >= np.uint64(self.n))
        while outside.size:
            values[outside] = self._feistel(values[outside])
            outside = outside[values[outside] >= np.uint64(self.n)]

        return values.astype(np.int64)

    def _feistel(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half_bits, values & self._mask
        for key in self._round_keys:
            left, right = right, left ^ (_mix(right + key) & self._mask)
        return (left << self._half_bits) | right


class WindowedPermutation:
    """A permutation of 0..n-1 through windows, for data too large to be at hand at once.

    The indices are cut into runs of `run` neighbours. The runs are permuted, and each `window` of
    consecutive ones is permuted index by index, so at any time all comes from `window` runs,
    anywhere. The rest after the last whole run stays at the end, within the last window. One index
    costs the same as in `Permutation`.
    """

    def __init__(self, n: int, run: int, window: int, *key: int) -> None:
        self.n, self.run = n, run
        self._num_runs = n // run
        self._size = window * run
        self._last = max(0, -(-self._num_runs // window) - 1)
        self._runs = Permutation(max(1, self._num_runs), *key, 1)
        self._key = key

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Permute indices.

        Shapes: (k,) integers in 0..n-1 to (k,) int64 in the same range.
        """
        indices = np.asarray(indices, np.int64)
        windows = np.minimum(indices // self._size, self._last)
        places = np.empty_like(indices)

        for window in np.unique(windows).tolist():
            here = windows == window
            first = window * self._size
            size = self._size if window < self._last else self.n - first
            places[here] = first + Permutation(size, *self._key, 2, window)(indices[here] - first)

        runs, within = np.divmod(places, self.run)
        whole = runs < self._num_runs
        places[whole] = self._runs(runs[whole]) * self.run + within[whole]

        return places


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64; products wrap modulo 2**64, on purpose."""
    values = (values ^ (values >> np.uint64(30))) * _MULTIPLY[0]
    values = (values ^ (values >> np.uint64(27))) * _MULTIPLY[1]
    return values ^ (values >> np.uint64(31))


def _round_keys(key: tuple[int, ...]) -> np.ndarray:
    """Shape (ROUNDS,) uint64, from a chain over the parts of the key: (1, 2) and (2, 1) differ."""
    state = np.zeros(1, np.uint64)
    for part in key:
        state = _mix((state ^ np.uint64(part & 0xFFFFFFFFFFFFFFFF)) + _GOLDEN)
    return _mix(state + _GOLDEN * np.arange(1, ROUNDS + 1, dtype=np.uint64))
