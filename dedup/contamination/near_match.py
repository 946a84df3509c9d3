"""Passages of test sets that pages hold with edits: seeds, extension, one weighted score.

An exact 13-gram is lost as soon as one word in twelve is changed. Here a passage counts as found if
its words on a page, in order, make up most of its weight. Runs of five equal words are seeds. A
seed is extended along its diagonal over a few unequal words, and seeds on nearby diagonals belong
together, since an inserted word moves all later ones. A word weighs as many bits as it is rare in
the sets and in English: a frame of frequent words does not count as a passage. Fields of an entry
are passages of their own: a question, an answer and a context are scored apart. A long passage is
scored by overlapping chunks, so a quoted part of it is found.

The models are allenai/decon (clusters of hits with misses, weights by rarity, one threshold) and
BLAST (seed and extend).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.compiled_registry import example
from dedup.contamination.near_score import SEED_WORDS
from dedup.contamination.overlap import Hits, NgramIndex, build_index, find
from dedup.words import (
    Ragged,
    content_hashes,
    mix,
    ngram_hashes,
    read_only,
    word_hashes,
)

# A seed at more places of the sets is a turn of phrase: it would cost much and show little.
MAX_SEED_PLACES = 12

# Passages of up to so many words are scored as a whole, longer ones by chunks. Chunks overlap by
# half, so a quotation of 60 words holds a whole one.
WHOLE_WORDS = 60
CHUNK_WORDS = 40
CHUNK_STRIDE = 20

# Weights are in sixteenths of a bit, so that sums are exact.
WEIGHT_UNIT = 16
MAX_BITS = 14
# The prior of a word's frequency counts as much as so many words of the test sets.
PRIOR_WORDS = 1000
# The prior of a word that is not among the frequent ones.
RARE_BITS = 12
# Zipf's law for English: the frequency of the word of rank r is about .07 / r.
ENGLISH_ZIPF = 0.07
# The most frequent words of English prose, by rank.
FREQUENT = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "it",
    "for",
    "was",
    "on",
    "as",
    "with",
    "he",
    "be",
    "by",
    "at",
    "i",
    "this",
    "his",
    "not",
    "are",
    "but",
    "from",
    "or",
    "have",
    "an",
    "they",
    "which",
    "you",
    "were",
    "her",
    "she",
    "all",
    "their",
    "had",
    "one",
    "there",
    "we",
    "been",
    "if",
    "has",
    "would",
    "what",
    "when",
    "will",
    "who",
    "more",
    "no",
    "so",
    "out",
    "up",
    "said",
    "some",
    "can",
    "its",
    "do",
    "about",
    "into",
    "than",
    "them",
    "then",
    "could",
    "only",
    "other",
    "time",
    "new",
    "my",
    "your",
    "may",
    "me",
    "these",
    "two",
    "like",
    "any",
    "now",
    "our",
    "such",
    "over",
    "just",
    "after",
    "also",
    "how",
    "most",
    "people",
    "first",
    "made",
    "did",
    "must",
    "where",
    "many",
    "before",
    "very",
    "through",
    "much",
    "way",
    "back",
    "even",
    "because",
    "should",
    "well",
    "work",
    "make",
    "know",
]

# A short question counts with its answers if they are so close, and weigh so much together.
PAIR_WINDOW = 30
PAIR_BITS = 46
MIN_QUESTION_WORDS = 3
MIN_PAIR_WORDS = 5

# The key of a passage is not the hash of a gram.
KEY_SALT = np.uint64(0x6A09E667F3BCC909)

# A word that a line end divides: "exam-" and "ple". The second part begins in lower case.
_DIVIDED = re.compile(
    r"(?<=[^\W\d_])[-\u2010\u00ad][ \t]*\r?\n[ \t]*(?=[a-z\u00df-\u00f6\u00f8-\u00ff])"
)


@dataclass(frozen=True, slots=True)
class Passages:
    """Distinct passages with the weights of their words, and the chunks that they are scored by."""

    words: Ragged
    """uint64 hashes of the words."""
    weights: np.ndarray
    """int32, one for each word; 0 for a word of a prompt."""
    chunk_bounds: np.ndarray
    """(passages + 1,) int64: the chunks of each passage."""
    starts: np.ndarray
    """(chunks,) int64: the first word of a chunk within its passage."""
    ends: np.ndarray
    keys: np.ndarray
    """(chunks,) uint64: equal chunks of different sets have equal keys."""


@dataclass(frozen=True, slots=True)
class NearIndex:
    """Finds passages with edits: the passages, and the places of their seeds."""

    passages: Passages
    chunk_weights: np.ndarray
    seeds: NgramIndex
    place_bounds: np.ndarray
    """(seeds + 1,) int64."""
    passage: np.ndarray
    """(places,) int64: the passage that has the seed."""
    word: np.ndarray
    """(places,) int64: the seed's first word in it."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Entries whose passages are all too short to count alone: a question with its answers."""

    words: Ragged
    """The words of all passages of an entry; the question is the first."""
    weights: np.ndarray
    piece_bounds: np.ndarray
    """(entries + 1,) int64: the passages of each entry."""
    piece_starts: np.ndarray
    """(pieces,) int64: the first word of a passage within its entry."""
    keys: np.ndarray


@dataclass(frozen=True, slots=True)
class PairIndex:
    """Finds short questions next to their answers."""

    pairs: Pairs
    questions: NgramIndex
    place_bounds: np.ndarray
    entry: np.ndarray


@dataclass(frozen=True, slots=True)
class Found:
    """Passages found in texts. Arrays of one row for each, texts in order."""

    text: np.ndarray
    key: np.ndarray
    first: np.ndarray
    """The place of its first word in the text."""
    after: np.ndarray


def word_weights(
    sets: Sequence[Ragged], *, beyond_first: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(words of all sets, ascending; the weight of each): rarity in bits, in units of 1/16.

    The frequency in the sets is mixed with one of English, since a set of one entry says nothing
    about rarity. With `beyond_first` the first occurrence is not counted: bits that are compared
    with a fixed number must not depend on the size of the sets.
    """
    every = np.concatenate([np.zeros(0, np.uint64), *(each.values for each in sets)])
    word, count = np.unique(every, return_counts=True)
    frequent = word_hashes(pa.array(FREQUENT)).values
    prior = np.full(word.size, 2.0**-RARE_BITS if beyond_first else 0.0)
    at = np.searchsorted(word, frequent)
    known = at < word.size
    known[known] = word[at[known]] == frequent[known]
    prior[at[known]] = ENGLISH_ZIPF / (1 + np.flatnonzero(known))

    frequency = (count - beyond_first + PRIOR_WORDS * prior) / (every.size + PRIOR_WORDS)
    bits = np.clip(-np.log2(frequency), 1, MAX_BITS)
    return word, np.rint(WEIGHT_UNIT * bits).astype(np.int32)


def passages_of(
    words: Ragged,
    is_prompt: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    min_words: int,
) -> Passages:
    """The distinct rows of at least `min_words` words outside of prompts, in chunks.

    Shapes: is_prompt (words,) bool.
    """
    weight = _weights_of(words.values, weights)
    weight[is_prompt] = 0
    seen: set[bytes] = set()
    rows: list[int] = []
    for row in range(len(words)):
        start, end = words.bounds[row], words.bounds[row + 1]
        if np.count_nonzero(weight[start:end]) < min_words:
            continue
        spelled = words.values[start:end].tobytes()
        if spelled not in seen:
            seen.add(spelled)
            rows.append(row)

    chosen = _rows(words, rows)
    weight = np.concatenate(
        [np.zeros(0, np.int32), *(weight[words.bounds[r] : words.bounds[r + 1]] for r in rows)]
    )
    starts, ends, counts = [], [], []
    for size, first in zip(chosen.lengths().tolist(), chosen.bounds.tolist(), strict=False):
        chunks = [
            (start, end)
            for start, end in _chunks(size)
            if np.count_nonzero(weight[first + start : first + end]) >= min_words
        ]
        starts += [start for start, _ in chunks]
        ends += [end for _, end in chunks]
        counts.append(len(chunks))

    chunk_bounds = np.cumsum([0, *counts], dtype=np.int64)
    at, after = np.array(starts, np.int64), np.array(ends, np.int64)
    base = np.repeat(chosen.bounds[:-1], counts)
    return Passages(
        chosen,
        weight,
        chunk_bounds,
        at,
        after,
        _keys(chosen.values, base + at, after - at),
    )


def pairs_of(
    words: Ragged,
    entry: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
) -> Pairs:
    """Entries of a question and at least one answer. Shapes: entry (rows,) int, ascending."""
    weight = _weights_of(words.values, weights)
    chosen: list[list[int]] = []
    for group in np.split(np.arange(len(words)), np.flatnonzero(np.diff(entry)) + 1):
        rows = [int(row) for row in group if words.bounds[row + 1] > words.bounds[row]]
        if (
            len(rows) > 1
            and rows[0] == group[0]
            and words.row(rows[0]).size >= MIN_QUESTION_WORDS
            and sum(words.row(row).size for row in rows) >= MIN_PAIR_WORDS
        ):
            chosen.append(rows)

    flat = [row for rows in chosen for row in rows]
    pieces = _rows(words, flat)
    counts = [len(rows) for rows in chosen]
    piece_bounds = np.cumsum([0, *counts], dtype=np.int64)
    bounds = pieces.bounds[piece_bounds]
    return Pairs(
        Ragged(pieces.values, bounds),
        np.concatenate(
            [np.zeros(0, np.int32), *(weight[words.bounds[r] : words.bounds[r + 1]] for r in flat)]
        ),
        piece_bounds,
        pieces.bounds[:-1] - np.repeat(bounds[:-1], counts),
        _keys(pieces.values, bounds[:-1], np.diff(bounds)),
    )


def build_near_index(passages: Passages) -> NearIndex:
    """The seeds of all passages, and the weights of their chunks."""
    grams = ngram_hashes(passages.words, SEED_WORDS)
    passage = np.repeat(np.arange(len(passages.words)), grams.lengths())
    word = np.arange(grams.values.size) - grams.bounds[passage]
    # The sum up to each word, to tell seeds with words of a prompt and to weigh chunks.
    sums = np.concatenate([[0], np.cumsum(passages.weights, dtype=np.int64)])
    zeros = np.concatenate([[0], np.cumsum(passages.weights == 0)])
    first = passages.words.bounds[passage] + word
    after = np.minimum(first + SEED_WORDS, passages.words.bounds[passage + 1])
    usable = np.flatnonzero((after - first == SEED_WORDS) & (zeros[after] == zeros[first]))

    seed, at, count = np.unique(grams.values[usable], return_inverse=True, return_counts=True)
    rare = count <= MAX_SEED_PLACES
    order = np.argsort(at, kind="stable")
    order = order[rare[at[order]]]
    base = np.repeat(passages.words.bounds[:-1], np.diff(passages.chunk_bounds))
    seed = seed[rare]
    return NearIndex(
        passages,
        sums[base + passages.ends] - sums[base + passages.starts],
        build_index(seed, np.full(seed.size, SEED_WORDS, np.int16), seed, SEED_WORDS),
        np.concatenate([[0], np.cumsum(count[rare])]).astype(np.int64),
        passage[usable][order],
        word[usable][order],
    )


def build_pair_index(pairs: Pairs) -> PairIndex:
    """The questions of all pairs."""
    first = pairs.piece_bounds[:-1]
    sizes = np.minimum(np.append(pairs.piece_starts, 0)[first + 1], pairs.words.lengths())
    questions = _spans(pairs.words.values, pairs.words.bounds[:-1], sizes)
    grams = ngram_hashes(questions, max(1, int(sizes.max(initial=1)))).values
    prefixes = ngram_hashes(questions, MIN_QUESTION_WORDS)
    gram, entry_at = np.unique(grams, return_inverse=True)
    one = np.zeros(gram.size, np.int64)
    one[entry_at] = np.arange(grams.size)
    order = np.argsort(entry_at, kind="stable")
    return PairIndex(
        pairs,
        build_index(
            gram,
            sizes[one].astype(np.int16),
            prefixes.values[prefixes.bounds[:-1]][one] if gram.size else prefixes.values,
            MIN_QUESTION_WORDS,
        ),
        np.searchsorted(entry_at[order], np.arange(gram.size + 1)).astype(np.int64),
        order.astype(np.int64),
    )


def find_near(words: Ragged, index: NearIndex, threshold: float) -> Found:
    """Every chunk of a passage of which a text holds at least `threshold` of the weight."""
    hits = find(words, index.seeds)
    if hits.key.size == 0:
        return _no_finds()

    counts = np.diff(index.place_bounds)[hits.key]
    hit = np.repeat(np.arange(hits.key.size), counts)
    within = np.arange(hit.size) - np.repeat(np.cumsum(counts) - counts, counts)
    place = index.place_bounds[hits.key[hit]] + within
    text, word = hits.text[hit], hits.word[hit]
    passage, at = index.passage[place], index.word[place]
    order = np.lexsort((word, word - at, passage, text))
    return _score(
        words,
        (text[order], word[order], passage[order], at[order]),
        index,
        threshold,
    )


def find_pairs(words: Ragged, index: PairIndex) -> Found:
    """Every short question that has its answers close by."""
    hits: Hits = find(words, index.questions)
    found = []
    for text, word, key in zip(
        hits.text.tolist(), hits.word.tolist(), hits.key.tolist(), strict=True
    ):
        spelled = words.row(text)
        for entry in index.entry[index.place_bounds[key] : index.place_bounds[key + 1]].tolist():
            span = _pair_at(spelled, word, index.pairs, entry)
            if span is not None:
                found.append((text, index.pairs.keys[entry], *span))

    return _found(found)


def joined_lines(text: str) -> tuple[str, np.ndarray] | None:
    """(the text with words that line ends divide put together, the place of each character in it).

    None if no word is divided.
    """
    pieces, places, at = [], [], 0
    for match in _DIVIDED.finditer(text):
        pieces.append(text[at : match.start()])
        places.append(np.arange(at, match.start()))
        at = match.end()
    if at == 0:
        return None

    return "".join([*pieces, text[at:]]), np.concatenate([*places, np.arange(at, len(text))])


def concatenated(parts: Sequence[Passages]) -> Passages:
    """The passages of several sets together."""
    none = np.zeros(0, np.int64)
    words = _joined([each.words for each in parts])
    return Passages(
        words,
        np.concatenate([np.zeros(0, np.int32), *(each.weights for each in parts)]),
        _joined_bounds([each.chunk_bounds for each in parts]),
        np.concatenate([none, *(each.starts for each in parts)]),
        np.concatenate([none, *(each.ends for each in parts)]),
        np.concatenate([np.zeros(0, np.uint64), *(each.keys for each in parts)]),
    )


def concatenated_pairs(parts: Sequence[Pairs]) -> Pairs:
    """The pairs of several sets together."""
    return Pairs(
        _joined([each.words for each in parts]),
        np.concatenate([np.zeros(0, np.int32), *(each.weights for each in parts)]),
        _joined_bounds([each.piece_bounds for each in parts]),
        np.concatenate([np.zeros(0, np.int64), *(each.piece_starts for each in parts)]),
        np.concatenate([np.zeros(0, np.uint64), *(each.keys for each in parts)]),
    )


def merge(parts: Iterable[Found]) -> Found:
    """The finds of several passes, ordered by text and place."""
    every = list(parts)
    columns = [
        np.concatenate([getattr(each, column.name) for each in every]) for column in fields(Found)
    ]
    order = np.lexsort((columns[1], columns[3], columns[2], columns[0]))
    return Found(*(column[order] for column in columns))


def _score(
    words: Ragged,
    seeds: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    index: NearIndex,
    threshold: float,
) -> Found:
    from dedup import kernels

    # Its many arguments are passed by one generator, which no type describes.
    score: Callable[..., Any] = kernels.score_clusters
    passages = index.passages
    arrays = (
        words.values,
        words.bounds,
        *seeds,
        passages.words.values,
        passages.words.bounds,
        passages.weights,
        passages.chunk_bounds,
        passages.starts,
        passages.ends,
        index.chunk_weights,
    )
    room = max(1 << 12, int(np.diff(passages.chunk_bounds).max(initial=0)))
    matched = np.full(int(passages.words.lengths().max(initial=0)), -1, np.int64)
    buffers = [np.empty(room, np.int64) for _ in range(4)]
    pieces: list[list[np.ndarray]] = []
    begin = 0
    while begin < seeds[0].size:
        count, begin = score(
            *(read_only(each) for each in arrays),
            float(threshold),
            matched,
            begin,
            *buffers,
        )
        pieces.append([buffer[:count].copy() for buffer in buffers])

    text, chunk, first, after = (
        np.concatenate([piece[column] for piece in pieces]) for column in range(4)
    )
    return merge([Found(text, passages.keys[chunk], first, after)])


def _pair_at(spelled: np.ndarray, word: int, pairs: Pairs, entry: int) -> tuple[int, int] | None:
    """The words from the question at `word` to its answers, or the reverse; None if they are not close."""
    starts = pairs.piece_starts[pairs.piece_bounds[entry] : pairs.piece_bounds[entry + 1]].tolist()
    own = pairs.words.row(entry)
    weights = pairs.weights[pairs.words.bounds[entry] : pairs.words.bounds[entry + 1]]
    edges = [*starts, own.size]
    first, after = word, word + edges[1]
    low, high = max(0, first - PAIR_WINDOW), min(spelled.size, after + PAIR_WINDOW)

    met, size, weight = 0, edges[1], int(weights[: edges[1]].sum())
    for begin, end in pairwise(edges[1:]):
        at = _place_of(own[begin:end], spelled, (word + edges[1], high), (low, word))
        if at is not None:
            met, size, weight = met + 1, size + end - begin, weight + int(weights[begin:end].sum())
            first, after = min(first, at), max(after, at + end - begin)

    enough = met and 2 * met >= len(starts) - 1
    if enough and size >= MIN_PAIR_WORDS and weight >= PAIR_BITS * WEIGHT_UNIT:
        return first, after
    return None


def _place_of(wanted: np.ndarray, spelled: np.ndarray, *ranges: tuple[int, int]) -> int | None:
    """The first place of a sequence of words in one of the ranges of a text."""
    for low, high in ranges:
        for at in range(low, high - wanted.size + 1):
            if np.array_equal(spelled[at : at + wanted.size], wanted):
                return at
    return None


def _chunks(size: int) -> list[tuple[int, int]]:
    if size <= WHOLE_WORDS:
        return [(0, size)]
    starts = [*range(0, size - CHUNK_WORDS, CHUNK_STRIDE), size - CHUNK_WORDS]
    return [(start, start + CHUNK_WORDS) for start in starts]


def _keys(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    spans = _spans(values, starts, sizes)
    return mix(content_hashes(spans)[:, 0] ^ KEY_SALT)


def _spans(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> Ragged:
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    at = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)
    return Ragged(values[at], bounds)


def _rows(words: Ragged, rows: Sequence[int]) -> Ragged:
    chosen = np.array(rows, np.int64)
    return _spans(words.values, words.bounds[chosen], words.lengths()[chosen])


def _joined(parts: Sequence[Ragged]) -> Ragged:
    return Ragged(
        np.concatenate([np.zeros(0, np.uint64), *(each.values for each in parts)]),
        _joined_bounds([each.bounds for each in parts]),
    )


def _joined_bounds(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum(np.concatenate([[0], *(np.diff(each) for each in parts)]), dtype=np.int64)


def _weights_of(values: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    word, weight = weights
    return weight[np.searchsorted(word, values)] if values.size else np.zeros(0, np.int32)


def _no_finds() -> Found:
    return _found([])


def _found(rows: Sequence[tuple[int, int, int, int]]) -> Found:
    text, first, after = (np.array([row[column] for row in rows], np.int64) for column in (0, 2, 3))
    return Found(text, np.array([row[1] for row in rows], np.uint64), first, after)


@example
def _find_near_a_passage() -> None:
    words = word_hashes(pa.array(["one two three four five"], pa.large_string()))
    passages = passages_of(words, np.zeros(5, bool), word_weights([words]), 1)
    find_near(words, build_near_index(passages), 0.5)
