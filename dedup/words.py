"""Text to words to hashed n-grams: the one rule of near-duplicates and test-set overlap.

`folding` defines word characters. A word is hashed to 64 bits from its folded code points; an
n-gram from its words' hashes, as a rolling polynomial, mixed at the end together with n. A text
with fewer than n words (but at least one) has one shorter gram instead of none. The seeds are
fixed: the hashes are part of the index.

The loops are compiled (`kernels`); the tests hold them against plain numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from corpus.compiled_registry import example
from corpus.config import Section
from dedup import folding
from dedup.near_duplicates.containment import is_contained

WORD_SEED = np.uint64(0x9E3779B97F4A7C15)
WORD_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
NGRAM_BASE = np.uint64(0x9FB21C651E98DF25)
LENGTH_SALT = np.uint64(0xC2B2AE3D27D4EB4F)
CONTENT_SALTS = (np.uint64(0x165667B19E3779F9), np.uint64(0x27D4EB2F165667C5))
# Reached by squared Katakana abbreviations: three bytes that fold to six words.
MOST_WORDS_PER_BYTE = 2
# Text that is worked on at a time: bounds the arrays of hashes, which take some 4 bytes per byte
# of text.
SLICE_BYTES = 16 << 20


class ShinglesConfig(Section):
    """The unit of comparison of near-duplicates."""

    normalizer: Literal["words-2"] = "words-2"
    """Rule from text to words (`dedup/folding.py`), recorded so that the index of another rule is
    refused. words-1 (Unicode 14) was that of earlier versions."""
    n: int = 5
    """Words in a shingle; 5 as in OpenWebText, MassiveText and FineWeb. From 1 to 64."""

    def model_post_init(self, context: object) -> None:
        if not 1 <= self.n <= 64:
            raise ValueError(f"n is {self.n}; allowed: 1 to 64 words")


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths in one array: row i is values[bounds[i]:bounds[i + 1]]."""

    values: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return self.bounds.size - 1

    def row(self, index: int) -> np.ndarray:
        """Row `index`, a view."""
        return self.values[self.bounds[index] : self.bounds[index + 1]]

    def lengths(self) -> np.ndarray:
        """(rows,) int64."""
        return np.diff(self.bounds)


def mix(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 64-bit finalizer, element by element: a bijection with good diffusion."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def slices(texts: pa.Array, slice_bytes: int = SLICE_BYTES) -> Iterator[tuple[int, int]]:
    """Yield (first row, row after the last) of runs of texts of about `slice_bytes` in all.

    Each has at least one text.
    """
    offsets, _ = text_buffers(texts)
    first = 0
    while first < len(texts):
        after = int(np.searchsorted(offsets, offsets[first] + slice_bytes, "right")) - 1
        after = min(max(after, first + 1), len(texts))
        yield first, after
        first = after


def read_only(values: np.ndarray) -> np.ndarray:
    """A read-only view: compiled loops would be compiled once more for writable arrays."""
    view = values.view()
    view.flags.writeable = False
    return view


def text_buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(offsets (n + 1,) int64, bytes uint8) behind an array of strings without nulls, uncopied."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    wide = pa.types.is_large_string(texts.type)
    _, offset_buffer, data_buffer = texts.buffers()
    if len(texts) == 0 or offset_buffer is None:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)

    offsets = np.frombuffer(offset_buffer, np.int64 if wide else np.int32)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    data = (
        np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    )

    return offsets, data


def word_hashes(texts: pa.Array | pa.ChunkedArray) -> Ragged:
    """The 64-bit hashes of the words of every text, in order."""
    offsets, data = text_buffers(texts)
    table = folding.load()
    from dedup import kernels

    hashes = np.empty(MOST_WORDS_PER_BYTE * int(offsets[-1] - offsets[0]), np.uint64)
    bounds = np.empty(offsets.size, np.int64)
    count = kernels.hash_words(
        read_only(data),
        offsets,
        table.codes,
        table.expansions,
        WORD_SEED,
        WORD_MULTIPLIER,
        hashes,
        bounds,
    )

    return Ragged(hashes[:count].copy(), bounds)


def ngram_hashes(words: Ragged, n: int) -> Ragged:
    """The 64-bit hashes of the n-grams of every row of `words`.

    One shorter gram for a row of fewer words, none for none.
    """
    from dedup import kernels

    hashes = np.empty(words.values.size, np.uint64)
    bounds = np.empty_like(words.bounds)
    count = kernels.hash_ngrams(
        words.values, words.bounds, n, NGRAM_BASE, LENGTH_SALT, hashes, bounds
    )

    return Ragged(hashes[:count], bounds)


def shingle_sets(words: Ragged, n: int) -> Ragged:
    """The distinct shingles of every row of `words`, ascending: the input of exact Jaccard."""
    grams = ngram_hashes(words, n)
    sets = [_distinct(np.sort(grams.row(index))) for index in range(len(grams))]
    bounds = np.cumsum([0, *(each.size for each in sets)], dtype=np.int64)
    return Ragged(np.concatenate([np.zeros(0, np.uint64), *sets]), bounds)


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Exact Jaccard similarity of two ascending arrays of distinct values.

    Two empty sets have 0.
    """
    if left.size + right.size == 0:
        return 0.0

    from dedup import kernels

    shared = int(kernels.count_shared(left, right))
    return shared / (left.size + right.size - shared)


def similarity(
    left: np.ndarray, right: np.ndarray, threshold: float, containment: float = 0.0
) -> float:
    """Exact Jaccard similarity, or 0 where the sizes alone rule the threshold out.

    With `containment`, also 0 if `right` is no duplicate of `left` (`is_contained`).
    """
    if containment:
        value = jaccard(left, right)
        if value >= threshold or is_contained(left.size, right.size, value, containment):
            return value
        return 0.0

    # A quotient like the similarity's own: a product with the threshold would round differently at equality.
    if min(left.size, right.size) / max(left.size, right.size, 1) < threshold:
        return 0.0
    return jaccard(left, right)


def _distinct(ascending: np.ndarray) -> np.ndarray:
    keep = np.ones(ascending.size, bool)
    keep[1:] = ascending[1:] != ascending[:-1]
    return ascending[keep]


def content_hashes(words: Ragged) -> np.ndarray:
    """128 bits over the sequence of words of every text.

    Shape (texts, 2) uint64; equal for equal normalised texts.
    """
    from dedup import kernels

    lanes = [np.empty(len(words), np.uint64) for _ in CONTENT_SALTS]
    for lane, salt in zip(lanes, CONTENT_SALTS, strict=True):
        kernels.hash_contents(words.values, words.bounds, salt, NGRAM_BASE, LENGTH_SALT, lane)
    return np.stack(lanes, axis=1)


def word_spans(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Places of the words of one text: (starts, ends) in code points, half-open.

    Shapes (words,) int32.
    """
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
    codes, position = _expand(folding.load(), points, np.arange(points.size))
    starts, ends, _, position = _cut(codes, np.zeros(codes.size, np.int64), position)
    return position[starts].astype(np.int32), (position[ends - 1] + 1).astype(np.int32)


def split_words(text: str) -> list[tuple[str, int, int]]:
    """(folded word, start, end) of every word of one text, in code points: the rule, readable.

    For looking, not for bulk.
    """
    table = folding.load()
    found: list[tuple[str, int, int]] = []
    word, start, end = "", 0, 0

    for position, character in enumerate(text):
        for code in table.of(ord(character)):
            if word and (code == folding.BREAK or code >= folding.ALONE):
                found.append((word, start, end))
                word = ""
            if code >= folding.ALONE:
                found.append((chr(code - folding.ALONE), position, position + 1))
            elif code != folding.BREAK:
                start = start if word else position
                word, end = word + chr(code), position + 1

    if word:
        found.append((word, start, end))
    return found


def _cut(
    codes: np.ndarray, owner: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(starts, ends) of the words among the significant codes, these codes, and their positions."""
    keep = codes != folding.NOTHING
    codes, owner, position = codes[keep], owner[keep], position[keep]
    alone = codes >= folding.ALONE
    letter = codes > 0
    # A word begins at a letter that no letter of the same text and word precedes.
    follows = np.zeros(codes.size, bool)
    follows[1:] = letter[1:] & letter[:-1] & ~alone[1:] & ~alone[:-1] & (owner[1:] == owner[:-1])
    starts = np.flatnonzero(letter & ~follows)
    ends_before = np.flatnonzero(~follows)
    after = np.searchsorted(ends_before, starts, "right")
    ends = np.append(ends_before, codes.size)[after]

    return starts, ends, codes, position


def _expand(
    table: folding.Folding, points: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace every character by its folding."""
    codes = table.codes[points]
    several = codes >= folding.EXPANSION
    lengths = np.where(several, codes & 31, 1)
    first = np.cumsum(lengths) - lengths
    result = np.repeat(codes, lengths)
    within = np.arange(result.size) - np.repeat(first, lengths)
    base = np.repeat(np.where(several, (codes & ~folding.EXPANSION) >> 5, 0), lengths)
    spread = np.repeat(several, lengths)
    result[spread] = table.expansions[(base + within)[spread]]

    return result, np.repeat(owner, lengths)


@example
def _compare_two_pages() -> None:
    sets = shingle_sets(word_hashes(pa.array(["one two three"], pa.large_string())), 2)
    jaccard(sets.values, sets.values)
