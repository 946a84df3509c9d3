"""Overlap of documents with test sets, over exact n-grams: measured as GPT-2 did, removed as GPT-3 did.

The n-grams of the *test sets* are indexed, exactly (no Bloom filter); the corpus is read once and
every gram found is marked. Marks of parts and batches merge by OR (counts of pages: by sum), so any
partition gives one table.

Measure (GPT-2, section 4, table 6): per set the share of its distinct n-grams, n = 8, found in the
corpus. Remove (GPT-3, appendix C): a page with a 13-gram of a test set, or a whole shorter passage,
is cut around it or dropped. Left out are grams on many pages (common speech) and grams in many
entries of one set (its prompts). Words are those of `words`: case, punctuation, Unicode form and
line breaks do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from corpus.compiled_registry import example
from corpus.config import Section
from corpus.evaluation_sets.files import TestSet
from corpus.evaluation_sets.natural_text import is_tokenized, natural_pieces
from dedup import sentences
from dedup.words import (
    LENGTH_SALT,
    NGRAM_BASE,
    Ragged,
    ngram_hashes,
    read_only,
    word_hashes,
)

FILTER_BITS_PER_PREFIX = 16
# Fewer entries than this that share a gram are not yet a habit of the set.
BOILERPLATE_ENTRIES = 5

# Prompts are shorter: "The following are multiple choice questions about ..." has a dozen words.
# A longer text that passages share is a text that questions are asked about.
PROMPT_WORDS = 50

# A whole passage that most entries repeat is an instruction up to this length.
INSTRUCTION_WORDS = 30

# Before a question and its answer, if a set writes both as one text.
_LABEL = re.compile(
    r"^\s*(?:q|a|question|answer|problem|solution|query|response|prompt)\s*[:.)]\s*", re.I
)

# Words of a piece between gaps (`<unk>`) that counts: it is not a whole sentence, and shorter ones
# meet by chance. Of 2,925 lines of the Penn Treebank 89 % are found so (57 % as tokenized), and one
# of 6,000 pages of prose is touched (2026-11-30).
MIN_PIECE_WORDS = 8


# Characters that a cut is widened by to end at a word; in scripts without spaces it ends there.
MAX_WORD_CHARS = 40

# Least values of settings.
LEAST = {
    "min_passage_words": 1,
    "near_min_words": 5,
    "common_pages": 0,
    "window_chars": 0,
    "min_piece_chars": 0,
    "max_pieces": 1,
}


class OverlapConfig(Section):
    """Settings of overlap with a test set, and of its removal."""

    policy: Literal["report", "document", "span"] = "span"
    """report: touch nothing.

    Document: drop the page; span: cut the match and its surroundings out of it (GPT-3).
    """
    n: int = 13
    """Words of a gram that is removed: 13 as in GPT-3; 8-grams meet by chance. From 4 to 64."""
    measure_n: tuple[int, ...] = (8,)
    """Words of the grams whose share is measured: 8 as in GPT-2's table 6."""
    min_passage_words: int = 7
    """A passage shorter than n words counts as a whole if it has at least so many; shorter ones meet by chance
    (in 8,335 documents of prose: 40 met passages of 6 words, 3 such of 7)."""
    common_pages: int = 10
    """A gram in more groups of near-duplicate pages, of this and earlier batches, is common speech
    and not removed (GPT-3), unless the page holds a whole passage; 0: no limit."""
    common_frac: float = 0.0001
    """The limit of common_pages grows with the corpus: at least this share of all pages."""
    near_share: float = 0.72
    """A passage counts as found with edits if a page holds this share of its words in order, rare
    words weighted; 1: only exact grams count."""
    near_min_words: int = 13
    """A passage is looked for with edits from so many words on; shorter ones meet by chance."""
    boilerplate_frac: float = 0.05
    """A gram in more than this share of a set's distinct passages (and in at least 5) is the set's
    own prompt and not removed, if it lies in a run of at most 50 such words."""
    window_chars: int = 200
    """span: characters cut on each side of a match (GPT-3)."""
    min_piece_chars: int = 200
    """span: a piece between cuts that has fewer characters goes too (GPT-3)."""
    max_pieces: int = 10
    """span: a page cut into more pieces is dropped (GPT-3)."""

    def without_effect(self) -> dict[str, str]:
        """The measures of cuts, unless passages are cut out."""
        if self.policy == "span":
            return {}
        reason = f"dedup.overlap.policy = {self.policy!r} cuts no spans"
        return dict.fromkeys(("window_chars", "min_piece_chars", "max_pieces"), reason)

    def model_post_init(self, context: object) -> None:
        if not 4 <= self.n <= 64:
            raise ValueError(f"n is {self.n}; allowed: 4 to 64 words")
        if any(not 1 <= n <= 64 for n in self.measure_n):
            raise ValueError(f"measure_n is {list(self.measure_n)}; allowed: 1 to 64 words each")
        if not 0 < self.boilerplate_frac <= 1:
            raise ValueError(
                f"boilerplate_frac is {self.boilerplate_frac}; allowed: above 0, up to 1"
            )

        if not 0.5 <= self.near_share <= 1:
            raise ValueError(f"near_share is {self.near_share}; allowed: 0.5 to 1")
        if not 0 <= self.common_frac <= 1:
            raise ValueError(f"common_frac is {self.common_frac}; allowed: 0 to 1")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: at least {least}")

    @property
    def prefix_words(self) -> int:
        """The least number of words in a gram."""
        return min(*self.measure_n, self.min_passage_words, self.n)


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
    prefix: np.ndarray
    """uint64: the gram of its first `prefix_words` words."""
    testsets: Ragged
    """Places of the sets that contain it, ascending."""

    def __len__(self) -> int:
        return self.ngram.size


@dataclass(frozen=True, slots=True)
class NgramIndex:
    """Finds grams: sorted keys, the first key of each bit prefix, and a bitmap of the first words.

    The bitmap rules out nearly all places of a text at once for all n together; the rest is looked
    up exactly. 8 bytes for the key, 4 to 8 for `starts` and 2 to 4 for the bitmap: 20 bytes per
    gram at most.
    """

    keys: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    start_shift: np.uint64
    prefix_words: int
    filter_blocks: np.ndarray
    filter_shift: np.uint64

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return int(self.keys.nbytes + self.starts.nbytes + self.filter_blocks.nbytes)


@dataclass(frozen=True, slots=True)
class Hits:
    """Places of index grams in texts. Arrays of one row per hit, texts in order."""

    text: np.ndarray
    word: np.ndarray
    """Place of the gram's first word among the text's words."""
    key: np.ndarray
    """Place of the gram in the index."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The effect of overlap on one page."""

    dropped: bool
    cuts: list[tuple[int, int]]


def ngrams_of(sets: Sequence[TestSet], config: OverlapConfig) -> TestNgrams:
    """All measured or removed grams, with their sets."""
    parts = [_set_grams(testset, config) for testset in sets]
    grams = _joined(parts)
    owner = np.repeat(np.arange(len(parts)), [part.ngram.size for part in parts])
    distinct, first, place = np.unique(grams.ngram, return_index=True, return_inverse=True)
    any_removes = np.zeros(distinct.size, bool)
    any_removes[place[grams.removes]] = True
    pairs = np.unique(place * max(1, len(parts)) + owner)
    of_gram, owner = np.divmod(pairs, max(1, len(parts)))
    bounds = np.searchsorted(of_gram, np.arange(distinct.size + 1)).astype(np.int64)

    return TestNgrams(
        distinct, grams.n[first], any_removes, grams.prefix[first], Ragged(owner, bounds)
    )


def build_index(
    ngram: np.ndarray, n: np.ndarray, prefix: np.ndarray | None = None, prefix_words: int = 1
) -> NgramIndex:
    """An index of ascending distinct grams. Shapes (k,) uint64, (k,) int16, (k,) uint64.

    `prefix` are the grams of their first `prefix_words` words; without it every place of a text is
    looked up.
    """
    bits = max(1, int(max(ngram.size, 1) - 1).bit_length())
    start_shift = np.uint64(64 - bits)
    starts = np.searchsorted(
        ngram >> start_shift, np.arange((1 << bits) + 1, dtype=np.uint64)
    ).astype(np.uint32)
    blocks, filter_shift = _prefix_filter(np.unique(prefix) if prefix is not None else None)

    return NgramIndex(
        keys=ngram,
        lengths=np.unique(n).astype(np.int64),
        starts=starts,
        start_shift=start_shift,
        prefix_words=prefix_words,
        filter_blocks=blocks,
        filter_shift=filter_shift,
    )


def _prefix_filter(prefix: np.ndarray | None) -> tuple[np.ndarray, np.uint64]:
    """(blocks of 64 bits, shift from a hash to its block); without prefixes all bits are set."""
    if prefix is None:
        return np.full(2, ~np.uint64(0)), np.uint64(63)

    width = max(1, int(prefix.size * FILTER_BITS_PER_PREFIX // 64).bit_length())
    blocks = np.zeros(1 << width, np.uint64)
    one, low = np.uint64(1), np.uint64(63)
    bits = (
        one << (prefix & low)
        | one << (prefix >> np.uint64(6) & low)
        | one << (prefix >> np.uint64(12) & low)
    )
    shift = np.uint64(64 - width)
    np.bitwise_or.at(blocks, prefix >> shift, bits)

    return blocks, shift


def find(words: Ragged, index: NgramIndex) -> Hits:
    """Every occurrence of a gram of the index in the texts of `words`, ordered by text, place and n."""
    if index.keys.size == 0:
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))

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
            index.prefix_words,
            index.filter_blocks,
            index.filter_shift,
            index.starts,
            index.start_shift,
            read_only(index.keys),
            text,
            *buffers,
        )
        pieces.append([buffer[:count].copy() for buffer in buffers])

    columns = [
        np.concatenate([np.zeros(0, np.int64), *(piece[which] for piece in pieces)])
        for which in range(3)
    ]

    return Hits(*columns)


def by_set(n: np.ndarray, testsets: pa.ChunkedArray) -> dict[tuple[str, int], np.ndarray]:
    """The places of every set's grams of every n, ascending.

    Shapes: n (k,), testsets k lists of names.
    """
    lists = testsets.combine_chunks()
    row = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
    names = lists.flatten().dictionary_encode()
    place = names.indices.to_numpy()
    found = {}

    for number, name in enumerate(names.dictionary.to_pylist()):
        mine = row[place == number]
        for each in np.unique(n[mine]).tolist():
            found[name, each] = mine[n[mine] == each]

    return found


def matched_words(num_words: int, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mask of a text's words inside a gram at `starts` of `sizes` words.

    Shape (num_words,) bool.
    """
    edges = np.zeros(num_words + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + sizes, -1)
    return np.cumsum(edges[:-1]) > 0


def judge(
    spans: Sequence[tuple[int, int]],
    num_chars: int,
    config: OverlapConfig,
    windows: Sequence[tuple[int, int]] | None = None,
) -> Judgement:
    """Judge a page with matches at `spans` (half-open character ranges, any order, may overlap)."""
    if not spans or config.policy == "report":
        return Judgement(False, [])
    if config.policy == "document":
        return Judgement(True, [])

    if windows is None:
        window = config.window_chars
        windows = [(max(0, start - window), min(num_chars, end + window)) for start, end in spans]
    cuts = merge_ranges(windows)
    pieces = gaps(cuts, num_chars)
    short = [piece for piece in pieces if piece[1] - piece[0] < config.min_piece_chars]
    if len(pieces) > config.max_pieces or len(short) == len(pieces):
        return Judgement(True, [])

    return Judgement(False, merge_ranges([*cuts, *short]))


def window_at_words(text: str, start: int, end: int, window: int) -> tuple[int, int]:
    """The range `window` characters around a match, widened to the next ends of words.

    It is widened further to the end of a sentence or paragraph if one is near: a piece of text
    begins and ends with a whole sentence then. It is never narrower.
    """
    first, after = max(0, start - window), min(len(text), end + window)
    lowest = max(0, first - MAX_WORD_CHARS)
    while first > lowest and not text[first - 1].isspace():
        first -= 1
    highest = min(len(text), after + MAX_WORD_CHARS)
    while after < highest and not text[after].isspace():
        after += 1

    return sentences.begin_before(text, first), sentences.end_after(text, after)


def merge_ranges(ranges: object) -> list[tuple[int, int]]:
    """Merge `ranges` to ascending disjoint ones; touching ones become one."""
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
    """Cut prompt words off the passages.

    A word at the beginning or end is a prompt word if at least half of the passages at the same
    place of their entry share it ("Question:", "Answer:"): a page may contain the question without
    them.

    Shapes: ordinal (passages,) int, a passage's place in its entry.
    """
    starts, ends = words.bounds[:-1].copy(), words.bounds[1:].copy()
    identity = _identity(words)
    for place in np.unique(ordinal):
        passages = np.flatnonzero(ordinal == place)
        # A passage that many questions repeat counts once: otherwise it would be their prompt.
        fresh = np.unique(identity[passages], return_index=True)[1]
        if fresh.size >= BOILERPLATE_ENTRIES:
            _strip(words.values, starts, ends, passages[np.sort(fresh)], backwards=False)
            _strip(words.values, starts, ends, passages[np.sort(fresh)], backwards=True)

    # Equal passages follow the one that was looked at; whoever lost more than a prompt has gets
    # it back: those words are a passage that questions share within one field.
    _, first, place = np.unique(
        ordinal * (len(words) + 1) + identity, return_index=True, return_inverse=True
    )
    lost_front = (starts - words.bounds[:-1])[first][place]
    lost_back = (words.bounds[1:] - ends)[first][place]
    starts = words.bounds[:-1] + np.where(lost_front > PROMPT_WORDS, 0, lost_front)
    ends = words.bounds[1:] - np.where(lost_back > PROMPT_WORDS, 0, lost_back)

    sizes = ends - starts
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Ragged(
        words.values[np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)], bounds
    )


def _identity(words: Ragged) -> np.ndarray:
    """The first row that has the same words, for every row. Shape (rows,) int64."""
    first_of: dict[bytes, int] = {}
    return np.array(
        [first_of.setdefault(words.row(row).tobytes(), row) for row in range(len(words))], np.int64
    )


def _strip(
    values: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    passages: np.ndarray,
    *,
    backwards: bool,
) -> None:
    """Move starts (or ends) of passages while they share their next word with half of all."""
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


def distinct_ngrams(testset: TestSet, n: int, config: OverlapConfig) -> np.ndarray:
    """The distinct n-grams of a set's passages, ascending. Shape (k,) uint64."""
    words, _, _ = _passages(testset, config)
    grams = ngram_hashes(words, n)
    return np.unique(grams.values[np.repeat(words.lengths() >= n, grams.lengths())])


@dataclass(frozen=True, slots=True)
class Grams:
    """Grams of one set on the way to `TestNgrams`. Arrays of one row per gram."""

    ngram: np.ndarray
    n: np.ndarray
    removes: np.ndarray
    prefix: np.ndarray

    def take(self, rows: np.ndarray) -> Grams:
        return Grams(self.ngram[rows], self.n[rows], self.removes[rows], self.prefix[rows])


def _joined(parts: Sequence[Grams]) -> Grams:
    empty = Grams(
        np.zeros(0, np.uint64), np.zeros(0, np.int16), np.zeros(0, bool), np.zeros(0, np.uint64)
    )
    every = [empty, *parts]

    return Grams(
        np.concatenate([each.ngram for each in every]),
        np.concatenate([each.n for each in every]),
        np.concatenate([each.removes for each in every]),
        np.concatenate([each.prefix for each in every]),
    )


def _grams(
    words: Ragged,
    n: int,
    least: int | np.ndarray,
    config: OverlapConfig,
    *,
    removes: bool,
) -> tuple[Grams, np.ndarray]:
    """(the n-grams of the rows of at least `least` words, one shorter gram of a row below n.

    The row of each), in order.
    """
    grams, prefixes = (ngram_hashes(words, each) for each in (n, config.prefix_words))
    row = np.repeat(np.arange(len(words)), grams.lengths())
    at = np.arange(row.size) - grams.bounds[row] + prefixes.bounds[row]
    size = np.minimum(words.lengths(), n)[row].astype(np.int16)
    usable = np.flatnonzero((words.lengths() >= least)[row])
    found = Grams(grams.values, size, np.full(row.size, removes), prefixes.values[at])
    return found.take(usable), row[usable]


def _passages(testset: TestSet, config: OverlapConfig) -> tuple[Ragged, np.ndarray, np.ndarray]:
    """(words of every passage, its entry, its place in the entry).

    An entry of nothing but passages too short to count ("Who wrote Ulysses?", "Joyce") is taken as
    one passage.
    """
    texts = [passage for entry in testset.entries for passage in entry]
    words = word_hashes(pa.array(texts, pa.large_string()))
    counts = np.array([len(entry) for entry in testset.entries], np.int64)
    firsts = np.cumsum(counts) - counts
    longest = np.maximum.reduceat(words.lengths(), firsts) if counts.size else counts
    ordinal = np.arange(len(texts)) - np.repeat(firsts, counts)
    stays = (ordinal == 0) | np.repeat(longest >= min(config.min_passage_words, config.n), counts)
    bounds = np.append(words.bounds[:-1][stays], words.bounds[-1])

    return (
        Ragged(words.values, bounds),
        np.repeat(np.arange(counts.size), counts)[stays],
        ordinal[stays],
    )


def _set_grams(testset: TestSet, config: OverlapConfig) -> Grams:
    """The grams of one set; measured and removed ones come twice."""
    words, _, _ = _passages(testset, config)
    measured = [
        _grams(words, n, n, config, removes=False)[0] for n in sorted(set(config.measure_n))
    ]
    removed, _ = removable_grams(testset, config)
    distinct = np.unique(removed.ngram, return_index=True)[1]

    return _joined([*measured, removed.take(distinct)])


def removable_grams(testset: TestSet, config: OverlapConfig) -> tuple[Grams, np.ndarray]:
    """The grams of a set that are removed, and the passage of each."""
    grams, passage, _ = removable_passages(testset, config)
    return grams, passage


def removable_entries(testset: TestSet, config: OverlapConfig) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a set's grams that are removed, and the entry of each."""
    grams, _, entry = removable_passages(testset, config)
    return grams.ngram, entry


def removable_passages(
    testset: TestSet, config: OverlapConfig
) -> tuple[Grams, np.ndarray, np.ndarray]:
    """The grams of a set that are removed, prompts left out, with the passage and entry of each."""
    rows, least, whose = _every_form(testset, config)
    removed, row = _grams(rows, config.n, least, config, removes=True)
    stays = ~_is_prompt(removed.ngram, row, whose, rows, testset, config)

    return removed.take(np.flatnonzero(stays)), row[stays], whose[row[stays]]


def passages_and_prompts(testset: TestSet, config: OverlapConfig) -> tuple[Ragged, np.ndarray]:
    """(the words of all passages, True for words of prompts). Shapes: the second (words,) bool."""
    rows, least, whose = _every_form(testset, config)
    grams, row = _grams(rows, config.n, least, config, removes=True)
    prompts = np.flatnonzero(_is_prompt(grams.ngram, row, whose, rows, testset, config))
    # Grams come row by row: the first one of a row begins at its first word.
    _, first = np.unique(row, return_index=True)
    within = np.arange(row.size) - np.repeat(first, np.diff(np.append(first, row.size)))
    starts = rows.bounds[row[prompts]] + within[prompts]

    return rows, matched_words(rows.values.size, starts, grams.n[prompts].astype(np.int64))


def short_entries(testset: TestSet, config: OverlapConfig) -> tuple[Ragged, np.ndarray]:
    """(lines of entries without a line long enough to count, the entry of each).

    They come without labels ("Q:") and prompts, and those that have some a second time with them: "17 times 23"
    is no question without "What is".
    """
    lines = [
        [_LABEL.sub("", line) for text in entry for line in text.split("\n")]
        for entry in testset.entries
    ]
    words = word_hashes(pa.array([line for each in lines for line in each], pa.large_string()))
    counts = np.array([len(each) for each in lines], np.int64)
    entry = np.repeat(np.arange(counts.size), counts)
    ordinal = np.arange(entry.size) - np.repeat(np.cumsum(counts) - counts, counts)
    bare = without_prompts(words, ordinal)

    longest = np.zeros(counts.size, np.int64)
    np.maximum.at(longest, entry, bare.lengths())
    short = longest < min(config.min_passage_words, config.n)
    has_prompt = np.zeros(counts.size, bool)
    np.logical_or.at(has_prompt, entry, bare.lengths() < words.lengths())
    without, given = np.flatnonzero(short[entry]), np.flatnonzero((short & has_prompt)[entry])
    rows = [*(bare.row(int(row)) for row in without), *(words.row(int(row)) for row in given)]
    bounds = np.cumsum([0, *(row.size for row in rows)], dtype=np.int64)

    return (
        Ragged(np.concatenate([np.zeros(0, np.uint64), *rows]), bounds),
        np.concatenate([entry[without], entry[given] + counts.size]),
    )


def _every_form(testset: TestSet, config: OverlapConfig) -> tuple[Ragged, np.ndarray, np.ndarray]:
    """(words of every passage as written and in its natural form, words to count, entry of each).

    Prompts are cut off at the ends (`without_prompts`).
    """
    words, entry, ordinal = _passages(testset, config)
    natural, natural_entry, natural_ordinal, is_piece = _natural_passages(testset, config)
    rows = Ragged(
        np.concatenate([words.values[: words.bounds[-1]], natural.values]),
        np.concatenate([words.bounds, natural.bounds[1:] + words.bounds[-1]]),
    )
    places = np.concatenate([ordinal, natural_ordinal + len(ordinal) + 1])
    least = np.full(len(rows), min(config.min_passage_words, config.n))
    least[len(words) :][is_piece] = min(MIN_PIECE_WORDS, config.n)

    return without_prompts(rows, places), least, np.concatenate([entry, natural_entry])


def _natural_passages(
    testset: TestSet, config: OverlapConfig
) -> tuple[Ragged, np.ndarray, np.ndarray, np.ndarray]:
    """(words of passages as pages show them, entry, place in the entry, True for a piece).

    Only passages that a page shows otherwise than the set has them.
    """
    every = [passage for entry in testset.entries for passage in entry]
    tokenized, has_gaps = is_tokenized(every), any("<unk>" in passage for passage in every)
    texts, entries, ordinals, is_piece = [], [], [], []
    for number, entry in enumerate(testset.entries):
        for place, passage in enumerate(entry):
            pieces = natural_pieces(passage, tokenized=tokenized, has_gaps=has_gaps)
            texts += pieces
            entries += [number] * len(pieces)
            ordinals += [place] * len(pieces)
            is_piece += [len(pieces) > 1] * len(pieces)

    return (
        word_hashes(pa.array(texts, pa.large_string())),
        np.array(entries, np.int64),
        np.array(ordinals, np.int64),
        np.array(is_piece, bool),
    )


def _is_prompt(
    gram: np.ndarray,
    row: np.ndarray,
    entry_of: np.ndarray,
    rows: Ragged,
    testset: TestSet,
    config: OverlapConfig,
) -> np.ndarray:
    """True for grams that belong to the set's prompts.

    A prompt is short and in many distinct passages, or is a whole passage of most entries. A text
    that several questions share is neither: it is long, or it is one passage however often it is
    repeated.
    """
    if gram.size == 0:
        return np.zeros(0, bool)
    identity = _identity(rows)
    by_words = _num_owners(gram, identity[row], len(rows))
    num_distinct = np.unique(identity[np.unique(row)]).size
    often = by_words > max(BOILERPLATE_ENTRIES - 1, config.boilerplate_frac * num_distinct)
    in_run = _run_words(often, row, rows.lengths(), config.n) <= PROMPT_WORDS

    first_of: dict[tuple[str, ...], int] = {}
    entry = np.array([first_of.setdefault(each, at) for at, each in enumerate(testset.entries)])
    by_entry = _num_owners(gram, entry[entry_of[row]], len(testset.entries))
    is_instruction = (by_entry >= max(BOILERPLATE_ENTRIES, len(first_of) / 2)) & (
        rows.lengths()[row] <= INSTRUCTION_WORDS
    )

    return (often & in_run) | is_instruction


def _num_owners(gram: np.ndarray, owner: np.ndarray, most: int) -> np.ndarray:
    """The number of distinct owners (below `most`) of each row's gram."""
    _, place = np.unique(gram, return_inverse=True)
    pairs = np.unique(place * most + owner)
    return np.bincount(pairs // most)[place]


def _run_words(flags: np.ndarray, row: np.ndarray, lengths: np.ndarray, n: int) -> np.ndarray:
    """Words of the run of flagged neighbours that each gram lies in; grams come row by row."""
    breaks = np.ones(flags.size, bool)
    breaks[1:] = (flags[1:] != flags[:-1]) | (row[1:] != row[:-1])
    run = np.cumsum(breaks) - 1
    return np.bincount(run)[run] - 1 + np.minimum(lengths[row], n)


@example
def _find_a_passage() -> None:
    words = word_hashes(pa.array(["one two three"], pa.large_string()))
    grams = ngram_hashes(words, 2).values
    find(words, build_index(grams, np.full(grams.size, 2, np.int16)))
