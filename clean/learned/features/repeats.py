"""Features of repetition: the same words again, and the same kind of block again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import REPEAT
from clean.learned.layout import ELEMENT, TAG_OF

_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_KINDS_PER_CONTAINER: Final = 64


@inner
def describe_repeats(place: Any, hashes: Any, above: Any, kinds: Any, out: Any) -> None:
    """Fill the columns of REPEAT, by counting keys in a hash table of twice two rounds."""
    num = place.shape[0]
    slots = 16
    while slots < 4 * num:
        slots *= 2
    keys = np.zeros(slots, np.uint64)
    seen = np.zeros(slots, np.int64)
    slot_of = np.zeros(num, np.int64)

    for block in range(num):
        slot = _slot(keys, hashes[block])
        out[block, REPEAT.repeated_before] = seen[slot]
        seen[slot] += 1
        slot_of[block] = slot

    for block in range(num):
        out[block, REPEAT.repeats] = seen[slot_of[block]]

    for slot in range(slots):
        keys[slot] = 0
        seen[slot] = 0

    for block in range(num):
        container = above[place[block, ELEMENT] + 1]
        kind = kinds[place[block, TAG_OF]]
        slot = _slot(keys, np.uint64(container * _KINDS_PER_CONTAINER + kind) * _SPREAD)
        seen[slot] += 1
        slot_of[block] = slot

    for block in range(num):
        out[block, REPEAT.same_kind_siblings] = seen[slot_of[block]]


@inner
def _slot(keys: Any, key: Any) -> Any:
    """The slot of a key in a table with open addressing. Puts the key there if it is new."""
    last = np.uint64(keys.size - 1)
    key = key | np.uint64(1)  # 0 is an empty slot
    slot = (key ^ (key >> np.uint64(29))) & last
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & last
    keys[slot] = key
    return np.int64(slot)
