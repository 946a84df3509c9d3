"""Compiled loops over whole batches: bytes to words, words to signatures, words to hits. No Python object per page.

The tests hold each against plain numpy (`tests/dedup/oracle.py`). They are compiled at the first
call, once on a machine: `corpus.compiled`.

Arithmetic is on uint64 and wraps, on purpose. numba widens mixed integers, hence the explicit
casts.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

from corpus.compiled import compiler
from dedup.contamination import near_score
from dedup.near_duplicates.containment import LEAST_OF_LARGER

# A factor that keeps a rounded product below the exact one.
SURELY = 1 - 1e-9

# Steps of a merge between two checks of its bound.
BLOCK_STEPS = 32

# Of the filters that find values of one set only; 16 bits a value tell 98 % of them.
FILTER_BITS_PER_VALUE = 16
# 256 MB a filter. Beyond 130 million values the filters tell fewer, which costs time only.
MOST_FILTER_BITS = 1 << 31

# Kept pages of a bucket are ruled out by blocks of 2**6, and these by blocks of 2**12.
BLOCK_SHIFT = 6
LARGE_BLOCK_SHIFT = 12
NO_SIZE = 1 << 62

compiled = compiler(nogil=True)

score_clusters = compiled(near_score.score_clusters)


@compiled
def _mix(value: Any) -> Any:
    """MurmurHash3's 64-bit finalizer: a bijection with good diffusion."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@compiled
def _step(state: Any, code: Any, multiplier: Any) -> Any:
    state = (state ^ np.uint64(code)) * multiplier
    return state ^ (state >> np.uint64(32))


@compiled
def _decode(data: Any, position: Any) -> Any:
    """(code point, bytes) of the UTF-8 character at `position`.

    The text is valid, Arrow has checked it.
    """
    first = np.int64(data[position])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (np.int64(data[position + 1]) & 0x3F), 2
    if first < 0xF0:
        return (
            (first & 0x0F) << 12
            | (np.int64(data[position + 1]) & 0x3F) << 6
            | (np.int64(data[position + 2]) & 0x3F)
        ), 3

    return (
        (first & 0x07) << 18
        | (np.int64(data[position + 1]) & 0x3F) << 12
        | (np.int64(data[position + 2]) & 0x3F) << 6
        | (np.int64(data[position + 3]) & 0x3F)
    ), 4


@compiled
def hash_words(
    data: Any,
    offsets: Any,
    codes: Any,
    expansions: Any,
    seed: Any,
    multiplier: Any,
    hashes: Any,
    bounds: Any,
) -> int:
    """Hash every word of every text into `hashes`; `bounds[i]..bounds[i + 1]` are those of text i. The number of words.

    Shapes: data (bytes,) uint8; offsets (texts + 1,) int64; hashes with room for a word per byte;
    bounds (texts + 1,).
    """
    count = 0
    alone = np.int32(1 << 24)
    expansion = np.int32(1 << 28)
    one = np.zeros(1, np.int32)

    for text in range(offsets.size - 1):
        bounds[text] = count
        state = seed
        inside = False
        position = offsets[text]
        end = offsets[text + 1]

        while position < end:
            byte = data[np.uint64(position)]
            if byte < 0x80:
                position += 1
                code = codes[byte]
                if code > 0:
                    state = _step(state, code, multiplier)
                    inside = True
                elif inside and code == 0:
                    hashes[np.uint64(count)] = _mix(state)
                    count += 1
                    state = seed
                    inside = False
                continue
            point, length = _decode(data, position)
            position += length
            code = codes[point]
            if code >= expansion:
                offset = (code & ~expansion) >> 5
                several = expansions[offset : offset + (code & 31)]
            else:
                one[0] = code
                several = one
            for each in several:
                if each == -1:
                    continue
                if inside and (each == 0 or each >= alone):
                    hashes[count] = _mix(state)
                    count += 1
                    state = seed
                    inside = False
                if each >= alone:
                    hashes[count] = _mix(_step(seed, each - alone, multiplier))
                    count += 1
                elif each > 0:
                    state = _step(state, each, multiplier)
                    inside = True

        if inside:
            hashes[count] = _mix(state)
            count += 1

    bounds[offsets.size - 1] = count
    return count


@compiled
def hash_ngrams(
    words: Any, bounds: Any, n: Any, base: Any, length_salt: Any, hashes: Any, out_bounds: Any
) -> int:
    """Hash the n-grams of every text, or the one shorter gram of a text with fewer words.

    The number of grams.
    """
    count = 0
    top = np.uint64(1)
    for _ in range(n - 1):
        top *= base

    for text in range(bounds.size - 1):
        out_bounds[text] = count
        first = bounds[text]
        last = bounds[text + 1]
        size = min(np.int64(n), last - first)
        if size == 0:
            continue

        state = np.uint64(0)
        for index in range(first, first + size):
            state = state * base + words[index]
        salt = np.uint64(size) * length_salt
        hashes[count] = _mix(state ^ salt)
        count += 1

        for index in range(first + size, last):
            state = (state - words[index - size] * top) * base + words[index]
            hashes[count] = _mix(state ^ salt)
            count += 1

    out_bounds[bounds.size - 1] = count
    return count


@compiled
def hash_contents(
    words: Any, bounds: Any, salt: Any, base: Any, length_salt: Any, out: Any
) -> None:
    """One 64-bit hash over the sequence of words of every text, in `out` (texts,)."""
    for text in range(bounds.size - 1):
        total = np.uint64(0)
        place = np.uint64(0)
        for index in range(bounds[text], bounds[text + 1]):
            total += _mix((words[index] ^ salt) + place)
            place += base
        out[text] = _mix(total ^ (np.uint64(bounds[text + 1] - bounds[text]) * length_salt))


@compiled
def distinct(hashes: Any, bounds: Any, slots: Any, out: Any, out_bounds: Any) -> int:
    """The distinct hashes of every text, in order of first appearance, through one small hash set.

    `slots` (power of two, at least twice the hashes of the largest text) must be zero and is zero
    again afterwards; the value zero has a flag instead of a slot.
    """
    count = 0
    for text in range(bounds.size - 1):
        out_bounds[text] = count
        num = bounds[text + 1] - bounds[text]
        size = np.int64(4)
        while size < 2 * num:
            size *= 2
        mask = np.uint64(size - 1)
        zero_seen = False

        for index in range(bounds[text], bounds[text + 1]):
            value = hashes[index]
            if value == 0:
                if not zero_seen:
                    zero_seen = True
                    out[count] = value
                    count += 1
                continue
            slot = value & mask
            while slots[slot] != 0 and slots[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if slots[slot] == 0:
                slots[slot] = value
                out[count] = value
                count += 1

        slots[:size] = 0

    out_bounds[bounds.size - 1] = count
    return count


@compiled
def count_shared(left: Any, right: Any) -> int:
    """The number of common values of two ascending arrays of distinct values.

    Without branches: a merge without mispredictions.
    """
    count = 0
    i = np.uint64(0)
    j = np.uint64(0)

    while i < left.size and j < right.size:
        a = left[i]
        b = right[j]
        count += a == b
        i += np.uint64(a <= b)
        j += np.uint64(b <= a)

    return count


@compiled
def count_shared_from(left: Any, right: Any, threshold: Any, containment: Any) -> int:
    """The result of `count_shared`, or -1 once it cannot reach `threshold` nor `containment`.

    The bound is checked between blocks of BLOCK_STEPS steps without branches. It is the quotient of
    the final test, so that it never rules out a pair at the threshold.
    """
    count = 0
    i = np.uint64(0)
    j = np.uint64(0)
    total = left.size + right.size
    smaller = min(left.size, right.size)

    while i < left.size and j < right.size:
        for _ in range(min(BLOCK_STEPS, left.size - np.int64(i), right.size - np.int64(j))):
            a = left[i]
            b = right[j]
            count += a == b
            i += np.uint64(a <= b)
            j += np.uint64(b <= a)

        most = count + min(left.size - np.int64(i), right.size - np.int64(j))
        if most / (total - most) < threshold and (
            containment == 0.0 or most < containment * smaller
        ):
            return -1

    return count


@compiled
def unite(label: Any, pairs: Any) -> None:
    """Give all connected nodes the least of their numbers.

    Shapes: label (nodes,) int64, at first its own number each; pairs (n, 2) int64.
    """
    for row in range(pairs.shape[0]):
        one = pairs[row, 0]
        while label[one] != one:
            label[one] = label[label[one]]
            one = label[one]
        other = pairs[row, 1]
        while label[other] != other:
            label[other] = label[label[other]]
            other = label[other]
        label[max(one, other)] = min(one, other)

    # Labels point downwards, so those before are final.
    for node in range(label.size):
        label[node] = label[label[node]]


@compiled
def count_common(values: Any, bounds: Any, seen: Any, again: Any, common: Any) -> None:
    """The values of every set that other sets may have, in `common` (sets,) int64. Never too few.

    `seen` and `again` are zeroed Bloom filters, (power of two,) uint64: values met so far, and
    values met a second time. A value that is certainly in one set only is shared with no other.
    """
    mask = np.uint64(64 * seen.size - 1)
    low = np.uint64(63)
    six = np.uint64(6)
    one = np.uint64(1)

    for place in range(values.size):
        first = values[place] & mask
        second = (values[place] >> np.uint64(31)) & mask
        first_bit, second_bit = one << (first & low), one << (second & low)
        if seen[first >> six] & first_bit and seen[second >> six] & second_bit:
            again[first >> six] |= first_bit
            again[second >> six] |= second_bit
        seen[first >> six] |= first_bit
        seen[second >> six] |= second_bit

    for number in range(bounds.size - 1):
        count = np.int64(0)
        for place in range(bounds[number], bounds[number + 1]):
            first = values[place] & mask
            second = (values[place] >> np.uint64(31)) & mask
            in_first = (again[first >> six] >> (first & low)) & one
            count += np.int64(in_first & (again[second >> six] >> (second & low)))
        common[number] = count


@intrinsic
def _num_bits(typing_context: Any, value: Any) -> Any:
    """The number of bits of a uint64 are set: the processor's own instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return numba.uint64(numba.uint64), generate


@compiled
def count_ones(bitmaps: Any, bounds: Any, ones: Any) -> None:
    """The set bits of every bitmap, in `ones` (bitmaps,) int64."""
    for number in range(bounds.size - 1):
        count = np.uint64(0)
        for place in range(bounds[number], bounds[number + 1]):
            count += _num_bits(bitmaps[place])
        ones[number] = count


@compiled
def stored_similarity(
    values: Any,
    value_bounds: Any,
    bitmaps: Any,
    bitmap_bounds: Any,
    left: Any,
    right: Any,
    threshold: Any,
    containment: Any = 0.0,
) -> Any:
    """Exact Jaccard similarity of sets `left` and `right`, or 0 if certainly below the threshold.

    With `containment`, 0 unless the later set `right` is a duplicate (`words.is_contained`).

    Values without their bit in the other bitmap are not shared; the larger bitmap is folded to the
    smaller one's size.
    """
    num_left = value_bounds[left + 1] - value_bounds[left]
    num_right = value_bounds[right + 1] - value_bounds[right]
    total = num_left + num_right
    if containment == 0.0 and min(num_left, num_right) / max(num_left, num_right, 1) < threshold:
        return 0.0

    left_words = bitmap_bounds[left + 1] - bitmap_bounds[left]
    right_words = bitmap_bounds[right + 1] - bitmap_bounds[right]
    size = min(left_words, right_words)
    only_left = np.uint64(0)
    only_right = np.uint64(0)

    for place in range(size):
        one = np.uint64(0)
        for fold in range(left_words // size):
            one |= bitmaps[bitmap_bounds[left] + place + fold * size]
        other = np.uint64(0)
        for fold in range(right_words // size):
            other |= bitmaps[bitmap_bounds[right] + place + fold * size]
        only_left += _num_bits(one & ~other)
        only_right += _num_bits(other & ~one)

    most = min(num_left - np.int64(only_left), num_right - np.int64(only_right))
    if most / (total - most) < threshold and (
        containment == 0.0 or most < containment * min(num_left, num_right)
    ):
        return 0.0

    shared = count_shared_from(
        values[value_bounds[left] : value_bounds[left + 1]],
        values[value_bounds[right] : value_bounds[right + 1]],
        threshold,
        containment,
    )
    if shared < 0:
        return 0.0

    found = shared / (total - shared)
    if containment > 0.0 and found < threshold:
        contained = shared > 0 and shared >= containment * min(num_left, num_right)
        if not contained or (num_right > num_left and found < LEAST_OF_LARGER):
            return 0.0

    return found


@compiled
def _may_reach(most: Any, num_one: Any, num_other: Any, threshold: Any, containment: Any) -> bool:
    """False if sets that share at most `most` values are certainly below the thresholds."""
    return most >= threshold * (num_one + num_other - most) * SURELY or (
        containment > 0.0 and most >= containment * min(num_one, num_other) * SURELY
    )


@compiled
def walk(
    num_old: Any,
    first_page: Any,
    after_page: Any,
    edge_bounds: Any,
    edge_earlier: Any,
    member_bounds: Any,
    member_bucket: Any,
    member_leads: Any,
    bucket_bounds: Any,
    threshold: Any,
    containment: Any,
    knows: Any,
    slot: Any,
    value_bounds: Any,
    bitmap_bounds: Any,
    values: Any,
    bitmaps: Any,
    ones: Any,
    common: Any,
    duplicate_of: Any,
    similarity: Any,
    edge: Any,
    asked: Any,
) -> None:
    """The greedy choice of `greedy`, page by page in the order; see there for the rule.

    Pages from `first_page` to `after_page` are settled; those before them are.

    Edges and memberships are sorted by page, a page's edges ascending. Without `knows`, nothing is
    compared, and pages to compare are marked in `asked`. Each page gets `duplicate_of`, the
    deciding `edge` or -1, and the `similarity` found. `ones` are the bits of each bitmap, `common`
    is that of `count_common`.

    Blocks of kept pages have their smallest set and their most values that other sets may have. A
    page that no set of such a block can resemble skips it, so pages of one frame cost their number,
    not its square.
    """
    num_pages = duplicate_of.size
    num_buckets = bucket_bounds.size - 1
    kept = np.empty(member_bucket.size, np.int64)
    num_kept = np.zeros(num_buckets, np.int64)
    leads = np.empty(member_bucket.size, np.int64)
    num_leads = np.zeros(num_buckets, np.int64)
    seen = np.full(num_pages, -1, np.int64)
    doubtful = np.zeros(num_pages, np.bool_)
    # A block may reach into the next bucket's range by less than one block: hence the bucket's number.
    least_size = np.full((member_bucket.size >> BLOCK_SHIFT) + num_buckets + 1, NO_SIZE)
    most_common = np.zeros(least_size.size, np.int64)
    least_of_blocks = np.full((member_bucket.size >> LARGE_BLOCK_SHIFT) + num_buckets + 1, NO_SIZE)
    most_of_blocks = np.zeros(least_of_blocks.size, np.int64)
    # Kept pages of each bucket, from its first, that are asked for already.
    num_asked = np.zeros(num_buckets, np.int64)

    for page in range(after_page):
        if page >= num_old and page >= first_page:
            best = num_pages
            chosen = -1
            standing = False
            for row in range(edge_bounds[page], edge_bounds[page + 1]):
                before = edge_earlier[row]
                if duplicate_of[before] != -1:
                    continue
                standing = True
                seen[before] = page
                if not doubtful[before]:
                    best = before
                    chosen = row
                    break
            for row in range(member_bounds[page], member_bounds[page + 1]):
                bucket = member_bucket[row]
                first = bucket_bounds[bucket]
                for place in range(first, first + num_leads[bucket]):
                    seen[leads[place]] = page
            value = 0.0
            for row in range(member_bounds[page], member_bounds[page + 1]):
                bucket = member_bucket[row]
                first = bucket_bounds[bucket]
                if not knows:
                    # A mate is asked for once: a large bucket costs its size, not its square.
                    while (
                        num_asked[bucket] < num_kept[bucket]
                        and asked[kept[first + num_asked[bucket]]]
                    ):
                        num_asked[bucket] += 1
                    place = first + num_asked[bucket] if doubtful[page] else first
                    while place < first + num_kept[bucket]:
                        mate = kept[place]
                        if mate >= best:
                            break
                        place += 1
                        if seen[mate] != page:
                            asked[mate] = asked[page] = doubtful[page] = True
                            place = max(place, first + num_asked[bucket])
                    continue
                other = slot[page]
                if other < 0:
                    continue
                num_other = value_bounds[other + 1] - value_bounds[other]
                block = (first >> BLOCK_SHIFT) + bucket
                large_block = (first >> LARGE_BLOCK_SHIFT) + bucket
                at = np.int64(0)
                while at < num_kept[bucket]:
                    if at & ((1 << LARGE_BLOCK_SHIFT) - 1) == 0:
                        number = large_block + (at >> LARGE_BLOCK_SHIFT)
                        most = min(most_of_blocks[number], common[other])
                        if not _may_reach(
                            most, least_of_blocks[number], num_other, threshold, containment
                        ):
                            at += 1 << LARGE_BLOCK_SHIFT
                            continue
                    if at & ((1 << BLOCK_SHIFT) - 1) == 0:
                        number = block + (at >> BLOCK_SHIFT)
                        most = min(most_common[number], common[other])
                        if not _may_reach(
                            most, least_size[number], num_other, threshold, containment
                        ):
                            at += 1 << BLOCK_SHIFT
                            continue
                    mate = kept[first + at]
                    at += 1
                    if mate >= best:
                        break
                    if seen[mate] == page:
                        continue
                    seen[mate] = page
                    one = slot[mate]
                    if one < 0:
                        continue
                    num_one = value_bounds[one + 1] - value_bounds[one]
                    most = min(common[one], common[other])
                    if not _may_reach(most, num_one, num_other, threshold, containment):
                        continue
                    # The bitmaps of two pages of like size, here and not in a function: a call costs more than the loop.
                    size = np.uint64(bitmap_bounds[other + 1] - bitmap_bounds[other])
                    at_one = np.uint64(bitmap_bounds[one])
                    at_other = np.uint64(bitmap_bounds[other])
                    if np.uint64(bitmap_bounds[one + 1]) - at_one == size:
                        both = np.uint64(0)
                        for word in range(size):
                            both += _num_bits(bitmaps[at_one + word] & bitmaps[at_other + word])
                        most = np.int64(both) + min(num_one - ones[one], num_other - ones[other])
                        if not _may_reach(most, num_one, num_other, threshold, containment):
                            continue
                    found = stored_similarity(
                        values,
                        value_bounds,
                        bitmaps,
                        bitmap_bounds,
                        one,
                        other,
                        threshold,
                        containment,
                    )
                    if found >= threshold or (containment > 0.0 and found > 0.0):
                        best = mate
                        chosen = -1
                        value = found
            if best < num_pages:
                duplicate_of[page] = best
                edge[page] = chosen
                similarity[page] = value
            elif standing:
                doubtful[page] = True

        if duplicate_of[page] == -1:
            for row in range(member_bounds[page], member_bounds[page + 1]):
                bucket = member_bucket[row]
                first = bucket_bounds[bucket]
                if member_leads[row]:
                    leads[first + num_leads[bucket]] = page
                    num_leads[bucket] += 1
                else:
                    kept[first + num_kept[bucket]] = page
                    own = slot[page]
                    if knows and own >= 0:
                        size_of_own = value_bounds[own + 1] - value_bounds[own]
                        number = (first >> BLOCK_SHIFT) + bucket + (num_kept[bucket] >> BLOCK_SHIFT)
                        least_size[number] = min(least_size[number], size_of_own)
                        most_common[number] = max(most_common[number], common[own])
                        number = (
                            (first >> LARGE_BLOCK_SHIFT)
                            + bucket
                            + (num_kept[bucket] >> LARGE_BLOCK_SHIFT)
                        )
                        least_of_blocks[number] = min(least_of_blocks[number], size_of_own)
                        most_of_blocks[number] = max(most_of_blocks[number], common[own])
                    num_kept[bucket] += 1


@compiled
def minima(hashes: Any, bounds: Any, factors: Any, offsets: Any, signatures: Any) -> None:
    """MinHash of every text: per permutation k the least of factors[k] * h + offsets[k] modulo 2**32.

    Shapes: hashes (m,) uint32, mixed already; signatures (texts, num_perm) uint32, filled with the
    greatest value.
    """
    num_perm = factors.size
    for text in range(bounds.size - 1):
        row = signatures[text]
        index = bounds[text]
        end = bounds[text + 1]

        while index + 4 <= end:  # four at a time: a third of the loads and stores
            h0 = hashes[index]
            h1 = hashes[index + 1]
            h2 = hashes[index + 2]
            h3 = hashes[index + 3]
            for k in range(num_perm):
                a = factors[k]
                b = offsets[k]
                v0 = np.uint32(a * h0 + b)
                v1 = np.uint32(a * h1 + b)
                v2 = np.uint32(a * h2 + b)
                v3 = np.uint32(a * h3 + b)
                row[k] = min(row[k], min(min(v0, v1), min(v2, v3)))
            index += 4

        while index < end:
            h0 = hashes[index]
            for k in range(num_perm):
                row[k] = min(row[k], np.uint32(factors[k] * h0 + offsets[k]))
            index += 1


@compiled
def find_grams(
    words: Any,
    bounds: Any,
    lengths: Any,
    base: Any,
    length_salt: Any,
    prefix_words: Any,
    filter_blocks: Any,
    filter_shift: Any,
    starts: Any,
    start_shift: Any,
    keys: Any,
    first_text: Any,
    hit_text: Any,
    hit_word: Any,
    hit_key: Any,
) -> Any:
    """Look up the grams at every word: (hits, next text). Stops before a text may overflow the buffer.

    `keys` ascend; `starts[p]` is the first key with top bits p. Every gram of the index begins with
    `prefix_words` words whose hash sets three bits in one block of `filter_blocks`: if not all are
    set, no gram of any length begins. `lengths` ascend and none is below `prefix_words`.
    """
    count = 0
    one = np.uint64(1)
    low = np.uint64(63)
    top = one
    for _ in range(prefix_words - 1):
        top *= base
    prefix_salt = np.uint64(prefix_words) * length_salt
    text = first_text

    while text < bounds.size - 1:
        first = bounds[text]
        last = bounds[text + 1]
        if count + (last - first) * lengths.size > hit_text.size:
            break

        state = np.uint64(0)
        for index in range(first, min(first + prefix_words - 1, last)):
            state = state * base + words[index]

        for index in range(first + prefix_words - 1, last):
            start = index - prefix_words + 1
            state = state * base + words[index]
            value = _mix(state ^ prefix_salt)
            state -= words[start] * top
            bits = (
                one << (value & low)
                | one << ((value >> np.uint64(6)) & low)
                | one << ((value >> np.uint64(12)) & low)
            )
            if filter_blocks[value >> filter_shift] & bits != bits:
                continue
            longer = np.uint64(0)
            at = start
            for size in lengths:
                if start + size > last:
                    break
                while at < start + size:
                    longer = longer * base + words[at]
                    at += 1
                value = _mix(longer ^ (np.uint64(size) * length_salt))
                prefix = value >> start_shift
                for key in range(starts[prefix], starts[prefix + one]):
                    if keys[key] == value:
                        hit_text[count] = text
                        hit_word[count] = start - first
                        hit_key[count] = key
                        count += 1
                        break

        text += 1

    return count, text
