"""Overlap of documents with test sets, over exact n-grams: measured as GPT-2 did, removed as GPT-3 did.

The n-grams of the *test sets* are indexed, exactly (no Bloom filter); the corpus is read once and every gram that is
met is marked. Marks of parts and batches merge by OR (counts of pages: by sum), so any sharding gives one table.

Measure (GPT-2, section 4, table 6): per set the share of its distinct n-grams, n = 8, that the corpus contains.
Remove (GPT-3, appendix C): a page that contains a 13-gram of a test set, or a whole passage shorter than that, is cut
around it or dropped. Left out are grams that many pages contain (common speech) and grams that many entries of one
set contain (its prompts). Words are those of `words`: case, punctuation, Unicode form and line breaks do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from corpus.config import Section
from corpus.testsets import TestSet
from dedup.words import LENGTH_SALT, NGRAM_BASE, Engine, Ragged, ngram_hashes, word_hashes

FILTER_BITS_PER_NGRAM = 16
BOILERPLATE_ENTRIES = 5
"""Fewer entries than this that share a gram are not yet a habit of the set."""


class OverlapConfig(Section):
    """What counts as overlap with a test set, and what becomes of it."""

    policy: Literal["report", "document", "span"] = "span"
    """report: touch nothing; document: drop the page; span: cut the match and its surroundings out of it (GPT-3)."""
    n: int = 13
    """Words of a gram that is removed: 13 as in GPT-3; 8-grams meet by chance. From 4 to 64."""
    measure_n: tuple[int, ...] = (8,)
    """Words of the grams whose share is measured: 8 as in GPT-2's table 6."""
    min_passage_words: int = 7
    """A passage shorter than n words counts as a whole if it has at least so many; shorter ones meet by chance
    (in 8,335 documents of prose: 40 met passages of 6 words, 3 such of 7)."""
    common_pages: int = 10
    """A gram that more pages of this and earlier batches contain is common speech and not removed (GPT-3); 0: no limit."""
    boilerplate_frac: float = 0.05
    """A gram in more than this share of a set's entries (and in at least 5) is the set's own prompt and not removed."""
    window_chars: int = 200
    """span: characters cut on each side of a match (GPT-3)."""
    min_piece_chars: int = 200
    """span: a piece between cuts that has fewer characters goes too (GPT-3)."""
    max_pieces: int = 10
    """span: a page cut into more pieces is dropped (GPT-3)."""

    def model_post_init(self, context: object) -> None:
        if not 4 <= self.n <= 64:
            raise ValueError(f"n is {self.n}; allowed: 4 to 64 words")
        if any(not 1 <= n <= 64 for n in self.measure_n):
            raise ValueError(f"measure_n is {list(self.measure_n)}; allowed: 1 to 64 words each")
        if self.min_passage_words < 1 or not 0 < self.boilerplate_frac <= 1:
            raise ValueError("min_passage_words must be at least 1 and boilerplate_frac between 0 and 1")


@dataclass(frozen=True, slots=True)
class TestNgrams:
    """The grams of all test sets, ascending and distinct. Arrays of one row per gram."""

    __test__ = False
    ngram: np.ndarray
    """uint64; n is hashed in."""
    n: np.ndarray
    """int16."""
    removes: np.ndarray
    """bool: whether a page that contains it is cut or dropped."""
    testsets: Ragged
    """Places of the sets that contain it, ascending."""

    def __len__(self) -> int:
        return self.ngram.size


@dataclass(frozen=True, slots=True)
class NgramIndex:
    """Finds grams: sorted keys, where each prefix begins among them, and bitmaps, one per n, that tell most others away.

    8 bytes for the key, 4 to 8 for the prefixes and 2 to 4 for the bitmaps: 20 bytes per gram at most.
    """

    keys: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    start_shift: np.uint64
    filter_bits: np.ndarray
    filter_bases: np.ndarray
    filter_shifts: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return int(self.keys.nbytes + self.starts.nbytes + self.filter_bits.nbytes)


@dataclass(frozen=True, slots=True)
class Hits:
    """Where grams of the index stand in texts. Arrays of one row per hit, texts in order."""

    text: np.ndarray
    word: np.ndarray
    """Place of the gram's first word among the text's words."""
    key: np.ndarray
    """Place of the gram in the index."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What overlap does to one page."""

    dropped: bool
    cuts: list[tuple[int, int]]


def ngrams_of(sets: Sequence[TestSet], config: OverlapConfig, engine: Engine = "numba") -> TestNgrams:
    """All grams that are measured or removed, with the sets that contain them."""
    parts = [_set_ngrams(testset, config, engine) for testset in sets]
    ngram = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
    n = np.concatenate([np.zeros(0, np.int16), *(part[1] for part in parts)])
    removes = np.concatenate([np.zeros(0, bool), *(part[2] for part in parts)])
    owner = np.repeat(np.arange(len(parts)), [part[0].size for part in parts])
    distinct, place = np.unique(ngram, return_inverse=True)
    any_removes = np.zeros(distinct.size, bool)
    any_removes[place[removes]] = True
    n_of = np.zeros(distinct.size, np.int16)
    n_of[place] = n
    pairs = np.unique(place * max(1, len(parts)) + owner)
    place, owner = np.divmod(pairs, max(1, len(parts)))
    bounds = np.searchsorted(place, np.arange(distinct.size + 1)).astype(np.int64)
    return TestNgrams(distinct, n_of, any_removes, Ragged(owner, bounds))


def build_index(ngram: np.ndarray, n: np.ndarray) -> NgramIndex:
    """An index of ascending distinct grams. Shapes (k,) uint64, (k,) int16."""
    bits = max(1, int(max(ngram.size, 1) - 1).bit_length())
    start_shift = np.uint64(64 - bits)
    starts = np.searchsorted(ngram >> start_shift, np.arange((1 << bits) + 1, dtype=np.uint64)).astype(
        np.uint32
    )
    lengths = np.unique(n).astype(np.int64)
    # A stretch of bits for every length: those of the few short passages then stay in the processor's cache.
    filters, bases, shifts = [np.zeros(0, np.uint8)], [], []
    for length in lengths:
        grams = ngram[n == length]
        width = max(3, int(grams.size * FILTER_BITS_PER_NGRAM - 1).bit_length())
        place = grams >> np.uint64(64 - width)
        bitmap = np.zeros(1 << (width - 3), np.uint8)
        np.bitwise_or.at(
            bitmap, place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8)
        )
        bases.append(8 * sum(each.size for each in filters))
        shifts.append(64 - width)
        filters.append(bitmap)
    return NgramIndex(
        keys=ngram,
        lengths=lengths,
        starts=starts,
        start_shift=start_shift,
        filter_bits=np.concatenate(filters),
        filter_bases=np.array(bases, np.uint64),
        filter_shifts=np.array(shifts, np.uint64),
    )


def find(words: Ragged, index: NgramIndex, engine: Engine = "numba") -> Hits:
    """Every occurrence of a gram of the index in the texts of `words`, ordered by text, n and place."""
    if index.keys.size == 0:
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    return _find_numpy(words, index) if engine == "numpy" else _find_numba(words, index)


def matched_words(num_words: int, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which of a text's words lie in a gram that begins at `starts` and has `sizes` words. Shape (num_words,) bool."""
    edges = np.zeros(num_words + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + sizes, -1)
    return np.cumsum(edges[:-1]) > 0


def judge(spans: Sequence[tuple[int, int]], num_chars: int, config: OverlapConfig) -> Judgement:
    """What becomes of a page with matches at `spans` (character ranges, half-open, any order, possibly overlapping)."""
    if not spans or config.policy == "report":
        return Judgement(False, [])
    if config.policy == "document":
        return Judgement(True, [])
    window = config.window_chars
    cuts = merge_ranges((max(0, start - window), min(num_chars, end + window)) for start, end in spans)
    pieces = gaps(cuts, num_chars)
    short = [piece for piece in pieces if piece[1] - piece[0] < config.min_piece_chars]
    if len(pieces) > config.max_pieces or len(short) == len(pieces):
        return Judgement(True, [])
    return Judgement(False, merge_ranges([*cuts, *short]))


def merge_ranges(ranges: object) -> list[tuple[int, int]]:
    """Ascending disjoint ranges that cover the same as `ranges`; touching ones become one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):  # type: ignore[call-overload]
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def gaps(cuts: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """The non-empty ranges of 0..length between ascending disjoint cuts."""
    edges = [0, *(edge for cut in cuts for edge in cut), length]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]


def without_prompts(words: Ragged, ordinal: np.ndarray) -> Ragged:
    """The passages without the words at their beginning and end that at least half of those at the same place of their
    entry share ("Question:", "Answer:"): a page may contain the question without them.

    Shapes: ordinal (passages,) int, a passage's place in its entry.
    """
    starts, ends = words.bounds[:-1].copy(), words.bounds[1:].copy()
    for place in np.unique(ordinal):
        passages = np.flatnonzero(ordinal == place)
        if passages.size >= BOILERPLATE_ENTRIES:
            _strip(words.values, starts, ends, passages, backwards=False)
            _strip(words.values, starts, ends, passages, backwards=True)
    sizes = ends - starts
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Ragged(words.values[np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)], bounds)


def _strip(
    values: np.ndarray, starts: np.ndarray, ends: np.ndarray, passages: np.ndarray, *, backwards: bool
) -> None:
    """Move the starts (or ends) of those passages that share their next word with half of all, while they do."""
    following = passages
    while (following := following[starts[following] < ends[following]]).size:
        outer = values[ends[following] - 1] if backwards else values[starts[following]]
        word, counts = np.unique(outer, return_counts=True)
        most = counts.argmax()
        if counts[most] < max(BOILERPLATE_ENTRIES, passages.size / 2):
            break
        following = following[outer == word[most]]
        if backwards:
            ends[following] -= 1
        else:
            starts[following] += 1


def distinct_ngrams(testset: TestSet, n: int, config: OverlapConfig, engine: Engine = "numba") -> np.ndarray:
    """The distinct n-grams of a set's passages that have n words, ascending. Shape (k,) uint64."""
    return _whole_ngrams(_passages(testset, config, engine)[0], n, engine)


def _passages(
    testset: TestSet, config: OverlapConfig, engine: Engine
) -> tuple[Ragged, np.ndarray, np.ndarray]:
    """(words of every passage, its entry, its place in the entry).

    An entry of nothing but passages too short to count ("Who wrote Ulysses?", "Joyce") is taken as one passage.
    """
    texts = [passage for entry in testset.entries for passage in entry]
    words = word_hashes(pa.array(texts, pa.large_string()), engine)
    counts = np.array([len(entry) for entry in testset.entries], np.int64)
    firsts = np.cumsum(counts) - counts
    longest = np.maximum.reduceat(words.lengths(), firsts) if counts.size else counts
    ordinal = np.arange(len(texts)) - np.repeat(firsts, counts)
    stays = (ordinal == 0) | np.repeat(longest >= min(config.min_passage_words, config.n), counts)
    bounds = np.append(words.bounds[:-1][stays], words.bounds[-1])
    return Ragged(words.values, bounds), np.repeat(np.arange(counts.size), counts)[stays], ordinal[stays]


def _whole_ngrams(words: Ragged, n: int, engine: Engine) -> np.ndarray:
    grams = ngram_hashes(words, n, engine)
    return np.unique(grams.values[np.repeat(words.lengths() >= n, grams.lengths())])


def _set_ngrams(
    testset: TestSet, config: OverlapConfig, engine: Engine
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(grams, n, removes) of one set, distinct."""
    words, entry_of, ordinal = _passages(testset, config, engine)
    rows = [(np.zeros(0, np.uint64), np.zeros(0, np.int16), np.zeros(0, bool))]
    for n in sorted(set(config.measure_n)):
        found = _whole_ngrams(words, n, engine)
        rows.append((found, np.full(found.size, n, np.int16), np.zeros(found.size, bool)))
    words = without_prompts(words, ordinal)
    sizes = words.lengths()
    grams = ngram_hashes(words, config.n, engine)
    counts = grams.lengths()
    usable = np.repeat(sizes >= min(config.min_passage_words, config.n), counts)
    gram, n_of = grams.values[usable], np.repeat(np.minimum(sizes, config.n), counts)[usable]
    removed, n_removed = _without_boilerplate(
        gram, n_of, np.repeat(entry_of, counts)[usable], testset, config
    )
    rows.append((removed, n_removed.astype(np.int16), np.ones(removed.size, bool)))
    values, ns, removes = (np.concatenate([row[column] for row in rows]) for column in range(3))
    return values, ns, removes


def _without_boilerplate(
    gram: np.ndarray, n: np.ndarray, entry: np.ndarray, testset: TestSet, config: OverlapConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct grams that few entries contain, equal entries counting once, with their n."""
    first_of: dict[tuple[str, ...], int] = {}
    distinct_entry = np.array(
        [first_of.setdefault(each, place) for place, each in enumerate(testset.entries)]
    )
    values, first, place = np.unique(gram, return_index=True, return_inverse=True)
    pairs = np.unique(place * len(testset.entries) + distinct_entry[entry])
    num_entries = np.bincount(pairs // len(testset.entries), minlength=values.size)
    most = max(BOILERPLATE_ENTRIES - 1, config.boilerplate_frac * len(first_of))
    few = num_entries <= most
    return values[few], n[first][few]


def _find_numba(words: Ragged, index: NgramIndex) -> Hits:
    from dedup import kernels

    longest = int(words.lengths().max(initial=0)) * index.lengths.size
    room = max(longest, 1 << 16)
    buffers = [np.empty(room, np.int64) for _ in range(3)]
    pieces: list[list[np.ndarray]] = []
    text = 0
    while text < len(words):
        count, text = kernels.find_grams(
            words.values,
            words.bounds,
            index.lengths,
            NGRAM_BASE,
            LENGTH_SALT,
            index.filter_bits,
            index.filter_bases,
            index.filter_shifts,
            index.starts,
            index.start_shift,
            index.keys,
            text,
            *buffers,
        )
        pieces.append([buffer[:count].copy() for buffer in buffers])
    columns = [
        np.concatenate([np.zeros(0, np.int64), *(piece[which] for piece in pieces)]) for which in range(3)
    ]
    return Hits(*columns)


def _find_numpy(words: Ragged, index: NgramIndex) -> Hits:
    found = []
    sizes = words.lengths()
    for n in index.lengths:
        grams = ngram_hashes(words, int(n), "numpy")
        owner = np.repeat(np.arange(len(words)), grams.lengths())
        word = np.arange(grams.values.size) - grams.bounds[owner]
        place = np.minimum(np.searchsorted(index.keys, grams.values), index.keys.size - 1)
        hit = (index.keys[place] == grams.values) & (sizes[owner] >= n)
        found.append(np.stack([owner[hit], word[hit], place[hit], np.full(int(hit.sum()), n)], axis=1))
    rows = np.concatenate(found)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 3], rows[:, 0]))]
    return Hits(rows[:, 0], rows[:, 1], rows[:, 2])
