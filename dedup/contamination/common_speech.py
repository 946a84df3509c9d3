"""Grams of test sets that are common speech: in many groups of near-duplicate pages.

GPT-3 ignores 13-grams of more than ten training documents. Its corpus is deduplicated already. Here
pages are counted by group, since copies of one leaked page would otherwise vote their own leak into
common speech. Pages are of one group if a chain of shared band keys joins them. Groups of an
earlier batch are not counted again. A gram is never exempt on a page with nearly the whole passage
of the gram.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus.evaluation_sets.files import TestSet
from corpus.storage.store import Store
from corpus.tables.manifest import Manifest
from dedup import doc_ids, index
from dedup.contamination import overlap
from dedup.contamination.overlap import OverlapConfig
from dedup.near_duplicates import lsh
from dedup.near_duplicates.lsh import LshConfig
from dedup.words import word_hashes

# Share of a passage's grams from which a page holds it nearly whole.
NEARLY_WHOLE = 0.8


@dataclass(frozen=True, slots=True)
class PageGrams:
    """Removable grams of pages, one row for each page and distinct gram."""

    doc: np.ndarray
    """(pages,) S16, ascending."""
    page: np.ndarray
    """(rows,) int64."""
    gram: np.ndarray
    """(rows,) uint64."""

    @classmethod
    def of(cls, hits: pa.Table) -> PageGrams:
        """The grams of the table `hits`."""
        lists = hits["ngrams"].combine_chunks()
        page = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
        values, place = np.unique(lists.flatten().to_numpy(), return_inverse=True)
        pairs = np.unique(page * max(1, values.size) + place)
        page, place = np.divmod(pairs, max(1, values.size))

        return cls(doc_ids.pack(hits["doc_id"]), page, values[place])


def limit(config: OverlapConfig, num_pages: int) -> float:
    """Groups of pages up to which a gram counts as overlap."""
    if config.common_pages == 0:
        return float("inf")
    return max(config.common_pages, config.common_frac * num_pages)


def groups(
    doc: np.ndarray,
    signatures: Iterator[pa.Table],
    config: LshConfig,
    store: Store,
    earlier: Sequence[Manifest],
) -> tuple[np.ndarray, np.ndarray]:
    """(the group of every page, True if an earlier batch has kept a page of it). `doc` ascends."""
    from dedup import kernels

    rows, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for table in signatures:
        at = doc_ids.places_among(doc_ids.pack(table["doc_id"]), doc)
        here = np.flatnonzero((at >= 0) & (table["num_shingles"].to_numpy() > 0))
        chosen = table["signature"].take(pa.array(here)).combine_chunks().flatten().to_numpy()
        found = lsh.band_keys(chosen.reshape(-1, config.num_perm), config)
        rows.append(np.repeat(at[here], config.num_bands))
        keys.append(found.ravel())

    row = np.concatenate(rows)
    distinct, key = np.unique(np.concatenate(keys), return_inverse=True)
    # Keys are nodes behind the pages, so the least node of a group is its first page.
    label = np.arange(doc.size + distinct.size)
    kernels.unite(label, np.stack([row, doc.size + key], axis=1))
    group = label[: doc.size]

    known = np.zeros(doc.size, bool)
    for manifest in earlier:
        met = np.isin(distinct, index.read_matching(store, manifest, distinct)[0])
        known[group[row[met[key]]]] = True

    return group, known[group]


def exempt(
    pages: PageGrams,
    common: np.ndarray,
    sets: Sequence[TestSet],
    config: OverlapConfig,
) -> np.ndarray:
    """True for rows of `pages` whose gram is common speech there. `common` are the grams of many groups."""
    exempt = np.isin(pages.gram, common)
    if not exempt.any():
        return exempt

    by_gram = np.argsort(pages.gram, kind="stable")
    ascending = pages.gram[by_gram]
    for testset in sets:
        grams, passage, entry = overlap.removable_passages(testset, config)
        is_common = np.isin(grams.ngram, common)
        whole_entries = _whole_entries(testset, grams, entry, is_common & (grams.n < config.n))
        exempt &= ~np.isin(pages.gram, whole_entries)
        concerned = np.unique(passage[is_common & (grams.n >= config.n)])
        order = np.argsort(passage, kind="stable")
        for number in concerned.tolist():
            first, after = np.searchsorted(passage[order], [number, number + 1])
            mine = np.unique(grams.ngram[order[first:after]])
            starts, ends = (np.searchsorted(ascending, mine, side) for side in ("left", "right"))
            rows = by_gram[
                np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
            ]
            held = np.bincount(pages.page[rows], minlength=pages.doc.size)
            whole = held >= NEARLY_WHOLE * mine.size
            exempt[rows[whole[pages.page[rows]]]] = False

    return exempt


def within_passages(hits: pa.Table, pages: PageGrams, near: np.ndarray) -> np.ndarray:
    """True for rows of `pages` whose gram lies, on its page, within a passage that was met as such.

    `hits` is the table that `pages` were made of, `near` has the keys of passages. A gram counts
    if all its places lie within passages.
    """
    found = np.zeros(pages.gram.size, bool)
    bounds = np.searchsorted(pages.page, np.arange(hits.num_rows + 1))
    for page, row in enumerate(hits.select(["ngrams", "starts", "ends"]).to_pylist()):
        gram = np.array(row["ngrams"], np.uint64)
        is_near = np.isin(gram, near)
        if not is_near.any():
            continue
        start, end = np.array(row["starts"]), np.array(row["ends"])
        covered = np.zeros(gram.size, bool)
        for passage in np.flatnonzero(is_near):
            covered |= (start[passage] <= start) & (end <= end[passage])
        mine = slice(bounds[page], bounds[page + 1])
        found[mine] = ~np.isin(pages.gram[mine], gram[~covered])

    return found


def _whole_entries(
    testset: TestSet, grams: overlap.Grams, entry: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """The `chosen` grams that are nearly all words of their entry: short ones are whole passages."""
    at = np.flatnonzero(chosen)
    texts = pa.array([" \n".join(testset.entries[each]) for each in entry[at]], pa.large_string())
    num_words = word_hashes(texts).lengths()
    return grams.ngram[at[grams.n[at] >= NEARLY_WHOLE * num_words]]
