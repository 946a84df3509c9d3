"""Merkle trees as RFC 6962 builds them, in one pass and little memory.

A leaf's hash is SHA-256(0x00 || leaf), a node's SHA-256(0x01 || left || right); of n leaves the
left subtree has the largest power of two below n. The prefixes keep a node from passing for a leaf.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two children."""
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(slots=True)
class Watched:
    """A leaf with the siblings of its path to the root."""

    leaf: bytes
    index: int
    path: list[str] = field(default_factory=list)
    """From the leaf upwards: `l` or `r` for the sibling's side, then its hash in hex."""


@dataclass(slots=True)
class _Subtree:
    num_leaves: int
    hash: bytes
    watched: list[Watched]


class MerkleTree:
    """The root over leaves added one by one, and the paths of the watched ones.

    Memory: one hash for each level, and the paths.
    """

    def __init__(self) -> None:
        self.num_leaves = 0
        self._peaks: list[_Subtree] = []

    def add(self, leaf: bytes, *, watch: bool = False) -> None:
        """Add one leaf; with `watch` its path is kept."""
        watched = [Watched(leaf, self.num_leaves)] if watch else []
        self.num_leaves += 1
        self._peaks.append(_Subtree(1, leaf_hash(leaf), watched))
        # Equal neighbours make the next complete subtree, as carries do in a binary counter.
        while len(self._peaks) > 1 and self._peaks[-1].num_leaves == self._peaks[-2].num_leaves:
            self._join()

    def finish(self) -> tuple[bytes, list[Watched]]:
        """Return (root, watched leaves in order). Nothing may be added afterwards."""
        while len(self._peaks) > 1:
            self._join()
        if not self._peaks:
            return hashlib.sha256().digest(), []
        return self._peaks[0].hash, self._peaks[0].watched

    def _join(self) -> None:
        right, left = self._peaks.pop(), self._peaks.pop()
        for each in left.watched:
            each.path.append("r" + right.hash.hex())
        for each in right.watched:
            each.path.append("l" + left.hash.hex())

        count = left.num_leaves + right.num_leaves
        hashed = node_hash(left.hash, right.hash)
        self._peaks.append(_Subtree(count, hashed, left.watched + right.watched))
