"""Shingles to signatures: MinHash, bit for bit as `datasketch.MinHash` under the scheme `affine32`.

The scheme: the upper 32 bits of a shingle's hash, mixed once by MurmurHash3's finalizer (a
bijection), then per permutation k the value a[k] * h + b[k] modulo 2**32 with odd a[k] (a bijection
too); the signature holds the minima. The share of equal positions of two signatures estimates the
Jaccard similarity, with standard error sqrt(J (1 - J) / num_perm).

Our signatures load into datasketch (`MinHash(hashvalues=..., scheme="affine32", seed=...)`,
`LeanMinHash` bytes) and the other way round. Sources: Broder 1997; datasketch 2.0 (scheme and byte
format).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from corpus.compiled_registry import example
from corpus.config import Section
from dedup.words import Ragged, content_hashes, ngram_hashes, slices, word_hashes

# The value that every position of an empty set's signature has.
EMPTY = np.uint32(0xFFFFFFFF)
_LEAN_HEADER = struct.Struct("<qiB")
_AFFINE32_CODE = 1


class MinhashConfig(Section):
    """Settings of signatures; the number of permutations follows from the bands."""

    scheme: Literal["affine32"] = "affine32"
    """Family of permutations, named as in datasketch 2.0."""
    seed: int = 1
    """Seed of the permutations (datasketch's default); from 0 to 2**32 - 1."""

    def model_post_init(self, context: object) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed is {self.seed}; allowed: 0 to {(1 << 32) - 1}")


@dataclass(frozen=True, slots=True)
class Permutations:
    """h -> factors * h + offsets modulo 2**32. Shapes (num_perm,) uint32; the factors are odd."""

    factors: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, slots=True)
class Signatures:
    """Result of one pass over texts: content hash, number of distinct shingles, signature."""

    content: np.ndarray
    """(texts, 2) uint64."""
    num_shingles: np.ndarray
    """(texts,) int32; 0 for a text without words."""
    values: np.ndarray
    """(texts, num_perm) uint32."""


def permutations(num_perm: int, seed: int) -> Permutations:
    """The permutations of `datasketch.MinHash(num_perm, seed, scheme="affine32")`."""
    # The legacy generator, and factors before offsets: datasketch draws them so, and signatures
    # are exchanged with it bit for bit.
    generator = np.random.RandomState(seed)
    factors = generator.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return Permutations(factors, generator.randint(0, 1 << 32, num_perm, dtype=np.uint32))


def sign(texts: pa.Array, n: int, perms: Permutations) -> Signatures:
    """Signatures of the word n-grams of every text, in bounded slices of text."""
    pieces = [
        _sign_slice(texts.slice(first, after - first), n, perms) for first, after in slices(texts)
    ]

    return Signatures(
        np.concatenate([np.zeros((0, 2), np.uint64), *(piece.content for piece in pieces)]),
        np.concatenate([np.zeros(0, np.int32), *(piece.num_shingles for piece in pieces)]),
        np.concatenate(
            [np.zeros((0, perms.factors.size), np.uint32), *(piece.values for piece in pieces)]
        ),
    )


def signatures(hashes: Ragged, perms: Permutations) -> np.ndarray:
    """Minima over the rows of 64-bit hashes.

    Shape (rows, num_perm) uint32; EMPTY throughout for an empty row.
    """
    mixed = _mix32((hashes.values >> np.uint64(32)).astype(np.uint32))
    result = np.full((len(hashes), perms.factors.size), EMPTY, np.uint32)
    from dedup import kernels

    kernels.minima(mixed, hashes.bounds, perms.factors, perms.offsets, result)
    return result


def distinct(hashes: Ragged) -> Ragged:
    """Every row without repetitions, in order of first appearance."""
    from dedup import kernels

    longest = int(hashes.lengths().max(initial=1))
    # Open addressing at most half full, a power of two so that a mask replaces the remainder.
    slots = np.zeros(1 << max(2, int(2 * longest - 1).bit_length()), np.uint64)
    values = np.empty_like(hashes.values)
    bounds = np.empty_like(hashes.bounds)
    count = kernels.distinct(hashes.values, hashes.bounds, slots, values, bounds)

    return Ragged(values[:count], bounds)


def similarity(left: np.ndarray, right: np.ndarray) -> float:
    """Estimated Jaccard similarity of two signatures."""
    return float((left == right).mean())


def to_lean_bytes(signature: np.ndarray, seed: int) -> bytes:
    """A signature as `datasketch.LeanMinHash.serialize(buf, "<")` writes it."""
    return (
        _LEAN_HEADER.pack(seed, -signature.size, _AFFINE32_CODE) + signature.astype("<u4").tobytes()
    )


def from_lean_bytes(data: bytes) -> tuple[np.ndarray, int]:
    """(signature, seed) from little-endian LeanMinHash bytes.

    Raises ValueError for another scheme.
    """
    seed, size, code = _LEAN_HEADER.unpack_from(data)
    if size >= 0 or code != _AFFINE32_CODE:
        raise ValueError(
            f"LeanMinHash bytes of another scheme (size field {size}, code {code}); "
            f"expected affine32 (code {_AFFINE32_CODE})"
        )

    return np.frombuffer(data, "<u4", -size, _LEAN_HEADER.size).astype(np.uint32), seed


def _sign_slice(texts: pa.Array, n: int, perms: Permutations) -> Signatures:
    words = word_hashes(texts)
    shingles = distinct(ngram_hashes(words, n))
    return Signatures(
        content_hashes(words),
        shingles.lengths().astype(np.int32),
        signatures(shingles, perms),
    )


def _mix32(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finalizer, element by element."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


@example
def _sign_a_page() -> None:
    sign(pa.array(["one two three"], pa.large_string()), 2, permutations(1, 1))
