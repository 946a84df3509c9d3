"""Everything that pages are searched for: grams of the test sets, passages with edits, short pairs.

The grams are exact (`overlap`), the rest tolerates edits (`near_match`). Texts in which line ends
divide words are searched a second time with these words put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus.evaluation_sets.files import TestSet
from dedup.contamination import near_match, overlap
from dedup.contamination.near_match import NearIndex, PairIndex, Pairs, Passages
from dedup.contamination.overlap import NgramIndex, OverlapConfig
from dedup.tables import NGRAMS, PASSAGES
from dedup.words import Ragged, word_hashes, word_spans

# In the column `n`, a passage that is looked for with edits.
NEAR = 0


@dataclass(frozen=True, slots=True)
class TestIndex:
    """The index of all test sets in memory."""

    __test__ = False
    grams: NgramIndex
    lengths: np.ndarray
    """(grams,) int16: words of each gram."""
    removes: np.ndarray
    """(grams,) bool."""
    near: NearIndex
    pairs: PairIndex

    @classmethod
    def of_tables(cls, ngrams: pa.Table, passages: pa.Table, prefix_words: int) -> TestIndex:
        """The index of the tables `NGRAMS` and `PASSAGES`."""
        exact = ngrams.filter(pa.array(ngrams["n"].to_numpy() != NEAR))
        ngram, n, removes, prefix = (
            exact[name].to_numpy() for name in ("ngram", "n", "removes", "prefix")
        )
        is_pair = passages["is_pair"].to_numpy()
        return cls(
            overlap.build_index(ngram, n, prefix, prefix_words),
            n,
            removes,
            near_match.build_near_index(_passages(passages.filter(pa.array(~is_pair)))),
            near_match.build_pair_index(_pairs(passages.filter(pa.array(is_pair)))),
        )


@dataclass(frozen=True, slots=True)
class PageHits:
    """The hits of one text, as character ranges. Arrays of one row per hit."""

    ngrams: np.ndarray
    """(distinct hits,) uint64: all that was found, measured grams included."""
    removable: np.ndarray
    """(rows,) uint64: the gram or the key of each removable hit."""
    starts: np.ndarray
    ends: np.ndarray
    windows: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Hits:
    """Hits in one form of a text."""

    ngrams: np.ndarray
    removable: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    num_exact: int


def tables(sets: Sequence[TestSet], config: OverlapConfig) -> tuple[pa.Table, pa.Table]:
    """The tables `NGRAMS` and `PASSAGES` of test sets."""
    rows = [overlap.passages_and_prompts(each, config) for each in sets]
    short = [overlap.short_entries(each, config) for each in sets]
    weights = near_match.word_weights([words for words, _ in rows])
    pair_weights = near_match.word_weights([words for words, _ in short], beyond_first=True)
    passages, pairs = [], []
    for (words, is_prompt), (pieces, entry) in zip(rows, short, strict=True):
        # With edits off, no passage is indexed.
        least = config.near_min_words if config.near_share < 1 else words.values.size + 1
        passages.append(near_match.passages_of(words, is_prompt, weights, least))
        pairs.append(near_match.pairs_of(pieces, entry, pair_weights))

    grams = overlap.ngrams_of(sets, config)
    names = pa.array([each.name for each in sets], pa.string())
    exact = pa.table(
        {
            "ngram": grams.ngram,
            "n": grams.n,
            "removes": grams.removes,
            "prefix": grams.prefix,
            "testsets": pa.ListArray.from_arrays(
                pa.array(grams.testsets.bounds.astype(np.int32)),
                names.take(pa.array(grams.testsets.values)),
            ),
        },
        NGRAMS.schema,
    )
    keys = _key_rows([(p.keys, q.keys) for p, q in zip(passages, pairs, strict=True)], sets)

    return (
        pa.concat_tables([exact, keys]).sort_by("ngram"),
        pa.concat_tables(
            [
                _passage_rows(near_match.concatenated(passages)),
                _pair_rows(near_match.concatenated_pairs(pairs)),
            ]
        ),
    )


def search(texts: pa.Array, index: TestIndex, config: OverlapConfig) -> list[tuple[int, PageHits]]:
    """(place, hits) of every text that has some, in order."""
    words = word_hashes(texts)
    plain = _search_form(words, index, config)
    joined = {}
    for place, text in _divided(texts):
        form = near_match.joined_lines(text)
        if form is not None:
            joined[place] = form

    order = list(joined)
    forms = pa.array([joined[place][0] for place in order], pa.large_string())
    other = _search_form(word_hashes(forms), index, config) if order else {}
    found = []
    for place in sorted({*plain, *(order[each] for each in other)}):
        text = texts[place].as_py()
        hits = [_in_characters(plain[place], text)] if place in plain else []
        if place in joined and (row := order.index(place)) in other:
            in_form = _in_characters(other[row], joined[place][0])
            at = joined[place][1]
            hits.append(
                _Hits(
                    in_form.ngrams,
                    in_form.removable,
                    at[in_form.starts],
                    at[in_form.ends - 1] + 1,
                    in_form.num_exact,
                )
            )
        found.append((place, _page_hits(hits, text, config)))

    return found


def _search_form(words: Ragged, index: TestIndex, config: OverlapConfig) -> dict[int, _Hits]:
    """The hits of every text that has some, in words."""
    exact = overlap.find(words, index.grams)
    near = near_match.merge(
        [
            near_match.find_near(words, index.near, config.near_share),
            near_match.find_pairs(words, index.pairs),
        ]
    )
    found = {}
    for text in np.union1d(exact.text, near.text).tolist():
        first, after = np.searchsorted(exact.text, [text, text + 1])
        begin, end = np.searchsorted(near.text, [text, text + 1])
        key, word = exact.key[first:after], exact.word[first:after]
        counted = index.removes[key]
        sizes = index.lengths[key].astype(np.int64)
        found[text] = _Hits(
            np.unique(np.concatenate([index.grams.keys[key], near.key[begin:end]])),
            np.concatenate([index.grams.keys[key[counted]], near.key[begin:end]]),
            np.concatenate([word[counted], near.first[begin:end]]),
            np.concatenate([(word + sizes)[counted], near.after[begin:end]]),
            int(counted.sum()),
        )

    return found


def _in_characters(hits: _Hits, text: str) -> _Hits:
    if hits.removable.size == 0:
        return hits
    starts, ends = word_spans(text)
    return _Hits(
        hits.ngrams,
        hits.removable,
        starts[hits.starts].astype(np.int64),
        ends[hits.ends - 1].astype(np.int64),
        hits.num_exact,
    )


def _page_hits(forms: Sequence[_Hits], text: str, config: OverlapConfig) -> PageHits:
    """The hits of all forms of a text together, exact ones first, each once."""
    exact: dict[tuple[int, int, int], tuple[int, int]] = {}
    near: dict[tuple[int, int, int], tuple[int, int]] = {}
    for hits in forms:
        rows = zip(hits.removable.tolist(), hits.starts.tolist(), hits.ends.tolist(), strict=True)
        for place, row in enumerate(rows):
            kind = exact if place < hits.num_exact else near
            if row not in kind:
                kind[row] = overlap.window_at_words(text, *row[1:], config.window_chars)

    rows_of = [*exact, *near]
    return PageHits(
        np.unique(np.concatenate([each.ngrams for each in forms])),
        np.array([row[0] for row in rows_of], np.uint64),
        np.array([row[1] for row in rows_of], np.int64),
        np.array([row[2] for row in rows_of], np.int64),
        [*exact.values(), *near.values()],
    )


def _divided(texts: pa.Array) -> list[tuple[int, str]]:
    """The texts in which a hyphen may divide a word at a line end."""
    marks = pa.compute.match_substring_regex(texts, "[-\u2010\u00ad][ \t]*\r?\n")
    places = np.flatnonzero(marks.to_numpy(zero_copy_only=False)).tolist()
    return [(place, texts[place].as_py()) for place in places]


def _key_rows(keys: Sequence[tuple[np.ndarray, np.ndarray]], sets: Sequence[TestSet]) -> pa.Table:
    """Rows of `NGRAMS` for the keys of passages and pairs, each with all its sets."""
    owners: dict[int, list[str]] = {}
    for testset, groups in zip(sets, keys, strict=True):
        for key in np.unique(np.concatenate(groups)).tolist():
            owners.setdefault(key, []).append(testset.name)

    return pa.table(
        {
            "ngram": pa.array(owners, pa.uint64()),
            "n": pa.array([NEAR] * len(owners), pa.int16()),
            "removes": pa.array([True] * len(owners), pa.bool_()),
            "prefix": pa.array([0] * len(owners), pa.uint64()),
            "testsets": pa.array(list(owners.values()), pa.list_(pa.string())),
        },
        NGRAMS.schema,
    )


def _passage_rows(passages: Passages) -> pa.Table:
    return pa.table(
        {
            "is_pair": np.zeros(len(passages.words), bool),
            "words": _lists(passages.words.bounds, passages.words.values),
            "weights": _lists(passages.words.bounds, passages.weights),
            "starts": _lists(passages.chunk_bounds, passages.starts),
            "ends": _lists(passages.chunk_bounds, passages.ends),
            "keys": _lists(passages.chunk_bounds, passages.keys),
        },
        PASSAGES.schema,
    )


def _pair_rows(pairs: Pairs) -> pa.Table:
    one_each = np.arange(pairs.keys.size + 1)
    none = np.zeros(pairs.keys.size + 1, np.int64)
    return pa.table(
        {
            "is_pair": np.ones(pairs.keys.size, bool),
            "words": _lists(pairs.words.bounds, pairs.words.values),
            "weights": _lists(pairs.words.bounds, pairs.weights),
            "starts": _lists(pairs.piece_bounds, pairs.piece_starts),
            "ends": _lists(none, np.zeros(0, np.int64)),
            "keys": _lists(one_each, pairs.keys),
        },
        PASSAGES.schema,
    )


def _passages(table: pa.Table) -> Passages:
    words, bounds = _flat(table["words"])
    starts, chunk_bounds = _flat(table["starts"])
    return Passages(
        Ragged(words, bounds),
        _flat(table["weights"])[0],
        chunk_bounds,
        starts,
        _flat(table["ends"])[0],
        _flat(table["keys"])[0],
    )


def _pairs(table: pa.Table) -> Pairs:
    words, bounds = _flat(table["words"])
    starts, piece_bounds = _flat(table["starts"])
    return Pairs(
        Ragged(words, bounds),
        _flat(table["weights"])[0],
        piece_bounds,
        starts,
        _flat(table["keys"])[0],
    )


def _lists(bounds: np.ndarray, values: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), pa.array(values))


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(values, bounds) of a column of lists."""
    lists = column.combine_chunks()
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    values: np.ndarray = lists.flatten().to_numpy(zero_copy_only=False)
    return values, np.cumsum(np.concatenate([[0], lengths]), dtype=np.int64)
