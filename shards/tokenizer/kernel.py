"""Byte-level BPE over the UTF-8 bytes of many documents at once, compiled: the encoder behind `shards.tokenizer`.

Three ideas. The split rule is a scanner over bytes with a table of Unicode classes instead of a regular expression.
A word met before is looked up in a cache of fixed size, one 64-byte line per word (up to 24 bytes of it and 8 ids),
where a newcomer replaces whoever has its place: memory is bounded and the ids never depend on what it holds. Any other
word is merged pair by pair, lowest rank first and leftmost among equals, which is the definition of BPE; long words
use a heap, so that a megabyte without a space costs n log n.

GPT-2's rule: 's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from corpus.compiled import compiler

SPACE, LETTER, NUMBER, OTHER = 0, 1, 2, 3
CACHE_BITS = 18
"""2**18 lines are 16 MiB: 68 MB/s of prose where 2**16 gave 51 (2026-11, 2 MiB of second-level cache)."""
CACHE_WORDS = 8
"""uint64s of a cache line: 3 of bytes, 1 of lengths, 4 of ids."""
MAX_CACHED_BYTES = 24
MAX_CACHED_IDS = 8
HEAP_FROM = 48
"""Bytes of a word from which the heap beats the scan for the lowest rank (measured: equal near 40..60)."""
NO_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)
CHUNK_BYTES = 1 << 22
"""Text encoded per call: its ids need four times that."""

compiled = compiler()
inlined = compiler(inline="always")


class Encoder:
    """The tables of one vocabulary, and its cache of words.

    For several threads too: a call holds the interpreter's lock, since two that write one line of the cache at a time
    would leave it with the bytes of one word and the ids of another.
    """

    def __init__(self, byte_ids: np.ndarray, merges: np.ndarray) -> None:
        """`byte_ids` (256,): id of each byte; `merges` (m, 3): left id, right id, id of the two together, by rank."""
        self._byte_ids = byte_ids.astype(np.uint32)
        self._keys, self._values = _pair_table(merges)
        self._classes = unicode_classes()
        self._cache = np.zeros((1 << CACHE_BITS) * CACHE_WORDS, np.uint64)

    def encode(
        self, data: np.ndarray, ends: np.ndarray, end_of_text: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the documents that lie one after another in `data`, each followed by `end_of_text` if given.

        Shapes: data (n,) uint8, UTF-8; ends (d + 1,) int64, the start of the first document, then the end of each.
        Returns: ids (t,) uint32, number of ids per document (d,) int64.
        """
        counts = np.zeros(len(ends) - 1, np.int64)
        pieces = []
        first = 0
        while first < len(counts):
            last = max(
                first + 1, int(np.searchsorted(ends, ends[first] + CHUNK_BYTES, "right")) - 1
            )
            size = int(ends[last] - ends[first])
            text = np.zeros(size + 9, np.uint8)
            text[:size] = data[ends[first] : ends[last]]
            # The eight bytes from each byte on, as one integer: overlapping views of the same memory. At least two,
            # since an array of one counts as contiguous, for which everything would be compiled once more.
            windows = np.ndarray((max(size, 2),), np.uint64, text, strides=(1,))
            out = np.empty(size + last - first, np.uint32)
            used = _encode(
                text, windows, ends[first : last + 1] - ends[first], self._classes, self._byte_ids,
                self._keys, self._values, self._cache, out, counts[first:last],
                -1 if end_of_text is None else end_of_text,
            )  # fmt: skip
            pieces.append(out[:used])
            first = last
        ids = pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.uint32), *pieces])
        return ids, counts


def run_loops() -> None:
    """Every loop of this file once, on next to nothing: what runs later finds its machine code."""
    Encoder(np.arange(256), np.array([[97, 98, 256]])).encode(
        np.array([97, 98], np.uint8), np.array([0, 2])
    )


def unicode_classes() -> np.ndarray:
    """Class of every code point. Shape (0x200000,) uint8: as many as four bytes can spell, so no index leaves it."""
    text = resources.files("shards.tokenizer").joinpath("unicode_classes.txt").read_text("ascii")
    runs = [line.split() for line in text.splitlines() if not line.startswith("#")]
    starts = np.array([int(start, 16) for start, _ in runs])
    kinds = np.array(["SLNO".index(kind) for _, kind in runs], np.uint8)
    return np.repeat(kinds, np.diff(starts, append=0x200000))


def _pair_table(merges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An open-addressing table at most half full: key left << 32 | right, value rank << 32 | id."""
    bits = max(4, int(2 * len(merges)).bit_length())
    keys = np.full(1 << bits, NO_PAIR, np.uint64)
    values = np.full(1 << bits, NO_PAIR, np.uint64)
    _fill_pairs(merges.astype(np.uint64), keys, values)
    return keys, values


@compiled
def _fill_pairs(merges: Any, keys: Any, values: Any) -> None:
    mask = np.uint64(len(keys) - 1)
    for rank in range(len(merges)):
        key = (merges[rank, 0] << np.uint64(32)) | merges[rank, 1]
        slot = _hash(key) & mask
        while keys[slot] != NO_PAIR and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if keys[slot] == NO_PAIR:
            keys[slot] = key
            values[slot] = (np.uint64(rank) << np.uint64(32)) | merges[rank, 2]


@inlined
def _hash(key: Any) -> Any:
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(32))


@inlined
def _low_bytes(n: Any) -> Any:
    """A mask of the n lowest bytes, 1 <= n <= 7."""
    return (np.uint64(1) << np.uint64(8 * n)) - np.uint64(1)


@compiled
def _pair(left: Any, right: Any, keys: Any, values: Any) -> Any:
    """rank << 32 | id of a pair that merges, else NO_PAIR."""
    key = (np.uint64(left) << np.uint64(32)) | np.uint64(right)
    mask = np.uint64(len(keys) - 1)
    slot = _hash(key) & mask
    while True:
        found = keys[slot]
        if found == key:
            return values[slot]
        if found == NO_PAIR:
            return NO_PAIR
        slot = (slot + np.uint64(1)) & mask


@inlined
def _char(data: Any, i: Any, end: Any, classes: Any) -> Any:
    """(class, bytes) of the character at i; a broken sequence is one byte of OTHER."""
    byte = data[i]
    if byte < 0x80:
        return classes[byte], 1
    if byte < 0xE0:
        if i + 2 > end:
            return np.uint8(OTHER), 1
        point = (np.int64(byte & 0x1F) << 6) | np.int64(data[i + 1] & 0x3F)
        return classes[point], 2
    if byte < 0xF0:
        if i + 3 > end:
            return np.uint8(OTHER), 1
        point = (
            (np.int64(byte & 0x0F) << 12)
            | (np.int64(data[i + 1] & 0x3F) << 6)
            | np.int64(data[i + 2] & 0x3F)
        )
        return classes[point], 3
    if i + 4 > end:
        return np.uint8(OTHER), 1
    point = (
        (np.int64(byte & 0x07) << 18)
        | (np.int64(data[i + 1] & 0x3F) << 12)
        | (np.int64(data[i + 2] & 0x3F) << 6)
        | np.int64(data[i + 3] & 0x3F)
    )
    return classes[point], 4


@compiled
def _word_end(data: Any, i: Any, end: Any, classes: Any) -> Any:
    """Where the word that starts at i ends, by GPT-2's rule."""
    byte = data[i]
    if byte == 39 and i + 1 < end:  # the contractions: ' then s t m d, or re ve ll, lower case only
        following = data[i + 1]
        if following == 115 or following == 116 or following == 109 or following == 100:
            return i + 2
        if i + 2 < end:
            third = data[i + 2]
            if ((following == 114 or following == 118) and third == 101) or (
                following == 108 and third == 108
            ):
                return i + 3
    kind, width = _char(data, i, end, classes)
    j = i + width
    if byte == 32 and j < end:
        next_kind, next_width = _char(data, j, end, classes)
        if next_kind != SPACE:
            kind = next_kind
            j += next_width
    if kind != SPACE:
        while j < end:
            next_kind, next_width = _char(data, j, end, classes)
            if next_kind != kind:
                break
            j += next_width
        return j
    last = i
    while j < end:
        next_kind, next_width = _char(data, j, end, classes)
        if next_kind != SPACE:
            # \s+(?!\S): the last white space of a run goes with, or before, what follows
            return last if last > i else j
        last = j
        j += next_width
    return j


@compiled
def _merge_scan(symbols: Any, ranks: Any, n: Any, keys: Any, values: Any) -> Any:
    """Merge the first n symbols in place; how many are left. Quadratic: for short words."""
    for k in range(n - 1):
        ranks[k] = _pair(symbols[k], symbols[k + 1], keys, values)
    while n > 1:
        best = 0
        for k in range(1, n - 1):
            if ranks[k] < ranks[best]:
                best = k
        if ranks[best] == NO_PAIR:
            break
        symbols[best] = np.uint32(ranks[best] & np.uint64(0xFFFFFFFF))
        n -= 1
        for k in range(best + 1, n):
            symbols[k] = symbols[k + 1]
        for k in range(best + 1, n - 1):
            ranks[k] = ranks[k + 1]
        if best > 0:
            ranks[best - 1] = _pair(symbols[best - 1], symbols[best], keys, values)
        if best + 1 < n:
            ranks[best] = _pair(symbols[best], symbols[best + 1], keys, values)
    return n


@compiled
def _sift_up(ranks: Any, places: Any, k: Any) -> None:
    while k > 0:
        parent = (k - 1) >> 1
        if ranks[parent] < ranks[k] or (ranks[parent] == ranks[k] and places[parent] <= places[k]):
            return
        ranks[parent], ranks[k] = ranks[k], ranks[parent]
        places[parent], places[k] = places[k], places[parent]
        k = parent


@compiled
def _sift_down(ranks: Any, places: Any, size: Any) -> None:
    k = 0
    while True:
        child = 2 * k + 1
        if child >= size:
            return
        other = child + 1
        if other < size and (
            ranks[other] < ranks[child]
            or (ranks[other] == ranks[child] and places[other] < places[child])
        ):
            child = other
        if ranks[k] < ranks[child] or (ranks[k] == ranks[child] and places[k] <= places[child]):
            return
        ranks[k], ranks[child] = ranks[child], ranks[k]
        places[k], places[child] = places[child], places[k]
        k = child


@compiled
def _merge_heap(symbols: Any, n: Any, keys: Any, values: Any) -> Any:
    """As `_merge_scan`, by a heap of (rank, place) over a linked list; entries overtaken by a merge are skipped."""
    following = np.arange(1, n + 1)
    preceding = np.arange(-1, n - 1)
    current = np.full(n, NO_PAIR, np.uint64)
    heap_ranks = np.empty(3 * n, np.uint64)
    heap_places = np.empty(3 * n, np.int64)
    size = 0
    for k in range(n - 1):
        current[k] = _pair(symbols[k], symbols[k + 1], keys, values)
        if current[k] != NO_PAIR:
            heap_ranks[size], heap_places[size] = current[k], k
            size += 1
            _sift_up(heap_ranks, heap_places, size - 1)
    while size:
        rank, place = heap_ranks[0], heap_places[0]
        size -= 1
        heap_ranks[0], heap_places[0] = heap_ranks[size], heap_places[size]
        _sift_down(heap_ranks, heap_places, size)
        if current[place] != rank:
            continue
        gone = following[place]
        symbols[place] = np.uint32(rank & np.uint64(0xFFFFFFFF))
        current[gone] = NO_PAIR
        following[place] = following[gone]
        if following[gone] < n:
            preceding[following[gone]] = place
        for k in (preceding[place], place):
            if k < 0:
                continue
            right = following[k]
            current[k] = _pair(symbols[k], symbols[right], keys, values) if right < n else NO_PAIR
            if current[k] != NO_PAIR:
                heap_ranks[size], heap_places[size] = current[k], k
                size += 1
                _sift_up(heap_ranks, heap_places, size - 1)
    left = 0
    k = 0
    while k < n:
        symbols[left] = symbols[k]
        left += 1
        k = following[k]
    return left


@compiled
def _merge_word(
    data: Any, i: Any, j: Any, byte_ids: Any, keys: Any, values: Any, ranks: Any, out: Any
) -> Any:
    """Encode the word data[i:j] into the front of `out`; how many ids."""
    n = j - i
    for k in range(n):
        out[k] = byte_ids[data[i + k]]
    if n == 1:
        return 1
    if n < HEAP_FROM:
        return _merge_scan(out, ranks, n, keys, values)
    return _merge_heap(out, n, keys, values)


@compiled
def _encode(
    data: Any,
    windows: Any,
    ends: Any,
    classes: Any,
    byte_ids: Any,
    keys: Any,
    values: Any,
    cache: Any,
    out: Any,
    counts: Any,
    end_of_text: Any,
) -> Any:
    """Encode documents into `out` (long enough for an id per byte and one per document); how many ids in all."""
    ranks = np.empty(HEAP_FROM, np.uint64)
    slot_mask = np.uint64(len(cache) // CACHE_WORDS - 1)
    used = 0
    for document in range(len(ends) - 1):
        i = ends[document]
        end = ends[document + 1]
        before = used
        while i < end:
            j = _word_end(data, i, end, classes)
            n = j - i
            if n == 1:
                out[used] = byte_ids[data[i]]
                used += 1
            elif n > MAX_CACHED_BYTES:
                used += _merge_word(data, i, j, byte_ids, keys, values, ranks, out[used:])
            else:
                first = windows[i] if n >= 8 else windows[i] & _low_bytes(n)
                second = np.uint64(0)
                third = np.uint64(0)
                if n > 8:
                    second = windows[i + 8] if n >= 16 else windows[i + 8] & _low_bytes(n - 8)
                    if n > 16:
                        third = windows[i + 16] & _low_bytes(n - 16) if n < 24 else windows[i + 16]
                mixed = _hash(first + np.uint64(n)) + _hash(second ^ _hash(third))
                slot = np.int64((mixed ^ (mixed >> np.uint64(17))) & slot_mask) * CACHE_WORDS
                lengths = cache[slot + 3]
                if (
                    cache[slot] == first
                    and cache[slot + 1] == second
                    and cache[slot + 2] == third
                    and (lengths & np.uint64(0xFF)) == np.uint64(n)
                ):
                    known: Any = np.int64(lengths >> np.uint64(8))
                    for k in range(known):
                        pair = cache[slot + 4 + (k >> 1)]
                        out[used + k] = np.uint32(
                            pair >> np.uint64(32) if k & 1 else pair & np.uint64(0xFFFFFFFF)
                        )
                    used += known
                else:
                    count = _merge_word(data, i, j, byte_ids, keys, values, ranks, out[used:])
                    if count <= MAX_CACHED_IDS:
                        cache[slot] = first
                        cache[slot + 1] = second
                        cache[slot + 2] = third
                        cache[slot + 3] = np.uint64(n) | (np.uint64(count) << np.uint64(8))
                        for k in range(4):
                            cache[slot + 4 + k] = np.uint64(0)
                        for k in range(count):
                            shift = np.uint64(32) if k & 1 else np.uint64(0)
                            cache[slot + 4 + (k >> 1)] |= np.uint64(out[used + k]) << shift
                    used += count
            i = j
        if end_of_text >= 0:
            out[used] = end_of_text
            used += 1
        counts[document] = used - before
    return used
