"""Plain numpy and Python for every compiled loop of dedup: what the kernels are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from dedup import folding, words
from dedup.contamination.overlap import Hits, NgramIndex
from dedup.near_duplicates import greedy, minhash
from dedup.near_duplicates.greedy import KEPT, Edges, LargeBuckets, Selection
from dedup.near_duplicates.shingle_store import ABSENT, StoredSets
from dedup.words import (
    CONTENT_SALTS,
    LENGTH_SALT,
    NGRAM_BASE,
    WORD_MULTIPLIER,
    WORD_SEED,
    Ragged,
    mix,
)

Verify = Callable[[int, int], tuple[float, bool]]


def word_hashes(texts: pa.Array) -> Ragged:
    """`words.word_hashes`."""
    offsets, data = words.text_buffers(texts)
    return _word_hashes(offsets, data, folding.load())


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """`words.jaccard`."""
    shared = int(np.intersect1d(left, right, assume_unique=True).size)
    return shared / (left.size + right.size - shared) if left.size + right.size else 0.0


def sign(texts: pa.Array, n: int, perms: minhash.Permutations) -> minhash.Signatures:
    """`minhash.sign`."""
    found = word_hashes(texts)
    shingles = distinct(ngram_hashes(found, n))
    sizes = shingles.lengths().astype(np.int32)
    return minhash.Signatures(content_hashes(found), sizes, signatures(shingles, perms))


def signatures(hashes: Ragged, perms: minhash.Permutations) -> np.ndarray:
    """`minhash.signatures`."""
    mixed = minhash._mix32((hashes.values >> np.uint64(32)).astype(np.uint32))
    result = np.full((len(hashes), perms.factors.size), minhash.EMPTY, np.uint32)
    # reduceat gives an element, not the identity, for an empty range: leave such rows out.
    filled = hashes.lengths() > 0
    if filled.any():
        for k in range(perms.factors.size):
            values = perms.factors[k] * mixed + perms.offsets[k]
            result[filled, k] = np.minimum.reduceat(values, hashes.bounds[:-1][filled])
    return result


def distinct(hashes: Ragged) -> Ragged:
    """`minhash.distinct`."""
    rows = [hashes.row(index) for index in range(len(hashes))]
    kept = [row[np.sort(np.unique(row, return_index=True)[1])] for row in rows]
    bounds = np.concatenate([[0], np.cumsum([row.size for row in kept])]).astype(np.int64)
    return Ragged(np.concatenate([np.zeros(0, np.uint64), *kept]), bounds)


def open_pages(num_pages: int, num_old: int, edges: Edges, large: LargeBuckets) -> np.ndarray:
    """`greedy.open_pages`."""
    asked: set[int] = set()
    doubtful: set[int] = set()

    def unknown(earlier: int, later: int) -> tuple[float, bool]:
        asked.update((earlier, later))
        doubtful.add(later)
        return -1.0, False

    _walk(num_pages, num_old, edges, large, 0.0, unknown, doubtful)
    return np.array(sorted(asked), np.int64)


def choose_in_large(
    num_pages: int,
    num_old: int,
    edges: Edges,
    large: LargeBuckets,
    threshold: float,
    sets: StoredSets,
    containment: float = 0,
    savepoint: object = None,
) -> greedy.Selection:
    """`greedy.choose_in_large`, without containment."""

    def verify(earlier: int, later: int) -> tuple[float, bool]:
        return compare(sets, earlier, later)

    return _walk(num_pages, num_old, edges, large, threshold, verify, set())


def compare(sets: StoredSets, earlier: int, later: int) -> tuple[float, bool]:
    """(exact Jaccard similarity, True if the contents are equal)."""
    left, right = int(sets.slot[earlier]), int(sets.slot[later])
    if ABSENT in (left, right):
        return 0.0, False

    rows = [sets.values[sets.value_bounds[at] : sets.value_bounds[at + 1]] for at in (left, right)]
    return jaccard(*rows), bool((sets.content[left] == sets.content[right]).all())


def content_hashes(rows: Ragged) -> np.ndarray:
    place = np.arange(rows.values.size, dtype=np.uint64) - np.repeat(
        rows.bounds[:-1].astype(np.uint64), rows.lengths()
    )
    result = np.empty((len(rows), 2), np.uint64)

    for lane, salt in enumerate(CONTENT_SALTS):
        placed = mix((rows.values ^ salt) + place * NGRAM_BASE)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(placed, dtype=np.uint64)])
        total = sums[rows.bounds[1:]] - sums[rows.bounds[:-1]]
        result[:, lane] = mix(total ^ rows.lengths().astype(np.uint64) * LENGTH_SALT)

    return result


def _word_hashes(offsets: np.ndarray, data: np.ndarray, table: folding.Folding) -> Ragged:
    """The same without compiled code: decode all, expand all, cut into words, hash them one character deep at a time."""
    points, owner = _decode(offsets, data)
    codes, owner = words._expand(table, points, owner)
    starts, ends, codes, owner = words._cut(codes, owner, owner)
    lengths = ends - starts
    values = (codes & ~folding.ALONE).astype(np.uint64)
    state = np.full(starts.size, WORD_SEED)
    active = np.arange(starts.size)
    depth = 0

    while active.size:
        step = (state[active] ^ values[starts[active] + depth]) * WORD_MULTIPLIER
        state[active] = step ^ (step >> np.uint64(32))
        depth += 1
        active = active[lengths[active] > depth]

    bounds = np.searchsorted(owner[starts], np.arange(offsets.size)).astype(np.int64)
    return Ragged(mix(state), bounds)


def _decode(offsets: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(code points, the text of each) of UTF-8 texts."""
    data = data[offsets[0] : offsets[-1]]
    points = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32).astype(np.int64)
    starts = np.flatnonzero((data & 0xC0) != 0x80)
    owner = np.searchsorted(offsets - offsets[0], starts, "right") - 1
    return points, owner


def ngram_hashes(rows: Ragged, n: int) -> Ragged:
    sizes = np.minimum(rows.lengths(), n)
    counts = np.where(sizes > 0, rows.lengths() - sizes + 1, 0)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    owner = np.repeat(np.arange(len(rows)), counts)
    start = np.arange(bounds[-1]) - bounds[owner] + rows.bounds[owner]
    size = sizes[owner]
    state = np.zeros(owner.size, np.uint64)
    for depth in range(n):
        active = size > depth
        state[active] = state[active] * NGRAM_BASE + rows.values[start[active] + depth]

    return Ragged(mix(state ^ size.astype(np.uint64) * LENGTH_SALT), bounds)


def find(rows: Ragged, index: NgramIndex) -> Hits:
    found = []
    sizes = rows.lengths()
    for n in index.lengths if index.keys.size else ():
        grams = ngram_hashes(rows, int(n))
        owner = np.repeat(np.arange(len(rows)), grams.lengths())
        word = np.arange(grams.values.size) - grams.bounds[owner]
        place = np.minimum(np.searchsorted(index.keys, grams.values), index.keys.size - 1)
        hit = (index.keys[place] == grams.values) & (sizes[owner] >= n)
        found.append(
            np.stack([owner[hit], word[hit], place[hit], np.full(int(hit.sum()), n)], axis=1)
        )

    hits = np.concatenate([np.zeros((0, 4), np.int64), *found])
    hits = hits[np.lexsort((hits[:, 3], hits[:, 1], hits[:, 0]))]
    return Hits(hits[:, 0], hits[:, 1], hits[:, 2])


def _walk(
    num_pages: int,
    num_old: int,
    edges: Edges,
    large: LargeBuckets,
    threshold: float,
    verify: Verify,
    doubtful: set[int],
) -> Selection:
    """Make one pass in the order.

    Pages kept only for lack of an answer are `doubtful`: nothing is dropped because of them, and
    pages they might drop are doubtful too. So a pass with an empty `verify` keeps too many pages,
    never too few.
    """
    duplicate_of = np.full(num_pages, KEPT, np.int64)
    similarity = np.full(num_pages, np.nan)
    exact = np.zeros(num_pages, bool)
    known = _by_page(num_pages, edges.later, edges.earlier)
    memberships = _by_page(num_pages, large.page, np.arange(large.page.size))
    kept_in: dict[int, list[tuple[int, bool]]] = {}

    for page in range(num_pages):
        rows = memberships(page)
        if page >= num_old:
            standing = [row for row in known(page) if duplicate_of[edges.earlier[row]] == KEPT]
            hit = next((row for row in standing if int(edges.earlier[row]) not in doubtful), None)
            limit = int(edges.earlier[hit]) if hit is not None else num_pages
            settled = {int(edges.earlier[row]) for row in standing}
            found = None
            for mate in _mates(rows, large.bucket, kept_in, limit):
                if mate in settled:
                    continue
                value, same = verify(mate, page)
                if value >= threshold:
                    found = (mate, value, same)
                    break
            if found is not None:
                duplicate_of[page], similarity[page], exact[page] = found
            elif hit is not None:
                duplicate_of[page] = limit
                similarity[page], exact[page] = edges.similarity[hit], edges.exact[hit]
            elif standing:
                doubtful.add(page)

        if duplicate_of[page] == KEPT:
            for row in rows:
                kept_in.setdefault(int(large.bucket[row]), []).append(
                    (page, bool(large.leads[row]))
                )

    return Selection(duplicate_of, similarity, exact)


def _mates(
    rows: Sequence[int], bucket: np.ndarray, kept_in: dict[int, list[tuple[int, bool]]], limit: int
) -> list[int]:
    """Kept pages before `limit` in the page's large buckets, not compared with it; ascending."""
    compared: dict[int, bool] = {}
    for row in rows:
        for mate, leads in kept_in.get(int(bucket[row]), ()):
            if mate >= limit:
                break
            compared[mate] = compared.get(mate, False) or leads

    return sorted(mate for mate, leads in compared.items() if not leads)


def _by_page(num_pages: int, pages: np.ndarray, tie: np.ndarray) -> Callable[[int], Sequence[int]]:
    """The rows of every page, ordered by `tie`."""
    order = np.lexsort((tie, pages))
    bounds = np.searchsorted(pages[order], np.arange(num_pages + 1))
    rows = order.tolist()
    return lambda page: rows[bounds[page] : bounds[page + 1]]
