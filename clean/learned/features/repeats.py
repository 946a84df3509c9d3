"""Features of repetition: the same words again, and the same kind of block again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from clean.learned.compiled import inner
from clean.learned.features.registry import REPEAT
from clean.learned.layout import ELEMENT, TAG_OF
from clean.learned.slots import SPREAD, empty_keys, slot_of_key

_KINDS_PER_CONTAINER: Final = 64


@inner
def describe_repeats(place: Any, hashes: Any, above: Any, kinds: Any, out: Any) -> None:
    """Fill the columns of REPEAT, by counting keys in a hash table of twice two rounds."""
    num = place.shape[0]
    keys = empty_keys(2 * num)
    seen = np.zeros(keys.size, np.int64)
    slot_of = np.zeros(num, np.int64)

    for block in range(num):
        slot = _slot(keys, hashes[block])
        out[block, REPEAT.repeated_before] = seen[slot]
        seen[slot] += 1
        slot_of[block] = slot

    for block in range(num):
        out[block, REPEAT.repeats] = seen[slot_of[block]]

    for slot in range(keys.size):
        keys[slot] = 0
        seen[slot] = 0

    for block in range(num):
        container = above[place[block, ELEMENT] + 1]
        kind = kinds[place[block, TAG_OF]]
        slot = _slot(keys, np.uint64(container * _KINDS_PER_CONTAINER + kind) * SPREAD)
        seen[slot] += 1
        slot_of[block] = slot

    for block in range(num):
        out[block, REPEAT.same_kind_siblings] = seen[slot_of[block]]


@inner
def _slot(keys: Any, key: Any) -> Any:
    return slot_of_key(keys, key | np.uint64(1))  # 0 is an empty slot
